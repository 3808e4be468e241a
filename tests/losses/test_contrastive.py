"""Contrastive losses: tiny cases in closed form, and mixed labels that pull as much as they share."""

import math

import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.losses.neighbours import contrastive_distillation, supervised_contrastive


def points(seed, rows=8, width=5):
    return torch.randn(rows, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("temperature", [0.1, 1.0])
@pytest.mark.parametrize("rows", [2, 5])
def test_closed_form_of_right_angles(temperature, rows):
    """Right, all equal, and each at its neighbour's place."""
    t = torch.eye(rows, dtype=torch.float64)
    right = math.log(1 + (rows - 1) * math.exp(-1 / temperature))
    cases = {"right": (7 * t, right), "equal": (torch.ones_like(t), math.log(rows))}
    cases["wrong"] = (t.roll(1, 0), right + 1 / temperature)
    for s, expected in cases.values():
        value = contrastive_distillation(s, t, temperature=temperature)
        torch.testing.assert_close(value, torch.full((rows,), expected, dtype=torch.float64))


def test_student_learns_to_find_its_teacher_and_the_teacher_stands_still():
    """The gradient must point to the own teacher, not away."""
    s, t = points(0).requires_grad_(), points(1).requires_grad_()
    for _ in range(100):
        value = contrastive_distillation(s, t).mean()
        (gradient,) = torch.autograd.grad(value, s)
        s = (s - gradient).detach().requires_grad_()
    nearest = torch.cosine_similarity(s[:, None], t[None], dim=2).argmax(1)
    assert nearest.tolist() == list(range(8))
    contrastive_distillation(s, t).sum().backward()
    assert t.grad is None


def test_only_directions_count_and_zero_rows_are_finite():
    """1 / 0 in a normalization ends the run."""
    s, t = points(0), points(1)
    far = contrastive_distillation(1e25 * s.float(), 1e-25 * t.float())
    torch.testing.assert_close(far, contrastive_distillation(s, t).float())
    s[0] = 0
    s.requires_grad_()
    contrastive_distillation(s, t).sum().backward()
    assert s.grad.isfinite().all()
    assert contrastive_distillation(s, t)[0].item() == pytest.approx(math.log(8))


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_supervised_closed_form(temperature):
    """Two pairs at a right angle; labels the other way round; and by the definition, sample by sample."""
    z = torch.eye(2, dtype=torch.float64).repeat_interleave(2, 0)
    right = math.log(1 + 2 * math.exp(-1 / temperature))
    value = supervised_contrastive(z, torch.tensor([4, 4, 2, 2]), temperature=temperature)
    torch.testing.assert_close(value, torch.full((4,), right, dtype=torch.float64))
    wrong = supervised_contrastive(z, torch.tensor([0, 1, 0, 1]), temperature=temperature)
    torch.testing.assert_close(wrong, torch.full((4,), right + 1 / temperature, dtype=torch.float64))
    x, labels = points(0), torch.tensor([0, 1, 0, 2, 1, 0, 1, 2])
    cosine = torch.cosine_similarity(x[:, None], x[None], dim=2) / temperature
    expected = []
    for i in range(8):
        others = [j for j in range(8) if j != i]
        norm = torch.logsumexp(cosine[i, others], 0)
        expected.append(-torch.stack([cosine[i, j] - norm for j in others if labels[j] == labels[i]]).mean())
    torch.testing.assert_close(supervised_contrastive(x, labels, temperature=temperature), torch.stack(expected))


def test_mixed_labels_pull_by_what_they_share():
    """Under mixup 0.7 a + 0.3 b: its class by argmax would pull only to a, and push b away."""
    labels = torch.tensor([[0.7, 0.3], [1.0, 0.0], [0.0, 1.0]])
    x = torch.tensor([[0.5**0.5, 0.5, 0.5], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    a, b = 0.5**0.5, 0.5
    norm = math.log(math.exp(a) + math.exp(b))
    value = supervised_contrastive(x, labels, temperature=1.0)
    assert value[0].item() == pytest.approx(-(0.7 * (a - norm) + 0.3 * (b - norm)))
    assert value[1].item() == pytest.approx(-(a - math.log(math.exp(a) + 1)))
    halves = torch.tensor([[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]])
    assert supervised_contrastive(x, halves, temperature=1.0)[0] != value[0]


def test_a_sample_alone_in_its_class_adds_nothing():
    """0 / 0 positives; nor may it pull on itself."""
    x = points(0, 3).requires_grad_()
    value = supervised_contrastive(x, torch.tensor([0, 0, 1]))
    assert value[2] == 0
    assert (value[:2] > 0).all()
    value[2].backward()
    assert (x.grad == 0).all()


def test_what_does_not_fit_says_so():
    """A batch of 1 has nothing to tell apart: its loss is a perfect 0."""
    with pytest.raises(InputError, match="batch of at least 2 samples, got 1"):
        contrastive_distillation(points(0, 1), points(1, 1))
    with pytest.raises(InputError, match="batch of at least 2 samples, got 1"):
        supervised_contrastive(points(0, 1), torch.tensor([0]))
    for labels, message in (
        (torch.zeros(7, dtype=torch.int64), r"labels: expected \(8,\) or \(8, K\), got \(7,\)"),
        (torch.zeros(8), "class numbers as integers"),
        (torch.zeros(8, 3), "add up to 1"),
        (torch.tensor([[2.0, -1.0]] * 8), "numbers from 0"),
    ):
        with pytest.raises(InputError, match=message):
            supervised_contrastive(points(0), labels)
