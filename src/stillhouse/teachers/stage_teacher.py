"""A checked teacher as training asks it: from its cache where inputs are fixed, itself where they change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stillhouse.core.types import Batch, Outputs, OutputSpec


@dataclass(frozen=True)
class StageTeacher:
    """Whom the signals of a stage listen to.

    Attributes:
        teacher: itself, for inputs that it was not asked about.
        spec: its classes and features.
        cached: its outputs by row, asked beforehand; None where inputs change from epoch to epoch.
        facts: further values that a task keeps of it (its probabilities on the validation split).
    """

    teacher: Any
    spec: OutputSpec
    cached: Callable[[Batch], Outputs] | None = None
    facts: Any = None

    def __call__(self, batch: Batch) -> Outputs:
        """What the teacher puts out for a batch; no gradient."""
        outputs: Outputs = (self.teacher if self.cached is None else self.cached)(batch)
        return outputs
