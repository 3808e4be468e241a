"""The adversarial temperature: signs, bounds, anchor, and what never reaches the student."""

import math

import pytest
import torch
import yaml

from stillhouse.core.config import configclass, dump_yaml, parse
from stillhouse.core.schedules import Constant, Cosine, Linear, Steps
from stillhouse.core.types import OutputSpec, Progress
from stillhouse.losses.divergence import forward_kl
from stillhouse.temperature import (
    FixedTemperature,
    LearnedTemperature,
    ScheduledTemperature,
    TemperatureConfig,
    scale_gradient,
)
from stillhouse.training.optimizer import extra_groups

FULL = Constant(value=1.0)
NOW = Progress(step=50, total_steps=100)
SPEC = OutputSpec(7)


@configclass
class Holder:
    temperature: TemperatureConfig = FixedTemperature()


def logits(seed, rows=6, classes=7, scale=3.0):
    return scale * torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed))


def build(**settings):
    return LearnedTemperature(**{"strength": FULL, **settings}).build(SPEC, SPEC)


def loss_at(value, s, t):
    return forward_kl(s, t, temperature=value).mean().item()


# ------------------------------------------------------------------------------------------ reversal


@pytest.mark.parametrize("strength", [0.0, 0.25, 1.0])
def test_the_reversal_is_identity_forward_and_minus_strength_backward(strength):
    """The double minus of the released code would be plain minimization."""
    x = torch.randn(5, dtype=torch.float64, requires_grad=True)
    y = scale_gradient(x, -strength)
    assert torch.equal(y, x)
    weights = torch.arange(1.0, 6.0, dtype=torch.float64)
    (y * weights).sum().backward()
    assert torch.equal(x.grad, -strength * weights)
    x.grad = None
    (scale_gradient(x, strength) * weights).sum().backward()
    assert torch.equal(x.grad, strength * weights)


def test_strength_zero_freezes_exactly():
    """0 times infinity is NaN, and one step of it destroys the temperature."""
    x = torch.ones(3, requires_grad=True)
    (scale_gradient(x, -0.0) * math.inf).sum().backward()
    assert x.grad.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("per_sample", [False, True])
def test_a_class_that_the_teacher_rules_out_leaves_the_temperature_a_number(per_sample):
    """One -inf among the teacher's scores made its gradient NaN, and the next step refused the temperature."""
    s, t = logits(0), logits(1)
    t[0, 2] = -math.inf
    temperature = build(per_sample=per_sample)
    forward_kl(s, t, temperature=temperature(s, t, NOW)).mean().backward()
    last = list(temperature.parameters())[-1]
    assert torch.isfinite(last.grad).all()
    assert last.grad.abs().sum() > 0


# ------------------------------------------------------------------------------------------ the game


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("initial", [1.5, 4.0])
def test_a_step_with_reversal_raises_the_loss_and_without_lowers_it(per_sample, initial):
    """The student is frozen, so only the temperature can have moved it."""
    s, t = logits(0), logits(1, scale=8.0)
    for reversal in (True, False):
        temperature = build(per_sample=per_sample, initial=initial, reversal=reversal, anchor_weight=0.0)
        before = forward_kl(s, t, temperature=temperature(s, t, NOW)).mean()
        assert before.item() == pytest.approx(loss_at(initial, s, t), rel=1e-5)
        before.backward()
        torch.optim.SGD(temperature.parameters(), lr=1e-3).step()
        after = forward_kl(s, t, temperature=temperature(s, t, NOW)).mean()
        assert (after > before) if reversal else (after < before)


@pytest.mark.parametrize("per_sample", [False, True])
def test_the_students_gradient_does_not_feel_the_reversal(per_sample):
    """A reversal that leaks would teach the student to differ; one through the network's inputs as well."""
    grads = []
    for reversal in (True, False):
        torch.manual_seed(0)
        temperature = build(per_sample=per_sample, reversal=reversal)
        if per_sample:
            torch.nn.init.normal_(temperature.network[2].weight)  # its inputs matter now
        s, t = logits(0).requires_grad_(), logits(1)
        value = temperature(s, t, NOW)
        forward_kl(s, t, temperature=value).mean().backward()
        grads.append(s.grad)
        fixed = s.detach().clone().requires_grad_()
        forward_kl(fixed, t, temperature=value.detach()).mean().backward()
        torch.testing.assert_close(s.grad, fixed.grad)
    assert torch.equal(*grads)


def test_the_ramp_is_the_published_one_and_is_logged():
    """Cosine over 10 of 240 epochs, then full strength; at the start the temperature is frozen, not free."""
    temperature = LearnedTemperature().build(SPEC, SPEC)
    s, t = logits(0), logits(1)
    for epoch, expected in ((0, 0.0), (5, 0.5), (10, 1.0), (240, 1.0)):
        temperature.weight.grad = None
        forward_kl(s, t, temperature=temperature(s, t, Progress(epoch, 240))).mean().backward()
        assert temperature.figures()["lambda"] == pytest.approx(expected)
        assert (temperature.weight.grad.item() == 0) == (epoch == 0)


@pytest.mark.parametrize("raw", [-12.0, -3.0, 0.0, 3.0, 12.0])
def test_bounds_are_strict_and_keep_a_gradient(raw):
    """A clamp gives a gradient of 0 outside, from where a temperature never comes back."""
    temperature = build(low=1.0, high=21.0, reversal=False)
    temperature.weight.data.fill_(raw)
    value = temperature(logits(0), logits(1), NOW)
    assert 1.0 < value.item() < 21.0
    value.backward()
    assert temperature.weight.grad.item() > 0


# ------------------------------------------------------------------------------------------ anchor


@pytest.mark.parametrize(("initial", "direction"), [(8.0, -1), (1.2, 1)])
@pytest.mark.parametrize("reversal", [True, False])
@pytest.mark.parametrize("per_sample", [True, False])
def test_the_anchor_attracts(initial, direction, reversal, per_sample):
    """With the value from the published square: (ln 8 - ln 2)^2."""
    temperature = build(initial=initial, anchor=2.0, anchor_weight=0.1, reversal=reversal, per_sample=per_sample)
    temperature(logits(0), logits(1), NOW)
    ((name, (weight, value)),) = temperature.regularizers().items()
    assert (name, weight) == ("temperature-anchor", 0.1)
    assert value.item() == pytest.approx(math.log(initial / 2) ** 2, rel=1e-4)
    (weight * value).backward()
    torch.optim.SGD(temperature.parameters(), lr=1e-2).step()
    moved = temperature(logits(0), logits(1), NOW).mean().item() - initial
    assert math.copysign(1, moved) == direction


# ------------------------------------------------------------------------------------------ per sample


def test_samples_get_temperatures_of_their_own_whatever_constant_is_added():
    """After training; the row's constant carries nothing, so the network must not read it."""
    torch.manual_seed(0)
    temperature = build(per_sample=True)
    torch.nn.init.normal_(temperature.network[2].weight)
    s, t = logits(0), logits(1)
    value = temperature(s, t, NOW)
    assert value.std() > 0.01
    assert temperature.figures()["temperature-spread"] == pytest.approx(value.std(correction=0).item(), rel=1e-5)
    torch.testing.assert_close(temperature(s + 9.0, t - 4.0, NOW), value, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(temperature(s[:1], t[:1], NOW), value[:1])


def test_broken_rows_leave_the_temperature_finite():
    """The loss shows the NaN; a NaN temperature would be reported as a wrong setting instead."""
    temperature = build(per_sample=True)
    s, t = logits(0), logits(1)
    s[0, 0], t[1, 2] = math.nan, -math.inf
    value = temperature(s, t, NOW)
    assert value.isfinite().all()
    assert forward_kl(s, t, temperature=value).isnan().tolist() == [True] + [False] * 5


# ------------------------------------------------------------------------------------------ plumbing


@pytest.mark.parametrize("per_sample", [False, True])
def test_autocast_does_not_round_the_temperature(per_sample):
    """bf16 has steps of 0.06 near 10: small updates would be lost."""
    temperature = build(per_sample=per_sample, initial=10.03)
    with torch.autocast("cpu", torch.bfloat16):
        value = temperature(logits(0).bfloat16(), logits(1).bfloat16(), NOW)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, torch.full_like(value, 10.03), rtol=1e-5, atol=0)


@pytest.mark.parametrize("per_sample", [False, True])
def test_the_optimizer_gets_a_group_without_decay(per_sample):
    """The student's decay would pull raw to 0, the middle of the bounds; and no weight may be forgotten or doubled."""
    temperature = build(per_sample=per_sample, learning_rate=0.02)
    holder = torch.nn.ModuleList([temperature])
    (group,) = extra_groups(holder)
    assert (group["lr"], group["weight_decay"]) == (0.02, 0.0)
    assert {id(p) for p in group["params"]} == {id(p) for p in holder.parameters()}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"initial": 1.0}, "initial: expected a temperature strictly between low"),
        ({"initial": 30.0}, "initial: expected"),
        ({"anchor": 40.0}, "anchor: expected a temperature from low"),
        ({"strength": Linear(start=0.0, end=-1.0)}, "strength: expected values from 0 to 1"),
        ({"strength": Steps(values=(0.0, 2.0), at=(0.5,))}, "strength: expected values from 0 to 1"),
        ({"strength": Constant(value=0.0)}, "freezes the temperature"),
    ],
)
def test_senseless_settings_are_refused(settings, text):
    """By name, before the run."""
    with pytest.raises(ValueError, match=text):
        LearnedTemperature(**settings)


@pytest.mark.parametrize(
    "config",
    [
        FixedTemperature(value=3.0),
        ScheduledTemperature(schedule=Cosine(start=4.0, end=1.0)),
        LearnedTemperature(per_sample=True, anchor=4.0),
        LearnedTemperature(reversal=False),
    ],
)
def test_every_member_survives_yaml_and_is_a_temperature(config):
    """The contract that the logits signal leans on: a positive value, figures, regularizers, groups."""
    assert parse(Holder, yaml.safe_load(dump_yaml(Holder(temperature=config)))).temperature == config
    built = config.build(SPEC, SPEC)
    assert built.figures() == {}
    s, t = logits(0).requires_grad_(), logits(1)
    value = built(s, t, NOW)
    per_sample = forward_kl(s, t, temperature=value)
    assert per_sample.shape == (6,)
    if config.kind != "fixed":  # a constant is not recorded
        assert built.figures()["temperature"] == pytest.approx(float(torch.as_tensor(value).detach().mean()), rel=1e-5)
    total = per_sample.mean() + sum(w * v for w, v in built.regularizers().values())
    total.backward()
    learned = [p for group in built.groups() for p in group["params"]]
    assert len(learned) == (0 if config.kind != "learned" else 4 if config.per_sample else 1)
    assert all(p.grad is not None for p in learned)


def test_a_schedule_moves_the_temperature():
    """Rising over stages as POCL, falling over steps as Annealing-KD."""
    rising = ScheduledTemperature(schedule=Linear(start=1.0, end=2.0, over="stages")).build(SPEC, SPEC)
    values = [rising(None, None, Progress(0, 10, stage=s, stages=4)) for s in range(4)]
    assert values == pytest.approx([1, 4 / 3, 5 / 3, 2])
    falling = ScheduledTemperature(schedule=Linear(start=4.0, end=1.0)).build(SPEC, SPEC)
    assert [falling(None, None, Progress(s, 10)) for s in (0, 5, 10)] == [4.0, 2.5, 1.0]
    with pytest.raises(ValueError, match="schedule: expected temperatures above 0"):
        ScheduledTemperature(schedule=Linear(start=1.0, end=0.0))


@pytest.mark.parametrize(
    ("scale", "expected"), [("linear", 0.1 * (5.0 - 2.0) ** 2), ("log", 0.1 * math.log(5 / 2) ** 2)]
)
def test_the_anchor_in_degrees_as_document_003_writes_it(scale, expected):
    """0.1 (T - 2)^2 at T = 5, and the usual one of logarithms."""
    learned = build(initial=5.0, anchor=2.0, anchor_weight=0.1, anchor_scale=scale)
    learned(*(logits(seed) for seed in (0, 1)), Progress(0, 10))
    ((weight, value),) = learned.regularizers().values()
    assert weight * float(value) == pytest.approx(expected, rel=1e-4)
