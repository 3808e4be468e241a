"""How many CPU threads a training uses: a number, all, or whichever of one and all took its first steps faster.

More threads are not faster by themselves: small products do not gain, and two threads that share their cores with another
busy process wait for each other, eight times as long as one would take.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch

T = TypeVar("T")
WARM_UP, TRIALS = 2, 3  # steps with all threads that are not timed; timed steps with all threads, then with one


class Threads:
    """Carries out the steps of one training, the first few with all threads and with one where the setting is "auto".

    Sums of another number of threads differ in their last bits, so the choice is part of a checkpoint: a training that goes
    on keeps it.

    Args:
        setting: a number, None for as many as torch has now, or "auto".
        on_cpu: elsewhere there is nothing to measure.
        timer: seconds of a clock.
    """

    def __init__(
        self,
        setting: int | str | None,
        *,
        on_cpu: bool = True,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        use_threads(setting)
        self.auto, self.timer = setting == "auto", timer
        self.before = self.most = torch.get_num_threads()
        self.chosen = None if self.auto and on_cpu and self.most > 1 else self.most
        self.seconds: list[float] = []  # per row, of the steps so far

    def step(self, work: Callable[[], T], rows: int) -> T:
        """Do one optimizer step over so many rows, with the threads that it is to have."""
        if self.chosen is not None:
            return work()
        torch.set_num_threads(self.most if len(self.seconds) < WARM_UP + TRIALS else 1)
        started = self.timer()
        done = work()
        self.seconds.append((self.timer() - started) / rows)
        timed = self.seconds[WARM_UP:]
        if len(timed) == 2 * TRIALS:
            self.chosen = 1 if min(timed[TRIALS:]) <= min(timed[:TRIALS]) else self.most
            torch.set_num_threads(self.chosen)
        return done

    def close(self) -> None:
        """Leave the process with the threads that it had, for whoever comes next."""
        if self.auto:
            torch.set_num_threads(self.before)

    def state_dict(self) -> dict[str, Any]:
        """What was found so far."""
        return {"most": self.most, "chosen": self.chosen, "seconds": self.seconds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with what was found before; a fixed setting stays what it is."""
        if not self.auto:
            return
        self.most, self.chosen, self.seconds = state["most"], state["chosen"], list(state["seconds"])
        if self.chosen is not None:
            torch.set_num_threads(self.chosen)


def use_threads(setting: int | str | None) -> None:
    """Set torch's threads where the setting is a number."""
    if isinstance(setting, int):
        torch.set_num_threads(setting)
