"""What is watched while a focusing network learns: documented names, true norms, TensorBoard, and W&B offline."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from sar_tiny import small_run, stage_context_of
from torch import nn

from stillhouse.tasks.sar import job
from stillhouse.tasks.sar.data import SarConfig
from stillhouse.tasks.sar.job import EVERY, MONITOR, GradientWatch, SarMonitor
from stillhouse.tasks.sar.students import StateSpaceConfig
from stillhouse.tasks.sar.task import TASK
from stillhouse.tasks.sar.teacher import LineTeacher
from stillhouse.training.loop import fit


def scalars(folder):
    """name -> {step: value} of TensorBoard events."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """60 steps of a student and an unfrozen teacher; gradients are looked at on steps 1 and 51."""
    folder = tmp_path_factory.mktemp("watched")
    data = SarConfig(preset="toy-64", length=80, train=20, validation=2, test=2).build()
    torch.manual_seed(0)
    student, teacher = (StateSpaceConfig(model_dim=w, state_dim=4, num_layers=2).build() for w in (2, 3))
    training = {"epochs": 6, "batch_size": 2, "accumulate": 2, "warmup_epochs": 0, "log_every": 10, "keep": "last"}
    config = small_run(objective={"freeze_teacher": False}, training={**training, "device": "cpu", "threads": 1})
    config = replace(config, student=student.config)
    stage_context = stage_context_of(config, data, folder, teacher=LineTeacher(teacher, frozen=False), student=student)
    made = TASK.job(stage_context)
    fit(made, config.training, seed=0, folder=folder / "arm")
    return scalars(folder / MONITOR / "kd-seed-0"), student, made.learning.module


def test_documented_names_and_steps(watched):
    """What the document tells its readers to look for, where it tells them to look."""
    found, *_ = watched
    for name in ("total", "student", "distillation", "feature"):
        assert list(found[f"train_{name}_loss"]) == [1, 11, 21, 31, 41, 51]
        assert list(found[f"val_{name}_loss"]) == [10, 20, 30, 40, 50, 60]
    assert {"val_nmse", "val_coherence", "val_quality"} <= set(found)


def test_gradient_norms_every_fifty_steps_by_layer(watched):
    """For the student and the unfrozen teacher; the total is the root of the sum of squares, not a sum of norms."""
    found, *_ = watched
    for who in ("student", "teacher"):
        layers = {tag.removeprefix(f"gradients/{who}/") for tag in found if tag.startswith(f"gradients/{who}/")}
        assert layers == {"input", "blocks.0", "blocks.1", "output", "total"}
        for tag in layers:
            assert list(found[f"gradients/{who}/{tag}"]) == [1, 1 + EVERY]
        parts = [found[f"gradients/{who}/{tag}"][1] for tag in layers - {"total"}]
        assert found[f"gradients/{who}/total"][1] == pytest.approx(math.hypot(*parts), rel=1e-5)
        assert min(parts) > 0


def test_weights_once_an_epoch(watched):
    """The last of them are those of the network at the end of its last epoch, layer by layer, computed here anew."""
    found, student, teacher = watched
    for who, model in (("student", student), ("teacher", teacher)):
        assert list(found[f"weights/{who}/total"]) == [10, 20, 30, 40, 50, 60]
        whole = torch.cat([p.detach().flatten() for p in model.parameters()])
        assert found[f"weights/{who}/total"][60] == pytest.approx(float(whole.norm()), rel=1e-5)
        for layer, part in {"input": model.input, "blocks.1": model.blocks[1], "output": model.output}.items():
            norm = float(torch.cat([p.detach().flatten() for p in part.parameters()]).norm())
            assert found[f"weights/{who}/{layer}"][60] == pytest.approx(norm, rel=1e-5)
            assert norm > 0


def test_gradients_add_up_over_micro_batches():
    """A hook sees every micro-batch; the last one has the sum."""
    net = nn.Sequential(nn.Linear(2, 1, bias=False))
    whole, parts = GradientWatch(net), GradientWatch(net)
    x = torch.randn(4, 2)
    whole.start()
    net(x).sum().backward()
    found = whole.stop()
    net.zero_grad()
    parts.start()
    for half in x.chunk(2):
        net(half).sum().backward()
    assert found["total"] == pytest.approx(float(x.sum(0).norm()), rel=1e-5)
    assert parts.stop() == pytest.approx(found, rel=1e-5)


def test_wandb_offline(tmp_path, monkeypatch):
    """The same scalars in an offline run: a folder on disk, and nothing sent."""
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monitor = SarMonitor(tmp_path, "offline", "mine", {"alpha": 0.3})
    monitor.log(1, {"train_total_loss": 0.5})
    run = monitor._run
    assert run.settings.mode == "offline"
    monitor.log(51, {"train_total_loss": 0.25})
    assert run.summary["train_total_loss"] == 0.5  # W&B keeps a step when the next one comes
    monitor.close()
    assert wandb.run is None
    assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))


@pytest.mark.parametrize("mode", [None, "offline", "online"])
def test_weights_and_biases_goes_online_when_asked(tmp_path, monkeypatch, mode):
    """Offline was the only way; nothing is sent unless it is asked for by name."""
    seen = []
    run = SimpleNamespace(log=lambda *a, **k: None, finish=lambda: None)
    fake = SimpleNamespace(init=lambda **given: seen.append(given["mode"]) or run)
    monkeypatch.setattr(job, "find_wandb", lambda: fake)
    watching = SarMonitor(tmp_path, mode, "mine")
    watching.log(1, {"a": 1.0})
    watching.close()
    assert seen == [mode] * (mode is not None)
