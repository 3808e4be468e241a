"""What a proof ends with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

OnProgress = Callable[[int, int], None]  # statements proved, all of them


@dataclass(frozen=True, slots=True)
class Proof:
    """Whether it holds for every input, and how that was settled.

    Attributes:
        proved: yes. No means refuted where there is a counterexample, and not settled where there is none.
        failed: what did not hold; empty where everything did.
        lemmas: how many statements of which kind were proved.
        seconds: all of it.
        counterexample: bits (F) on which the two differ, checked by evaluating both.
        scores: (K) where only the choice of the class fails: scores for which it is wrong.
    """

    proved: bool
    failed: str = ""
    lemmas: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    counterexample: np.ndarray | None = None
    scores: np.ndarray | None = None

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.lemmas.items())
        if self.proved:
            return f"proved for all inputs in {self.seconds:.1f} s: {counts}"
        how = "refuted" if self.counterexample is not None or self.scores is not None else "not settled"
        return f"{how} in {self.seconds:.1f} s: {self.failed}"


class Failure(Exception):
    """A statement that does not hold: what, and where it is known, an input or scores that show it."""

    def __init__(self, what: str, bits: np.ndarray | None = None, scores: np.ndarray | None = None) -> None:
        super().__init__(what)
        self.bits, self.scores = bits, scores
