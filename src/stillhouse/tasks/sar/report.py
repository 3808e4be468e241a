"""What a report shows of a focusing run: images, and the tables of networks and filters, from files alone. No torch.

focus.npz holds, for a patch of test lines (W lines, L samples of the valid region), NAME (W, L) complex.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from stillhouse.core import records
from stillhouse.report.blocks import Block, Figure, Table
from stillhouse.report.read import number
from stillhouse.report.words import GAP, MINUS, NOTHING, fixed, percent, size
from stillhouse.tasks.sar.light import COMPARISON, FOCUS

Row = Mapping[str, Any]
Columns = Mapping[str, Callable[[Row], str]]
DARKEST, BRIGHTEST = 1.0, 99.5  # percentiles of the target's dB that are black and white in every picture
PATCH = "display: block; width: 9rem; height: 22rem; image-rendering: pixelated"
IMAGES = "A patch of test lines in decibels, azimuth upwards; focused images have the gray scale of the target."
POINT_CAPTION = (
    "Isolated points without noise: medians; of place and phase root mean squares against the matched filter."
)
TABLE_CAPTION = "Means over the valid region of the test lines (of an arm: over its seeds too)."
COST_CAPTION = "State (bytes that stay from line to line) and operations of one range bin are counted, times measured."


def sar_blocks(out: Path) -> list[Block]:
    """What a focusing report shows beyond what all tasks share, from the files of a run folder."""
    path = out / COMPARISON
    rows = records.read_json(path)["rows"] if path.is_file() else []
    tables = {
        "Point targets": (POINTS, [row for row in rows if row.get("points")], POINT_CAPTION),
        "Comparison": (SCORES, rows, TABLE_CAPTION),
        "What it costs": (COSTS, rows, COST_CAPTION),
    }
    found: list[Block] = [
        Figure("Images", _images(out / FOCUS), IMAGES),
        *(Table(title, ("", *columns), cells(some, columns), text) for title, (columns, some, text) in tables.items()),
    ]
    return [block for block in found if any(getattr(block, part, ()) for part in ("drawings", "rows"))]


def _images(path: Path) -> list[tuple[Markup, str]]:
    """Magnitudes in dB, all but the first on the target's scale."""
    found = []
    for name, image in (records.read_arrays(path) if path.is_file() else {}).items():
        scale = image if name == "before" else records.read_arrays(path)["target"]
        black, white = np.percentile(_db(scale), [DARKEST, BRIGHTEST])
        address = _png((_db(image) - black) / max(white - black, 1e-9))
        tag = Markup('<img src="{}" alt="Magnitude of the patch: {}" style="{}">').format(address, name, PATCH)
        found.append((tag, name))
    return found


def _db(image: Any) -> Any:
    return 20 * np.log10(np.maximum(np.abs(image), 1e-6))


def _png(values: Any) -> str:
    """Azimuth upwards: the (lines, samples) patch turned so that lines are columns."""
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, np.clip(values, 0, 1).T, cmap="gray", vmin=0, vmax=1, format="png", metadata={"Software": ""})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


# ---------------------------------------------------------------------------------------------- tables


def cells(rows: Sequence[Row], columns: Columns) -> list[list[str]]:
    """Ready text of rows of `comparison.json`, the name of each row first.

    Example:
        >>> cells([{"name": "kd", "quality": 0.91}], {"quality": lambda row: fixed(row["quality"], 2)})
        [['kd', '0.91']]
    """
    return [[str(row.get("name", "")), *(cell(row) for cell in columns.values())] for row in rows]


def macs(row: Row) -> float | None:
    """Real multiply-adds of a line, those of gates too; a complex one is four."""
    return None if row.get("complex_macs") is None else 4 * row["complex_macs"] + (row.get("real_macs") or 0)


def _of(key: str, form: Callable[..., str], *more: Any) -> Callable[[Row], str]:
    return lambda row: form(row.get(key), *more).replace("-", MINUS)


def _unit(unit: str, digits: int, change: Callable[[float], float] = float) -> Callable[[Any], str]:
    """A number with its unit, changed first; no negative zero."""

    def form(value: Any) -> str:
        found = number(value)
        return NOTHING if found is None else f"{round(change(found), digits) + 0.0:.{digits}f}{unit}"

    return form


count = partial(fixed, digits=0)
decibels = _unit(f"{GAP}dB", 2)
SCORES: Columns = {
    "quality (1 \u2212 NMSE)": _of("quality", fixed, 4),
    "NMSE": _of("nmse", _unit(f"{GAP}dB", 2, lambda error: 10 * math.log10(max(error, 1e-30)))),
    "coherence": _of("coherence", fixed, 4),
    "of the teacher\u2019s quality": _of("quality_kept", percent),
    "latency, lines": _of("latency_lines", count),
}
COSTS: Columns = {
    "parameters": _of("parameters", count),
    "fewer": _of("fewer_parameters", percent),
    "state": _of("state_bytes", size),
    "real multiply-adds a pixel": lambda row: count(macs(row)),
    "ms a line, step form": _of("ms_line", fixed, 4),
    "processor ms, step form": _of("processor_ms_line", fixed, 4),
    "processor ms, whole scene": _of("processor_ms_line_whole", fixed, 4),
}
POINTS: Columns = {
    "have a peak": lambda row: f"{row.get('points_with_a_peak')} of {row.get('points')}",
    "IRW (half-power width)": _of("irw", fixed, 3),
    "beside the matched filter": _of("irw_ratio", _unit(f"{GAP}%", 1, lambda ratio: 100 * (ratio - 1))),
    "PSLR": _of("pslr_db", decibels),
    "PSLR beside the matched filter": _of("pslr_difference_db", decibels),
    "ISLR": _of("islr_db", decibels),
    "place, samples": _of("position_error", fixed, 3),
    "phase": _of("phase_error", _unit("\u00b0", 1, math.degrees)),
}
