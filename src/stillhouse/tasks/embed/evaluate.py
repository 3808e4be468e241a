"""A finished student against the teacher: its figures on the run's rows or others, and the page of its space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.core.config import parse
from stillhouse.core.outputs import check_output
from stillhouse.core.records import ABOUT, RUN, read_object
from stillhouse.core.sample import sample_rows
from stillhouse.tasks.embed.data.vectors import VectorStore, open_vectors
from stillhouse.tasks.embed.explore_page import Rows, write_explorer
from stillhouse.tasks.embed.material import EmbeddingData, open_material, split_digest
from stillhouse.tasks.embed.metrics.neighbourhood import FEWEST, Metric, figures_of, nearest_neighbors
from stillhouse.tasks.embed.plan import EmbedRunConfig
from stillhouse.tasks.embed.predict import Student, load_student
from stillhouse.tasks.embed.students import unnamed_axes
from stillhouse.tasks.embed.text import TextEmbedder

CHUNK = 8192
MOST_NEIGHBORS = 1000  # on the explorer page, of each row
MOST_ROWS = 5000  # of other vectors than the run's that are judged
ON_PAGE = ("knn_overlap@10", "knn_chance@10", "trustworthiness", "spearman")


def test_vectors(folder: Path, most: int) -> np.ndarray:
    """(n, D) test rows of the run that a student belongs to, at most so many, drawn by a fixed seed.

    Raises:
        InputError: it belongs to none, or its vectors are gone or were changed.
    """
    material = _run_of(folder, asked=False)[1]
    return np.asarray(material.data.store.read(material.test[sample_rows(len(material.test), most)]), np.float32)


def evaluate(
    folder: Path, vectors: str | None = None, *, key: str | None = None, limit: int | None = None
) -> dict[str, Any]:
    """Figures of a student: on the test rows of its run, or on vectors that are given.

    Args:
        folder: of the student or its run.
        vectors: other vectors of the same teacher.
        key: which array of them.
        limit: rows that are judged, at most. [of a run all that it judged, of other vectors 5000]

    Returns:
        `data`, `rows`, means of what each row keeps, and all of `figures_of`.

    Raises:
        InputError: no student, vectors of another width, too few rows.
    """
    student = load_student(folder)
    if vectors is None:
        material = _run_of(folder)[1]
        store, rows = material.data.store, material.test
    else:
        store, limit = open_vectors(vectors, key=key), MOST_ROWS if limit is None else limit
        rows = np.setdiff1d(np.arange(len(store)), store.scan.zero_rows)
    rows = rows[sample_rows(len(rows), limit)]
    codes, labels = codes_of(student, store, rows), None if store.labels is None else store.labels[rows]
    if len(rows) < FEWEST:
        raise InputError(f"{store.path}: expected at least {FEWEST} rows to compare neighbours on, got {len(rows)}")
    found = figures_of(store.read(rows), codes, metric=_metric(student), labels=labels)
    means = {name: float(values.mean()) for name, values in found.items.items()}
    return {"data": store.path.name, "rows": len(rows), **means, **found.scalars}


def explore(
    folder: Path,
    out: Path,
    vectors: str | None = None,
    *,
    key: str | None = None,
    limit: int = 5000,
    neighbors: int = 10,
    every: bool = False,
) -> Path:
    """Write the page on which the space can be looked at: held-out rows of the student's run, or vectors that are given.

    Args:
        folder: of the student or its run.
        out: the HTML file.
        vectors: other vectors of the same teacher (a capture has its texts).
        key: which array of them.
        limit: rows on the page, at most.
        neighbors: of each row, on either side.
        every: of a run: all of its rows, not the test split alone.

    Raises:
        InputError: no student, vectors of another width, too few rows.
    """
    check_output(out, suffixes=(".html",))
    if limit < 3 or not 1 <= neighbors <= MOST_NEIGHBORS:
        raise InputError(
            f"explore: expected limit from 3 and neighbors from 1 to {MOST_NEIGHBORS}, got {limit} and {neighbors}"
        )
    student, title = load_student(folder), ""
    if vectors is None:
        config, material = _run_of(folder)
        store, title = material.data.store, f"{config.name}, "
        rows = np.arange(len(store)) if every else material.data.test
    else:
        store = open_vectors(vectors, key=key)
        rows = np.arange(len(store))
    rows = np.setdiff1d(rows, store.scan.zero_rows)
    rows = rows[sample_rows(len(rows), limit)]
    if len(rows) < 3:
        raise InputError(f"{store.path}: expected at least 3 rows to look at, got {len(rows)}")
    codes, wide, metric, k = codes_of(student, store, rows), store.read(rows), _metric(student), len(rows) - 1
    scalars = figures_of(wide, codes, metric=metric).scalars if len(rows) >= FEWEST else {}
    k = min(neighbors, len(rows) - 1)
    shown = Rows(
        codes,
        texts=None if store.texts is None else [store.texts[int(row)] for row in rows],
        labels=None if store.labels is None else store.labels[rows],
        teacher_neighbours=nearest_neighbors(wide, k, metric=metric),
        student_neighbours=nearest_neighbors(codes, k, metric="euclidean"),
        numbers=rows,
        numbers_of=store.path.name,
    )
    count = f"{len(rows):,}" if len(rows) == len(store) else f"{len(rows):,} of {len(store):,}"
    axes = student.card.get("axes")
    if axes is not None:  # of those that nobody named the name alone, as `low 1` and `high 1` say nothing
        axes = [one[0] if list(one) == blank else list(one) for one, blank in zip(axes, unnamed_axes(len(axes)))]
    figures = {name: scalars[name] for name in ON_PAGE if name in scalars}
    return write_explorer(out, shown, axes=axes, title=f"{title}{store.path.stem}", metrics={"rows": count, **figures})


def codes_of(student: Student, store: VectorStore, rows: np.ndarray) -> np.ndarray:
    """Codes of the first level of rows of a store: of its vectors, or of its texts for a student that reads texts.

    Raises:
        InputError: vectors of another width, or no texts.
    """
    first = slice(0, student.levels[0])
    if isinstance(student, TextEmbedder):
        if store.texts is None:
            raise InputError(f"{store.path}: this student reads texts, and these vectors have none")
        return student.encode([store.texts[int(row)] for row in rows])[:, first]
    expected = int(student.card["teacher_dim"])
    if store.width != expected:
        raise InputError(
            f"{store.path}: expected vectors of width {expected}, as the student was taught, got {store.width}"
        )
    parts = [student.encode(store.read(some)) for some in np.array_split(rows, -(-len(rows) // CHUNK) or 1)]
    return np.concatenate(parts)[:, first]


def _metric(student: Student) -> Metric:
    """How its teacher's vectors are compared: by cosine, or with their lengths where those were learned from."""
    return "cosine" if student.card.get("normalize", True) else "euclidean"


def _run_of(folder: Path, *, asked: bool = True) -> tuple[EmbedRunConfig, EmbeddingData]:
    """The run that a student belongs to and its data as it saw them: split again, a test row may be one it was trained on.

    Raises:
        InputError: it lies in no run of embeddings, or the file of vectors is another one by now.
    """
    here = Path(folder).resolve()
    place = next((p for p in (here, *here.parents) if (p / RUN).is_file()), None)
    about = {} if place is None else read_object(place / RUN, {**ABOUT, "data": dict[str, Any]})
    what, advice = (f"{folder}: ", ", so its rows are not known; name vectors with --vectors") if asked else ("", "")
    if about.get("kind") != "embed":
        raise InputError(f"{what}it belongs to no run{advice}")
    config = parse(EmbedRunConfig, about["config"])
    material = open_material(config)
    if about["data"].get("splits_sha256") != split_digest(material.data):
        raise InputError(
            f"{material.data.store.path}: it is not what the run in {place} was made of (other rows or splits), so its test "
            "rows are not known any more; put the file back, or name vectors with --vectors"
        )
    return config, material
