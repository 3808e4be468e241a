"""Ctrl-C and termination as a request to save and stop, instead of a torn run."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

from stillhouse.core.checks import StillhouseError


class Interrupted(StillhouseError):
    """The run was asked to stop and has saved its state; `--resume` goes on from there."""


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
