"""DOT, PCGrad, the gate and the doctor inside the loop: each changes the training exactly where it should."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from stillhouse.core.config import ConfigError, parse, to_mapping
from stillhouse.core.records import RECORDS, read_records
from stillhouse.core.types import Outputs, OutputSpec
from stillhouse.signals import LogitsConfig, build_signals
from stillhouse.tasks.classification.data import DataConfig, ImageData
from stillhouse.tasks.classification.job import ClassificationJob, fit_classifier
from stillhouse.tasks.classification.training import ClassificationTrainingConfig
from stillhouse.training.config import DoctorConfig
from stillhouse.training.distillation import SignalSet
from stillhouse.training.loop import fit

QUICK = ClassificationTrainingConfig(
    epochs=2, batch_size=16, learning_rate=1e-2, warmup_epochs=0.5, log_every=1, device="cpu"
)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    images = (rng.random((120, 1, 4, 4)) * 255).astype(np.uint8)
    labels = (images[:, 0, 0, 0] > 127).astype(np.int64)
    return ImageData.from_arrays(images, labels, config=DataConfig(test_fraction=0.1))


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))


def stage_context(right=True, weight=0.5):
    def teacher(batch):
        labels = batch.labels if right else 1 - batch.labels
        return Outputs(4 * nn.functional.one_hot(labels, 2).float())

    return SignalSet(teacher, build_signals((LogitsConfig(weight=weight),), OutputSpec(2), OutputSpec(2)))


def trained(data, folder, right=True, weight=0.5, resume=False, **changes):
    model = net()
    config = replace(QUICK, **changes)
    fit_classifier(model, data, config, seed=0, folder=folder, signal_set=stage_context(right, weight), resume=resume)
    return torch.cat([x.flatten() for x in model.state_dict().values()])


def records(folder, split):
    return [r for r in read_records(folder / RECORDS) if r["split"] == split]


def test_dot_without_delta_is_sgd_and_with_it_is_not(data, tmp_path):
    """Two memories of equal length are one."""
    sgd = trained(data, tmp_path / "sgd", optimizer="sgd")
    same = trained(data, tmp_path / "zero", optimizer="dot", delta=0.0)
    torch.testing.assert_close(sgd, same, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(sgd, trained(data, tmp_path / "dot", optimizer="dot"), atol=1e-4)


def test_terms_that_agree_are_left_alone(data, tmp_path):
    """A teacher that is always right never conflicts with labels in a network of one layer's worth of direction."""
    plain = trained(data, tmp_path / "plain", accumulate=2)
    for kind in ("pcgrad", "cosine-gate"):
        torch.testing.assert_close(
            plain, trained(data, tmp_path / kind, gradients=kind, accumulate=2), rtol=1e-4, atol=1e-5
        )


def test_a_teacher_that_is_wrong_is_gated(data, tmp_path):
    """Against the labels in every step: the gate leaves it out, and the labels alone remain."""
    weights = trained(data, tmp_path / "gate", right=False, gradients="cosine-gate", weight=0.1)
    dropped = [r["figures"] for r in records(tmp_path / "gate", "train") if "figures" in r]
    assert dropped
    assert all(figures["dropped/logits"] < 0 for figures in dropped)
    plain = trained(data, tmp_path / "plain", right=False, weight=0.1)
    projected = trained(data, tmp_path / "pcgrad", right=False, gradients="pcgrad", weight=0.1)
    assert not torch.allclose(weights, plain, atol=1e-4)
    assert not torch.allclose(projected, plain, atol=1e-4)


def test_the_doctor_looks_and_says(data, tmp_path):
    """A term a thousand times too strong, against the labels, is found and named; nothing else changes."""
    strong = {"right": False, "weight": 1e3}
    seen = trained(data, tmp_path / "seen", doctor=DoctorConfig(every=2), **strong)
    assert torch.equal(seen, trained(data, tmp_path / "unseen", **strong))
    found = records(tmp_path / "seen", "doctor")
    steps = len(records(tmp_path / "seen", "train"))
    assert [r["step"] for r in found] == list(range(0, steps, 2))
    assert set(found[0]["readings"]) == {"labels", "logits"}
    said = [text for r in found for text in r["findings"]]
    assert any(text.startswith("dominating") for text in said)


def test_balanced_weights_bring_the_ratio_to_the_target(data, tmp_path):
    """Balancing that only reports would leave the ratio where it was."""
    doctor = DoctorConfig(every=1, balance=True, target_ratio=0.5, smoothing=0.0, limit=1e6)
    config = {"weight": 1e3, "doctor": doctor, "learning_rate": 1e-4, "final_learning_rate": 0.0}
    trained(data, tmp_path / "run", **config)
    for step, reading in zip(records(tmp_path / "run", "train"), records(tmp_path / "run", "doctor"), strict=True):
        weight = (step["loss"] - step["terms"]["labels"]) / step["terms"]["logits"]
        ratio = reading["readings"]["logits"]["ratio"]  # at the weight that the doctor found
        assert ratio * weight / reading["weights"]["logits"] == pytest.approx(0.5, rel=1e-3)


def test_all_of_it_survives_a_resume(data, tmp_path):
    """Balanced weights, memories and findings are state."""
    doctor = DoctorConfig(every=1, balance=True)
    for name, changes in {
        "dot": {"optimizer": "dot"},
        "pcgrad": {"gradients": "pcgrad"},
        "doctor": {"doctor": doctor},
    }.items():
        whole = trained(data, tmp_path / name / "whole", **changes)

        class Killed(Exception):
            pass

        def kill(progress, news):
            if progress.step == 9:
                raise Killed

        config = replace(QUICK, **{**changes, "checkpoint_seconds": 0.0})
        with pytest.raises(Killed):
            fit_classifier(
                net(),
                data,
                config,
                seed=0,
                folder=tmp_path / name / "cut",
                signal_set=stage_context(),
                on_progress=kill,
            )
        again = trained(data, tmp_path / name / "cut", resume=True, **{**changes, "checkpoint_seconds": 0.0})
        assert torch.equal(whole, again), name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"momentum": 0.9}, "momentum: belongs"),
        ({"optimizer": "sgd", "delta": 0.1}, "delta: belongs"),
        ({"optimizer": "dot", "gradients": "pcgrad"}, "take one of them"),
        ({"precision": "16-mixed", "gradients": "pcgrad"}, "bf16-mixed"),
    ],
)
def test_settings_without_effect_are_refused(change, words):
    """Silence would be taken for consent."""
    with pytest.raises(ConfigError, match=words):
        parse(ClassificationTrainingConfig, {**to_mapping(QUICK), **change})


@pytest.mark.parametrize("change", [{"optimizer": "dot"}, {"gradients": "cosine-gate"}])
def test_the_task_s_own_term_may_have_any_name(data, tmp_path, change):
    """Radar calls its own loss otherwise: held against a term that is not there, DOT and the gate did something else."""
    config = replace(QUICK, doctor=DoctorConfig(every=1), **change)
    ends, readings = [], []
    for name in ("labels", "focus"):
        torch.manual_seed(0)
        model = net()
        job = ClassificationJob(model, data, config, seed=0, signal_set=stage_context(right=False, weight=3.0))
        job.task_term = name
        fit(job, config, seed=0, folder=tmp_path / name)
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
        readings.append([r["readings"][name]["ratio"] for r in records(tmp_path / name, "doctor")])
    assert torch.equal(ends[0], ends[1])
    assert readings[0] == readings[1] == [1.0] * len(readings[0])
