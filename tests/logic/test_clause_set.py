import numpy as np
import pytest

from stillhouse.core.checks import InputError
from stillhouse.logic.clause_set import ClauseSet, whole_votes


def test_a_fuzzy_clause_loses_one_for_every_miss() -> None:
    one = ClauseSet.of([[0, 1, 2 + 4]], bits=4, capacity=[2], votes=[[1]])  # bits 0 and 1, not bit 2; LF 2
    rows = np.array([[1, 1, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0], [0, 0, 1, 1]], dtype=bool)
    assert one.values(rows)[:, 0].tolist() == [2, 1, 0, 0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"clauses": [[4]]}, "literals in 0 .. 3"),
        ({"clauses": [[1, 1]]}, "rise within a clause"),
        ({"capacity": [-1]}, "at least 0"),
        ({"bits": 0}, "fit each other"),
        ({"scale": float("nan")}, "positive scale"),
        ({"votes": [[2**31 - 1]], "capacity": [4]}, "31 bits"),
        ({"bias": [1, 2]}, "fit each other"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change: dict, words: str) -> None:
    parts = {"clauses": [[0, 3]], "bits": 2, "capacity": [1], "votes": [[3]], **change}
    with pytest.raises(InputError, match=words):
        ClauseSet.of(parts.pop("clauses"), **parts)


def test_whole_votes_stay_within_the_promised_bound() -> None:
    generator = np.random.default_rng(0)
    votes, bias, capacity = generator.normal(size=(50, 3)), generator.normal(size=3), generator.integers(0, 9, 50)
    whole, whole_bias, scale = whole_votes(votes, bias, capacity)
    values = generator.integers(0, capacity + 1, (200, 50))
    off = np.abs((values @ whole + whole_bias) / scale - (values @ votes + bias)).max()
    assert 0 < off <= (capacity.sum() + 1) / (2 * scale) < 1e-4
