"""What a report shows of a focusing run: images, coherence, the table, from files alone. No torch.

focus.npz holds, for a patch of test lines (W lines, L samples of the valid region):
    image/NAME (W, L) complex, map/NAME (W, L) local coherence with the target, spacing (m).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.image import imsave

from stillhouse.core import records
from stillhouse.core.config import parse
from stillhouse.core.records import read_json, read_records
from stillhouse.report import figures
from stillhouse.report.blocks import Block, Facts, Table
from stillhouse.report.blocks import Figure as Picture
from stillhouse.report.read import mapping, number
from stillhouse.report.words import GAP
from stillhouse.tasks.sar.light import COMPARISON, FOCUS
from stillhouse.tasks.sar.objective import SarObjective
from stillhouse.tasks.sar.tables import CLAIMS, COSTS, POINTS, SCORES, cells

Drawing = tuple[Markup, str]
DARKEST, BRIGHTEST = 1.0, 99.5  # percentiles of the target's dB that are black and white in every picture
PATCH = "display: block; width: 9rem; height: 22rem; image-rendering: pixelated"
IMAGES = (
    "Magnitude in decibels of one patch of test lines, azimuth upwards, range to the right; all focused images have the gray "
    "scale of the target, the unfocused one its own. Lines of simulated data are independent of each other."
)
MAPS = (
    "In windows of 11 samples: black is 0, bright is 1. Windows of n samples of unrelated speckle read about "
    "\u221a(\u03c0 / 4n), here 0.27, not 0."
)
POINT_CAPTION = (
    "Isolated points between samples, without clutter or noise. Width at half power and sidelobe ratios are medians, errors of "
    "place and phase are root mean squares against the matched filter\u2019s focus."
)
TABLE_CAPTION = "Means over the valid region of the test lines (of an arm: over its seeds too)."
COST_CAPTION = (
    "Operations and state are counted for one range bin; times are measured{}, one line at a time and, by FFT, as a share of a "
    "whole scene."
)
CLAIM_CAPTION = "Held against the teacher. The documented figures are expectations: no measurement stands behind them."


def sar_blocks(out: Path) -> list[Block]:
    """What a focusing report shows beyond what all tasks share, from the files of a run folder."""
    arrays, comparison = _arrays(out / FOCUS), _read(out / COMPARISON)
    rows = comparison.get("rows", [])
    machine = mapping(comparison.get("machine")).get("cpu", "")
    tables = {
        "Point targets": (POINTS, [row for row in rows if row.get("points")], POINT_CAPTION),
        "Comparison": (SCORES, rows, TABLE_CAPTION),
        "What it costs": (COSTS, rows, COST_CAPTION.format(f" on {machine}" if machine else "")),
        "Beside the documents": (CLAIMS, [row for row in rows if row.get("documented")], CLAIM_CAPTION),
    }
    found: list[Block] = [
        Picture("Images", _images(arrays), IMAGES),
        Picture("Coherence with the target", _maps(arrays), MAPS),
        *(Table(title, ("", *columns), cells(some, columns), text) for title, (columns, some, text) in tables.items()),
        Picture("Learning curve", _curve(out)),
        Facts("Lines", _facts(_read(out / records.RUN), arrays)),
        Facts("What is minimized", _objective(_read(out / records.RUN))),
    ]
    return [block for block in found if any(getattr(block, part, ()) for part in ("drawings", "rows", "entries"))]


def _facts(run: Mapping[str, Any], arrays: Mapping[str, Any]) -> list[tuple[str, str]]:
    data = mapping(run.get("data"))
    if not data:
        return []
    where = " to ".join(map(str, data.get("valid", [])))
    found = [
        ("Length", f"{data.get('length', '')} samples"),
        ("Judged in", f"samples {where}: there a line holds the whole aperture"),
        ("Fingerprint", str(data.get("sha256", ""))),
    ]
    if "spacing" in arrays:
        found.append(("Line spacing", f"{float(arrays['spacing']):.2f}{GAP}m"))
    return found


# ---------------------------------------------------------------------------------------------- pictures


def _images(arrays: Mapping[str, Any]) -> list[Drawing]:
    """Magnitudes in dB, all but the first on the target's scale."""
    target = arrays.get("image/target")
    if target is None:
        return []
    black, white = np.percentile(_db(target), [DARKEST, BRIGHTEST])
    found = []
    for name, image in _named(arrays, "image/"):
        decibels = _db(image)
        low, high = (black, white) if name != "before" else np.percentile(decibels, [DARKEST, BRIGHTEST])
        address = _png((decibels - low) / max(high - low, 1e-9), "gray")
        found.append((_img(address, f"Magnitude of the patch: {name}"), name))
    return found


def _maps(arrays: Mapping[str, Any]) -> list[Drawing]:
    """Local coherence with the target: black 0, bright 1."""
    found = []
    for name, values in _named(arrays, "map/"):
        mean = f"{float(np.mean(values)):.3f}"
        alt = f"Local coherence of {name} with the target, mean {mean}"
        found.append((_img(_png(values, "magma"), alt), f"{name}: {mean}"))
    return found


def _img(address: str, alt: str) -> Markup:
    return Markup('<img src="{}" alt="{}" style="{}">').format(address, alt, PATCH)


def _curve(out: Path) -> list[Drawing]:
    """Validation NMSE in dB against the epoch, of a folder of `train`: the shared page draws those of arms."""
    line = _series(out)
    if not line:
        return []
    with rc_context(figures.STYLE | {"font.size": 10}):
        figure = Figure(figsize=(5, 3.3), layout="constrained")
        axes = figure.add_subplot()
        axes.plot([e for e, _ in line], [v for _, v in line], color=figures.look(0)["color"])
        axes.set(xlabel="epoch", ylabel="validation NMSE (dB)")
        return [(figures._svg(figure, "curves", "Validation NMSE in dB against the epoch"), "")]


def _series(run: Path) -> list[tuple[float, float]]:
    found = []
    for record in read_records(run / records.RECORDS):
        value = number(record.get("nmse")) if record.get("split") == "validation" else None
        if value is not None and value > 0:
            found.append((float(record["epoch"]), float(10 * np.log10(value))))
    return found


def _objective(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The loss of a distillation in words."""
    config = mapping(run.get("config"))
    if "objective" not in config or "kd" not in (config.get("arms") or ()):
        return []
    name, _, text = parse(SarObjective, mapping(config["objective"])).in_words().partition(": ")
    return [(name, text)]


def _named(arrays: Mapping[str, Any], prefix: str) -> Sequence[tuple[str, Any]]:
    return [(name.removeprefix(prefix), values) for name, values in arrays.items() if name.startswith(prefix)]


def _db(image: Any) -> Any:
    return 20 * np.log10(np.maximum(np.abs(image), 1e-6))


def _png(values: Any, colors: str) -> str:
    """Azimuth upwards: the (lines, samples) patch turned so that lines are columns."""
    buffer = io.BytesIO()
    imsave(buffer, np.clip(values, 0, 1).T, cmap=colors, vmin=0, vmax=1, format="png", metadata={"Software": ""})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _read(path: Path) -> Mapping[str, Any]:
    return mapping(read_json(path)) if path.is_file() else {}


def _arrays(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    return records.read_arrays(path)
