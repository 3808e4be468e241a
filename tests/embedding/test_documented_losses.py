"""What the documented losses do, and do not do."""

import json

import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.core.config import parse, to_mapping
from stillhouse.tasks.embed.documented import (
    CURRICULUM_CONFIG,
    DistillationConfig,
    combined_distill_loss,
    create_curriculum_schedule,
    curriculum_distill_step,
    distill_loss,
    kl_distill_loss,
)


def rows(count, width, seed=0):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def rotation(width, seed=1):
    return torch.linalg.qr(rows(width, width, seed).double())[0]


# ---------------------------------------------------------------------------------------------- equal widths


def test_equal_widths_compare_directions():
    """T1: same 0, opposite 2, right angle 1, whatever the lengths."""
    unit = torch.nn.functional.normalize(rows(8, 16))
    assert distill_loss(unit, unit).item() < 1e-6
    assert distill_loss(unit, -unit).item() == pytest.approx(2, abs=1e-6)
    assert distill_loss(torch.eye(4), torch.eye(4).roll(1, 0)).item() == pytest.approx(1, abs=1e-6)
    s, t, lengths = rows(8, 16), rows(8, 16, 1), torch.rand(8, 1) + 0.1
    assert distill_loss(s * lengths, t / lengths).item() == pytest.approx(distill_loss(s, t).item(), rel=1e-5)
    expected = (1 - torch.cosine_similarity(s, t)).mean()
    assert distill_loss(s, t).item() == pytest.approx(expected.item(), rel=1e-5)


# ---------------------------------------------------------------------------------------------- unequal widths


def test_the_documented_temperatures_barely_turn_it_and_lower_ones_do():
    """Cosine of the last stage's gradient with the first's: a softmax over cosines is nearly linear down to tau 0.5."""
    groups = rows(8, 64, 1).repeat(8, 1) + 0.5 * rows(64, 64, 2)
    start = groups @ rows(64, 5, 3)

    def turned(schedule):
        found = []
        for tau in (schedule(0), schedule(4)):
            s = start.clone().requires_grad_()
            distill_loss(s, groups, tau=tau).backward()
            found.append(s.grad.flatten())
        return torch.cosine_similarity(*found, dim=0).item()

    assert turned(create_curriculum_schedule(4.0, 0.5, 5)) > 0.75
    assert turned(create_curriculum_schedule(4.0, 0.02, 5, "exponential")) < 0.5


@pytest.mark.parametrize("count", [1, 2])
def test_a_short_last_batch_of_a_curriculum_has_nothing_to_learn(count):
    """The full example of the document crashed where N mod 32 is 1 or 2. A reconstruction is still learned."""
    s, t = rows(count, 5).requires_grad_(), rows(count, 64, 1)
    loss, tau = curriculum_distill_step(s, t, 0, lambda stage: 4.0, alpha=0.75)
    loss.backward()
    assert (loss.item(), tau, s.grad.abs().max().item()) == (0.0, 4.0, 0.0)
    loss, _ = curriculum_distill_step(s, t, 0, lambda stage: 4.0, alpha=0.75, reconstruction_loss=2.0)
    assert loss.item() == 0.5


def test_only_the_student_learns():
    """T5: and equal rows and a row of zeros leave its gradient finite."""
    s, t = rows(12, 5), rows(12, 32, 1)
    s[1], s[2] = s[0], 0.0
    s.requires_grad_(), t.requires_grad_()
    distill_loss(s, t).backward()
    assert t.grad is None
    assert torch.isfinite(s.grad).all()
    assert s.grad.abs().sum() > 0


# ---------------------------------------------------------------------------------------------- bad input


def test_relations_need_rows():
    """T9: with one row the answer would be 0 or NaN, with two 0 and no gradient."""
    for count in (1, 2):
        with pytest.raises(InputError, match=f"at least 3.*batch of {count}"):
            distill_loss(rows(count, 5), rows(count, 32, 1))
    assert distill_loss(rows(1, 8), rows(1, 8, 1)).item() > 0
    with pytest.raises(InputError, match="expected student"):
        distill_loss(rows(0, 5), rows(0, 32))


def test_bad_teacher_rows_are_named_or_left_out():
    """NaN must not spread silently; zeros teach nothing."""
    s, t = rows(6, 5), rows(6, 32, 1)
    broken = t.clone()
    broken[4, 7] = float("inf")
    with pytest.raises(InputError, match=r"rows \[4\]"):
        distill_loss(s, broken)
    zero = t.clone()
    zero[2] = 0
    kept = [0, 1, 3, 4, 5]
    assert torch.equal(distill_loss(s, zero), distill_loss(s[kept], t[kept]))
    with pytest.raises(InputError, match="direction"):
        distill_loss(s, torch.zeros_like(t))
    s[0, 0] = float("nan")
    assert distill_loss(s, t).isnan()


# ---------------------------------------------------------------------------------------------- KL


def test_kl_is_the_mean_over_rows():
    """PyTorch's `mean` divides by the classes too: a loss K times too small."""
    s, t = rows(6, 4), rows(6, 4, 1)
    reference = torch.nn.functional.kl_div(
        (s / 2).log_softmax(1), (t / 2).log_softmax(1), log_target=True, reduction="batchmean"
    ).item()
    assert kl_distill_loss(s, t, tau=2.0).item() == pytest.approx(4 * reference, rel=1e-5)
    assert kl_distill_loss(s, t, tau=2.0, reduction="sum").item() == pytest.approx(24 * reference, rel=1e-5)
    assert kl_distill_loss(t, t).item() < 1e-6


# ---------------------------------------------------------------------------------------------- mixing


def test_alpha_mixes():
    """T9: 0 is the reconstruction alone, 1 the distillation alone, nothing to rebuild leaves it whole."""
    s, t = rows(6, 5), rows(6, 32, 1)
    told = distill_loss(s, t)
    assert combined_distill_loss(s, t, torch.tensor(0.3), alpha=0.0).item() == pytest.approx(0.3)
    assert torch.equal(combined_distill_loss(s, t, torch.tensor(0.3), alpha=1.0), told)
    assert torch.equal(combined_distill_loss(s, t, alpha=0.2), told)
    mixed = combined_distill_loss(s, t, 0.3, alpha=0.25)
    assert mixed.item() == pytest.approx(0.25 * told.item() + 0.225, rel=1e-5)


def test_a_step_says_its_temperature():
    """Loss and tau belong together."""
    s, t = rows(6, 5), rows(6, 32, 1)
    loss, tau = curriculum_distill_step(s, t, 3, create_curriculum_schedule(4.0, 0.5, 5))
    assert tau == 1.375
    assert torch.equal(loss, distill_loss(s, t, tau=1.375))


# ---------------------------------------------------------------------------------------------- schedules


@pytest.mark.parametrize(
    ("kind", "second"),  # a quarter of the way: of the difference, of the ratio, of half a turn
    [("linear", 3.125), ("exponential", 4.0 / 8**0.25), ("cosine", 4.0 - 3.5 * (1 - 0.5**0.5) / 2)],
    ids=("linear", "exponential", "cosine"),
)
def test_schedules_fall_and_stay_in_bounds(kind, second):
    """T7: the document's formula gave -0.375 one stage too far."""
    schedule = create_curriculum_schedule(4.0, 0.5, 5, kind)
    assert schedule(1) == pytest.approx(second)
    assert (schedule(0), schedule(4)) == (4.0, 0.5)
    assert list(schedule.values) == sorted(schedule.values, reverse=True)
    assert (schedule(-1), schedule(99)) == (4.0, 0.5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((4.0, 4.0, 5), "start_tau"),
        ((4.0, 0.5, 0), "num_stages"),
        ((4.0, 0.5, 5, "quadratic"), "schedule_type must be 'linear', 'exponential', or 'cosine', got quadratic"),
    ],
)
def test_schedules_out_of_range_are_refused(values, message):
    """At creation, not at some later stage."""
    with pytest.raises(ValueError, match=message):
        create_curriculum_schedule(*values)


# ---------------------------------------------------------------------------------------------- configuration


def test_configuration_survives_json():
    """A tuple that comes back as a list makes equal configurations differ."""
    again = parse(DistillationConfig, json.loads(json.dumps(to_mapping(CURRICULUM_CONFIG))))
    assert again == CURRICULUM_CONFIG


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": 1.5}, "alpha"),
        ({"student_dim": 0}, "student_dim"),
        ({"curriculum": True, "curriculum_stages": 0}, "num_stages"),
        ({"curriculum": True, "curriculum_tau_schedule": (0.5, 3.0)}, "start_tau"),
    ],
)
def test_settings_out_of_range_are_named(change, message):
    """Widths, rates and batches too."""
    with pytest.raises(ValueError, match=message):
        DistillationConfig(**change)


@pytest.mark.parametrize("loss", [distill_loss, kl_distill_loss])
def test_what_the_document_refuses_is_refused(loss):
    """In its words."""
    x = rows(4, 5)
    with pytest.raises(ValueError, match="reduction must be"):
        loss(x, x, reduction="none")
    with pytest.raises(ValueError, match="tau must be positive, got 0"):
        loss(x, x, tau=0)
