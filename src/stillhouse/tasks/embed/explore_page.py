"""A page to look at codes with: any two axes, search, and the neighbours in teacher and student side by side. No torch.

One HTML file that asks for nothing from outside: the numbers travel inside it as base64, the texts as JSON.
"""

from __future__ import annotations

import base64
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stillhouse.core.checks import InputError
from stillhouse.core.labels import missing_labels
from stillhouse.core.records import write_atomically

HERE = Path(__file__).parents[2] / "report"
# in a script element these could end it, begin a comment or break a line of JavaScript
ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}
WORDS = {
    "knn_overlap@10": "10 nearest kept",
    "knn_chance@10": "10 nearest by chance",
    "spearman": "distances kept (Spearman)",
}


@dataclass(frozen=True)
class Rows:
    """What there is to look at.

    Attributes:
        codes: (n, d) finite, d at least 2; 20 000 rows are fluent, some 40 bytes a number and row in all.
        texts: (n) what a row stands for: shown, and searched.
        labels: (n) classes, for colour; any values that print.
        teacher_neighbours: (n, k) rows nearest in the teacher, nearest first; -1: none.
        student_neighbours: (n, k) the same in the student.
        numbers: (n) different whole numbers from 0: what each row is called and found by, as its number in the file that
            `numbers_of` names; None: 0 to n - 1.
        numbers_of: the name of that file.
    """

    codes: np.ndarray
    texts: Sequence[str] | None = None
    labels: Sequence[Any] | np.ndarray | None = None
    teacher_neighbours: np.ndarray | None = None
    student_neighbours: np.ndarray | None = None
    numbers: np.ndarray | None = None
    numbers_of: str = ""


def write_explorer(
    path: str | Path,
    rows: Rows,
    *,
    axes: Sequence[str | Sequence[str]] | None = None,
    title: str = "Codes",
    metrics: Mapping[str, float | str | None] | None = None,
) -> Path:
    """Write a self-contained page on which codes can be looked at, searched and compared with the teacher.

    Args:
        path: of the HTML file.
        rows: codes, and what is known of them.
        axes: (d) names, or (name, pole at -1, pole at +1).
        title: of the page.
        metrics: shown on top, in this order.

    Returns:
        `path`.

    Raises:
        InputError: codes of one axis, or a path that cannot be written.
    """
    path = Path(path).expanduser()
    codes = np.asarray(rows.codes)
    if codes.ndim != 2 or not len(codes) or codes.shape[1] < 2 or codes.dtype.kind not in "fiu":
        raise InputError(f"codes: expected numbers (rows, 2 or more axes), got {codes.dtype} of shape {codes.shape}")
    n, d = codes.shape
    names, ids = _categories(rows.labels)
    about = {
        "rows": n,
        "width": d,
        "codes": _base64(codes.astype("<f4")),
        "axes": _axes(axes, d),
        "texts": None if rows.texts is None else [str(text) for text in rows.texts],
        "labels": names,
        "label": ids,
        "teacher": _neighbours(rows.teacher_neighbours),
        # whole up to 2^53, as numbers of JavaScript are
        "numbers": None if rows.numbers is None else _base64(np.asarray(rows.numbers, "<f8")),
        "numbers_of": rows.numbers_of,
        "student": _neighbours(rows.student_neighbours),
    }
    page = _page(title, about, metrics or {}).encode(errors="replace")
    write_atomically(path, lambda file: file.write(page))
    return path


def _page(title: str, about: Mapping[str, Any], metrics: Mapping[str, float | str | None]) -> str:
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    data = json.dumps(about, ensure_ascii=False, separators=(",", ":"), allow_nan=False).translate(ESCAPES)
    tiles = [(WORDS.get(name, name.replace("_", " ")), _figure(value)) for name, value in metrics.items()]
    return environment.get_template("explore.html").render(title=title, tiles=tiles, about=about, data=Markup(data))


def _figure(value: float | str | None) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating, np.integer)):
        return "not measured" if value is None else str(value)
    if not math.isfinite(value):
        return "not measured"
    return f"{value:,}" if isinstance(value, (int, np.integer)) else f"{value:.3f}"


def _axes(axes: Sequence[str | Sequence[str]] | None, d: int) -> list[list[str]]:
    """(name, pole at -1, pole at +1) of every axis; poles may be empty."""
    if axes is None:
        return [[f"axis {number}", "", ""] for number in range(1, d + 1)]
    return [[axis, "", ""] if isinstance(axis, str) else [str(word) for word in axis] for axis in axes]


def _categories(labels: Sequence[Any] | np.ndarray | None) -> tuple[list[list[Any]], str | None]:
    """The different labels with their counts, the most frequent first, and the number of each row's as base64."""
    if labels is None:
        return [], None
    named = ["no label" if missing else str(label) for label, missing in zip(labels, missing_labels(labels))]
    counts = Counter(named).most_common()
    place = {name: number for number, (name, _) in enumerate(counts)}
    return [[name, count] for name, count in counts], _base64(np.array([place[name] for name in named], "<u4"))


def _neighbours(rows: np.ndarray | None) -> dict[str, Any] | None:
    return None if rows is None else {"k": rows.shape[1], "rows": _base64(rows.astype("<i4"))}


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
