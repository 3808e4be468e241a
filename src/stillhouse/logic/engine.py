"""Which kernel evaluates a clause set on this machine, and a machine's images through it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from stillhouse.core.checks import InputError, nearest
from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.machine import Machine

ENGINES = ("definition",)


def evaluator(clauses: ClauseSet, engine: str | None = None) -> Callable[[np.ndarray], np.ndarray]:
    """Bits (B, F) to scores (B, K) int64 of a clause set.

    Args:
        clauses: the set.
        engine: one of `ENGINES`; None for the fastest on this machine.

    Raises:
        InputError: an unknown engine.
    """
    if engine is not None and engine not in ENGINES:
        raise InputError(f"engine: expected one of {', '.join(ENGINES)}, got {engine!r}; {nearest(engine, ENGINES)}")
    return clauses.scores


def scores_of_images(machine: Machine, images: np.ndarray, engine: str | None = None) -> np.ndarray:
    """(B, K) int64 of images (B, channels, height, width)."""
    ways = {id(layer): evaluator(layer, engine) for layer in machine.layers}
    return machine.scores_of_bits(machine.bits(images), lambda layer, bits: ways[id(layer)](bits))
