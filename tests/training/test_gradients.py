"""Gradients of terms: the sum is plain backward, a projection takes out the conflict and nothing else."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from stillhouse.training.gradients import (
    add_gradients,
    combine,
    cosine,
    cosine_gate,
    inner,
    pcgrad,
    per_term_gradients,
    total,
)


def vector(*x):
    return [torch.tensor(x, dtype=torch.float64)]


def random_gradients(seed, terms=2):
    torch.manual_seed(seed)
    return {
        f"t{i}": [torch.randn(3, 2, dtype=torch.float64), torch.randn(4, dtype=torch.float64)] for i in range(terms)
    }


def setting():
    """A shared layer, a private one for one of two terms, and a term without a graph."""
    torch.manual_seed(0)
    body, private = nn.Linear(4, 3).double(), nn.Linear(3, 2).double()
    x = torch.randn(6, 4, dtype=torch.float64)

    def terms():
        h = torch.tanh(body(x))
        return {
            "labels": (1.0, h.square().mean()),
            "features": (0.3, private(h).exp().mean()),
            "none": (2.0, torch.ones(())),
        }

    return terms, [*body.parameters(), *private.parameters()]


def test_the_sum_is_plain_backward():
    """One backward pass a term must not change what is learned where nothing is projected."""
    terms, parameters = setting()
    sum(weight * value for weight, value in terms().values()).backward()
    expected = [p.grad.clone() for p in parameters]
    for p in parameters:
        p.grad = None
    found = per_term_gradients(terms(), parameters)
    assert all(p.grad is None for p in parameters)
    combine("sum", found, parameters)
    for p, grad in zip(parameters, expected):
        torch.testing.assert_close(p.grad, grad, rtol=1e-12, atol=1e-14)


def test_what_a_term_does_not_reach_is_none():
    """A zero in its place would start weight decay and momentum on a parameter that nothing teaches."""
    terms, parameters = setting()
    found = per_term_gradients(terms(), parameters)
    assert found["none"] == [None] * 4
    assert [g is None for g in found["labels"]] == [False, False, True, True]
    parameters[0].requires_grad_(False)  # as train_only does
    found = per_term_gradients(terms(), parameters)
    assert [g is None for g in found["features"]] == [True, False, False, False]
    combine("sum", {"labels": found["labels"]}, parameters)
    assert [p.grad is None for p in parameters] == [True, False, True, True]


def test_micro_batches_add_up():
    """The projection is of the whole batch: parts are added first."""
    torch.manual_seed(0)
    w, x = nn.Parameter(torch.randn(3, dtype=torch.float64)), torch.randn(6, 3, dtype=torch.float64)

    def terms(rows):
        y = x[rows] @ w
        return {"labels": (1.0, y.square().mean()), "logits": (0.5, y.exp().mean())}

    whole = per_term_gradients(terms(slice(0, 6)), [w])
    first = per_term_gradients(terms(slice(0, 2)), [w], scale=2 / 6)
    parts = add_gradients(first, per_term_gradients(terms(slice(2, 6)), [w], scale=4 / 6))
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient)
    assert add_gradients({}, whole).keys() == whole.keys()


def test_a_term_of_weight_zero_costs_nothing():
    """And NaN in it does not enter: 0 times NaN is NaN."""
    w = nn.Parameter(torch.ones(2))
    assert per_term_gradients({"a": (1.0, w.sum()), "b": (0.0, (w * torch.nan).sum())}, [w]).keys() == {"a"}


def test_the_graph_is_kept_on_request():
    """The doctor looks before the backward pass."""
    w = nn.Parameter(torch.ones(2))
    value = w.square().sum()
    per_term_gradients({"a": (1.0, value)}, [w], keep_graph=True)
    value.backward()
    torch.testing.assert_close(w.grad, torch.full((2,), 2.0))
    value = w.square().sum()
    per_term_gradients({"a": (1.0, value)}, [w])
    with pytest.raises(RuntimeError, match="second time"):
        value.backward()


def test_orthogonal_gradients_are_left_alone():
    """A projection that always fires is another optimizer."""
    g = {"a": vector(1, 0, 0), "b": vector(0, 2, 0), "c": vector(0, 0, -3)}
    torch.testing.assert_close(pcgrad(g), vector(1, 2, -3))
    torch.testing.assert_close(cosine_gate(g, task="a"), vector(1, 2, -3))


def test_opposite_gradients_cancel():
    """Each is projected to zero, whatever their sizes."""
    g = {"a": vector(1, 2), "b": vector(-3, -6)}
    torch.testing.assert_close(pcgrad(g), vector(0, 0))
    torch.testing.assert_close(cosine_gate(g, task="a"), vector(1, 2))
    torch.testing.assert_close(total(list(g.values())), vector(-2, -4))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6))
def test_two_terms_end_against_neither(seed):
    """The promise of the method, on full vectors over several parameters."""
    g = random_gradients(seed)
    result = pcgrad(g)
    assert all(inner(result, gradient) >= -1e-9 for gradient in g.values())
    if inner(g["t0"], g["t1"]) >= 0:
        torch.testing.assert_close(result, total(list(g.values())))
    else:  # by hand: each loses its part along the other
        a, b = (torch.cat([x.flatten() for x in g[name]]) for name in ("t0", "t1"))
        expected = a - a @ b / (b @ b) * b + b - a @ b / (a @ a) * a
        torch.testing.assert_close(torch.cat([x.flatten() for x in result]), expected)


def test_the_whole_vector_decides_not_each_parameter():
    """Conflict in one layer may be outweighed by agreement in another; a projection layer by layer is another method."""
    g = {
        "a": [torch.tensor([1.0]), torch.tensor([3.0])],
        "b": [torch.tensor([-1.0]), torch.tensor([3.0])],
    }
    torch.testing.assert_close(pcgrad(g), [torch.tensor([0.0]), torch.tensor([6.0])])


def test_the_order_is_drawn_from_the_generator():
    """With three terms the order matters; a resumed run must repeat it."""
    g = {"a": vector(1, 0), "b": vector(-1, 0.5), "c": vector(-0.5, -1)}

    def draw(seed):
        return pcgrad(g, generator=torch.Generator().manual_seed(seed))[0].tolist()

    assert draw(3) == draw(3)
    assert len({tuple(draw(seed)) for seed in range(20)}) > 1
    before = torch.get_rng_state()
    draw(0)
    assert torch.equal(before, torch.get_rng_state())


def test_terms_that_share_nothing_do_not_conflict():
    """None counts as zero; a zero gradient has no direction to project on."""
    g = {"a": [torch.ones(2), None], "b": [None, -torch.ones(3)], "c": [torch.zeros(2), None]}
    result = pcgrad(g)
    torch.testing.assert_close(result, [torch.ones(2), -torch.ones(3)])
    assert cosine(g["a"], g["b"]) is None or cosine(g["a"], g["b"]) == 0
    assert cosine(g["a"], g["c"]) is None


def test_the_gate_drops_what_works_against_the_task():
    """Help stays whole, harm goes whole, and the task is never touched."""
    g = {"labels": vector(1, 0), "help": vector(2, 5), "harm": vector(-0.1, 5)}
    torch.testing.assert_close(cosine_gate(g), vector(3, 5))


def test_only_what_is_shared_is_projected():
    """A projector is no place of conflict, and an adversarial temperature must keep its sign."""
    shared, own = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    g = {
        "labels": [torch.tensor([1.0, 0.0]), None],
        "logits": [torch.tensor([-1.0, 1.0]), torch.tensor([-4.0, 7.0])],
    }
    for kind, expected in (("sum", [0.0, 1.0]), ("pcgrad", [0.5, 1.5]), ("cosine-gate", [1.0, 0.0])):
        figures = combine(kind, g, [shared, own], shared=1)
        assert shared.grad.tolist() == expected
        assert own.grad.tolist() == [-4.0, 7.0]
        assert (figures == {"dropped/logits": pytest.approx(-(0.5**0.5))}) == (kind == "cosine-gate")


def test_a_step_without_labels_has_nothing_to_gate():
    """A stage with label_weight 0, or the last of a curriculum, stopped a run in the middle with words about a name."""
    w = nn.Parameter(torch.zeros(2))
    g = {"logits": [torch.tensor([1.0, 0.0])], "features": [torch.tensor([-2.0, 1.0])]}
    assert combine("cosine-gate", g, [w]) == {}
    assert w.grad.tolist() == [-1.0, 1.0]
