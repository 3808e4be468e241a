"""Every engine gives the numbers of the definition: `ClauseSet.values` and `scores`, which are written with a matrix of masks."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from conftest_logic import batches, random_bits, random_set, sets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stillhouse.core.checks import InputError
from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.engine import ENGINES, Evaluator
from stillhouse.logic.kernels import numba_sliced, numpy_sliced
from stillhouse.logic.kernels.numba_sliced import NumbaSliced
from stillhouse.logic.kernels.plan import Plan
from stillhouse.logic.kernels.row import NumbaRow

quick = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@quick
@given(clauses=sets, rows=batches, seed=st.integers(0, 99))
def test_every_engine_equals_the_definition(clauses, rows, seed):
    """Shapes at the edges of words and blocks, empty and contradictory clauses, crisp and fuzzy ones."""
    bits = random_bits(seed, rows, clauses.bits)
    values, scores = clauses.values(bits), clauses.scores(bits)
    for engine in ENGINES:
        some = slice(0, 70) if engine == "row" else slice(None)
        evaluator = Evaluator(clauses, engine)
        np.testing.assert_array_equal(evaluator.scores(bits[some]), scores[some], err_msg=engine)
        if engine != "row":
            np.testing.assert_array_equal(evaluator.kernel(engine).values(bits), values, err_msg=engine)


def test_blocks_of_another_cpu_give_the_same():
    """4 words (AVX2) and 8 (AVX-512), whatever this machine has; up to eight outputs, which are added eight at a time."""
    clauses, bits = random_set(3, bits=130, clauses=70, failures=8, outputs=3), random_bits(1, 600, 130)
    for words in (4, 8):
        np.testing.assert_array_equal(NumbaSliced(clauses, words).scores(bits), clauses.scores(bits))
    np.testing.assert_array_equal(NumbaRow(clauses).scores(bits[:20]), clauses.scores(bits[:20]))


def test_counters_of_more_bits():
    """Capacities up to 16 take a plane more, up to 256 five more."""
    for failures in (16, 250):
        clauses = random_set(3, bits=400, clauses=9, failures=failures, outputs=10, longest=500)
        bits = random_bits(1, 70, 400)
        np.testing.assert_array_equal(NumbaSliced(clauses).values(bits), clauses.values(bits))
        np.testing.assert_array_equal(Evaluator(clauses, "numpy").kernel("numpy").values(bits), clauses.values(bits))


@pytest.mark.parametrize("nots", [False, True])
def test_two_adders_are_two_full_adders(monkeypatch, nots):
    """All 32 inputs against counting: eight operations in place of ten, on a CPU without an instruction for three words."""
    for name, function in {
        "differ": lambda a, b: a ^ b,
        "either": lambda a, b: a | b,
        "but_not": lambda a, b: a & ~b,
    }.items():
        monkeypatch.setattr(numba_sliced, name, function)
    adders = numba_sliced.two_adders_of_nots if nots else numba_sliced.two_adders
    for z, x, x2, y, y2 in product((0, 1), repeat=5):
        total, first, difference = (found & 1 for found in adders.py_func(z, x, x ^ x2, y, y ^ y2))
        added = [1 - bit if nots else bit for bit in (x, x2, y, y2)]
        one = z + added[0] + added[1]
        carries = one >> 1, ((one & 1) + added[2] + added[3]) >> 1
        assert (total, first ^ nots, difference) == ((z + sum(added)) & 1, carries[0], carries[0] ^ carries[1])


def test_numpy_adds_eight_rows_as_numbers():
    """Counters of five planes, every lane a number of its own."""
    taken = np.random.default_rng(0).integers(0, 2**64, (8, 3, 2), dtype=np.uint64)
    counter = np.random.default_rng(1).integers(0, 2**64, (5, 3, 2), dtype=np.uint64)

    def bits(words):
        return np.unpackbits(words.view(np.uint8), axis=-1, bitorder="little").astype(int)

    expected = (bits(counter) << np.arange(5)[:, None, None]).sum(0) + bits(taken).sum(0)
    over = numpy_sliced._add(counter, taken.copy(), np.empty((3, 2), np.uint64))
    found = (bits(counter) << np.arange(5)[:, None, None]).sum(0) + (bits(over) << 5)
    np.testing.assert_array_equal(found, expected)


def test_few_votes_and_many_are_added_alike(monkeypatch):
    """Value by value, and as a product."""
    clauses, bits = random_set(5, bits=65, clauses=70, failures=8, outputs=10), random_bits(3, 130, 65)
    for few in (0.0, 1.0):
        monkeypatch.setattr(numpy_sliced, "FEW", few)
        np.testing.assert_array_equal(Evaluator(clauses, "numpy").scores(bits), clauses.scores(bits))


def test_counters_that_begin_at_zero_or_above():
    """Capacities 1 to 8 in one set: those that take the whole counter skip its first additions."""
    made = random_set(6, bits=130, clauses=64, failures=8, outputs=3)
    capacity = np.minimum(np.arange(64) % 9, 8).astype(np.int32)
    clauses, bits = replace(made, capacity=capacity), random_bits(4, 300, 130)
    for words in (4, 8):
        np.testing.assert_array_equal(NumbaSliced(clauses, words).values(bits), clauses.values(bits))
    np.testing.assert_array_equal(NumbaRow(clauses).scores(bits[:5]), clauses.scores(bits[:5]))


def test_threads_share_a_batch(monkeypatch):
    """Four threads, a batch that they do not divide."""
    monkeypatch.setattr("stillhouse.logic.kernels.numba_sliced.threads", lambda: 4)
    clauses, bits = random_set(4, bits=65, clauses=40, failures=8, outputs=10), random_bits(2, 4999, 65)
    np.testing.assert_array_equal(NumbaSliced(clauses).scores(bits), clauses.scores(bits))


def test_thresholds_inside_the_kernel():
    """Three levels, fewer and more than 64 values: the bits of `pixel >= cut`, level by level."""
    generator = np.random.default_rng(5)
    for values in (20, 64, 100):
        pixels, cuts = generator.integers(0, 256, (600, values), dtype=np.uint8), np.array([1, 128, 255], np.int16)
        clauses = random_set(6, bits=3 * values, clauses=65, failures=8, outputs=10)
        bits = (pixels[:, None] >= cuts[:, None]).reshape(600, -1)
        np.testing.assert_array_equal(NumbaSliced(clauses).scores_of_pixels(pixels, cuts), clauses.scores(bits))
        np.testing.assert_array_equal(NumbaRow(clauses).scores_of_pixels(pixels, cuts), clauses.scores(bits))


def test_a_capacity_beyond_the_counters_goes_to_numpy():
    """More than 256 misses: numba's counters end there, the automatic choice does not offer them."""
    clauses = ClauseSet.of([range(400)], bits=400, capacity=[300], votes=[[2]])
    bits = random_bits(0, 50, 400)
    np.testing.assert_array_equal(Evaluator(clauses).scores(bits), clauses.scores(bits))
    assert Evaluator(clauses).candidates(1000) == ("numpy",)
    with pytest.raises(InputError, match="at most 256"):
        Plan.of(clauses)


def test_a_plan_has_every_literal_once():
    """Padding aside: rows of bits that are wanted in groups of eight, rows of what is false for the others."""
    clauses = random_set(7, bits=65, clauses=30, failures=8, outputs=1, longest=60)
    plan = Plan.of(clauses)
    for place, j in enumerate(plan.order):
        rows = plan.rows[plan.starts[place] : plan.starts[place + 1]]
        wanted, rest = rows[: plan.wanted[place]], rows[plan.wanted[place] :]
        literals = [*wanted, *((r - 65 if r >= 65 else r + 65) for r in rest if r < 130)]
        assert sorted(literals) == clauses.clause(j).tolist()


def test_unknown_engines_and_wrong_widths_are_refused():
    clauses = random_set(8, bits=9, clauses=3, failures=2, outputs=2)
    with pytest.raises(InputError, match="did you mean 'numba'"):
        Evaluator(clauses, "numbas")
    with pytest.raises(InputError, match=r"expected \(rows, 9\), got \(4, 10\)"):
        Evaluator(clauses, "numpy").scores(np.zeros((4, 10), bool))


def test_without_numba_there_is_numpy_and_one_line(monkeypatch):
    """Said once, and a clear refusal where numba is asked for."""
    from stillhouse.logic import engine

    engine.has_numba.cache_clear()
    monkeypatch.setattr(engine, "find_spec", lambda name: None)
    clauses, bits = random_set(9, bits=9, clauses=3, failures=2, outputs=2), random_bits(0, 5, 9)
    with pytest.warns(UserWarning, match="numba is not installed"):
        found = Evaluator(clauses).scores(bits)
    np.testing.assert_array_equal(found, clauses.scores(bits))
    Evaluator(clauses).scores(bits)  # a second warning would be an error here
    with pytest.raises(InputError, match="expected numba"):
        Evaluator(clauses, "numba")
    engine.has_numba.cache_clear()
