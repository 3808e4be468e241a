"""The engine: what it computes does not depend on micro-batches, kills or checkpoints, and every knob turns something."""

import multiprocessing
import os
import signal
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from stillhouse.core.checks import Interrupted, StillhouseError
from stillhouse.core.records import CHECKPOINT, RECORDS, read_records
from stillhouse.core.types import Outputs, OutputSpec
from stillhouse.signals import LogitsConfig, build_signals
from stillhouse.tasks.classification.data.config import DataConfig
from stillhouse.tasks.classification.data.images import ImageData
from stillhouse.tasks.classification.job import ClassificationJob
from stillhouse.tasks.classification.plan import ClassificationTrainingConfig
from stillhouse.training import loop
from stillhouse.training.distillation import SignalSet
from stillhouse.training.job import epoch_order
from stillhouse.training.loop import Diverged
from stillhouse.training.state import load_checkpoint, save_checkpoint


def fit(model, data, config, *, seed=0, signal_set=None, **more):
    """`fit` of a `ClassificationJob`."""
    return loop.fit(ClassificationJob(model, data, config, seed=seed, signal_set=signal_set), config, seed=seed, **more)


QUICK = ClassificationTrainingConfig(
    epochs=3, batch_size=16, learning_rate=1e-2, warmup_epochs=0.5, log_every=1, device="cpu"
)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    images = (rng.random((178, 1, 4, 4)) * 255).astype(np.uint8)
    labels = (images[:, 0, 0, 0] > 127).astype(np.int64)
    # 144 rows to train on: 9 steps an epoch
    return ImageData.from_arrays(images, labels, config=DataConfig(test_fraction=0.1))


def net(seed=0, dropout=0.0, batch_norm=False):
    torch.manual_seed(seed)
    norm = [nn.BatchNorm1d(8)] if batch_norm else []
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), *norm, nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 2))


def losses(folder):
    return [r["loss"] for r in read_records(folder / RECORDS) if r["split"] == "train"]


def weights(model):
    return torch.cat([x.flatten().float() for x in model.state_dict().values()])


def teach(data):
    """A teacher that is right, unlike the student at its start."""

    def teacher(batch):
        right = nn.functional.one_hot(batch.labels, 2).float()
        return Outputs(4 * right)

    spec = OutputSpec(2)
    return SignalSet(teacher, build_signals((LogitsConfig(weight=0.5),), spec, spec))


def test_it_learns(data, tmp_path):
    """The plainest check of a loop: the loss falls and the validation score beats chance."""
    done = fit(net(), data, replace(QUICK, epochs=25), seed=0, folder=tmp_path)
    seen = losses(tmp_path)
    assert np.mean(seen[-5:]) < 0.5 * np.mean(seen[:5])
    assert done.best["accuracy"] > 0.8


def test_micro_batches_change_nothing(data, tmp_path):
    """Averaging the averages of unequal micro-batches weighs samples unequally: 16 rows in 3 parts are 6, 6 and 4."""
    a, b = net(), net()
    fit(a, data, QUICK, seed=0, folder=tmp_path / "whole", signal_set=teach(data))
    fit(b, data, replace(QUICK, accumulate=3), seed=0, folder=tmp_path / "parts", signal_set=teach(data))
    np.testing.assert_allclose(losses(tmp_path / "whole"), losses(tmp_path / "parts"), rtol=1e-5)
    torch.testing.assert_close(weights(a), weights(b), rtol=1e-4, atol=1e-6)


def test_one_seed_one_result_and_another_seed_another(data, tmp_path):
    """Order and dropout hang on the seed alone."""
    runs = {}
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        model = net(dropout=0.3)
        fit(model, data, QUICK, seed=seed, folder=tmp_path / name)
        runs[name] = (losses(tmp_path / name), weights(model))
    assert runs["a"][0] == runs["b"][0]
    assert torch.equal(runs["a"][1], runs["b"][1])
    assert runs["a"][0] != runs["c"][0]


def test_every_epoch_has_its_own_order_with_every_row_once():
    """A loader seeded once a run would repeat the first epoch after each resume."""
    first, second = epoch_order(50, 0, 0), epoch_order(50, 0, 1)
    assert not torch.equal(first, second)
    assert torch.equal(first.sort().values, torch.arange(50))
    assert torch.equal(first, epoch_order(50, 0, 0))


@pytest.mark.parametrize("stop_at", [1, 9, 10, 17])
def test_resume_repeats_the_uninterrupted_run_to_the_bit(data, tmp_path, stop_at):
    """Optimizer, schedule, average, BatchNorm statistics, dropout state, best weights: forget one and this fails."""
    config = replace(QUICK, ema_decay=0.9, label_smoothing=0.1)
    model = net(dropout=0.3, batch_norm=True)
    whole = fit(model, data, config, seed=0, folder=tmp_path / "whole", signal_set=teach(data))

    def pull_the_plug(progress, news):
        if progress.step == stop_at:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match=f"step {stop_at} of"):
        fit(
            net(dropout=0.3, batch_norm=True),
            data,
            config,
            seed=0,
            folder=tmp_path / "cut",
            signal_set=teach(data),
            on_progress=pull_the_plug,
        )
    torch.rand(7)  # another process would have another generator
    again = net(seed=99, dropout=0.3, batch_norm=True)
    done = fit(again, data, config, seed=0, folder=tmp_path / "cut", signal_set=teach(data), resume=True)
    assert losses(tmp_path / "whole") == losses(tmp_path / "cut")
    assert torch.equal(weights(model), weights(again))
    assert (done.best, done.best_epoch, done.step) == (whole.best, whole.best_epoch, whole.step)


def killed_at(folder, kill_at, resume):
    """Train in a process of its own and leave the weights, or be killed at a step."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 10))
    config = ClassificationTrainingConfig(
        epochs=2, batch_size=64, log_every=1, checkpoint_seconds=0.02, device="cpu", threads=1
    )

    def on_progress(progress, news):
        if progress.step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    fit(model, DataConfig(name="digits").build(), config, seed=0, folder=folder, resume=resume, on_progress=on_progress)
    torch.save(model.state_dict(), folder / "final.pt")


def test_kill_nine_in_an_epoch_resumes_from_the_last_checkpoint(tmp_path):
    """No handler runs at SIGKILL: what is on disk must be whole, and records after it are written again."""

    def start(*words):
        # not a fork: torch trains in none of a process that has trained
        process = multiprocessing.get_context("spawn").Process(target=killed_at, args=words)
        process.start()
        process.join(120)
        return process.exitcode

    assert start(tmp_path / "whole", -1, False) == 0
    assert start(tmp_path / "cut", 25, False) == -signal.SIGKILL
    assert not list((tmp_path / "cut").glob(".*"))
    assert start(tmp_path / "cut", -1, True) == 0
    assert losses(tmp_path / "whole") == losses(tmp_path / "cut")
    final = [torch.load(tmp_path / name / "final.pt", weights_only=True) for name in ("whole", "cut")]
    assert all(torch.equal(a, b) for a, b in zip(final[0].values(), final[1].values()))


def test_the_weights_that_are_scored_are_the_weights_that_remain(data, tmp_path):
    """A checkpoint of the last raw weights beside the best average's score is the classic mismatch."""
    from stillhouse.tasks.classification.predict import evaluate, predict

    model = net(batch_norm=True)
    done = fit(model, data, replace(QUICK, epochs=4, ema_decay=0.8), seed=0, folder=tmp_path)
    probabilities = predict(lambda b: model(b.inputs), data.validation)
    assert evaluate(probabilities, data.validation.labels.numpy(), None)["nll"] == pytest.approx(
        done.best["nll"], rel=1e-6
    )


def test_the_average_follows_buffers_and_does_not_lag_in_a_short_run(data, tmp_path):
    """With decay 0.999 and no warm-up, 27 steps would leave 97 % of the untrained start; and it is what is scored and kept."""
    from stillhouse.tasks.classification.predict import evaluate, predict

    model = net(batch_norm=True)
    start = weights(model).clone()
    done = fit(model, data, replace(QUICK, ema_decay=0.999, keep="last"), seed=0, folder=tmp_path)
    raw = load_checkpoint(tmp_path / CHECKPOINT)
    assert all(torch.equal(x, raw["average"][name]) for name, x in model.state_dict().items())
    model.load_state_dict(raw["average"])
    scored = evaluate(predict(lambda b: model(b.inputs), data.validation), data.validation.labels.numpy(), None)
    assert done.best["nll"] == pytest.approx(scored["nll"], rel=1e-6)
    moved = torch.cat([x.flatten().float() for x in raw["model"].values()]) - start
    averaged = torch.cat([x.flatten().float() for x in raw["average"].values()]) - start
    share = (averaged @ moved) / (moved @ moved)
    assert 0.3 < share < 1.0
    assert not torch.equal(raw["average"]["2.running_mean"], raw["model"]["2.running_mean"])
    assert raw["average"]["2.running_mean"].abs().sum() > 0


def test_threads_are_set(data, tmp_path):
    """Two processes of two threads on two cores wait for each other: a run must be able to ask for one."""
    before = torch.get_num_threads()
    try:
        fit(net(), data, replace(QUICK, epochs=1, threads=1), seed=0, folder=tmp_path)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_early_stopping_stops_and_keeps_the_best(data, tmp_path):
    """Patience counts epochs without a better validation score."""
    config = replace(QUICK, epochs=40, learning_rate=1e-9, final_learning_rate=0.0, patience=2)
    done = fit(net(), data, config, seed=0, folder=tmp_path)
    assert done.stopped_early
    assert done.epochs < 40
    assert done.epochs - done.best_epoch == 2


def test_the_last_epoch_is_kept_on_request(data, tmp_path):
    """The best of many epochs on a small validation split is luck; a constant score keeps its first epoch otherwise."""
    config = replace(QUICK, learning_rate=1e-9, final_learning_rate=0.0)
    assert fit(net(), data, config, seed=0, folder=tmp_path / "best").best_epoch < 3
    assert fit(net(), data, replace(config, keep="last"), seed=0, folder=tmp_path / "last").best_epoch == 3
    with pytest.raises(ValueError, match="patience"):
        replace(config, keep="last", patience=2)


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 2e-3},
        {"final_learning_rate": 5e-3},
        {"schedule": "constant"},
        {"warmup_epochs": 2.0},
        {"weight_decay": 0.5},
        {"clip_norm": 0.05},
        {"label_weight": 0.3},
        {"label_smoothing": 0.2},
        {"batch_size": 32},
        {"epochs": 2},
        {"precision": "bf16-mixed"},
    ],
)
def test_every_knob_changes_the_run(data, tmp_path, change):
    """A knob that nothing reads leaves the weights as they were."""
    a, b = net(), net()
    fit(a, data, QUICK, seed=0, folder=tmp_path / "a", signal_set=teach(data))
    fit(b, data, replace(QUICK, **change), seed=0, folder=tmp_path / "b", signal_set=teach(data))
    assert not torch.allclose(weights(a), weights(b), rtol=1e-6, atol=1e-8)


def test_rates_rise_and_fall(data, tmp_path):
    """The public default kept one rate for the whole run and called it cosine."""
    fit(net(), data, replace(QUICK, epochs=4, warmup_epochs=1.0), seed=0, folder=tmp_path)
    rates = [r["learning_rate"] for r in read_records(tmp_path / RECORDS) if r["split"] == "train"]
    peak = int(np.argmax(rates))
    per_epoch = len(rates) // 4
    assert peak == per_epoch
    assert rates[0] == pytest.approx(1e-4)
    assert rates[peak] == pytest.approx(1e-2)
    half = peak + (len(rates) - peak) // 2
    progress = (half - peak) / (len(rates) - peak)
    assert rates[half] == pytest.approx(1e-5 + (1e-2 - 1e-5) * (1 + np.cos(np.pi * progress)) / 2, rel=1e-6)


def test_the_teachers_term_is_logged_and_weighted(data, tmp_path):
    """Terms are recorded by name, unweighted; the total is their weighted sum."""
    fit(net(), data, replace(QUICK, epochs=1, label_weight=0.7), seed=0, folder=tmp_path, signal_set=teach(data))
    first = next(read_records(tmp_path / RECORDS))
    assert set(first["terms"]) == {"labels", "logits"}
    assert first["loss"] == pytest.approx(0.7 * first["terms"]["labels"] + 0.5 * first["terms"]["logits"], rel=1e-5)


def test_a_term_of_weight_zero_is_not_computed(data, tmp_path):
    """The teacher must not even be asked."""

    def never(batch):
        raise AssertionError("asked")

    spec = OutputSpec(2)
    stage_context = SignalSet(never, build_signals((LogitsConfig(weight=0.0),), spec, spec))
    fit(net(), data, replace(QUICK, epochs=1), seed=0, folder=tmp_path, signal_set=stage_context)


def test_a_term_of_nan_without_a_gradient_is_an_error(data, tmp_path):
    """Its gradient of 0 passed the test of the norm, and the records said null."""
    model = net()
    model.regularizers = lambda: {"broken": (1.0, torch.tensor(float("nan")))}
    with pytest.raises(Diverged, match="broken nan"):
        fit(model, data, replace(QUICK, epochs=1), seed=0, folder=tmp_path)


def test_divergence_is_an_error_that_names_the_terms(data, tmp_path):
    """A run that goes on with NaN weights wastes hours and ends at chance."""
    model = net()
    with torch.no_grad():
        model[1].weight[0, 0] = float("inf")
    with pytest.raises(Diverged, match="labels"):
        fit(model, data, QUICK, seed=0, folder=tmp_path)


def test_a_gradient_of_nan_is_an_error_where_every_loss_is_finite(data, tmp_path):
    """Losses are read at some steps only; the gradient's norm is the guard of all others."""
    model = net()
    model[1].weight.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(Diverged, match="gradient is not finite"):
        fit(model, data, replace(QUICK, log_every=1000), seed=0, folder=tmp_path)


def test_a_truncated_checkpoint_is_said_plainly(data, tmp_path):
    """Not a stack of unpickling errors."""
    fit(net(), data, replace(QUICK, epochs=1), seed=0, folder=tmp_path)
    whole = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StillhouseError, match="truncated"):
        fit(net(), data, QUICK, seed=0, folder=tmp_path, resume=True)
    (tmp_path / CHECKPOINT).write_bytes(whole)
    with pytest.raises(StillhouseError, match="expected 27 steps, got 9"):
        fit(net(), data, QUICK, seed=0, folder=tmp_path, resume=True)


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    """`weights_only`: a checkpoint from elsewhere must not execute."""
    save_checkpoint(tmp_path / "c.pt", {"fit": SimpleNamespace()})  # with a hash that is right
    with pytest.raises(StillhouseError, match="cannot be read: Weights only"):
        load_checkpoint(tmp_path / "c.pt")


def test_glibc_is_asked_to_keep_what_is_freed(data, tmp_path, monkeypatch):
    asked = {}
    libc = SimpleNamespace(mallopt=asked.__setitem__)
    monkeypatch.setattr(loop, "ctypes", SimpleNamespace(CDLL=lambda name: libc))
    fit(net(), data, replace(QUICK, epochs=1), folder=tmp_path)
    assert asked == {-3: 2**30, -1: 2**31 - 1}  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h


def test_where_there_is_no_glibc_training_goes_on(data, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "ctypes", SimpleNamespace(CDLL=lambda name: object()))
    fit(net(), data, replace(QUICK, epochs=1), folder=tmp_path)
    assert losses(tmp_path)
