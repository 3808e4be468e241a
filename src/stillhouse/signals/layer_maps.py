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
    """Student's layer j to the teacher's at the same relative depth, round(j N / M): the default.

    Args:
        student_layers: M, at least 1.
        teacher_layers: N, at least M.

    Returns:
        M pairs, strictly rising, the last one (M, N); halves are rounded up.

    Raises:
        InputError: the student is deeper than the teacher, or one has no layers.

    Example:
        >>> [teacher for _, teacher in uniform_map(4, 12)]
        [3, 6, 9, 12]

    Relations:
        `skip_map` is this without its last pair. How layers are chosen changes little (Yu et al. 2025).

    Source: Jiao et al. 2020, arXiv:1909.10351 (TinyBERT); Yu et al. 2025, arXiv:2502.04499.
    """
    m, n = _counts(student_layers, teacher_layers)
    return tuple((j, (2 * j * n + m) // (2 * m)) for j in range(1, m + 1))


def skip_map(student_layers: int, teacher_layers: int) -> Pairs:
    """PKD-skip: every few layers of the teacher; the student's last layer is left to the logits.

    Args:
        student_layers: M, at least 2.
        teacher_layers: N, at least M.

    Returns:
        M - 1 pairs.

    Raises:
        InputError: as `uniform_map`, or a student of one layer.

    Example:
        >>> [teacher for _, teacher in skip_map(6, 12)]
        [2, 4, 6, 8, 10]

    Source: Sun et al. 2019, arXiv:1908.09355 (Patient Knowledge Distillation), section 3.2.
    """
    return _but_one("skip", uniform_map(student_layers, teacher_layers)[:-1])


def last_map(student_layers: int, teacher_layers: int) -> Pairs:
    """PKD-last: the teacher's layers before its last, in a row; the student's last layer is left to the logits.

    Args:
        student_layers: M, at least 2.
        teacher_layers: N, at least M.

    Returns:
        M - 1 pairs.

    Raises:
        InputError: as `uniform_map`, or a student of one layer.

    Example:
        >>> [teacher for _, teacher in last_map(6, 12)]
        [7, 8, 9, 10, 11]

    Source: Sun et al. 2019, arXiv:1908.09355 (Patient Knowledge Distillation), section 3.2.
    """
    m, n = _counts(student_layers, teacher_layers)
    return _but_one("last", tuple((j, n - m + j) for j in range(1, m)))


def last_only_map(student_layers: int, teacher_layers: int) -> Pairs:
    """The last layer of one to the last of the other, as DistilBERT; either may be the deeper one.

    Example:
        >>> last_only_map(6, 12)
        ((6, 12),)
    """
    return (_counts(student_layers, teacher_layers, deeper=True),)


def explicit_map(mapping: Mapping[int, int], student_layers: int, teacher_layers: int) -> Pairs:
    """What the user wrote, checked: layer of the student -> layer of the teacher, in any order and with repeats.

    Args:
        mapping: layers from 1.
        student_layers: M.
        teacher_layers: N; may be below M.

    Returns:
        Pairs by layer of the student.

    Raises:
        InputError: nothing in it, or a layer that is not there.

    Example:
        >>> explicit_map({2: 12, 1: 12}, 2, 12)
        ((1, 12), (2, 12))
    """
    m, n = _counts(student_layers, teacher_layers, deeper=True)
    if not mapping:
        raise InputError("mapping: expected at least one pair (student's layer: teacher's layer), got none")
    for who, layers, most in (("student", mapping.keys(), m), ("teacher", mapping.values(), n)):
        wrong = sorted({layer for layer in layers if not 1 <= layer <= most})
        if wrong:
            raise InputError(
                f"mapping: expected layers of the {who} from 1 to {most}, got {', '.join(map(str, wrong))}"
            )
    return tuple(sorted(mapping.items()))


def layer_map(
    name: MapName, student_layers: int, teacher_layers: int, mapping: Mapping[int, int] | None = None
) -> Pairs:
    """The pairs of a named map; the pairs of `learned` are those at the ends of its blocks (uniform).

    Raises:
        InputError: as the map itself.

    Example:
        >>> layer_map("last-only", 2, 4)
        ((2, 4),)
    """
    if name == "explicit":
        return explicit_map(mapping or {}, student_layers, teacher_layers)
    maps = {"uniform": uniform_map, "learned": uniform_map, "skip": skip_map, "last": last_map}
    return maps.get(name, last_only_map)(student_layers, teacher_layers)


def layer_blocks(student_layers: int, teacher_layers: int) -> tuple[tuple[int, ...], ...]:
    """The teacher's layers that each layer of the student has to itself: up to its own in the uniform map.

    Returns:
        M runs of layers that together are 1..N.

    Raises:
        InputError: as `uniform_map`.

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
        InputError: a pattern without a count, or a count that is not the length of the list.

    Example:
        >>> layer_paths("blocks.{}", 2), layer_paths(["stem", "layer1"])
        (('blocks.0', 'blocks.1'), ('stem', 'layer1'))
    """
    if isinstance(paths, str):
        paths = (paths,)
    if len(paths) == 1 and "{}" in paths[0]:
        if layers is None or layers < 1:
            raise InputError(f"pattern {paths[0]!r}: expected how many layers it stands for, got {layers}")
        return tuple(paths[0].replace("{}", str(number)) for number in range(layers))
    if any("{}" in path for path in paths):
        raise InputError(f"paths: expected one pattern or a list without {{}}, got {', '.join(paths)}")
    if not paths or (layers is not None and layers != len(paths)):
        raise InputError(f"paths: expected {layers or 'some'}, got {len(paths)} ({', '.join(paths)})")
    return tuple(paths)


def _counts(student_layers: int, teacher_layers: int, *, deeper: bool = False) -> tuple[int, int]:
    if min(student_layers, teacher_layers) < 1:
        raise InputError(f"layers: expected at least 1 on each side, got {student_layers} and {teacher_layers}")
    if student_layers > teacher_layers and not deeper:
        raise InputError(
            f"layers: expected at most as many as the teacher's {teacher_layers}, got {student_layers} of the student; "
            "take map: explicit or last-only"
        )
    return student_layers, teacher_layers


def _but_one(name: str, pairs: Pairs) -> Pairs:
    if not pairs:
        raise InputError(f"map {name}: expected a student of at least 2 layers (the last is left to the logits), got 1")
    return pairs
