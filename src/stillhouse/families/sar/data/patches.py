"""Where patches lie in a product, and in which order they are best read."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError

Origins = NDArray[np.int64]
Order = Literal["row", "column", "chunk"]


def patch_origins(
    shape: tuple[int, int],
    patch: tuple[int, int],
    *,
    stride: tuple[int, int] | None = None,
    buffer: tuple[int, int] = (0, 0),
) -> Origins:
    """First row and column of every rectangular patch that fits between the margins, (P, 2), row by row.

    Args:
        shape: (azimuth, range) of the product.
        patch: (azimuth, range) of a patch.
        stride: from patch to patch; the patch itself, without overlap, where not given.
        buffer: rows and columns left out on every side.

    Raises:
        InputError: no patch fits, or a stride below 1.

    Example:
        >>> patch_origins((10, 4), (4, 1), stride=(4, 2), buffer=(1, 0)).tolist()
        [[1, 0], [1, 2], [5, 0], [5, 2]]
    """
    steps = patch if stride is None else stride
    if min(steps) < 1 or min(patch) < 1:
        raise InputError(f"patch, stride: expected 1 or more, got {patch} and {steps}")
    axes = [
        np.arange(margin, size - margin - extent + 1, step)
        for size, extent, step, margin in zip(shape, patch, steps, buffer)
    ]
    if not all(len(axis) for axis in axes):
        raise InputError(f"patch: expected one that fits {shape} less a buffer of {buffer}, got {patch}")
    rows, columns = np.meshgrid(*axes, indexing="ij")
    return np.stack([rows.ravel(), columns.ravel()], axis=1).astype(np.int64)


def pick_patches(origins: Origins, count: int, rng: np.random.Generator) -> Origins:
    """At most `count` of them, drawn without replacement over the whole product (the first ones would be one strip)."""
    if count >= len(origins):
        return origins
    return origins[np.sort(rng.choice(len(origins), size=count, replace=False))]


def reading_order(origins: Origins, order: Order, chunks: tuple[int, int]) -> NDArray[np.int64]:
    """Permutation in which patches are read: by row, by column, or chunk by chunk (every chunk is then decoded once).

    Example:
        Chunks of 2 columns: columns 0 and 1 of both rows come before column 2.

        >>> places = np.array([[0, 0], [0, 2], [8, 1], [0, 1]])
        >>> reading_order(places, "chunk", (4, 2)).tolist(), reading_order(places, "column", (4, 2)).tolist()
        ([0, 3, 1, 2], [0, 3, 2, 1])
    """
    row, column = origins[:, 0], origins[:, 1]
    if order == "row":
        return np.lexsort((column, row))
    if order == "column":
        return np.lexsort((row, column))
    if order != "chunk":
        raise InputError(f"order: expected 'row', 'column' or 'chunk', got {order!r}")
    return np.lexsort((column, row, column // chunks[1], row // chunks[0]))
