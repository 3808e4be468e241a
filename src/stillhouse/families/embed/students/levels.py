"""Codes of several levels, read as prefixes: the first 5 numbers are a code, the first 30 a finer one, all 155 the finest.

Legend: B rows, d numbers of all levels, P levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TypeVar

from stillhouse.core.checks import InputError

Codes = TypeVar("Codes")  # a tensor or an array


def widths(levels: Sequence[int]) -> tuple[int, ...]:
    """How many numbers each prefix has.

    Example:
        >>> widths((5, 25, 125))
        (5, 30, 155)
    """
    return tuple(accumulate(levels))


def prefixes(codes: Codes, levels: Sequence[int]) -> list[Codes]:
    """The codes (B, d) up to each level: P of them, the first the coarsest.

    Example:
        >>> import numpy as np
        >>> [prefix.shape for prefix in prefixes(np.zeros((2, 30)), (5, 25))]
        [(2, 5), (2, 30)]

    Source: Kusupati et al. 2022, arXiv:2205.13147 (Matryoshka).
    """
    return [codes[:, :width] for width in widths(levels)]  # type: ignore[index]


def level_weights(levels: Sequence[int], given: Sequence[float] = ()) -> tuple[float, ...]:
    """The weight of the loss at each prefix: as given, or 1, 1/2, 1/4, ...

    Raises:
        InputError: not as many as levels, or none above 0.

    Example:
        >>> level_weights((5, 25, 125))
        (1.0, 0.5, 0.25)
    """
    found = tuple(given) or tuple(0.5**number for number in range(len(levels)))
    if len(found) != len(levels) or min(found) < 0 or max(found) <= 0:
        raise InputError(f"level_weights: expected {len(levels)} numbers from 0, one a level, got {list(given)}")
    return found
