"""The short way through the masks against the plain one: same numbers, same gradients, tau's too."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from stillhouse.layers.straight_through import hard_include
from stillhouse.tasks.classification.students.base_config import ClauseOptions
from stillhouse.tasks.classification.students.clauses import ClauseBank, hits_and_counts


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
def test_a_bank_learns_the_same_both_ways(learnable, monkeypatch):
    found = []
    for short in (True, False):
        torch.manual_seed(0)
        options = ClauseOptions(literals=8, failures=3, learnable_tau=learnable)
        bank = ClauseBank(20, 6, options)
        if not short:
            monkeypatch.setattr(ClauseBank, "_plain", lambda self, bits: False)
        bits = (torch.rand(9, 20) > 0.5).float().requires_grad_()
        strength = bank(bits)
        (strength * torch.randn(9, 6)).sum().backward()
        found.append([strength, bits.grad, *(p.grad for p in bank.parameters())])
    assert len(found[0]) == (4 if learnable else 3)
    for short_one, long_one in zip(*found):
        torch.testing.assert_close(short_one, long_one)


@pytest.mark.parametrize("change", [{"literal_dropout": 0.3}, {"literal_budget": 4}])
def test_masks_that_hang_on_more_than_logits_take_the_plain_way(change):
    bank = ClauseBank(20, 6, ClauseOptions(literals=8, **change)).train()
    assert not bank._plain(torch.zeros(2, 20))


def test_two_terms_can_go_back_through_one_pass():
    """Signals with gradients of their own retain the graph; what is saved must not be overwritten."""
    torch.manual_seed(0)
    bank = ClauseBank(12, 4)
    strength = bank((torch.rand(5, 12) > 0.5).float())
    first = torch.autograd.grad(strength.sum(), bank.include_logits, retain_graph=True)[0]
    again = torch.autograd.grad(strength.sum(), bank.include_logits)[0]
    assert torch.equal(first, again)


def random_bits(rows, width):
    return (torch.rand(rows, width) > 0.5).float()


@pytest.mark.parametrize("width", [12, 600])  # 600: counts that bfloat16 does not hold
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_counts_are_whole_in_every_format(width, dtype):
    torch.manual_seed(0)
    bits, logits = random_bits(40, width).to(dtype), torch.randn(2, 7, width).to(dtype)
    masks = (logits > 0).long()
    hits, positive, negated = hits_and_counts(bits, logits, torch.tensor(0.5, dtype=dtype))
    assert torch.equal(hits, (bits.long() @ (masks[0] - masks[1]).T).to(dtype))
    assert torch.equal(positive, masks[0].sum(1).to(dtype))
    assert torch.equal(negated, masks[1].sum(1).to(dtype))


def test_a_counter_of_operations_sees_the_clause_product():
    """It knows no integer product: the cost of a student would depend on the machine, and be too small."""
    bank = ClauseBank(12, 4).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        bank(random_bits(40, 12))
    assert counter.get_total_flops() == 2 * 40 * 12 * 4
