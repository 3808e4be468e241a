"""The rows that a page shows with their neighbours: the nearest there are, on both sides, in words."""

from types import SimpleNamespace

import numpy as np
from sklearn.neighbors import NearestNeighbors

from stillhouse.tasks.embed.score import neighbour_samples


def made(n=40, texts=True, labels=None):
    rng = np.random.default_rng(0)
    store = SimpleNamespace(texts=[f"text {row}" for row in range(100)] if texts else None, labels=labels)
    return store, np.arange(50, 50 + n), rng.normal(size=(n, 16)).astype("f4"), rng.normal(size=(n, 5)).astype("f4")


def test_neighbours_are_the_nearest_on_their_own_side():
    """Sides exchanged, or rows counted from the split's start, would still read as sentences that fit."""
    store, rows, vectors, codes = made()
    found = neighbour_samples(store, rows, vectors, codes, "euclidean")
    assert len(found) == 4
    for side, points in (("teacher", vectors), ("student", codes)):
        near = NearestNeighbors(n_neighbors=3).fit(points).kneighbors(return_distance=False)
        for one in found:
            here = int(one["row"].split()[1]) - 50
            assert sorted(one[side]) == sorted(f"text {50 + n}" for n in near[here])


def test_rows_without_text_are_named_by_their_label_and_without_both_not_shown():
    """A table of row numbers says nothing to anybody."""
    _, rows, vectors, codes = made()
    labelled, *_ = made(texts=False, labels=np.arange(100) % 10)
    assert neighbour_samples(labelled, rows, vectors, codes, "cosine")[0]["row"] == "row 50 (label 0)"
    assert neighbour_samples(made(texts=False)[0], rows, vectors, codes, "cosine") == []
