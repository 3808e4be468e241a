"""The tables of networks and filters that the terminal and the report show: columns of a row of `comparison.json`. No torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from stillhouse.report.read import mapping, number
from stillhouse.report.words import GAP, MINUS, NOTHING, fixed, percent, plain, size

Row = Mapping[str, Any]
Columns = Mapping[str, Callable[[Row], str]]
LEGEND = (
    "State: bytes that one range bin keeps from line to line, as `sar stream` counts them. Step form: line by line as they come; "
    "whole scene: all lines at once, divided by their number. A dash: there is no such form or figure."
)


def cells(rows: Sequence[Row], columns: Columns) -> list[list[str]]:
    """Ready text, the name of each row first.

    Example:
        >>> cells([{"name": "kd", "quality": 0.91}], {"quality": lambda row: fixed(row["quality"], 2)})
        [['kd', '0.91']]
    """
    return [[str(row.get("name", "")), *(cell(row) for cell in columns.values())] for row in rows]


def macs(row: Row) -> float | None:
    """Real multiply-adds of a line, those of gates too; a complex one is four."""
    return None if row.get("complex_macs") is None else 4 * row["complex_macs"] + (row.get("real_macs") or 0)


def decibels(value: Any, signed: bool = False) -> str:
    """Two decimals and the unit.

    Example:
        >>> decibels(-0.001).replace(GAP, " "), decibels(1.0, signed=True).replace(GAP, " ")
        ('0.00 dB', '+1.00 dB')
    """
    found = number(value)
    if found is None:
        return NOTHING
    return f"{round(found, 2) + 0.0:{'+' if signed else ''}.2f}{GAP}dB".replace("-", MINUS)  # no negative zero


def _of(key: str, form: Callable[..., str], *more: Any, **named: Any) -> Callable[[Row], str]:
    return lambda row: form(row.get(key), *more, **named)


def _ratio(row: Row) -> str:
    ratio = number(row.get("irw_ratio"))
    return NOTHING if ratio is None else f"{100 * (ratio - 1):+.1f}{GAP}%".replace("-", MINUS)


def _degrees(row: Row) -> str:
    phase = number(row.get("phase_error"))
    return NOTHING if phase is None else f"{math.degrees(phase):.1f}\u00b0"


def _documented(key: str) -> Callable[[Row], str]:
    return lambda row: str(mapping(row.get("documented")).get(key) or NOTHING)


def _nmse(row: Row) -> str:
    return decibels(None if number(row.get("nmse")) is None else -(number(row.get("snr_db")) or 0.0))


def _signed(key: str) -> Callable[[Row], str]:
    return lambda row: percent(row.get(key)).replace("-", MINUS)


count = partial(fixed, digits=0)
SCORES: Columns = {
    "quality (1 \u2212 NMSE)": _of("quality", fixed, 4),
    "NMSE": _nmse,
    "coherence": _of("coherence", fixed, 4),
    "of the teacher\u2019s quality": _of("quality_kept", percent),
    "latency, lines": _of("latency_lines", count),
}
COSTS: Columns = {
    "parameters": _of("parameters", count),
    "fewer": _signed("fewer_parameters"),
    "state": _of("state_bytes", size),
    "real multiply-adds a pixel": lambda row: count(macs(row)),
    "ms a line, step form": _of("ms_line", fixed, 4),
    "processor ms, step form": _of("processor_ms_line", fixed, 4),
    "processor ms, whole scene": _of("processor_ms_line_whole", fixed, 4),
}
POINTS: Columns = {
    "have a peak": lambda row: f"{plain(row.get('points_with_a_peak', 0))} of {plain(row.get('points', 0))}",
    "IRW (half-power width)": _of("irw", fixed, 3),
    "beside the matched filter": _ratio,
    "PSLR": _of("pslr_db", decibels),
    "PSLR beside the matched filter": _of("pslr_difference_db", decibels, signed=True),
    "ISLR": _of("islr_db", decibels),
    "place, samples": _of("position_error", fixed, 3),
    "phase": _degrees,
}
CLAIMS: Columns = {
    "size": lambda row: str(row.get("size", "")),
    "parameters, fewer": _signed("fewer_parameters"),
    "documented: fewer": _documented("fewer_parameters"),
    "quality kept": _signed("quality_kept"),
    "documented: kept": _documented("quality_kept"),
    "time, less": _signed("faster_whole"),
    "documented: less": _documented("faster"),
}
