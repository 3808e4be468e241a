"""What the family's commands print: the table of networks, and a comparison in a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stillhouse.core.verdict import in_words

LEGEND = (
    "state B: bytes that one range bin keeps from line to line, as `sar stream` counts them. "
    "stream: line by line as they come; scene: all lines at once, divided by their number. ms: by the clock; CPU ms: processor "
    "time. An empty cell: there is no such form or figure."
)


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """The table of a comparison: a network a row."""
    from rich.table import Table

    from stillhouse.cli.show import print_table

    table = Table(
        "",
        "quality",
        "NMSE dB",
        "coherence",
        "parameters",
        "state B",
        "real MACs/pixel",
        "stream: ms/line",
        "stream: CPU ms/line",
        "scene: CPU ms/line",
    )
    for row in rows:
        table.add_row(
            str(row["name"]),
            _shown(row.get("quality"), ".4f"),
            "" if row.get("snr_db") is None else f"{-row['snr_db']:.2f}",
            _shown(row.get("coherence"), ".4f"),
            _shown(row.get("parameters"), ",.0f"),
            _shown(row.get("state_bytes"), ",.0f"),
            _shown(_all_macs(row), ",.0f"),
            _shown(row.get("ms_line"), ".4f"),
            _shown(row.get("processor_ms_line"), ".4f"),
            _shown(row.get("processor_ms_line_whole"), ".4f"),
        )
    print_table(table)
    print(LEGEND)


def _all_macs(row: Mapping[str, Any]) -> float | None:
    """Real multiply-adds of a line, those of gates too; a complex one is four."""
    return None if row.get("complex_macs") is None else 4 * row["complex_macs"] + (row.get("real_macs") or 0)


def _shown(value: Any, form: str) -> str:
    return "" if value is None else format(value, form)


def verdict_line(entry: Mapping[str, Any]) -> str:
    """One comparison in a line.

    Example:
        >>> verdict_line({"metric": "quality", "verdict": "helps", "difference": 0.01, "low": 0.004, "high": 0.016,
        ...           "arm": "kd", "control": "no-kd", "seeds": 3})
        'quality: helps (kd minus no-kd: +0.0100, 95 % interval +0.0040 to +0.0160, 3 seeds)'
    """
    ends = [entry[key] for key in ("difference", "low", "high")]
    if any(end is None or end != end for end in ends):
        return f"{entry['metric']}: {in_words(entry)}: needs the arms {entry['arm']} and {entry['control']}"
    return (
        f"{entry['metric']}: {in_words(entry)} ({entry['arm']} minus {entry['control']}: {ends[0]:+.4f}, "
        f"95 % interval {ends[1]:+.4f} to {ends[2]:+.4f}, {entry['seeds']} seed{'s' * (entry['seeds'] != 1)})"
    )
