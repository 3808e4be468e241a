"""Some test rows with what lies nearest to them, in the teacher and in the student: what a share of neighbours looks like."""

from __future__ import annotations

from typing import Any

import numpy as np

from stillhouse.families.embed.data.vectors import VectorStore
from stillhouse.families.embed.metrics.neighbourhood import Metric, nearest_neighbors

SHOWN, NEAREST = 4, 3
LONGEST = 160  # letters of a text


def neighbour_samples(
    store: VectorStore, rows: np.ndarray, vectors: np.ndarray, codes: np.ndarray, metric: Metric
) -> list[dict[str, Any]]:
    """Rows with their nearest others by vectors and by codes, in words; none where rows have neither text nor label.

    Args:
        store: where the rows lie, with their texts and labels.
        rows: (n) of the store, of which some are shown, evenly spread.
        vectors: (n, D) of the teacher.
        codes: (n, d) of the student.
        metric: by which vectors are compared; codes are by distance.

    Returns:
        `row`, and the nearest three to it by `teacher` and by `student`.
    """
    if (store.texts is None and store.labels is None) or len(rows) <= NEAREST:
        return []
    near = {
        "teacher": nearest_neighbors(vectors, NEAREST, metric=metric),
        "student": nearest_neighbors(codes, NEAREST, metric="euclidean"),
    }
    chosen = np.linspace(0, len(rows) - 1, min(SHOWN, len(rows))).astype(int)
    return [
        {
            "row": _words(store, int(rows[one])),
            **{side: [_words(store, int(rows[n])) for n in found[one]] for side, found in near.items()},
        }
        for one in chosen
    ]


def _words(store: VectorStore, row: int) -> str:
    """A row's text, cut where it is long; its number and label where it has none."""
    if store.texts is None:
        assert store.labels is not None
        return f"row {row} (label {store.labels[row]})"
    text = str(store.texts[row])
    return text if len(text) <= LONGEST else f"{text[:LONGEST].rstrip()}..."
