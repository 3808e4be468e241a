"""The short way through the masks against the plain one: same numbers, same gradients, tau's too."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from stillhouse.families.clauses.students import exact_product
from stillhouse.families.clauses.students.clauses import ClauseBank, make_bank
from stillhouse.families.clauses.students.hits import hits_and_counts
from stillhouse.families.clauses.students.options import ClauseOptions
from stillhouse.layers import fastest as fastest_module
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


def random_bits(rows, width):
    return (torch.rand(rows, width) > 0.5).float()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("winner", ["floats", "integers"])
def test_the_faster_product_is_the_one_that_is_taken(monkeypatch, winner, training):
    """Equal sums hide which kernel was asked: int8 is 50 times as slow as float32 on a CPU without VNNI."""
    asked = []
    integer_product = torch._int_mm
    monkeypatch.setattr(torch, "_int_mm", lambda a, b: asked.append(a.dtype) or integer_product(a, b))
    monkeypatch.setattr(exact_product, "fastest", lambda ways, key: winner)
    bank = ClauseBank(12, 4).train(training)
    with torch.set_grad_enabled(training):
        bank(random_bits(40, 12))
        bank(random_bits(4, 12))  # too few rows
    assert asked == ([torch.int8] if winner == "integers" else [])


@pytest.mark.parametrize("width", [12, 300])  # 300: counts that bfloat16 does not hold
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_both_products_are_the_same_integers(width, dtype):
    torch.manual_seed(0)
    bits, kernel = random_bits(40, width).to(dtype), torch.randint(-1, 2, (width, 7), dtype=torch.int8)
    exact = (bits.long() @ kernel.long()).to(dtype)
    for product in (exact_product.count_in_floats, exact_product.count_in_integers, exact_product.count_hits):
        assert torch.equal(product(bits, kernel), exact)
        assert product(bits, kernel).dtype == dtype


def test_losses_and_gradients_do_not_depend_on_the_winner(monkeypatch):
    """A run repeated on another machine, or on this one when it is busy, must have the same losses to the bit."""
    found = []
    for winner in ("floats", "integers"):
        monkeypatch.setattr(exact_product, "fastest", lambda ways, key, winner=winner: winner)
        torch.manual_seed(0)
        bank = ClauseBank(50, 8)
        bits = random_bits(64, 50).requires_grad_()
        (bank(bits) * torch.randn(64, 8)).sum().backward()
        found.append([bits.grad, bank.include_logits.grad, bank.eval()(bits.detach())])
    assert all(torch.equal(a, b) for a, b in zip(*found))


def test_a_measurement_is_short_draws_nothing_and_is_made_once_for_a_class_of_sizes(monkeypatch):
    """Measured in the first training step: the random numbers of a run must not hang on whether it was."""
    monkeypatch.setattr(fastest_module, "_remembered", {})
    state = torch.get_rng_state()
    measured = []
    ways = exact_product._ways

    def seen(*sizes):
        found = ways(*sizes)
        measured.append([way.args for way in found.values()])
        return found

    monkeypatch.setattr(exact_product, "_ways", seen)
    for rows in (4096, 4100, 8191):
        exact_product.integers_are_faster(torch.zeros(rows, 1568), 2000)
    assert torch.equal(torch.get_rng_state(), state)
    assert len(measured) == 1
    for bits, kernel in measured[0]:
        assert bits.shape[0] * kernel.numel() <= 2**21
    exact_product.integers_are_faster(torch.zeros(17, 1568), 2000)
    assert len(measured) == 2


def test_a_counter_of_operations_sees_the_clause_product():
    """It knows no integer product: the cost of a student would depend on the machine, and be too small."""
    bank = ClauseBank(12, 4).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        bank(random_bits(40, 12))
    assert counter.get_total_flops() == 2 * 40 * 12 * 4
