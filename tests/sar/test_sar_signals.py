"""Every kind of signal on hidden lines: a live gradient, or one line that says why not."""

import numpy as np
import pytest
import torch
from sar_tiny import line_teacher, network, small_run, stage_context_of

from stillhouse.core.checks import ConfigError
from stillhouse.core.types import Progress
from stillhouse.signals import SignalConfig
from stillhouse.tasks.sar.data import SarConfig
from stillhouse.tasks.sar.plan import REFUSED
from stillhouse.tasks.sar.task import TASK

BLOCKS = {"student": "blocks.1", "teacher": "blocks.2"}
MANY = {"student": "blocks.{}", "student_layers": 2, "teacher": "blocks.{}", "teacher_layers": 3}
WORKING = [
    {"kind": "features", **BLOCKS, "pool": "none"},
    {"kind": "features", **BLOCKS, "distance": "cosine", "projector": "mlp"},
    {"kind": "hidden", "student": ["blocks.0", "blocks.1"], "teacher": ["blocks.0", "blocks.1", "blocks.2"]},
    {"kind": "hidden", "student": ["blocks.0"], "teacher": ["blocks.2"], "distance": "cka", "projector": "none"},
    {"kind": "relations", **BLOCKS},
    {"kind": "relations", **BLOCKS, "relation": "cka", "pool": "none"},
    {"kind": "relations", **BLOCKS, "relation": "contrastive"},
    {"kind": "dynamics", "student": ["blocks.0", "blocks.1"], "teacher": ["blocks.0", "blocks.1", "blocks.2"]},
]
REFUSED_HERE = [
    {"kind": "logits"},
    {"kind": "ensemble"},
    {"kind": "dual-head", "student": "blocks.1"},
    {"kind": "exits", "places": ["blocks.0"]},
    {"kind": "ofa", "places": ["blocks.0"]},
    {"kind": "attention", **BLOCKS, "relation_heads": 1},
    {"kind": "probes", "places": ["blocks.0"]},
    {"kind": "clause-targets", **BLOCKS},
    {"kind": "contrastive", "place": "blocks.0"},
    {"kind": "dynamics", "student": ["blocks.0"], "teacher": ["blocks.0"], "space": "logits"},
]
NOTHING = {"alpha": 1.0, "beta": 0.0, "gamma": 0.0}


@pytest.fixture(scope="module")
def data():
    return SarConfig(preset="toy-64", length=120, train=8, validation=4, test=4).build()


def job_with(signals, data, folder, **objective):
    config = small_run(signals=signals, objective=objective or NOTHING)
    teacher = line_teacher(1, model_dim=5, num_layers=3, look_ahead=None)
    return TASK.job(stage_context_of(config, data, folder, teacher=teacher))


def test_no_kind_is_forgotten():
    """Each kind of the union stands in one of the two lists."""
    kinds = {kind.__dataclass_fields__["kind"].default for kind in SignalConfig.__origin__.__args__}
    assert {s["kind"] for s in WORKING} | {s["kind"] for s in REFUSED_HERE} == kinds
    assert set(REFUSED) <= kinds


@pytest.mark.parametrize("signal", WORKING, ids=lambda s: f"{s['kind']}-{s.get('relation', s.get('distance', ''))}")
def test_a_shared_signal_reaches_the_student(signal, data, tmp_path):
    """By module path, as real pairs, with a gradient; and the student's own loss stays beside it."""
    job = job_with([signal], data, tmp_path)
    terms = job.terms(torch.arange(8), Progress(0, 100))
    assert len(terms) == 2
    name = next(name for name in terms if name != "student")
    weight, value = terms[name]
    gradients = torch.autograd.grad(weight * value, list(job.model.parameters()), materialize_grads=True)
    assert torch.isfinite(value)
    assert sum(float(g.abs().sum()) for g in gradients) > 1e-8
    assert float(gradients[0].abs().sum()) > 0  # the input map lies below every block


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


@pytest.mark.parametrize("signal", REFUSED_HERE, ids=lambda s: s["kind"])
def test_what_cannot_read_lines_is_refused_in_a_line(signal):
    """With its place, its kind and the reason."""
    with pytest.raises(ConfigError, match=rf"^signals\.1 \({signal['kind']}\): "):
        small_run(signals=[{"kind": "relations", **BLOCKS}, signal])
    with pytest.raises(ConfigError, match=r"stages\.1\.signals\.0"):
        small_run(stages=[{"name": "a"}, {"name": "b", "signals": [signal]}])


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
