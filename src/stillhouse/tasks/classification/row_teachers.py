"""Teachers of a run that know rows by their number: what they are made of, and to which labels they are fitted.

    vectors:FILE         a logistic head on stored vectors, fitted to the labels of each seed
    encoder:NAME         the same on what a sentence encoder makes of the texts
    sklearn:CLASSIFIER   a classifier of scikit-learn on the raw rows, fitted likewise
    predictions:FILE     answers as they were given, of any model; nothing is fitted

Legend: N rows of the data, D numbers of a vector, K classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.labels import MISSING
from stillhouse.core.types import ImageSpec
from stillhouse.tasks.classification.data.readers import is_missing, number_in, rows_of
from stillhouse.tasks.classification.data.rows import BANKING, HERE
from stillhouse.teachers.by_row import FittedTeacher, RowTeacher, logistic_head
from stillhouse.teachers.config import TeacherConfig

VECTORS = HERE / "vectors.npy"  # of the messages in the package


def row_teacher(source: TeacherConfig, data: Any, *, whole: bool) -> RowTeacher:
    """The teacher of a source that names rows.

    Args:
        source: its `source` is one of `teachers.BY_ROW`.
        data: of the run.
        whole: the data hold all rows of their file, so that a file of another number of rows is of other data.

    Raises:
        InputError: a file that cannot be read, or is not of these rows.
    """
    kind, _, name = source.source.partition(":")
    if kind == "predictions":
        return given_answers(source.source, read_predictions(Path(name).expanduser(), data, whole), data)
    if kind == "sklearn":
        teacher: RowTeacher = on_rows(source.source, classifier(name, source.arguments), data)
    else:
        if kind == "vectors" or source.source == BANKING:
            vectors = read_vectors(VECTORS if source.source == BANKING else Path(name).expanduser())
            check_length(f"teacher {source.source}", len(vectors), data, whole)
        else:
            from stillhouse.teachers.encoder import stored_vectors

            vectors = stored_vectors(texts_of(source.source, data), name)
        teacher = head_on(source.source, vectors, data)
    return fitted_to(teacher, data) if isinstance(teacher, FittedTeacher) else teacher


def given_answers(name: str, probabilities: NDArray[Any], data: Any, seen: str = "") -> RowTeacher:
    """A teacher of answers that are there already.

    Args:
        name: shown in reports.
        probabilities: (N, K), rows of the data by number; NaN where there is none.
        data: of the run; every training and validation row needs an answer.
        seen: as of `RowTeacher`.

    Raises:
        InputError: another number of classes, a row without an answer, or numbers that are no probabilities.
    """
    teacher, classes = RowTeacher(name, probabilities, seen=seen), data.input_spec.class_names
    if teacher.spec.num_classes != len(classes):
        raise InputError(
            f"teacher {name}: expected {len(classes)} classes ({', '.join(classes[:9])}), got {teacher.spec.num_classes}"
        )
    splits = data.for_teachers.whole_splits
    rows = torch.cat([numbers_of(f"teacher {name}", splits[split]) for split in ("train", "validation")]).sort().values
    known = ~torch.isnan(teacher.answers).any(1)
    lacking = [row for row in rows.tolist() if row >= len(known) or not known[row]]
    if lacking:
        raise InputError(
            f"teacher {name}: no answer for {len(lacking):,} of {len(rows):,} training and validation rows (first: row "
            f"{lacking[0]}, from 0); answer them, or take them out of the data"
        )
    return teacher


def head_on(name: str, vectors: NDArray[Any], data: Any) -> FittedTeacher:
    """A logistic head on vectors (N, D), fitted to no labels yet."""
    x = np.ascontiguousarray(vectors, np.float32)
    digest = hashlib.sha256(f"head {x.shape}".encode() + x.tobytes()).hexdigest()
    return FittedTeacher(name, x, data.input_spec.num_classes, logistic_head, digest)


def fitted_to(teacher: FittedTeacher, data: Any) -> FittedTeacher:
    """A teacher fitted to the training rows of data that have a label."""
    train = data.for_teachers.train
    labelled = torch.nonzero(train.labels != MISSING).flatten()
    return teacher.fitted(numbers_of(f"teacher {teacher.name}", train)[labelled], train.labels[labelled])


def on_rows(name: str, estimator: Any, data: Any) -> RowTeacher:
    """An estimator of scikit-learn that reads raw rows: one that is fitted answers as it is, another one is fitted to labels.

    A table is given as numbers, its categories numbered in alphabetical order; to a `Pipeline` as a pandas frame. Texts go as
    they are to a `Pipeline`, and to others as TF-IDF of their words; images as rows of pixels.

    Args:
        name: shown in reports.
        estimator: a classifier.
        data: of the run.

    Raises:
        InputError: no classifier, or one that was fitted to other classes.
    """
    from sklearn.base import is_classifier

    if not is_classifier(estimator):
        raise InputError(f"teacher {name}: expected a classifier of scikit-learn, got {type(estimator).__name__}")
    estimator, inputs = _readable(estimator, data)
    count = data.input_spec.num_classes
    if _is_fitted(estimator):
        return given_answers(name, _as_named(name, estimator, inputs, data), data, seen="it was fitted before the run")
    digest = hashlib.sha256(f"{estimator!r} {type(inputs).__name__} {len(inputs)}".encode())
    digest.update(inputs.tobytes() if isinstance(inputs, np.ndarray) else repr(_raw(data)).encode())
    return FittedTeacher(name, inputs, count, lambda *_: estimator, digest.hexdigest())


def classifier(name: str, arguments: Mapping[str, Any]) -> Any:
    """A classifier of scikit-learn by its name, with fixed random numbers.

    Raises:
        InputError: one that scikit-learn has not, or an argument that it does not have.

    Example:
        >>> classifier("RandomForestClassifier", {"n_estimators": 50})
        RandomForestClassifier(n_estimators=50, random_state=0)
    """
    from sklearn.utils import all_estimators

    known = dict(all_estimators(type_filter="classifier"))
    if name not in known:
        raise InputError(f"teacher sklearn:{name} is not known; {nearest(name, known)}")
    kind: Any = known[name]
    fixed = {"random_state": 0} if "random_state" in signature(kind).parameters else {}
    try:
        return kind(**(fixed | dict(arguments)))
    except TypeError as error:
        raise InputError(f"teacher sklearn:{name}: {error}") from None


def texts_of(name: str, data: Any) -> list[str]:
    """The texts of the data by number; an empty one for rows that no split has.

    Raises:
        InputError: data without texts.
    """
    if not isinstance(data.input_spec, ImageSpec):
        found = _raw(data)
        if _are_texts(found):
            return [row or "" for row in found]
    raise InputError(
        f"teacher {name}: reads texts, and these are {data.input_spec.rows}; for images take timm:NAME with teacher.head=probe"
    )


def _are_texts(raw: Sequence[Any]) -> bool:
    return all(isinstance(row, str) for row in raw if row is not None)


def _readable(estimator: Any, data: Any) -> tuple[Any, Any]:
    """An estimator and the rows of the data, so that the one can read the other."""
    from sklearn.pipeline import Pipeline, make_pipeline
    from sklearn.utils import get_tags

    if isinstance(data.input_spec, ImageSpec):
        return estimator, _pixels(data)
    raw = _raw(data)
    if _are_texts(raw):
        from sklearn.feature_extraction.text import TfidfVectorizer

        whole = estimator if isinstance(estimator, Pipeline) else make_pipeline(TfidfVectorizer(), estimator)
        return whole, [row or "" for row in raw]
    columns = list(next(row for row in raw if row is not None))
    if isinstance(estimator, Pipeline):
        from pandas import DataFrame

        return estimator, DataFrame([row or {} for row in raw], columns=columns)
    table = np.column_stack([_column([(row or {}).get(name) for row in raw]) for name in columns])
    if get_tags(estimator).input_tags.allow_nan or _is_fitted(estimator):
        return estimator, table
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(SimpleImputer(), StandardScaler(), estimator), table


def _column(cells: Sequence[Any]) -> NDArray[np.float64]:
    """(N) numbers of a column; categories are numbered in alphabetical order, what is missing is NaN."""
    there = [None if is_missing(cell) else cell for cell in cells]
    place: dict[str, float] = {}
    if any(cell is not None and number_in(cell) is None for cell in there):
        words = sorted({str(cell) for cell in there if cell is not None})
        place = {word: float(number) for number, word in enumerate(words)}
    return np.array([np.nan if x is None else place[str(x)] if place else number_in(x) for x in there], np.float64)


def _raw(data: Any) -> list[Any]:
    """Texts, or rows of a table as mappings, by number; None for rows that no split has."""
    known: dict[int, Any] = {}
    for split in data.for_teachers.whole_splits.values():
        numbers = [] if split.numbers is None else split.numbers.tolist()
        known |= dict(zip(numbers, getattr(split, "raw", ())))
    if not known:
        raise InputError("teacher: reads raw rows, and these data keep none; take vectors:FILE.npy")
    return [known.get(number) for number in range(max(known) + 1)]


def _pixels(data: Any) -> NDArray[np.float32]:
    """(N, C * H * W) pixels in [0, 1] of images by number."""
    splits = data.for_teachers.whole_splits.values()
    count = 1 + max(int(numbers_of("teacher", split).max()) for split in splits)
    found = np.zeros((count, int(np.prod(data.for_teachers.input_spec.shape))), np.float32)
    for split in splits:
        for batch in split.batches(1000):
            found[batch.rows.numpy()] = batch.inputs.flatten(1).numpy()
    return found


def _is_fitted(estimator: Any) -> bool:
    return hasattr(estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator, "classes_")


def _as_named(name: str, estimator: Any, inputs: Any, data: Any) -> NDArray[np.float64]:
    """(N, K) of an estimator that was fitted elsewhere, its classes in the order of the data."""
    classes, own = list(data.input_spec.class_names), [str(word) for word in estimator.classes_]
    if sorted(own) != sorted(classes):
        raise InputError(
            f"teacher {name}: expected classes {', '.join(classes[:9])}, it was fitted to {', '.join(own[:9])}"
        )
    if hasattr(estimator, "predict_proba"):
        found: NDArray[np.float64] = estimator.predict_proba(inputs)[:, [own.index(word) for word in classes]]
        return found
    return one_hot(f"teacher {name}", [str(word) for word in estimator.predict(inputs)], classes)


# ------------------------------------------------------------------------------------------------ files of rows


def read_vectors(path: Path) -> NDArray[Any]:
    """(N, D) of a .npy file, or of the arrays `train` and `test` of a .npz file, one after the other.

    Raises:
        InputError: no such file, another file, or arrays of another shape.
    """
    found = _loaded(path)
    if not isinstance(found, np.ndarray):
        if "train" not in found:
            raise InputError(f"{path}: expected an array 'train', got {', '.join(found) or 'none'}")
        found = np.concatenate([found[key] for key in ("train", "test") if key in found])
    if found.ndim != 2 or found.dtype.kind not in "fiu":
        raise InputError(f"{path}: expected numbers (rows, width), got {found.dtype} of shape {found.shape}")
    return found


def _loaded(path: Path) -> Any:
    """The array of a .npy file, or the arrays of a .npz file by name."""
    try:
        found = np.load(path, allow_pickle=False)
        return {key: found[key] for key in found.files} if hasattr(found, "files") else found
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: expected arrays in a .npy or .npz file, which cannot be read: {error}") from None


def read_predictions(path: Path, data: Any, whole: bool) -> NDArray[np.float64]:
    """(N, K) answers of a file, by the numbers of the rows; NaN where it has none.

    A table (.csv, .tsv, .jsonl, .parquet) has a column of probabilities for each class, by its name, or one column `label` or
    `prediction` with names of classes; its rows are in the order of the data, or numbered from 0 in a column `row`. A .npy file
    holds probabilities (N, K) or names (N).

    Args:
        path: the file.
        data: of the run.
        whole: the data hold all rows of their file.

    Raises:
        InputError: a file that cannot be read, lacks a class, or names a class or row that the data do not have.
    """
    if path.suffix.lower() == ".npy":
        given, classes = _loaded(path), data.input_spec.class_names
        found = one_hot(str(path), given.tolist(), classes) if given.ndim == 1 else np.asarray(given, np.float64)
        check_length(f"predictions {path}", len(found), data, whole)
        return found
    rows = rows_of(path)
    found = _of_table(path, rows, data.input_spec.class_names)
    if "row" not in rows[0]:
        check_length(f"predictions {path}", len(found), data, whole)
        return found
    places = [number_in(row.get("row")) for row in rows]
    most = 1 + max(int(numbers_of("predictions", split).max()) for split in data.for_teachers.whole_splits.values())
    if len(set(places)) < len(places) or not set(places) <= set(range(most)):
        raise InputError(f"{path}: rows: expected each number once, from 0 to {most - 1}")
    placed = np.full((most, found.shape[1]), np.nan)
    placed[np.array(places, np.int64)] = found
    return placed


def _of_table(path: Path, rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> NDArray[np.float64]:
    columns = [str(name) for name in rows[0]]
    lacking = [name for name in classes if name not in columns]
    named = next((name for name in ("prediction", "label") if name in columns), None)
    if named is not None and len(lacking) == len(classes):
        return one_hot(str(path), [row.get(named) for row in rows], classes)
    if lacking:
        raise InputError(
            f"{path}: expected a column for each class, or one called label; {lacking[0]!r}: {nearest(lacking[0], columns)}"
        )
    try:
        cells = [[np.nan if is_missing(row.get(name)) else row[name] for name in classes] for row in rows]
        return np.array(cells, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: expected numbers in the columns of classes: {error}") from None


def one_hot(where: str, names: Sequence[Any], classes: Sequence[str]) -> NDArray[np.float64]:
    """(N, K) of names; NaN where there is none."""
    words = np.array(["" if name is None else str(name).strip() for name in names])
    if unknown := set(words.tolist()) - {"", *classes}:
        name = sorted(unknown)[0]
        raise InputError(f"{where}: {name[:40]!r} is no class of the data; {nearest(name, classes)}")
    found = (words[:, None] == np.array(classes)).astype(np.float64)
    found[words == ""] = np.nan
    return found


def check_length(what: str, rows: int, data: Any, whole: bool) -> None:
    """Raise unless there are as many answers or vectors as rows.

    Args:
        what: has them, for messages.
        rows: how many it has.
        data: of the run; a test split that came in a file of its own may be left out.
        whole: the data hold all rows of their file.
    """
    numbers = {name: numbers_of(what, split) for name, split in data.for_teachers.whole_splits.items()}
    own = 1 + int(torch.cat([numbers["train"], numbers["validation"]]).max())
    wanted = {max(own, 1 + int(numbers["test"].max()))} | ({own} if int(numbers["test"].min()) >= own else set())
    if (whole and rows not in wanted) or rows < min(wanted):
        counts = " or ".join(f"{count:,}" for count in sorted(wanted))
        raise InputError(f"{what}: expected a row for each row of the data ({counts}), in their order, got {rows:,}")


def numbers_of(what: str, split: Any) -> torch.Tensor:
    """(N) numbers of the rows of a split in the data."""
    numbers: torch.Tensor | None = getattr(split, "numbers", None)
    if numbers is None:
        raise InputError(f"{what}: answers by the number of a row, and these data have none")
    return numbers
