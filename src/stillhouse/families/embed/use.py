"""What a finished student is for: score it on vectors, code rows or texts, look at the space."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.core.config import parse
from stillhouse.core.outputs import check_output
from stillhouse.core.records import ABOUT, RUN, read_object
from stillhouse.core.sample import sample_rows
from stillhouse.families.embed.codes import Student, load_student
from stillhouse.families.embed.data.vectors import VectorStore, open_vectors
from stillhouse.families.embed.judge import neighbours_compared
from stillhouse.families.embed.metrics.anchors import fit_anchor
from stillhouse.families.embed.metrics.neighbourhood import Metric, judge, nearest_neighbors
from stillhouse.families.embed.metrics.rowwise import row_quality
from stillhouse.families.embed.plan import EmbedRunConfig
from stillhouse.families.embed.students import unnamed_axes
from stillhouse.families.embed.text import TextEmbedder

Log = Callable[[str], None]
BESIDE = ("pca", "random-projection")
CHUNK = 8192
MOST_NEIGHBORS = 1000  # on the explorer page, of each row
MOST_ROWS = 5000  # of other vectors than the run's that are judged


def metric_of(student: Student) -> Metric:
    """How its teacher's vectors are compared: by cosine, or with their lengths where those were learned from."""
    return "cosine" if student.card.get("normalize", True) else "euclidean"


def run_of(folder: Path) -> EmbedRunConfig | None:
    """The configuration of the run that a student belongs to, if it lies in one."""
    for place in (Path(folder).resolve(), *Path(folder).resolve().parents):
        if (place / RUN).is_file():
            about = read_object(place / RUN, ABOUT)
            return parse(EmbedRunConfig, about["config"]) if about.get("kind") == "embed" else None
    return None


def _material_of(folder: Path, config: EmbedRunConfig) -> Any:
    """The data of a run, as the run saw them: of another file under that name the split would hold rows it was trained on."""
    from stillhouse.families.embed.material import open_material, split_digest

    material = open_material(config)
    place = next(p for p in (Path(folder).resolve(), *Path(folder).resolve().parents) if (p / RUN).is_file())
    was = read_object(place / RUN, {"data": dict[str, Any]})["data"].get("splits_sha256")
    if was is not None and was != split_digest(material.data):
        raise InputError(
            f"{material.data.store.path}: it is not what the run in {place} was made of (other rows or splits), so its test "
            "rows are not known any more; put the file back, or name vectors with --vectors"
        )
    return material


def test_vectors(folder: Path, most: int) -> np.ndarray:
    """(n, D) test rows of the run that a student belongs to, at most so many, drawn by a fixed seed.

    Raises:
        InputError: it belongs to none, or its vectors are gone or were changed.
    """
    config = run_of(folder)
    if config is None:
        raise InputError("it belongs to no run")
    material = _material_of(folder, config)
    return np.asarray(material.data.store.read(material.test[sample_rows(len(material.test), most)]), np.float32)


def codes_of(student: Student, store: VectorStore, rows: np.ndarray) -> np.ndarray:
    """Codes of rows of a store: of its vectors, or of its texts for a student that reads texts.

    Raises:
        InputError: vectors of another width, or no texts.
    """
    if isinstance(student, TextEmbedder):
        if store.texts is None:
            raise InputError(f"{store.path}: this student reads texts, and these vectors have none")
        return student.encode([store.texts[int(row)] for row in rows])
    expected = int(student.card["teacher_dim"])
    if store.width != expected:
        raise InputError(
            f"{store.path}: expected vectors of width {expected}, as the student was taught, got {store.width}"
        )
    parts = [student.encode(store.read(some)) for some in np.array_split(rows, -(-len(rows) // CHUNK))]
    return np.concatenate(parts)


def evaluate(
    folder: Path, vectors: str | None = None, *, key: str | None = None, limit: int | None = None
) -> dict[str, Any]:
    """Score a student: on the test rows of its run, or on vectors that are given.

    Beside it stand PCA and a random projection; for given vectors both are fitted on the very rows that are judged, which
    favours them: the student has not seen those rows.

    Args:
        folder: of the student or its run.
        vectors: other vectors of the same teacher.
        key: which array of them.
        limit: rows that are judged, at most. [of a run all that it judged, of other vectors 5000]

    Returns:
        `rows`, `data`, `local` and `global` figures of the student and of what stands beside it.

    Raises:
        InputError: no student, vectors of another width, too few rows.
    """
    student = load_student(folder)
    if vectors is None:
        config = run_of(folder)
        if config is None:
            raise InputError(
                f"{folder}: it belongs to no run, so its test rows are not known; name vectors with --vectors"
            )
        material = _material_of(folder, config)
        store, rows, train = material.data.store, material.test, material.anchor_vectors(config.anchor_rows)
        rows = rows[sample_rows(len(rows), limit)]
        labels, fitted = material.data.labels(rows), "training rows of the run"
    else:
        store = open_vectors(vectors, key=key)
        rows = np.setdiff1d(np.arange(len(store)), store.scan.zero_rows)
        rows = rows[sample_rows(len(rows), MOST_ROWS if limit is None else limit)]
        train = store.read(rows)
        labels = None if store.labels is None else store.labels[rows]
        fitted = "the judged rows themselves"
    if len(rows) < 22:
        raise InputError(f"{store.path}: expected at least 22 rows to compare neighbours on, got {len(rows)}")
    teacher_out, width = store.read(rows), student.levels[0]
    metric = metric_of(student)
    ks = tuple(k for k in (1, 10, 100) if k < len(rows) / 2)
    found: dict[str, Any] = {"data": store.path.name, "rows": len(rows), "controls_fitted_on": fitted, "methods": {}}
    codes = {"student": codes_of(student, store, rows)[:, :width]}
    for name in BESIDE:
        codes[name] = fit_anchor(name, train, width, normalize=metric == "cosine")(teacher_out)
    for name, code in codes.items():
        figures = judge(teacher_out, code, ks=ks, metric=metric, labels=labels)
        near = {k: v for k, v in figures.items() if k.startswith(("knn", "trust", "cont", "label", "recall"))}
        far = {k: v for k, v in figures.items() if k in ("spearman", "pearson", "stress", "triplet_accuracy", "cka")}
        rows_kept = row_quality(teacher_out, code, k=neighbours_compared(len(code)), metric=metric)
        found["methods"][name] = {
            "rows": {n: float(v.mean()) for n, v in rows_kept.items()},
            "local": near,
            "global": far,
        }
    return found


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
    from stillhouse.families.embed.explore_page import Rows, write_explorer

    check_output(out, suffixes=(".html",))
    if limit < 3 or not 1 <= neighbors <= MOST_NEIGHBORS:
        raise InputError(
            f"explore: expected limit from 3 and neighbors from 1 to {MOST_NEIGHBORS}, got {limit} and {neighbors}"
        )
    student, config = load_student(folder), run_of(folder)
    if vectors is None and config is None:
        raise InputError(f"{folder}: it belongs to no run, so its vectors are not known; name them with --vectors")
    if vectors is None:
        assert config is not None
        data = config.data.build()
        store, rows = data.store, np.arange(len(data.store)) if every else data.test
    else:
        store = open_vectors(vectors, key=key)
        rows = np.arange(len(store))
    rows = np.setdiff1d(rows, store.scan.zero_rows)
    rows = rows[sample_rows(len(rows), limit)]
    if len(rows) < 3:
        raise InputError(f"{store.path}: expected at least 3 rows to look at, got {len(rows)}")
    first = codes_of(student, store, rows)[:, : student.levels[0]]
    k = min(neighbors, len(rows) - 1)
    teacher_out = store.read(rows)
    figures = {}
    metric = metric_of(student)
    if len(rows) >= 22:
        found = judge(teacher_out, first, ks=(10,), metric=metric)
        figures = {name: found[name] for name in ("knn_overlap@10", "knn_chance@10", "trustworthiness", "spearman")}
    shown = Rows(
        first,
        texts=None if store.texts is None else [store.texts[int(row)] for row in rows],
        labels=None if store.labels is None else store.labels[rows],
        teacher_neighbours=nearest_neighbors(teacher_out, k, metric=metric),
        student_neighbours=nearest_neighbors(first, k, metric="euclidean"),
        numbers=rows,
        numbers_of=store.path.name,
    )
    return write_explorer(
        out,
        shown,
        axes=_named(student.card.get("axes")),
        title=f"{config.name}, {store.path.stem}" if config is not None else store.path.stem,
        metrics={"rows": _of(len(rows), len(store)), **figures},
    )


# ------------------------------------------------------------------------------------------------------------- pieces


def _named(axes: Any) -> Any:
    """Axes of a card; of those that nobody named the name alone, as `low 1` and `high 1` say nothing.

    Example:
        >>> _named([["axis 1", "low 1", "high 1"], ["Emotion", "Negative", "Positive"]])
        ['axis 1', ['Emotion', 'Negative', 'Positive']]
    """
    if axes is None:
        return None
    return [one[0] if list(one) == blank else list(one) for one, blank in zip(axes, unnamed_axes(len(axes)))]


def _of(count: int, most: int) -> str:
    """How many of how many.

    Example:
        >>> _of(180, 1797), _of(300, 300)
        ('180 of 1,797', '300')
    """
    return f"{count:,}" if count == most else f"{count:,} of {most:,}"


def _vectors(texts: list[str], teacher: str, width: int) -> np.ndarray:
    import tempfile

    from stillhouse.families.embed.capture import capture

    with tempfile.TemporaryDirectory() as scratch:
        store = open_vectors(capture(texts, teacher, Path(scratch) / "vectors"))
        if store.width != width:
            raise InputError(
                f"teacher {teacher}: expected vectors of width {width}, as the student was taught, got {store.width}"
            )
        return store.read(np.arange(len(store)))
