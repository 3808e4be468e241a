"""Which layer of the teacher each layer of the student looks at. Imports no torch.

Layers count from 1, as in the papers; 0 is the embedding. Paths count from 0, as in `nn.ModuleList`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

from stillhouse.core.checks import InputError

MapName = Literal["uniform", "skip", "last", "last-only", "explicit", "learned"]
Pairs = tuple[tuple[int, int], ...]  # (layer of the student, layer of the teacher), from 1


def uniform_map(student_layers: int, teacher_layers: int) -> Pairs:
    """Student's layer j of M to the teacher's at the same relative depth of N, round(j N / M), halves rounded up.

    Raises:
        InputError: the student is deeper than the teacher, or one has no layers.

    Example:
        >>> [teacher for _, teacher in uniform_map(4, 12)]
        [3, 6, 9, 12]

    Source: Jiao et al. 2020, arXiv:1909.10351 (TinyBERT). How layers are chosen changes little: Yu et al. 2025, arXiv:2502.04499.
    """
    m, n = student_layers, teacher_layers
    if not 1 <= m <= n:
        raise InputError(
            f"layers: expected 1 to as many as the teacher's {n}, got {m} of the student; take map: explicit or last-only"
        )
    return tuple((j, (2 * j * n + m) // (2 * m)) for j in range(1, m + 1))


def layer_map(
    name: MapName, student_layers: int, teacher_layers: int, mapping: Mapping[int, int] | None = None
) -> Pairs:
    """The pairs of a named map, by layer of the student.

    `uniform`, and `learned` at the ends of its blocks: see `uniform_map`. `skip`: every few layers of the teacher, and `last`:
    its layers before the last in a row; both leave the student's last layer to the logits (patient distillation). `last-only`:
    the last to the last, either may be the deeper one. `explicit`: what `mapping` says, in any order and with repeats.

    Raises:
        InputError: as `uniform_map`, a student of one layer for `skip` and `last`, or a layer that is not there.

    Example:
        >>> [teacher for _, teacher in layer_map("skip", 6, 12)], [teacher for _, teacher in layer_map("last", 6, 12)]
        ([2, 4, 6, 8, 10], [7, 8, 9, 10, 11])
        >>> layer_map("last-only", 6, 12), layer_map("explicit", 2, 12, {2: 12, 1: 12})
        (((6, 12),), ((1, 12), (2, 12)))

    Source: Sun et al. 2019, arXiv:1908.09355 (patient knowledge distillation), section 3.2.
    """
    m, n = student_layers, teacher_layers
    if name == "last-only":
        return ((m, n),)
    if name == "explicit":
        pairs = tuple(sorted((mapping or {}).items()))
        if not pairs or not all(1 <= j <= m and 1 <= k <= n for j, k in pairs):
            raise InputError(
                f"mapping: expected layers 1 to {m} of the student to 1 to {n} of the teacher, got {dict(pairs)}"
            )
        return pairs
    pairs = uniform_map(m, n)
    if name in ("uniform", "learned"):
        return pairs
    if m < 2:
        raise InputError(f"map {name}: expected a student of at least 2 layers (the last is left to the logits), got 1")
    return pairs[:-1] if name == "skip" else tuple((j, n - m + j) for j in range(1, m))


def layer_blocks(student_layers: int, teacher_layers: int) -> tuple[tuple[int, ...], ...]:
    """The teacher's layers that each layer of the student has to itself: up to its own in the uniform map.

    Returns:
        M runs of layers that together are 1..N.

    Example:
        >>> layer_blocks(2, 5)
        ((1, 2, 3), (4, 5))
    """
    ends = [0, *(teacher for _, teacher in uniform_map(student_layers, teacher_layers))]
    return tuple(tuple(range(start + 1, end + 1)) for start, end in pairwise(ends))


def layer_paths(paths: str | Sequence[str], layers: int | None = None) -> tuple[str, ...]:
    """The paths of all layers, first to last: a pattern with its count, or the list as it is.

    Args:
        paths: a pattern with `{}` where the number stands, or the paths themselves.
        layers: how many a pattern stands for.

    Raises:
        InputError: a pattern without a count, or a count beside a list.

    Example:
        >>> layer_paths("blocks.{}", 2), layer_paths(["stem", "layer1"])
        (('blocks.0', 'blocks.1'), ('stem', 'layer1'))
    """
    if isinstance(paths, str) and "{}" in paths:
        if not layers:
            raise InputError(f"pattern {paths!r}: expected how many layers it stands for, got {layers}")
        return tuple(paths.replace("{}", str(number)) for number in range(layers))
    listed = (paths,) if isinstance(paths, str) else tuple(paths)
    if any("{}" in path for path in listed) or layers not in (None, len(listed)):
        raise InputError(f"paths: expected one pattern with its count, or a list, got {', '.join(listed)} and {layers}")
    return listed
