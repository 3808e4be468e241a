"""The doctor on graphs whose gradients are known by hand."""

import json
import math

import pytest
import torch
from torch import nn

from stillhouse.core.checks import InputError
from stillhouse.core.config import ConfigError, parse
from stillhouse.training.doctor_config import DoctorConfig
from stillhouse.training.gradient_monitor import SignalDoctor

ONE = DoctorConfig(patience=1)


def point(*x):
    return nn.Parameter(torch.tensor(x, dtype=torch.float64))


def kinds(checkup):
    return [(finding.subject, finding.kind) for finding in checkup.findings]


def test_norms_ratios_and_cosines_are_those_of_the_weighted_gradients():
    """Quadratic bowls around (0, 0) and (3, 4), seen from (3, 0): gradients (6, 0) and weight times (0, -8)."""
    x = point(3.0, 0.0)
    terms = {
        "labels": (1.0, x.square().sum()),
        "logits": (0.25, (x - torch.tensor([3.0, 4.0])).square().sum()),
        "features": (0.5, (x - torch.tensor([6.0, 0.0])).square().sum()),
        "off": (0.0, x.sum()),
    }
    record = SignalDoctor(ONE).examine(terms, [x], step=0).record
    assert record["labels"] == {"norm": pytest.approx(6), "ratio": 1.0, "cosine": pytest.approx(1)}
    assert record["logits"] == {"norm": pytest.approx(2), "ratio": pytest.approx(1 / 3), "cosine": pytest.approx(0)}
    assert record["features"] == {"norm": pytest.approx(3), "ratio": pytest.approx(0.5), "cosine": pytest.approx(-1)}
    assert "off" not in record
    json.dumps(record)


def test_the_norm_is_over_all_shared_tensors():
    """3, 4 and 12 in three tensors are 13 together."""
    a, b, c = point(1.0), point(1.0), point(1.0)
    term = {"labels": (1.0, (3 * a + 4 * b + 12 * c).sum())}
    assert SignalDoctor(ONE).examine(term, [a, b, c], step=0).record["labels"]["norm"] == pytest.approx(13)


def test_an_activation_can_be_the_shared_place():
    """Cheaper than all parameters, and the backward pass still works afterwards."""
    w = point(1.0, 2.0)
    h = 3 * w
    terms = {"labels": (1.0, h.sum()), "logits": (2.0, h[0])}
    found = SignalDoctor(ONE).examine(terms, [h], step=0)
    assert found.record["labels"]["norm"] == pytest.approx(math.sqrt(2))
    assert found.record["logits"]["cosine"] == pytest.approx(1 / math.sqrt(2))
    assert w.grad is None
    sum(weight * value for weight, value in terms.values()).backward()
    assert w.grad.tolist() == [9.0, 3.0]


@pytest.mark.parametrize(
    ("factor", "kind"),
    [
        (20.0, "dominating"),
        (5.0, None),
        (1e-2, None),
        (5e-4, "vanishing"),
        (-0.9, "conflicting"),
        (-0.4, "conflicting"),
    ],
)
def test_sizes_and_directions_have_their_words(factor, kind):
    """A weight of 1 says nothing of the pull; a threshold that never fires would go unnoticed."""
    x = point(1.0, 0.0)
    terms = {"labels": (1.0, x[0]), "logits": (1.0, factor * x[0])}
    expected = [] if kind is None else [("logits", kind)]
    assert kinds(SignalDoctor(ONE).examine(terms, [x], step=0)) == expected


def test_a_mild_conflict_is_no_finding():
    """Cosine -0.45 against a threshold of -0.5."""
    x = point(0.0, 0.0)
    terms = {"labels": (1.0, x[0]), "logits": (1.0, -0.45 * x[0] + math.sqrt(1 - 0.45**2) * x[1])}
    found = SignalDoctor(ONE).examine(terms, [x], step=0)
    assert found.record["logits"]["cosine"] == pytest.approx(-0.45)
    assert kinds(found) == []
    assert kinds(SignalDoctor(DoctorConfig(patience=1, conflicting=-0.4)).examine(terms, [x], step=0)) == [
        ("logits", "conflicting")
    ]


def test_a_signal_without_a_path_is_found_at_once():
    """A detach in the wrong place trains nothing and looks like a loss that is merely slow."""
    x, projector = point(1.0), point(2.0)
    terms = {
        "labels": (1.0, x.square().sum()),
        "detached": (1.0, (x.detach() * projector).sum()),
        "frozen": (1.0, torch.tensor(3.0)),
        "logits/anchor": (1.0, projector.square().sum()),  # a signal's own term may stay with the signal
    }
    found = SignalDoctor(DoctorConfig(patience=5)).examine(terms, [x], step=0)
    assert kinds(found) == [("detached", "disconnected"), ("frozen", "disconnected")]
    assert found.record["detached"] == {"norm": None, "ratio": None, "cosine": None}
    assert "no path" in found.findings[0].text


def test_a_gradient_of_exactly_zero_needs_patience():
    """A student that is its own average has no gradient at the first step: one look is no proof."""
    x, doctor = point(2.0), SignalDoctor(DoctorConfig(patience=2))

    def look(step):
        return kinds(
            doctor.examine({"labels": (1.0, x.sum()), "logits": (1.0, (x - 2).square().sum())}, [x], step=step)
        )

    assert look(0) == []
    assert look(1) == [("logits", "disconnected")]


def test_patience_counts_in_a_row():
    """One odd batch is not said; and it begins anew after a good one."""
    doctor, x = SignalDoctor(DoctorConfig(patience=3)), point(1.0, 0.0)
    strong, fair = 50.0, 1.0
    seen = []
    for step, factor in enumerate([strong, strong, fair, strong, strong, strong, strong, fair]):
        found = doctor.examine(
            {"labels": (1.0, x[0] + step), "logits": (1.0, factor * x[0] + 0.1 * step)}, [x], step=100 * step
        )
        seen.append((kinds(found), [f.since for f in found.findings], len(found.news)))
    quiet, loud = ([], [], 0), [("logits", "dominating")]
    assert seen == [quiet] * 5 + [(loud, [500], 1), (loud, [500], 0), quiet]


def test_saturated_and_constant():
    """A learned temperature at its bound has stopped learning; a value that never changes never learned."""
    doctor, x = SignalDoctor(DoctorConfig(patience=2)), point(1.0)
    bounds = {"logits/temperature": (1.0, 21.0)}
    found = []
    for step, hot in enumerate([20.85, 20.85, 20.5, 1.1, 1.1]):
        terms = {"labels": (1.0, x.sum() + step), "logits": (1.0, x.square().sum())}
        found.append(
            kinds(doctor.examine(terms, [x], step=step, figures={"logits/temperature": hot, "k": 1.0}, bounds=bounds))
        )
    at_bound, still = ("logits/temperature", "saturated"), ("logits", "constant")
    assert found == [[], [at_bound], [still], [still], [still, at_bound]]


def test_without_a_task_gradient_there_is_no_ratio():
    """Distillation alone (label_weight 0) is no fault, and nothing may divide by zero."""
    x = point(1.0)
    alone = SignalDoctor(ONE).examine({"logits": (1.0, x.sum())}, [x], step=0)
    assert alone.record["logits"] == {"norm": 1.0, "ratio": None, "cosine": None}
    assert alone.findings == ()
    flat = SignalDoctor(ONE).examine({"labels": (1.0, (x - 1).square().sum()), "logits": (1.0, x.sum())}, [x], step=0)
    assert flat.record["logits"]["ratio"] is None
    assert kinds(flat) == [("labels", "disconnected")]


def test_nan_is_said():
    """Every comparison with it is false, so no other finding would fire."""
    x = point(1.0)
    found = SignalDoctor(DoctorConfig()).examine(
        {"labels": (1.0, x.sum()), "logits": (1.0, (x * math.nan).sum())}, [x], step=0
    )
    assert kinds(found) == [("logits", "not finite")]


@pytest.mark.parametrize("start", [0.01, 1.0, 30.0])
def test_balancing_reaches_the_target_ratio(start):
    """Gradient 4 a unit of weight against a task of 2: ratio 0.5 is weight 0.25, from wherever it starts."""
    doctor, x = SignalDoctor(DoctorConfig(balance=True, target_ratio=0.5, smoothing=0.5)), point(1.0)
    configured = {"labels": 1.0, "logits": start}
    weights, ratios = doctor.balanced_weights(configured), []
    assert weights == configured
    for step in range(30):
        terms = {"labels": (weights["labels"], 2 * x.sum()), "logits": (weights["logits"], 4 * x.sum())}
        ratios.append(doctor.examine(terms, [x], step=step).record["logits"]["ratio"])
        weights = doctor.balanced_weights(configured)
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
    doctor = SignalDoctor(DoctorConfig(balance=True, smoothing=0.0, limit=10.0))
    doctor.examine(terms, [x], step=0)
    assert doctor.balanced_weights(configured) == {**configured, "logits": 10.0}
    assert doctor.balanced_weights({"logits": 0.0}) == {"logits": 0.0}
    idle = SignalDoctor(DoctorConfig())
    idle.examine(terms, [x], step=0)
    assert idle.balanced_weights(configured) == configured


def test_a_weight_held_at_its_limit_is_said():
    """Else a balanced run far from its target ratio looks balanced."""
    x = point(1.0)
    doctor = SignalDoctor(DoctorConfig(balance=True, smoothing=0.0, patience=1, limit=2.0))
    configured = {"labels": 1.0, "logits": 1.0}
    for step in range(2):
        weights = doctor.balanced_weights(configured)
        terms = {"labels": (1.0, 2 * x.sum()), "logits": (weights["logits"], 40 * x.sum())}
        found = doctor.examine(terms, [x], step=step, configured=configured)
    assert found.record["logits"]["ratio"] == pytest.approx(10.0)  # weight 0.5, as it is applied
    assert ("logits", "at the limit") in kinds(found)


def test_the_task_has_to_be_a_term():
    """A misspelt task would give ratios to nothing, and balance nothing."""
    x = point(1.0)
    with pytest.raises(InputError, match="expected one of the terms labels, logits, got 'foo'"):
        SignalDoctor(DoctorConfig(task="foo")).examine(
            {"labels": (1.0, x.sum()), "logits": (1.0, x.sum())}, [x], step=0
        )
    found = SignalDoctor(DoctorConfig(balance=True, patience=1)).examine({"logits": (1.0, x.sum())}, [x], step=0)
    assert ("labels", "no reference") in kinds(found)


def test_the_state_makes_the_round_trip():
    """A resumed run must not count its patience anew, nor jump back to the configured weights."""
    config, x = DoctorConfig(patience=3, balance=True), point(1.0, 0.0)

    def look(doctor, step):
        terms = {"labels": (1.0, x[0] + step), "logits": (1.0, 50 * x[0] + 0.1 * step)}
        return doctor.examine(terms, [x], step=step)

    whole, first = SignalDoctor(config), SignalDoctor(config)
    for step in range(2):
        look(whole, step)
        look(first, step)
    again = SignalDoctor(config)
    again.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert look(again, 2) == look(whole, 2)
    assert kinds(look(again, 3)) == [("logits", "dominating")]
    look(whole, 3)
    assert again.balanced_weights({"logits": 1.0}) == whole.balanced_weights({"logits": 1.0})


def test_when_it_looks_and_what_it_refuses():
    """Every so many steps; a shared place that learns nothing would call every term disconnected."""
    doctor, x = SignalDoctor(DoctorConfig(every=50)), point(1.0)
    assert [step for step in range(120) if doctor.due(step)] == [0, 50, 100]
    with pytest.raises(InputError, match="at least one learns"):
        doctor.examine({"labels": (1.0, x.sum())}, [x.detach()], step=0)
    with pytest.raises(InputError, match="0-d"):
        doctor.examine({"labels": (1.0, x * 2)}, [x], step=0)
    for given in ({"every": 0}, {"conflicting": 0.5}, {"smoothing": 1.0}, {"dominating": 0.5}):
        with pytest.raises(ConfigError):
            parse(DoctorConfig, given)
