"""What `stillhouse.distill` is given: arrays, frames, texts and teachers of any form, as files and settings of a run.

Legend: N rows, D numbers of a row, K classes, C channels, H W pixels.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.config import TABLES
from stillhouse.core.labels import missing_labels, whole_numbers

FILES = dict.fromkeys(TABLES, "predictions") | dict.fromkeys((".pt", ".pth", ".bin", ".safetensors"), "ckpt")
FILES[".npz"] = "vectors"


@dataclass(frozen=True)
class GivenData:
    """Data as a run names them.

    Attributes:
        settings: the `data` part of a run.
        classes: names in the order of the data.
        labels: (K) the same as they were given, in their own order (numbers by size); None: the names themselves.
        raw: N inputs as they were given, those of the test after them, for a teacher that is a function; None: of files.
    """

    settings: Mapping[str, Any]
    classes: tuple[str, ...] = ()
    labels: tuple[Any, ...] | None = None
    raw: Any = None


def data_of(
    data: Any, test: Any, reads: str, folder: Path, text_column: str = "text", label_column: str = "label"
) -> GivenData:
    """Data of any form as settings; what is no file yet becomes one.

    Args:
        data: a path, the name of a set, a frame with a column of labels, or (X, y).
        test: the same, or None.
        reads: what the student reads: images, texts, words or a table.
        folder: gets the files.
        text_column: of a file or frame.
        label_column: of a file or frame.

    Raises:
        InputError: anything else.
    """
    if isinstance(data, (str, Path)):
        return GivenData(_of_path(data, test, reads, text_column))
    if isinstance(test, (str, Path)):
        raise InputError("test: expected rows as data has them, got a path")
    pairs = [_pair(one, label_column) for one in (data, test) if one is not None]
    known = {str(label): label for _, labels in pairs for label in labels if label is not None}
    numbers = all(isinstance(label, (int, float)) for label in known.values())
    classes = tuple(sorted(known.values(), key=None if numbers else str))
    folder.mkdir(parents=True, exist_ok=True)
    if _axes(pairs[0][0]) < 3:
        return _rows(pairs, classes, reads, folder, text_column)
    place = {str(label): number for number, label in enumerate(classes)} | {"None": -1}
    names = tuple(map(str, classes))
    arrays = {"class_names": np.array(names)}
    for prefix, (inputs, labels) in zip(("", "test_"), pairs):
        arrays |= {f"{prefix}images": _array(inputs), f"{prefix}labels": np.array([place[str(x)] for x in labels])}
    np.savez(folder / "data.npz", **arrays)  # type: ignore[arg-type]
    raw = np.concatenate([_array(inputs) for inputs, _ in pairs])
    return GivenData({"name": "npz", "root": str(folder / "data.npz")}, names, classes, raw)


def _of_path(data: str | Path, test: Any, reads: str, text_column: str) -> dict[str, Any]:
    from stillhouse.tasks.classification.data.readers import rows_of
    from stillhouse.tasks.classification.data.rows import BANKING
    from stillhouse.tasks.classification.data.sources import CLASSES

    path, more = Path(data).expanduser(), {} if test is None else {"test": str(Path(test).expanduser())}
    if str(data) in ("digits", *CLASSES) and not path.exists():
        return {"name": str(data), **more}
    if str(data) == BANKING:
        return {"name": "words", "root": BANKING, **more}
    if path.is_dir() or path.suffix.lower() == ".npz":
        return {"name": "folder" if path.is_dir() else "npz", "root": str(path), **more}
    if not path.is_file() or path.suffix.lower() not in TABLES:
        names = ["digits", *CLASSES, BANKING]
        raise InputError(
            f"data {str(data)!r}: expected a file, a folder or a data set; {nearest(str(data), names)}; files: .npz, "
            f"{', '.join(TABLES)}"
        )
    name = "texts" if reads == "texts" else "words" if text_column in rows_of(path)[0] else "table"
    return {"name": name, "root": str(path), **more}


def _pair(given: Any, label_column: str) -> tuple[Any, list[Any]]:
    """(X, y), of a frame its other columns and that of the labels; None where a row has no label."""
    if hasattr(given, "columns"):
        columns = list(map(str, given.columns))
        if label_column not in columns:
            raise InputError(f"data: expected a column {label_column!r} of labels; {nearest(label_column, columns)}")
        given = given.drop(columns=[label_column]), given[label_column]
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise InputError(f"data: expected a path, a frame or (X, y), got {type(given).__name__}")
    inputs, labels = given[0], _list(given[1])
    if len(inputs) != len(labels):
        raise InputError(
            f"data: expected a label for each of {len(inputs):,} rows (-1 or None where there is none), got {len(labels):,}"
        )
    missing = missing_labels(labels)
    known = np.array([None if gone else label for label, gone in zip(labels, missing)], object)
    with suppress(TypeError, ValueError):  # words and numbers
        known = whole_numbers(known, missing)
    return inputs, [None if gone else label for label, gone in zip(known.tolist(), missing)]


def _rows(
    pairs: Sequence[tuple[Any, list[Any]]], classes: tuple[Any, ...], reads: str, folder: Path, text_column: str
) -> GivenData:
    """Texts, or rows of a table, a line of JSON each."""
    rows = [_mappings(inputs, text_column) for inputs, _ in pairs]
    texts = all(isinstance(row.get(text_column), str) for row in rows[0])
    name = "texts" if reads == "texts" else "words" if texts else "table"
    label_column = next(name for name in ("label", "class", "class label", "the label") if name not in rows[0][0])
    settings: dict[str, Any] = {"name": name, "label_column": label_column}
    if name != "table":
        settings["text_column"] = text_column
    for key, some, (_, labels) in zip(("root", "test"), rows, pairs):
        settings[key] = str(folder / f"{'rows' if key == 'root' else 'test'}.jsonl")
        lines = [
            json.dumps({**row, label_column: None if label is None else str(label)}, ensure_ascii=False)
            for row, label in zip(some, labels)
        ]
        Path(settings[key]).write_text("\n".join(lines) + "\n", encoding="utf-8")
    raw = [row if name == "table" else row[text_column] for some in rows for row in some]
    return GivenData(settings, tuple(sorted(map(str, classes))), classes, raw)


def _mappings(inputs: Any, text_column: str) -> list[dict[str, Any]]:
    """Each input as named values."""
    if hasattr(inputs, "columns"):
        found = inputs.to_dict("records")
    elif _axes(inputs) == 2:
        found = [{f"x{n}": x for n, x in enumerate(row)} for row in _array(inputs).tolist()]
    else:
        found = [{text_column: one} if isinstance(one, str) else one for one in _list(inputs)]
    wrong = next((number for number, one in enumerate(found) if not isinstance(one, Mapping)), None)
    if wrong is not None or not found:
        got = "none" if wrong is None else f"{type(found[wrong]).__name__} in row {wrong}"
        raise InputError(f"data: expected images (N, H, W[, C]), texts, numbers (N, D) or a frame, got {got}")
    return [{str(key): _cell(x) for key, x in one.items()} for one in found]


def inputs_of(inputs: Any, reads: str) -> Any:
    """Inputs as a trained student takes them: texts, mappings or images."""
    if isinstance(inputs, str):
        return [inputs]
    if hasattr(inputs, "columns") or (reads == "table" and _axes(inputs) == 2):
        return _mappings(inputs, "text")
    return list(inputs) if hasattr(inputs, "tolist") else inputs


# ------------------------------------------------------------------------------------------------ teachers


def teacher_of(teacher: Any, data: GivenData, folder: Path) -> tuple[Mapping[str, Any] | None, Any]:
    """A teacher of any form: its settings, and the object itself where no settings build it.

    Args:
        teacher: a source, a path, an array (N, K) of probabilities or (N, D) of vectors, (N) classes, a function of the inputs
            that gives one of these, a module, an estimator, a `Teacher`, a mapping of settings, or None.
        data: what it teaches on.
        folder: gets the array.

    Raises:
        InputError: anything else.
    """
    from torch import nn

    from stillhouse.teachers.teacher import Teacher

    if teacher is None or isinstance(teacher, Mapping):
        return teacher, None
    if isinstance(teacher, (str, Path)):
        return {"source": _source(teacher, data)}, None
    name = type(teacher).__name__
    if isinstance(teacher, (nn.Module, Teacher)) or hasattr(teacher, "predict"):
        return {"source": f"given:{name}"}, teacher
    if callable(teacher):
        if data.raw is None:
            raise InputError("teacher: a function is asked about data that are given as arrays, and these are files")
        teacher = teacher(data.raw)
    array = _array(teacher)
    if array.ndim not in (1, 2) or array.dtype.kind not in "fiuU":
        raise InputError(
            "teacher: expected a source, a path, a function, probabilities (N, K), vectors (N, D), a module or an estimator, "
            f"got {name}"
        )
    kind = _kind(array, data)
    if kind == "predictions" and array.ndim == 2 and data.labels is not None:
        array = array[:, [[str(label) for label in data.labels].index(name) for name in data.classes]]
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "teacher.npy", array.astype(str) if array.ndim == 1 else array)
    return {"source": f"{kind}:{folder / 'teacher.npy'}"}, None


def _source(teacher: str | Path, data: GivenData) -> str:
    """A source as it is; of a path the one that its kind of file is."""
    path = Path(teacher).expanduser()
    if path.is_dir():
        return f"{'encoder' if (path / 'modules.json').is_file() else 'run'}:{path}"
    if path.is_file() and path.suffix.lower() == ".npy":
        return f"{_kind(np.load(path, mmap_mode='r', allow_pickle=False), data)}:{path}"
    return f"{FILES[path.suffix.lower()]}:{path}" if path.is_file() and path.suffix.lower() in FILES else str(teacher)


def _kind(array: np.ndarray, data: GivenData) -> str:
    """Probabilities where there are as many columns as classes, none below 0 and each row of sum 1; else vectors."""
    if array.ndim == 1:
        return "predictions"
    sums = array.sum(1)
    shares = array.ndim == 2 and np.nanmin(array) >= 0 and np.allclose(sums[np.isfinite(sums)], 1, atol=0.02)
    return "predictions" if shares and len(data.classes) in (0, array.shape[1]) else "vectors"


# ------------------------------------------------------------------------------------------------ forms


def _cell(x: Any) -> Any:
    x = x.item() if hasattr(x, "item") else x
    if isinstance(x, float) and not math.isfinite(x):
        return None
    return x if x is None or isinstance(x, (bool, int, float, str)) else str(x)


def _list(values: Any) -> list[Any]:
    return list(values.tolist() if hasattr(values, "tolist") else values)


def _array(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)


def _axes(inputs: Any) -> int:
    """Axes of an array; 1 of a list of texts or mappings, 0 of a frame."""
    if hasattr(inputs, "columns"):
        return 0
    if not hasattr(inputs, "ndim") and (not len(inputs) or isinstance(inputs[0], (str, Mapping))):
        return 1
    return _array(inputs).ndim
