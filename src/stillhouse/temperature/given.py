"""A temperature that follows a schedule, a constant one included."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from stillhouse.core.types import Progress

if TYPE_CHECKING:
    from torch import Tensor


class GivenTemperature:
    """The number that a schedule gives now, whatever the logits are.

    Example:
        >>> from stillhouse.core.schedules import Linear
        >>> rising = GivenTemperature(Linear(start=1.0, end=4.0))
        >>> rising(None, None, Progress(step=50, total_steps=100)), rising.figures()
        (2.5, {'temperature': 2.5})
    """

    def __init__(self, schedule: Callable[[Progress], float]) -> None:
        self.schedule = schedule
        self._last: float | None = None

    def __call__(self, student_logits: Tensor | None, teacher_logits: Tensor | None, progress: Progress) -> float:
        """The temperature now."""
        self._last = self.schedule(progress)
        return self._last

    def figures(self) -> dict[str, float]:
        """The temperature of the last call."""
        return {} if self._last is None else {"temperature": self._last}

    def regularizers(self) -> dict[str, tuple[float, Tensor]]:
        """None."""
        return {}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """None: nothing is learned."""
        return []
