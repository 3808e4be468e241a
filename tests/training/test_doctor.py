"""The monitor on graphs whose gradients are known by hand."""

import json
import math

import pytest
import torch
from torch import nn

from stillhouse.training.config import DoctorConfig
from stillhouse.training.gradient_monitor import GradientMonitor


def point(*x):
    return nn.Parameter(torch.tensor(x, dtype=torch.float64))


def kinds(found):
    return [tuple(text.split(": ")[1::-1]) for text in found]


def looked(terms, *shared, **config):
    readings, found = GradientMonitor(DoctorConfig(**config)).examine(terms, list(shared))
    return readings, kinds(found)


def test_norms_ratios_and_cosines_are_those_of_the_weighted_gradients():
    """Quadratic bowls around (0, 0) and (3, 4), seen from (3, 0): gradients (6, 0) and weight times (0, -8)."""
    x = point(3.0, 0.0)
    terms = {
        "labels": (1.0, x.square().sum()),
        "logits": (0.25, (x - torch.tensor([3.0, 4.0])).square().sum()),
        "features": (0.5, (x - torch.tensor([6.0, 0.0])).square().sum()),
        "off": (0.0, x.sum()),
    }
    readings, _ = looked(terms, x)
    assert readings["labels"] == {"norm": pytest.approx(6), "ratio": 1.0, "cosine": pytest.approx(1)}
    assert readings["logits"] == {"norm": pytest.approx(2), "ratio": pytest.approx(1 / 3), "cosine": pytest.approx(0)}
    assert readings["features"] == {"norm": pytest.approx(3), "ratio": pytest.approx(0.5), "cosine": pytest.approx(-1)}
    assert "off" not in readings
    json.dumps(readings)
    assert x.grad is None
    sum(weight * value for weight, value in terms.values()).backward()  # the graph is still there


def test_the_norm_is_over_all_shared_tensors():
    """3, 4 and 12 in three tensors are 13 together."""
    a, b, c = point(1.0), point(1.0), point(1.0)
    readings, _ = looked({"labels": (1.0, (3 * a + 4 * b + 12 * c).sum())}, a, b, c)
    assert readings["labels"]["norm"] == pytest.approx(13)


@pytest.mark.parametrize(
    ("factor", "kind"),
    [(20.0, "dominating"), (5.0, None), (1e-2, None), (5e-4, "vanishing"), (-0.9, "conflicting")],
)
def test_sizes_and_directions_have_their_words(factor, kind):
    """A weight of 1 says nothing of the pull; a threshold that never fires would go unnoticed."""
    x = point(1.0, 0.0)
    _, found = looked({"labels": (1.0, x[0]), "logits": (1.0, factor * x[0])}, x)
    assert found == ([] if kind is None else [("logits", kind)])


def test_a_mild_conflict_is_no_finding():
    """Cosine -0.45 against a threshold of -0.5."""
    x = point(0.0, 0.0)
    terms = {"labels": (1.0, x[0]), "logits": (1.0, -0.45 * x[0] + math.sqrt(1 - 0.45**2) * x[1])}
    readings, found = looked(terms, x)
    assert readings["logits"]["cosine"] == pytest.approx(-0.45)
    assert found == []
    assert looked(terms, x, conflicting=-0.4)[1] == [("logits", "conflicting")]


def test_a_signal_without_a_path_is_found():
    """A detach in the wrong place trains nothing and looks like a loss that is merely slow."""
    x, projector = point(1.0), point(2.0)
    terms = {
        "labels": (1.0, x.square().sum()),
        "detached": (1.0, (x.detach() * projector).sum()),
        "frozen": (1.0, torch.tensor(3.0)),
        "logits/anchor": (1.0, projector.square().sum()),  # a signal's own term may stay with the signal
    }
    readings, found = looked(terms, x)
    assert found == [("detached", "disconnected"), ("frozen", "disconnected")]
    assert readings["detached"] == {"norm": None, "ratio": None, "cosine": None}


def test_without_a_task_gradient_there_is_no_ratio():
    """Distillation alone (label_weight 0) is no fault, and nothing may divide by zero."""
    x = point(1.0)
    readings, found = looked({"logits": (1.0, x.sum())}, x, balance=True)
    assert readings["logits"] == {"norm": 1.0, "ratio": None, "cosine": None}
    assert found == []
    readings, found = looked({"labels": (1.0, (x - 1).square().sum()), "logits": (1.0, x.sum())}, x)
    assert readings["logits"]["ratio"] is None
    assert found == [("labels", "disconnected")]


def test_nan_is_said():
    """Every comparison with it is false, so no other finding would fire."""
    x = point(1.0)
    _, found = looked({"labels": (1.0, x.sum()), "logits": (1.0, (x * math.nan).sum())}, x)
    assert found == [("logits", "not finite")]


@pytest.mark.parametrize("start", [0.01, 1.0, 30.0])
def test_balancing_reaches_the_target_ratio(start):
    """Gradient 4 a unit of weight against a task of 2: ratio 0.5 is weight 0.25, from wherever it starts."""
    monitor, x = GradientMonitor(DoctorConfig(balance=True, target_ratio=0.5, smoothing=0.5)), point(1.0)
    configured = {"labels": 1.0, "logits": start}
    weights, ratios = monitor.balanced_weights(configured), []
    assert weights == configured
    for _ in range(30):
        terms = {"labels": (weights["labels"], 2 * x.sum()), "logits": (weights["logits"], 4 * x.sum())}
        ratios.append(monitor.examine(terms, [x])[0]["logits"]["ratio"])
        weights = monitor.balanced_weights(configured)
    limit = min(max(0.25, start / 100), start * 100)
    assert weights["labels"] == 1.0
    assert weights["logits"] == pytest.approx(limit, rel=1e-5)
    assert ratios[0] == pytest.approx(2 * start)
    gaps = [abs(math.log(r / ratios[-1])) for r in ratios]
    assert gaps == sorted(gaps, reverse=True)  # smooth: it does not swing


def test_balanced_weights_stay_in_bounds_and_off_by_default():
    """A signal whose gradient goes to zero would get an endless weight."""
    x = point(1.0)
    terms = {
        "labels": (1.0, x.sum()),
        "logits": (1.0, 1e-9 * x.sum()),
        "logits/anchor": (0.1, x.sum()),
        "dead": (1.0, torch.ones(())),
    }
    configured = {name: weight for name, (weight, _) in terms.items()}
    monitor = GradientMonitor(DoctorConfig(balance=True, smoothing=0.0, limit=10.0))
    monitor.examine(terms, [x])
    assert monitor.balanced_weights(configured) == {**configured, "logits": 10.0}
    assert monitor.balanced_weights({"logits": 0.0}) == {"logits": 0.0}
    off = GradientMonitor(DoctorConfig())
    off.examine(terms, [x])
    assert off.balanced_weights(configured) == configured


def test_a_finding_is_said_once_and_the_state_makes_the_round_trip():
    """A resumed run must not say everything anew, nor jump back to the configured weights."""
    config, x = DoctorConfig(balance=True), point(1.0, 0.0)
    terms = {"labels": (1.0, x[0]), "logits": (1.0, 50 * x[0])}
    first, again = GradientMonitor(config), GradientMonitor(config)
    assert kinds(first.examine(terms, [x])[1]) == [("logits", "dominating")]
    again.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert again.examine(terms, [x]) == first.examine(terms, [x])
    assert again.examine(terms, [x])[1] == []
    first.examine(terms, [x])
    assert again.balanced_weights({"logits": 1.0}) == first.balanced_weights({"logits": 1.0})
