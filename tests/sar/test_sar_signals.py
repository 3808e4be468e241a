"""Every kind of signal on hidden lines: a live gradient, or one line that says why not."""

import numpy as np
import pytest
import torch
from sar_tiny import line_teacher, network, small_run, stage_context_of

from stillhouse.core.types import Progress
from stillhouse.tasks.sar.data import SarConfig
from stillhouse.tasks.sar.task import TASK

BLOCKS = {"student": "blocks.1", "teacher": "blocks.2"}
NOTHING = {"alpha": 1.0, "beta": 0.0, "gamma": 0.0}


@pytest.fixture(scope="module")
def data():
    return SarConfig(preset="toy-64", length=120, train=8, validation=4, test=4).build()


def job_with(signals, data, folder, **objective):
    config = small_run(signals=signals, objective=objective or NOTHING)
    teacher = line_teacher(1, model_dim=5, num_layers=3, look_ahead=None)
    return TASK.job(stage_context_of(config, data, folder, teacher=teacher))


def test_features_are_real_pairs(data, tmp_path):
    """A least-squares map of 2 x 3 real numbers to 2 x 5, and the mean squared distance by hand."""
    signal = {"kind": "features", **BLOCKS, "pool": "none", "projector": "mlp", "normalize": False}
    job = job_with([signal], data, tmp_path)
    built = job.signal_set.signals[0]
    assert [layer.in_features for layer in built.projector if hasattr(layer, "in_features")] == [6, 10]
    rows = torch.arange(4)
    batch = job.batch(rows, Progress(0, 1))
    ours, theirs = job.outputs(batch), job.signal_set.teacher(batch)
    pairs = [torch.view_as_real(x).flatten(2) for x in (ours.features["blocks.1"], theirs.features["blocks.2"])]
    by_hand = (built.projector(pairs[0]) - pairs[1]).square().mean((1, 2))
    torch.testing.assert_close(built(ours, theirs, batch, Progress(0, 1)), by_hand)


def test_difficulty_is_the_judges_error(data, tmp_path):
    """Silence has an NMSE of 1 on every line, the truth 0, and f times the truth (1 - f)^2."""
    context = stage_context_of(small_run(), data, tmp_path).context

    class Factor:
        def __call__(self, batch):
            from stillhouse.core.types import Outputs

            return Outputs(batch.labels * torch.linspace(0, 1, 8)[batch.index].reshape(-1, 1, 1))

    np.testing.assert_allclose(TASK.difficulty(Factor(), context)[0], (1 - np.linspace(0, 1, 8)) ** 2, atol=1e-6)
    silent = network()
    with torch.no_grad():
        silent.output.weight.zero_()
    np.testing.assert_allclose(TASK.difficulty(silent, context)[0], np.ones(8), atol=1e-6)
