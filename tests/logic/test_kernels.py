"""The kernel gives the numbers of the definition, `ClauseSet.scores`, which is written with a matrix of masks."""

from dataclasses import replace

import numpy as np
import pytest
from conftest_logic import batches, random_bits, random_set, sets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stillhouse.logic import machine
from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.kernel import Kernel
from stillhouse.logic.machine import PackedModel

quick = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@quick
@given(clauses=sets, rows=batches, seed=st.integers(0, 99))
def test_the_kernel_equals_the_definition(clauses, rows, seed):
    """Shapes at the edges of words and blocks, empty and contradictory clauses, crisp and fuzzy ones."""
    bits = random_bits(seed, rows, clauses.bits)
    np.testing.assert_array_equal(Kernel(clauses).scores(bits), clauses.scores(bits))


def test_counters_that_begin_at_zero_or_above():
    """Capacities 0 to 8 in one set."""
    made = random_set(6, bits=130, clauses=64, failures=8, outputs=10)
    clauses, bits = replace(made, capacity=(np.arange(64) % 9).astype(np.int32)), random_bits(4, 300, 130)
    for rows in (5, 300):
        np.testing.assert_array_equal(Kernel(clauses).scores(bits[:rows]), clauses.scores(bits[:rows]))


def test_thresholds_inside_the_kernel():
    """Three levels, fewer and more than 64 values: the bits of `pixel >= cut`, level by level."""
    generator = np.random.default_rng(5)
    for values in (20, 64, 100):
        pixels, cuts = generator.integers(0, 256, (600, values), dtype=np.uint8), np.array([1, 128, 255], np.int16)
        clauses = random_set(6, bits=3 * values, clauses=65, failures=8, outputs=10)
        bits = (pixels[:, None] >= cuts[:, None]).reshape(600, -1)
        np.testing.assert_array_equal(Kernel(clauses).scores_of_pixels(pixels, cuts), clauses.scores(bits))


def test_a_clause_is_walked_once():
    """Padding aside every literal is there: wanted bits in eights as they are, then what must not be one."""
    clauses = random_set(7, bits=65, clauses=30, failures=8, outputs=1, longest=60)
    walked = Kernel(clauses)
    for j in range(clauses.num_clauses):
        rows, middle = walked._walk(clauses.clause(j))
        literals = [*rows[:middle], *((r - 65 if r >= 65 else r + 65) for r in rows[middle:] if r < 130)]
        assert sorted(literals) == clauses.clause(j).tolist()
        assert middle % 8 == len(rows) % 8 == 0


def test_without_numba_there_is_numpy_and_one_line(monkeypatch):
    """The same scores, said once."""
    layer = ClauseSet.of([[0, 3], [1]], bits=4, capacity=[2, 1], votes=[[3, -1], [2, 5]])
    made = PackedModel((1, 2, 2), np.array([0.5], np.float32), (layer,), (), ("a", "b"))
    images = np.random.default_rng(0).integers(0, 256, (50, 1, 2, 2), dtype=np.uint8)
    expected = made.scores(images)
    machine.has_numba.cache_clear()
    monkeypatch.setattr(machine, "find_spec", lambda name: None)
    with pytest.warns(UserWarning, match="numba is not installed"):
        found = replace(made).scores(images)
    np.testing.assert_array_equal(found, expected)
    replace(made).scores(images)  # a second warning would be an error here
    machine.has_numba.cache_clear()
