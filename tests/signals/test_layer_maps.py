"""Which layer looks at which: the closed lists of the papers, and what no map may do."""

import pytest

from stillhouse.core.checks import InputError
from stillhouse.signals.hidden import layer_map, layer_paths


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (layer_map("uniform", 4, 12), [(1, 3), (2, 6), (3, 9), (4, 12)]),
        (layer_map("uniform", 6, 12), [(1, 2), (2, 4), (3, 6), (4, 8), (5, 10), (6, 12)]),
        (layer_map("uniform", 2, 5), [(1, 3), (2, 5)]),
        (layer_map("skip", 6, 12), [(1, 2), (2, 4), (3, 6), (4, 8), (5, 10)]),
        (layer_map("skip", 3, 12), [(1, 4), (2, 8)]),
        (layer_map("last", 6, 12), [(1, 7), (2, 8), (3, 9), (4, 10), (5, 11)]),
        (layer_map("last-only", 6, 12), [(6, 12)]),
        (layer_map("last-only", 8, 4), [(8, 4)]),
        (layer_map("explicit", 2, 12, {2: 1, 1: 12}), [(1, 12), (2, 1)]),
    ],
)
def test_maps_are_those_of_the_papers(made, expected):
    """Off by one, a student learns from its teacher's neighbour layer and nobody sees it."""
    assert list(made) == expected


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: layer_map("explicit", 4, 12, {1: 13}), "1 to 12 of the teacher, got {1: 13}"),
        (lambda: layer_map("explicit", 4, 12, {0: 1}), "layers 1 to 4 of the student"),
        (lambda: layer_map("uniform", 13, 12), "as many as the teacher's 12, got 13"),
        (lambda: layer_paths("blocks.{}"), "how many layers"),
    ],
)
def test_what_is_not_there_is_named(call, words):
    """Layer 0 of a list from 1 would be the last by Python's indexing."""
    with pytest.raises(InputError, match=words):
        call()
