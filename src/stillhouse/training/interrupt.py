"""Ctrl-C and termination as a request to save and stop, instead of a torn run."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType, TracebackType

from stillhouse.core.checks import StillhouseError


class Interrupted(StillhouseError):
    """The run was asked to stop and has saved its state; it can be continued from there.

    Args:
        step: optimizer steps that are done.
        total: of how many.
        saved: the checkpoint.
    """

    def __init__(self, step: int, total: int, saved: Path) -> None:
        super().__init__(step, total, saved)
        self.step, self.total, self.saved = step, total, saved

    def __str__(self) -> str:
        return (
            f"stopped at step {self.step} of {self.total}; saved {self.saved}; go on with the same command and --resume"
        )


class StopRequest:
    """While open, the first SIGINT or SIGTERM only sets `.asked`; a second SIGINT stops at once, as usual."""

    def __init__(self) -> None:
        self.asked = False
        self._old: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True
