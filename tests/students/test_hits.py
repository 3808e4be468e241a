"""The short way through the masks against the plain one: same numbers, same gradients, tau's too."""

import pytest
import torch

from stillhouse.families.clauses.students import hits
from stillhouse.families.clauses.students.clauses import ClauseBank, make_bank
from stillhouse.families.clauses.students.exact_product import count_hits
from stillhouse.families.clauses.students.hits import hits_and_counts
from stillhouse.families.clauses.students.options import ClauseOptions
from stillhouse.layers.straight_through import hard_include


def plain(bits, logits, tau):
    positive, negated = hard_include(logits, tau)
    return torch.nn.functional.linear(bits, positive - negated), positive.sum(1), negated.sum(1)


@pytest.mark.parametrize("leading", [(7,), (3, 5), (), (4, 30)])
@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_it_is_the_straight_through_product(leading, threshold):
    """In float64, where rounding cannot hide a missing term; bits get a gradient as inside a transformer."""
    torch.manual_seed(0)
    found = []
    weights = [torch.randn(*leading, 6), torch.randn(6), torch.randn(6)]
    for form in (hits_and_counts, plain):
        torch.manual_seed(1)
        bits = (torch.rand(*leading, 11) > 0.5).double().requires_grad_()
        logits = torch.randn(2, 6, 11, dtype=torch.float64, requires_grad=True)
        tau = torch.tensor(threshold, dtype=torch.float64, requires_grad=True)
        values = form(bits, logits, tau)
        sum((value * weight).sum() for value, weight in zip(values, weights)).backward()
        found.append([*values, bits.grad, logits.grad, tau.grad])
    for short, long in zip(*found):
        torch.testing.assert_close(short, long)
    assert found[0][4].abs().min() > 0  # every logit is reached


@pytest.mark.parametrize("learnable", [False, True])
@pytest.mark.parametrize("operator", ["capacity", "product"])
def test_a_bank_learns_the_same_both_ways(learnable, operator, monkeypatch):
    found = []
    for short in (True, False):
        torch.manual_seed(0)
        options = ClauseOptions(literals=8, failures=3, learnable_tau=learnable, operator=operator)
        bank = make_bank(20, 6, options)
        if not short:
            monkeypatch.setattr(ClauseBank, "_plain", lambda self, bits: False)
        bits = (torch.rand(9, 20) > 0.5).float().requires_grad_()
        strength = bank(bits)
        (strength * torch.randn(9, 6)).sum().backward()
        found.append([strength, bits.grad, *(p.grad for p in bank.parameters())])
    assert len(found[0]) == (4 if learnable else 3)
    for short_one, long_one in zip(*found):
        torch.testing.assert_close(short_one, long_one)


@pytest.mark.parametrize("change", [{"literal_dropout": 0.3}, {"literal_budget": 4}, {"ternary": True}])
def test_masks_that_hang_on_more_than_logits_take_the_plain_way(change):
    bank = make_bank(20, 6, ClauseOptions(literals=8, **change)).train()
    assert not bank._plain(torch.zeros(2, 20))


def test_two_terms_can_go_back_through_one_pass():
    """Signals with gradients of their own retain the graph; what is saved must not be overwritten."""
    torch.manual_seed(0)
    bank = ClauseBank(12, 4)
    strength = bank((torch.rand(5, 12) > 0.5).float())
    first = torch.autograd.grad(strength.sum(), bank.include_logits, retain_graph=True)[0]
    again = torch.autograd.grad(strength.sum(), bank.include_logits)[0]
    assert torch.equal(first, again)


def test_training_counts_in_small_integers_where_it_can(monkeypatch):
    """Equal sums hide whether the faster kernel is asked at all."""
    asked = []

    def counted(bits, kernel):
        asked.append(kernel.dtype)
        return count_hits(bits, kernel)

    monkeypatch.setattr(hits, "count_hits", counted)
    bank = ClauseBank(12, 4).train()
    bank((torch.rand(40, 12) > 0.5).float())
    bank((torch.rand(4, 12) > 0.5).float())  # too few rows
    assert asked == [torch.int8]
