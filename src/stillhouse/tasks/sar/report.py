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
from stillhouse.report.blocks import Block, Facts, Figure, Table
from stillhouse.report.read import mapping, number
from stillhouse.report.words import GAP, MINUS, NOTHING, fixed, percent, size
from stillhouse.tasks.sar.light import COMPARISON, FOCUS

Row = Mapping[str, Any]
Columns = Mapping[str, Callable[[Row], str]]
DARKEST, BRIGHTEST = 1.0, 99.5  # percentiles of the target's dB that are black and white in every picture
PATCH = "display: block; width: 9rem; height: 22rem; image-rendering: pixelated"
IMAGES = (
    "Magnitude in decibels of one patch of test lines, azimuth upwards, range to the right; all focused images have the gray "
    "scale of the target, the unfocused one its own. Lines of simulated data are independent of each other."
)
POINT_CAPTION = (
    "Isolated points between samples, without clutter or noise. Width at half power and sidelobe ratios are medians, errors of "
    "place and phase are root mean squares against the matched filter\u2019s focus."
)
TABLE_CAPTION = "Means over the valid region of the test lines (of an arm: over its seeds too)."
COST_CAPTION = (
    "Operations and state (bytes that stay from line to line) are counted for one range bin; times are measured, one line at a "
    "time as they come and, by FFT, as a share of a whole scene. A dash: there is no such form or figure."
)
CLAIM_CAPTION = "Held against the teacher. The documented figures are expectations: no measurement stands behind them."


def sar_blocks(out: Path) -> list[Block]:
    """What a focusing report shows beyond what all tasks share, from the files of a run folder."""
    rows = _read(out / COMPARISON).get("rows", [])
    tables = {
        "Point targets": (POINTS, [row for row in rows if row.get("points")], POINT_CAPTION),
        "Comparison": (SCORES, rows, TABLE_CAPTION),
        "What it costs": (COSTS, rows, COST_CAPTION),
        "Beside the documents": (CLAIMS, [row for row in rows if row.get("documented")], CLAIM_CAPTION),
    }
    found: list[Block] = [
        Figure("Images", _images(out / FOCUS), IMAGES),
        *(Table(title, ("", *columns), cells(some, columns), text) for title, (columns, some, text) in tables.items()),
        Facts("Lines", _facts(mapping(_read(out / records.RUN).get("data")))),
    ]
    return [block for block in found if any(getattr(block, part, ()) for part in ("drawings", "rows", "entries"))]


def _facts(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    if not data:
        return []
    where = " to ".join(map(str, data.get("valid", [])))
    return [
        ("Length", f"{data.get('length', '')} samples"),
        ("Judged in", f"samples {where}: there a line holds the whole aperture"),
        ("Fingerprint", str(data.get("sha256", ""))),
    ]


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


def _read(path: Path) -> Mapping[str, Any]:
    return mapping(records.read_json(path)) if path.is_file() else {}


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


def _documented(key: str) -> Callable[[Row], str]:
    return lambda row: str(mapping(row.get("documented")).get(key) or NOTHING)


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
CLAIMS: Columns = {
    "size": lambda row: str(row.get("size", "")),
    "parameters, fewer": _of("fewer_parameters", percent),
    "documented: fewer": _documented("fewer_parameters"),
    "quality kept": _of("quality_kept", percent),
    "documented: kept": _documented("quality_kept"),
    "time, less": _of("faster_whole", percent),
    "documented: less": _documented("faster"),
}
