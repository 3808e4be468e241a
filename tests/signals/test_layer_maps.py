"""Which layer looks at which: the closed lists of the papers, and what no map may do."""

import pytest

from stillhouse.core.checks import InputError
from stillhouse.signals.layer_maps import (
    explicit_map,
    last_map,
    last_only_map,
    layer_blocks,
    layer_paths,
    skip_map,
    uniform_map,
)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (uniform_map(4, 12), [(1, 3), (2, 6), (3, 9), (4, 12)]),
        (uniform_map(6, 12), [(1, 2), (2, 4), (3, 6), (4, 8), (5, 10), (6, 12)]),
        (uniform_map(2, 5), [(1, 3), (2, 5)]),
        (uniform_map(1, 1), [(1, 1)]),
        (skip_map(6, 12), [(1, 2), (2, 4), (3, 6), (4, 8), (5, 10)]),
        (skip_map(3, 12), [(1, 4), (2, 8)]),
        (last_map(6, 12), [(1, 7), (2, 8), (3, 9), (4, 10), (5, 11)]),
        (last_map(3, 12), [(1, 10), (2, 11)]),
        (last_only_map(6, 12), [(6, 12)]),
        (last_only_map(8, 4), [(8, 4)]),
        (explicit_map({2: 1, 1: 12}, 2, 12), [(1, 12), (2, 1)]),
    ],
)
def test_maps_are_those_of_the_papers(made, expected):
    """Off by one, a student learns from its teacher's neighbour layer and nobody sees it."""
    assert list(made) == expected


@pytest.mark.parametrize("teacher", range(1, 40))
def test_a_uniform_map_rises_and_ends_at_the_top(teacher):
    """Rounding to the even number would use a layer twice; equal depths are the identity."""
    for student in range(1, teacher + 1):
        layers = [k for _, k in uniform_map(student, teacher)]
        assert all(a < b for a, b in zip([0, *layers], layers))
        assert layers[-1] == teacher
        assert all(abs(k - j * teacher / student) <= 0.5 for j, k in enumerate(layers, 1))
        assert [k for block in layer_blocks(student, teacher) for k in block] == list(range(1, teacher + 1))
    assert uniform_map(teacher, teacher) == tuple((j, j) for j in range(1, teacher + 1))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: explicit_map({1: 13}, 4, 12), "layers of the teacher from 1 to 12, got 13"),
        (lambda: explicit_map({0: 1, 5: 1}, 4, 12), "layers of the student from 1 to 4, got 0, 5"),
        (lambda: explicit_map({}, 4, 12), "at least one pair"),
        (lambda: skip_map(1, 12), "at least 2 layers"),
        (lambda: last_map(1, 12), "at least 2 layers"),
        (lambda: uniform_map(0, 12), "at least 1 on each side, got 0 and 12"),
        (lambda: layer_paths("blocks.{}"), "how many layers"),
        (lambda: layer_paths(["blocks.{}", "norm"]), "one pattern or a list"),
        (lambda: layer_paths(["a", "b"], 3), "expected 3, got 2"),
        (lambda: layer_paths([]), "expected some, got 0"),
    ],
)
def test_what_is_not_there_is_named(call, words):
    """Layer 0 of a list from 1 would be the last by Python's indexing."""
    with pytest.raises(InputError, match=words):
        call()
