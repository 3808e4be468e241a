"""The table of networks that `sar compare` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
