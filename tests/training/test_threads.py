"""`threads: auto`: the slower count is never kept, and a resumed training keeps the count that was chosen."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from stillhouse.core.config import ConfigError, parse
from stillhouse.core.records import CHECKPOINT, RECORDS, read_records
from stillhouse.tasks.classification.data import DataConfig, ImageData
from stillhouse.tasks.classification.job import fit_classifier as fit
from stillhouse.tasks.classification.training import ClassificationTrainingConfig
from stillhouse.training import loop, state
from stillhouse.training.checkpoint import load_checkpoint
from stillhouse.training.interrupt import Interrupted
from stillhouse.training.threads import TRIALS, WARM_UP, Threads

QUICK = ClassificationTrainingConfig(epochs=3, batch_size=16, learning_rate=1e-2, log_every=1, device="cpu")
MEASURED = WARM_UP + 2 * TRIALS


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    images = (rng.random((100, 1, 4, 4)) * 255).astype(np.uint8)
    return ImageData.from_arrays(
        images, (images[:, 0, 0, 0] > 127).astype(np.int64), config=DataConfig(test_fraction=0.1)
    )


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))


class PackedModel:
    """A clock that only steps move: so many seconds a row with so many threads, and more for what `odd` lists."""

    def __init__(self, seconds, odd=()):
        self.seconds, self.odd, self.now, self.used = seconds, dict(odd), 0.0, []

    def __call__(self):
        return self.now

    def work(self, rows=16):
        count = torch.get_num_threads()
        self.now += rows * self.seconds[count] + self.odd.get(len(self.used), 0.0)
        self.used.append(count)

    def train(self, threads, rows):
        for number in rows:
            threads.step(lambda number=number: self.work(number), number)
        return self.used


@pytest.mark.parametrize("times", [1.01, 2, 8])
@pytest.mark.parametrize("slow", [1, 2])
def test_the_slower_count_is_never_kept(slow, times):
    machine = PackedModel({1: 1.0, 2: 1.0, slow: times})
    used = machine.train(Threads("auto", timer=machine), [16] * 20)
    assert used[:MEASURED] == [2] * (WARM_UP + TRIALS) + [1] * TRIALS
    assert set(used[MEASURED:]) == {3 - slow}


@pytest.mark.parametrize("odd", [{0: 50.0, 1: 50.0}, {3: 50.0, 4: 50.0}])
def test_first_steps_and_disturbed_ones_do_not_decide(odd):
    machine = PackedModel({1: 2.0, 2: 1.0}, odd)
    assert machine.train(Threads("auto", timer=machine), [16] * 12)[-1] == 2


@pytest.mark.parametrize("rows", [[16, 16, 16, 16, 16, 16, 3] * 2, [16, 3] * 6])
def test_a_short_last_batch_does_not_decide(rows):
    """It takes less time whatever the threads: seconds count by the row."""
    machine = PackedModel({1: 2.0, 2: 1.0})
    assert machine.train(Threads("auto", timer=machine), rows)[-1] == 2


@pytest.mark.parametrize(("setting", "count"), [(1, 1), (2, 2), (None, 2)])
def test_a_setting_is_kept_and_nothing_is_measured(setting, count):
    machine = PackedModel({1: 1.0, 2: 1.0})
    assert machine.train(Threads(setting, timer=machine), [16] * 10) == [count] * 10
    assert machine.now == 160


def test_one_core_or_a_gpu_measures_nothing():
    """OMP_NUM_THREADS=1 must give the same bits as before: the count is never touched."""
    machine = PackedModel({1: 1.0, 2: 5.0})
    assert machine.train(Threads("auto", on_cpu=False, timer=machine), [16] * 10) == [2] * 10
    torch.set_num_threads(1)
    assert Threads("auto").chosen == 1


def test_the_process_gets_its_threads_back(data, tmp_path):
    """Else the second arm of a run would find one thread, and nothing to choose from."""
    fit(net(), data, QUICK, seed=0, folder=tmp_path)
    assert torch.get_num_threads() == 2
    assert load_checkpoint(tmp_path / CHECKPOINT)["threads"]["chosen"] in (1, 2)


@pytest.mark.parametrize("stop_at", [4, 7, 8, 11])
def test_a_resumed_training_goes_on_with_the_counts_of_the_first(data, tmp_path, stop_at, monkeypatch):
    """Another count is another order of addition. The machine changes its mind between the two: it must not be asked again."""

    def train(folder, faster, stop_at=None, resume=False):
        machine = PackedModel({1: 1.0, 2: 1.0, faster: 0.5})
        monkeypatch.setattr(state, "Threads", lambda setting, on_cpu: Threads(setting, on_cpu=on_cpu, timer=machine))
        step = loop._Trainer._step
        monkeypatch.setattr(loop._Trainer, "_step", lambda trainer, rows: (machine.work(), step(trainer, rows))[1])

        def pull_the_plug(progress, news):
            if progress.step == stop_at:
                os.kill(os.getpid(), signal.SIGINT)

        try:
            fit(net(), data, QUICK, seed=0, folder=folder, resume=resume, on_progress=pull_the_plug)
        except Interrupted:
            assert stop_at
        monkeypatch.setattr(loop._Trainer, "_step", step)
        return machine.used

    def losses(folder):
        return [r["loss"] for r in read_records(folder / RECORDS) if r["split"] == "train"]

    for faster in (1, 2):
        whole = train(tmp_path / f"whole-{faster}", faster)
        cut = train(tmp_path / f"cut-{faster}", faster, stop_at)
        other = 3 - faster if stop_at >= MEASURED else faster
        assert cut + train(tmp_path / f"cut-{faster}", other, resume=True) == whole
        assert losses(tmp_path / f"cut-{faster}") == losses(tmp_path / f"whole-{faster}")
    assert len(whole) == 3 * 6
    counts = [r["threads"] for r in read_records(tmp_path / "whole-1" / RECORDS) if r["split"] == "validation"]
    assert counts[1:] == [1, 1]


@pytest.mark.parametrize("given", [0, -1, "many", "3", True])
def test_what_is_no_count_is_refused(given):
    with pytest.raises(ConfigError, match="threads: expected a number"):
        parse(type(QUICK), {"threads": given})
    assert replace(QUICK, threads="auto").threads == QUICK.threads == "auto"
