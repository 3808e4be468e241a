"""The clause bank against logic: expected values are counted bit by bit, never by the bank itself."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.tasks.classification.students.clauses import ClauseBank
from stillhouse.tasks.classification.students.config import ClauseOptions, PixelClauseOptions


def bank_with(positive, negated, failures):
    positive, negated = np.asarray(positive), np.asarray(negated)
    bank = ClauseBank(positive.shape[1], positive.shape[0], ClauseOptions(failures=failures))
    with torch.no_grad():
        bank.include_logits.copy_(torch.tensor(np.stack([positive, negated]) * 8.0 - 4.0))
    return bank


def counted(bits, positive, negated, failures):
    """The definition, one literal at a time."""
    out = np.zeros((len(bits), len(positive)))
    for b, x in enumerate(bits):
        for c in range(len(positive)):
            included = int(positive[c].sum() + negated[c].sum())
            misses = sum(1 for f in range(len(x)) if positive[c][f] and not x[f]) + sum(
                1 for f in range(len(x)) if negated[c][f] and x[f]
            )
            out[b, c] = max(0, min(included, failures) - misses) / failures
    return out


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 7), st.integers(1, 9), st.integers(1, 6))
def test_one_matrix_product_equals_counting(seed, bits_n, clauses, failures):
    """The product form must count misses of both kinds, also where a bit and its negation are both included."""
    rng = np.random.default_rng(seed)
    positive, negated = rng.integers(0, 2, (2, clauses, bits_n))
    bits = rng.integers(0, 2, (6, bits_n))
    bank = bank_with(positive, negated, failures)
    got = bank(torch.tensor(bits, dtype=torch.float32)).detach().numpy()
    expected = counted(bits, positive, negated, failures).astype(np.float32)
    np.testing.assert_array_equal(got, expected)
    with torch.no_grad():
        np.testing.assert_array_equal(bank.eval()(torch.tensor(bits, dtype=torch.float32)).numpy(), expected)


def test_bf16_is_exact():
    """Bits, masks and counts below 256 are exact in bf16, so mixed precision changes no clause."""
    torch.manual_seed(0)
    bank = ClauseBank(256, 64, ClauseOptions(literals=30))
    bits = (torch.rand(32, 256) > 0.5).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = bank(bits)
    assert torch.equal(mixed.float(), bank(bits))


def test_gradient_reaches_every_include_logit_of_a_live_clause_and_the_bits():
    """The public estimator gave None here; a vanishing one would give zeros."""
    torch.manual_seed(0)
    bank = ClauseBank(16, 8, ClauseOptions(literals=6))
    bits = (torch.rand(64, 16) > 0.5).float().requires_grad_(True)
    (bank(bits) * torch.randn(64, 8)).sum().backward()
    assert bank.include_logits.grad.abs().min() > 0
    assert bits.grad.abs().sum() > 0


@pytest.mark.parametrize("literals", [4.0, 12.0, 40.0])
def test_a_new_bank_includes_as_many_literals_as_asked(literals):
    """Half of all literals included at the start (the public default) makes clauses that never fire."""
    torch.manual_seed(0)
    positive, negated = ClauseBank(256, 400, ClauseOptions(literals=literals, tau=0.4)).masks()
    assert (positive.sum() + negated.sum()).item() / 400 == pytest.approx(literals, rel=0.05)


@pytest.mark.parametrize("failures", [16, 64])
def test_clauses_over_very_many_bits_are_awake_at_the_start(failures):
    """Literals follow LF, however many bits there are: 120 where 36 were asked for kept LF 16 silent on boolean features."""
    torch.manual_seed(0)
    bank = ClauseBank(60_000, 20, PixelClauseOptions(failures=failures))
    positive, negated = bank.masks()
    assert (positive.sum() + negated.sum()).item() / 20 == pytest.approx(2.25 * failures, rel=0.2)
    strength = bank((torch.rand(50, 60_000) < 0.3).float())
    assert (strength > 0).float().mean() > 0.05  # binomial: 0.20 and 0.08; with 119 literals of LF 16 below 1e-9


def test_a_budget_keeps_the_literals_that_are_surest():
    """At most so many literals of a clause, those of the highest logits: counted by sorting each clause."""
    torch.manual_seed(0)
    bank = ClauseBank(20, 8, ClauseOptions(literals=16, literal_budget=5))
    with torch.no_grad():
        kept = torch.cat(bank.masks(), dim=1) > 0  # (clauses, 2 x bits)
    flat = torch.cat(list(bank.include_logits.detach()), dim=1)
    free = flat > 0  # tau 0.5
    assert free.sum(1).min() > 5
    for clause in range(8):
        surest = flat[clause].argsort(descending=True)[:5].tolist()
        assert sorted(torch.nonzero(kept[clause]).flatten().tolist()) == sorted(surest)


def test_a_learned_tau_stays_within_its_bounds():
    """However far training pushes it."""
    bank = ClauseBank(4, 2, ClauseOptions(learnable_tau=True))
    for pushed, bound in ((-40.0, 0.05), (40.0, 0.95)):
        with torch.no_grad():
            bank.threshold.raw.fill_(pushed)
        assert bank.threshold().item() == pytest.approx(bound)
