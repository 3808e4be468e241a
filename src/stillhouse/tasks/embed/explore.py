"""A page to look at codes with: any two axes, search, and the neighbours in teacher and student side by side.

One HTML file that asks for nothing from outside: the numbers travel inside it as base64, the texts as JSON.
"""

from __future__ import annotations

import base64
import json
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
from stillhouse.core.records import check_output, write_atomically
from stillhouse.tasks.embed.metrics import K, figures_of, nearest_neighbors
from stillhouse.tasks.embed.score import looked_at

HERE = Path(__file__).parents[2] / "report"
# in a script element these could end it, begin a comment or break a line of JavaScript
ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


@dataclass(frozen=True)
class Rows:
    """What there is to look at.

    Attributes:
        codes: (n, d) finite; 20 000 rows are fluent, some 40 bytes a number and row in all.
        teacher: (n, k) rows nearest in the teacher, nearest first.
        student: (n, k) the same in the student.
        numbers: (n) what each row is called and found by: its number in the file that `numbers_of` names.
        numbers_of: the name of that file.
        texts: (n) what a row stands for: shown, and searched.
        labels: (n) classes, for colour; any values that print.
    """

    codes: np.ndarray
    teacher: np.ndarray
    student: np.ndarray
    numbers: np.ndarray
    numbers_of: str
    texts: Sequence[str] | None = None
    labels: Sequence[Any] | np.ndarray | None = None


def explore(folder: Path, out: Path, vectors: str | None = None, *, key: str | None = None, limit: int = 5000) -> None:
    """Write the page on which the space can be looked at: held-out rows of the student's run, or vectors that are given.

    Args:
        folder: of the student or its run.
        out: the HTML file.
        vectors: other vectors of the same teacher (a capture has its texts).
        key: which array of them.
        limit: rows on the page, at most.

    Raises:
        InputError: no student, vectors of another width, too few rows.
    """
    check_output(out, suffixes=(".html",))
    seen = looked_at(folder, vectors, key, limit)
    store, rows = seen.store, seen.rows
    scalars = figures_of(seen.wide, seen.codes, metric=seen.metric).scalars
    shown = Rows(
        seen.codes,
        nearest_neighbors(seen.wide, K, metric=seen.metric),
        nearest_neighbors(seen.codes, K, metric="euclidean"),
        rows,
        store.path.name,
        texts=None if store.texts is None else [store.texts[row] for row in rows],
        labels=seen.labels,
    )
    write_explorer(out, shown, seen.student.card["axes"], store.path.stem, scalars)


def write_explorer(
    path: Path, rows: Rows, axes: Sequence[Sequence[str]], title: str, figures: Mapping[str, Any]
) -> None:
    """Write a self-contained page on which codes can be looked at, searched and compared with the teacher.

    Args:
        path: of the HTML file.
        rows: codes, and what is known of them.
        axes: (d) name, pole at -1 and pole at +1; none where nobody named them.
        title: of the page.
        figures: of `figures_of`, of which some are shown on top.

    Raises:
        InputError: codes of one axis, or a path that cannot be written.
    """
    n, d = rows.codes.shape
    if d < 2:
        raise InputError("explore: expected codes of 2 or more axes, got 1")
    names, ids = _categories(rows.labels)
    about = {
        "rows": n,
        "width": d,
        "codes": _base64(rows.codes, "<f4"),
        "axes": list(map(list, axes)) or [[f"axis {number}", "", ""] for number in range(1, d + 1)],
        "texts": None if rows.texts is None else list(map(str, rows.texts)),
        "labels": names,
        "label": ids,
        "teacher": {"k": rows.teacher.shape[1], "rows": _base64(rows.teacher, "<i4")},
        "student": {"k": rows.student.shape[1], "rows": _base64(rows.student, "<i4")},
        "numbers": _base64(rows.numbers, "<f8"),  # whole up to 2^53, as numbers of JavaScript are
        "numbers_of": rows.numbers_of,
    }
    data = json.dumps(about, ensure_ascii=False, separators=(",", ":"), allow_nan=False).translate(ESCAPES)
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined)
    given = {"title": title, "figures": figures, "about": about, "data": Markup(data)}
    page = environment.get_template("explore.html").render(given).encode(errors="replace")
    write_atomically(path, lambda file: file.write(page))


def _categories(labels: Sequence[Any] | np.ndarray | None) -> tuple[list[tuple[str, int]], str | None]:
    """The different labels with their counts, the most frequent first, and the number of each row's as base64."""
    if labels is None:
        return [], None
    named = ["no label" if missing else str(label) for label, missing in zip(labels, missing_labels(labels))]
    counts = Counter(named).most_common()
    place = {name: number for number, (name, _) in enumerate(counts)}
    return counts, _base64(np.array([place[name] for name in named]), "<u4")


def _base64(array: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, kind).tobytes()).decode()
