"""Which of several ways to one result is fastest on this machine: measured once, remembered for the process.

A number format is not fast or slow by its name: int8 products are 4 times as fast as float32 on one CPU and 50 times as slow on
another. So the ways are timed, here and now, in a few milliseconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping

ROUNDS = 5
LEAST_GAIN = 0.1  # of the time of the usual way, which stays where another wins less
HOPELESS = 4  # times as slow as the best: not tried again beside a usual way

_remembered: dict[Hashable, str] = {}


def fastest(
    ways: Callable[[], Mapping[str, Callable[[], object]]],
    key: Hashable,
    *,
    usual: str | None = None,
    timer: Callable[[], float] = time.perf_counter,
) -> str:
    """Name of the fastest way, by its best of five calls after one that warms up; the first named wins a tie.

    Args:
        ways: makes name -> call, where a measurement is due. All must give the same result, on inputs small enough to be
            called six times each.
        key: what the answer depends on (sizes, device, threads); asked again, the answer is remembered.
        usual: a way that stays unless another takes a tenth less time. It is called before every measurement, since what ran
            before (threads that still wait at work, what lies in the caches) is part of what a way costs in its place.
        timer: seconds of a clock.

    Example:
        >>> ticks = iter([0.0, 2.0, 2.0, 3.0] * 5)
        >>> fastest(lambda: {"slow": int, "fast": int}, "an example", timer=lambda: next(ticks))
        'fast'
    """
    if key not in _remembered:
        _remembered[key] = _measured(ways(), timer, usual)
    return _remembered[key]


def forget() -> None:
    """Measure anew from here on."""
    _remembered.clear()


def _measured(ways: Mapping[str, Callable[[], object]], timer: Callable[[], float], usual: str | None = None) -> str:
    best = dict.fromkeys(ways, float("inf"))
    for way in ways.values():
        way()  # the first call of a shape prepares kernels
    for _ in range(ROUNDS):  # in turns: another process that takes the core for a while slows all alike
        for name, way in ways.items():
            if usual is not None:
                if best[name] > HOPELESS * min(best.values()) and best[name] < float("inf"):
                    continue
                ways[usual]()
            started = timer()
            way()
            best[name] = min(best[name], timer() - started)
    first = min(best, key=lambda name: best[name])
    return usual if usual is not None and best[first] > (1 - LEAST_GAIN) * best[usual] else first
