"""Several teachers weighed: sums, limits, order, and that a bad one is left."""

import numpy as np
import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses.divergence import forward_kl
from stillhouse.losses.regression import label_cross_entropy
from stillhouse.signals.ensemble import (
    EnsembleConfig,
    EnsembleSignal,
    LearnedWeights,
    confidence_weights,
    gradient_weights,
    uniform_weights,
)

NOW = Progress(0, 1)
POOLS = ["mean-probabilities", "mean-logits", "confidence", "gradient", "learned", "diverse"]
B, K, D = 6, 4, 5


def batch(labels=None):
    labels = torch.arange(B) % K if labels is None else labels
    return Batch(torch.zeros(len(labels), 1), labels, torch.arange(len(labels)))


def members(n, seed=1, rows=B):
    torch.manual_seed(seed)
    return tuple(Outputs(2 * torch.randn(rows, K)) for _ in range(n))


def told(*group):
    features = {f"{i}:f": torch.randn(len(m.logits), 3 + i) for i, m in enumerate(group)}
    return Outputs(torch.zeros_like(group[0].logits), features, tuple(group))


def said(seed=0, rows=B):
    torch.manual_seed(seed)
    return Outputs(torch.randn(rows, K), {"body": torch.randn(rows, D)})


def signal(pool, n=2, weights_fn=None, **given):
    student = {"student": "body"} if pool in ("learned", "diverse") else {}
    config = EnsembleConfig(pool=pool, **student, **given)
    features = {f"{i}:f": (3 + i,) for i in range(n)}
    spec = OutputSpec(K, features, (OutputSpec(K),) * n)
    torch.manual_seed(0)
    return EnsembleSignal(config, OutputSpec(K, {"body": (D,)}), spec, weights_fn=weights_fn)


@pytest.mark.parametrize("pool", POOLS)
def test_weights_sum_to_one(pool):
    """Else the weight of the signal depends on the number of teachers."""
    group = members(4)
    s = signal(pool, n=4)
    s(said(), told(*group), batch(), NOW)
    weights = s.weights_fn(said(), group, batch().labels)
    assert weights.shape == (B, 4)
    torch.testing.assert_close(weights.sum(1), torch.ones(B))
    assert (weights >= 0).all()
    figures = s.figures()
    assert list(figures) == ["weight_0", "weight_1", "weight_2", "weight_3"]
    assert sum(figures.values()) == pytest.approx(1, abs=1e-5)


def test_learned_weights_go_with_their_teacher():
    """The same permutation of what is learned for each teacher gives the same loss."""
    group = members(3)
    one, other = signal("learned", n=3), signal("learned", n=3)
    order = [2, 0, 1]
    with torch.no_grad():
        one.weights_fn.latent.copy_(torch.randn(3, D))
        one.weights_fn.bias.copy_(torch.randn(3))
        other.weights_fn.latent.copy_(one.weights_fn.latent[order])
        other.weights_fn.bias.copy_(one.weights_fn.bias[order])
    moved = other(said(), told(*(group[i] for i in order)), batch(), NOW)
    torch.testing.assert_close(moved, one(said(), told(*group), batch(), NOW))


def test_pools_have_their_closed_forms():
    """Linear: mean of probabilities at T; geometric: softmax of mean logits at the same T."""
    group, temperature = members(3), 3.0
    p = torch.stack([torch.softmax(m.logits / temperature, 1) for m in group]).mean(0)
    linear = signal("mean-probabilities", n=3, temperature=temperature)(said(), told(*group), batch(), NOW)
    torch.testing.assert_close(linear, forward_kl(said().logits, temperature * p.log(), temperature=temperature))
    z = torch.stack([m.logits for m in group]).mean(0)
    geometric = signal("mean-logits", n=3, temperature=temperature)(said(), told(*group), batch(), NOW)
    torch.testing.assert_close(geometric, forward_kl(said().logits, z, temperature=temperature))


def test_confidence_is_the_published_rule():
    """(1 - softmax of the cross-entropies)/(n - 1); at most 1/(n - 1)."""
    group, labels = members(3), batch().labels
    errors = torch.stack([label_cross_entropy(m.logits, labels) for m in group], 1)
    expected = (1 - torch.softmax(errors, 1)) / 2
    torch.testing.assert_close(confidence_weights(said(), group, labels), expected)
    assert confidence_weights(said(), group, labels).max() <= 0.5
    torch.testing.assert_close(uniform_weights(said(), group, labels), torch.full((B, 3), 1 / 3))


def test_gradient_weights_raise_no_teachers_loss():
    """The point of the shortest gradient: a step along it is against nobody; equal weights can be against one."""
    torch.manual_seed(3)
    student = Outputs(torch.randn(B, K, dtype=torch.float64))
    group = tuple(Outputs(torch.randn(B, K, dtype=torch.float64)) for _ in range(3))
    weights = gradient_weights(student, group, batch().labels, temperature=2.0)
    z = student.logits.clone().requires_grad_()
    slopes = [torch.autograd.grad(forward_kl(z, m.logits, temperature=2.0).sum(), z)[0] for m in group]
    common = sum(w * g for w, g in zip(weights[0], slopes))
    for slope in slopes:  # -common is a descent direction of every loss
        assert (slope * common).sum() >= (common * common).sum() - 1e-5
    shorter = common.norm()
    assert shorter <= torch.stack(slopes).mean(0).norm()
    closed = [2.0 * (torch.softmax(z / 2, 1) - torch.softmax(m.logits / 2, 1)) for m in group]
    for g, expected in zip(slopes, closed):
        torch.testing.assert_close(g, expected.detach())


def task(rows=128, seed=5):
    """Labels, a feature, a teacher that is right, one at random, and one that is right only where the feature says so."""
    torch.manual_seed(seed)
    labels = torch.randint(K, (rows,))
    good = 4.0 * torch.nn.functional.one_hot(labels, K) + torch.randn(rows, K)
    noise = 4.0 * torch.nn.functional.one_hot(torch.randint(K, (rows,)), K) + torch.randn(rows, K)
    body = torch.randn(rows, D)
    mixed = torch.where(body[:, :1] > 0, good, noise)
    return labels, Outputs(torch.zeros(rows, K), {"body": body}), Outputs(good), Outputs(noise), Outputs(mixed)


def train(s, student, group, labels, steps=60):
    optimizer = torch.optim.Adam(s.parameters(), lr=0.05)
    for _ in range(steps):
        s(student, told(*group), batch(labels), NOW)
        loss = sum(weight * value for weight, value in s.regularizers().values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    s(student, told(*group), batch(labels), NOW)
    return list(s.figures().values())


@pytest.mark.parametrize("pool", ["learned", "diverse", "confidence"])
def test_a_corrupted_teacher_is_left(pool):
    """The reason for weights at all."""
    labels, student, good, noise, _ = task()
    s = signal(pool)
    if pool == "confidence":
        s(student, told(noise, good), batch(labels), NOW)
        bad, fine = s.figures().values()
    else:
        s(student, told(noise, good), batch(labels), NOW)
        assert list(s.figures().values()) == pytest.approx([0.5, 0.5])
        bad, fine = train(s, student, (noise, good), labels)
    assert bad < 0.25
    assert fine > 0.75


@pytest.mark.parametrize("pool", ["learned", "diverse"])
def test_learned_weights_are_of_the_sample(pool):
    """A teacher that is right on half of the inputs is heard there, and the other on the rest."""
    labels, student, good, noise, mixed = task()
    other = Outputs(torch.where(student.features["body"][:, :1] > 0, noise.logits, good.logits))
    s = signal(pool)
    train(s, student, (mixed, other), labels)
    weights = s.weights_fn(student, (mixed, other), labels)[:, 0]
    here = student.features["body"][:, 0] > 0
    assert weights[here].mean() > 0.6
    assert weights[~here].mean() < 0.4


def test_without_a_feature_weights_are_the_same_for_all():
    """A plain learned pool is possible too."""
    rule = LearnedWeights(3, None)
    assert rule(said(), members(3), batch().labels).shape == (B, 3)
    config = EnsembleConfig(pool="learned")
    s = config.build(OutputSpec(K), OutputSpec(K, {}, (OutputSpec(K),) * 3))
    assert config.student_paths == ()
    assert s(said(), told(*members(3)), batch(), NOW).shape == (B,)


@pytest.mark.parametrize("pool", ["learned", "diverse"])
def test_who_learns_from_what(pool):
    """The distillation loss must not reach the weights; the choice must not reach the student; teachers get nothing."""
    group = members(2)
    for m in group:
        m.logits.requires_grad_()
    student = said()
    student.logits.requires_grad_()
    student.features["body"].requires_grad_()
    s = signal(pool)
    value = s(student, told(*group), batch(), NOW).sum()
    value.backward()
    assert all(p.grad is None or p.grad.abs().sum() == 0 for p in s.parameters())
    assert student.logits.grad.abs().sum() > 0
    assert (student.features["body"].grad is not None) == (pool == "diverse")  # drawn to the answer
    reached = student.logits.grad.clone(), student.features["body"].grad
    sum(weight * term for weight, term in s.regularizers().values()).backward()
    torch.testing.assert_close(student.logits.grad, reached[0])
    if pool == "learned":
        assert student.features["body"].grad is None
        assert s.weights_fn.bias.grad.abs().sum() > 0
        assert s.weights_fn.latent.grad.abs().sum() > 0
    else:
        assert s.weights_fn.embedding.grad.abs().sum() > 0
        assert s.weights_fn.head.weight.grad.abs().sum() > 0
        assert all(p.grad.abs().sum() > 0 for p in s.weights_fn.answer_maps.parameters())
    assert all(m.logits.grad is None for m in group)


def test_choice_and_entropy_are_what_they_say():
    """Cross-entropy of the pooled target at T = 1, and ln n - H(w), both by hand."""
    group, labels = members(2), batch().labels
    weights = torch.tensor([[0.9, 0.1]]).repeat(B, 1).requires_grad_()
    s = signal("confidence", weights_fn=lambda *_: weights)
    s(said(), told(*group), batch(), NOW)
    (choice_weight, choice), (entropy_weight, entropy) = s.regularizers()["choice"], s.regularizers()["entropy"]
    p = 0.9 * torch.softmax(group[0].logits, 1) + 0.1 * torch.softmax(group[1].logits, 1)
    torch.testing.assert_close(choice, -p[torch.arange(B), labels].log().mean())
    assert entropy.item() == pytest.approx(np.log(2) + 0.9 * np.log(0.9) + 0.1 * np.log(0.1), rel=1e-5)
    assert (choice_weight, entropy_weight) == (1.0, 0.01)
    assert signal("confidence").regularizers() == {}


def test_the_students_feature_is_drawn_to_the_answer():
    """`answers` of unequal widths become one target in the student's width."""
    config = EnsembleConfig(pool="diverse", student="body", answers=("0:f", "1:f"))
    assert config.teacher_paths == ("0:f", "1:f")
    spec = OutputSpec(K, {"0:f": (3,), "1:f": (4,)}, (OutputSpec(K),) * 2)
    torch.manual_seed(0)
    s = config.build(OutputSpec(K, {"body": (D,)}), spec)
    group, x = told(*members(2)), torch.nn.Parameter(said().features["body"].clone())
    z = said().logits
    optimizer = torch.optim.Adam([x], lr=0.05)
    values = []
    for _ in range(60):
        value = s(Outputs(z, {"body": x}), group, batch(), NOW).mean()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    floor = signal("mean-probabilities")(Outputs(z), group, batch(), NOW).mean().item()
    assert values[-1] - floor < 0.1 * (values[0] - floor)
    assert [len(g["params"]) for g in s.groups()] == [3]  # embedding, question's weight and bias


def test_a_class_that_a_teacher_rules_out():
    """The linear pool keeps what one teacher allows, the geometric one does not; neither gives NaN."""
    a, b = members(2)
    a.logits[:, 0] = -torch.inf
    for pool in ("mean-probabilities", "mean-logits"):
        student = said()
        student.logits.requires_grad_()
        value = signal(pool)(student, told(a, b), batch(), NOW)
        value.sum().backward()
        assert torch.isfinite(value).all()
        assert torch.isfinite(student.logits.grad).all()


def test_faults_are_named():
    """Members that are missing would mean one teacher under a name that promises several."""
    with pytest.raises(InputError, match="expected several teachers"):
        EnsembleConfig(pool="learned").build(OutputSpec(K), OutputSpec(K))
    with pytest.raises(InputError, match=r"one feature a teacher in order, '0:...', '1:...', got 1:f, 0:f"):
        signal("diverse", answers=("1:f", "0:f"))
