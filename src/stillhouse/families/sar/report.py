"""What a report shows of a focusing run: images, cuts through points, coherence, the table, from files alone. No torch.

focus.npz holds, for a patch of test lines (W lines, L samples of the valid region):
    image/NAME (W, L) complex, map/NAME (W, L) local coherence with the target, cut/NAME (P, X) dB along a few points,
    cut_axis (X) samples from the point, spacing (m).
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
from stillhouse.families.sar.objective import SarObjective
from stillhouse.report import figures
from stillhouse.report.blocks import Block, Facts, Table
from stillhouse.report.blocks import Figure as Picture
from stillhouse.report.read import mapping, number
from stillhouse.report.words import GAP, MINUS, fixed, plain

Drawing = tuple[Markup, str]
FOCUS, COMPARISON = "focus.npz", "comparison.json"
DARKEST, BRIGHTEST = 1.0, 99.5  # percentiles of the target's dB that are black and white in every picture
STYLES = ("-", "--", "-.", ":")
BESIDE = {"matched filter": figures.INK, "teacher": figures.FAINT}
NONE = "\u2013"
PATCH = "display: block; width: 9rem; height: 22rem; image-rendering: pixelated"
IMAGES = (
    "Magnitude in decibels of one patch of test lines, azimuth upwards, range to the right; all focused images have the gray "
    "scale of the target, the unfocused one its own. Lines of simulated data are independent of each other."
)
MAPS = (
    "In windows of 11 samples: black is 0, bright is 1. Windows of n samples of unrelated speckle read about "
    "\u221a(\u03c0 / 4n), here 0.27, not 0."
)
POINT_HEAD = (
    "", "have a peak", "IRW (half-power width)", "beside the matched filter", "PSLR", "beside the matched filter", "ISLR",
    "place, samples", "phase",
)  # fmt: skip
POINT_CAPTION = (
    "Isolated points between samples, without clutter or noise. Width at half power and sidelobe ratios are medians, errors of "
    "place and phase are root mean squares against the matched filter\u2019s focus."
)
TABLE_CAPTION = "Means over the valid region of the test lines (of an arm: over its seeds too)."
COST_CAPTION = (
    "Operations and state are counted for one range bin; times are measured{}, one line at a time and, by FFT, as a share of a "
    "whole scene."
)
CLAIM_HEAD = (
    "", "parameters, fewer", "documented", "quality kept", "documented", "time, less", "documented",
)  # fmt: skip
CLAIM_CAPTION = "Held against the teacher. The documented figures are expectations: no measurement stands behind them."


def sar_blocks(out: Path) -> list[Block]:
    """What a focusing report shows beyond what all families share, from the files of a run folder."""
    arrays, comparison = _arrays(out / FOCUS), _read(out / COMPARISON)
    rows = comparison.get("rows", [])
    points = [_point_row(row) for row in rows if row.get("points")]
    claims = [_claim(row) for row in rows if row.get("documented")]
    machine = mapping(comparison.get("machine")).get("cpu", "")
    caption = COST_CAPTION.format(f" on {machine}" if machine else "")
    found: list[Block] = [
        Picture("Images", _images(arrays), IMAGES),
        Picture("Coherence with the target", _maps(arrays), MAPS),
        Picture("Cuts through points", _cuts(arrays)),
        Table("Point targets", POINT_HEAD, points, POINT_CAPTION),
        Table("Comparison", TABLE_HEAD, [_table_row(row) for row in rows], TABLE_CAPTION),
        Table("What it costs", COST_HEAD, [_cost_row(row) for row in rows], caption),
        Table("Beside the documents", CLAIM_HEAD, claims, CLAIM_CAPTION),
        Picture("Learning curve", _curve(out)),
        Facts("Lines", _facts(_read(out / records.RUN), arrays)),
        Facts("What is minimized", _objective(_read(out / records.RUN))),
    ]
    return [block for block in found if any(getattr(block, part, ()) for part in ("drawings", "rows", "entries"))]


# ---------------------------------------------------------------------------------------------- words and tables

TABLE_HEAD = ("", "quality (1 \u2212 NMSE)", "NMSE", "coherence", "of the teacher\u2019s quality", "latency")
COST_HEAD = (
    "", "parameters", "fewer", "state", "complex operations a pixel", "ms a line, step form", "processor ms, step form",
    "processor ms, whole scene",
)  # fmt: skip


def _table_row(row: Mapping[str, Any]) -> list[str]:
    kept = number(row.get("quality_kept"))
    return [
        str(row.get("name", "")),
        fixed(row.get("quality"), 4),
        _decibels(None if number(row.get("nmse")) is None else -(number(row.get("snr_db")) or 0.0)),
        fixed(row.get("coherence"), 4),
        NONE if kept is None else f"{100 * kept:.1f}{GAP}%",
        NONE if row.get("latency_lines") is None else f"{plain(row['latency_lines'])} lines",
    ]


def _cost_row(row: Mapping[str, Any]) -> list[str]:
    fewer = number(row.get("fewer_parameters"))
    return [
        str(row.get("name", "")),
        _whole(row.get("parameters")),
        NONE if fewer is None else _percent(fewer),
        _bytes(row.get("state_bytes")),
        _whole(row.get("complex_macs")),
        fixed(row.get("ms_line"), 4),
        fixed(row.get("processor_ms_line"), 4),
        fixed(row.get("processor_ms_line_whole"), 4),
    ]


def _claim(row: Mapping[str, Any]) -> list[str]:
    """A student's measured numbers beside the documented ones of its size."""
    documented = mapping(row.get("documented"))
    fewer, kept, faster = (number(row.get(key)) for key in ("fewer_parameters", "quality_kept", "faster_whole"))
    return [
        f"{row.get('name')} ({row.get('size')})",
        _percent(fewer),
        str(documented.get("fewer_parameters") or NONE),
        _percent(kept),
        str(documented.get("quality_kept") or NONE),
        _percent(faster),
        str(documented.get("faster") or NONE),
    ]


def _point_row(row: Mapping[str, Any]) -> list[str]:
    phase = number(row.get("phase_error"))
    ratio = number(row.get("irw_ratio"))
    return [
        str(row.get("name", "")),
        f"{plain(row.get('points_with_a_peak', 0))} of {plain(row.get('points', 0))}",
        fixed(row.get("irw"), 3),
        NONE if ratio is None else _percent(ratio - 1, signed=True),
        _decibels(row.get("pslr_db")),
        _decibels(row.get("pslr_difference_db"), signed=True),
        _decibels(row.get("islr_db")),
        fixed(row.get("position_error"), 3),
        NONE if phase is None else f"{np.degrees(phase):.1f}\u00b0",
    ]


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


def _decibels(value: Any, signed: bool = False) -> str:
    found = number(value)
    if found is None:
        return NONE
    return f"{round(found, 2) + 0.0:{'+' if signed else ''}.2f}{GAP}dB".replace("-", MINUS)  # no negative zero


def _percent(value: float | None, signed: bool = False) -> str:
    return NONE if value is None else f"{100 * value:{'+' if signed else ''}.1f}{GAP}%".replace("-", MINUS)


def _whole(value: Any) -> str:
    found = number(value)
    return NONE if found is None else f"{found:,.0f}"


def _bytes(value: Any) -> str:
    found = number(value)
    if found is None:
        return NONE
    return f"{found:,.0f}{GAP}B" if found < 10_000 else f"{found / 1000:,.1f}{GAP}kB"


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


def _cuts(arrays: Mapping[str, Any]) -> list[Drawing]:
    """One drawing a point: power in dB along azimuth for every focuser."""
    named = _named(arrays, "cut/")
    axis = arrays.get("cut_axis")
    if not named or axis is None:
        return []
    drawn = []
    for point in range(len(named[0][1])):
        with rc_context(figures.STYLE | {"font.size": 9}):
            figure = Figure(figsize=(5, 3.3), layout="constrained")
            axes = figure.add_subplot()
            arms = [name for name, _ in named if name not in BESIDE]  # in the colours of their rows
            for place, (name, curves) in enumerate(named):
                color = BESIDE.get(name) or figures.color(arms.index(name))
                style = STYLES[place % len(STYLES)]
                axes.plot(axis, curves[point], style, color=color, linewidth=1.5, label=name)
            axes.set(ylim=(-45, 3), xlabel="azimuth samples from the point", ylabel="power (dB)")
            axes.legend(fontsize=8, loc="upper right", frameon=False)
            names = ", ".join(name for name, _ in named)
            drawn.append((figures._svg(figure, f"cut-{point}", f"Cut through point {point + 1}: {names}"), ""))
    return drawn


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
