"""What `stillhouse.distill` is given: arrays, frames, texts and teachers of any form, as files and settings of a run.

Legend: N rows, D numbers of a row, K classes, C channels, H W pixels.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.labels import missing_labels, whole_numbers

TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
WEIGHTS = (".pt", ".pth", ".bin", ".safetensors")


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
    pair, held = (None if one is None else _pair(one, label_column) for one in (data, test))
    assert pair is not None
    if isinstance(test, (str, Path)):
        raise InputError("test: expected rows as data has them, got a path")
    folder.mkdir(parents=True, exist_ok=True)
    given, labels = [pair[0], *([held[0]] if held else [])], [pair[1], *([held[1]] if held else [])]
    known = _classes([label for some in labels for label in some])
    if _axes(given[0]) >= 3:
        return _images(given, labels, known, folder)
    return _rows(given, labels, known, reads, folder, text_column)


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
    if teacher is None:
        return None, None
    if isinstance(teacher, Mapping):
        return dict(teacher), None
    if isinstance(teacher, (str, Path)):
        return {"source": _source(teacher, data)}, None
    name = type(teacher).__name__
    if _is_network(teacher) or hasattr(teacher, "predict"):
        return {"source": f"given:{name}"}, teacher
    if callable(teacher):
        if data.raw is None:
            raise InputError("teacher: a function is asked about data that are given as arrays, and these are files")
        teacher = teacher(data.raw)
    array = _array(teacher)
    if array.ndim not in (1, 2) or array.dtype.kind not in "fiuU":
        raise InputError(
            f"teacher: expected a name, a path, probabilities (N, K), vectors (N, D), a module or an estimator, got {name}"
        )
    return {"source": _written(array, data, folder)}, None


def _source(teacher: str | Path, data: GivenData) -> str:
    from stillhouse.teachers import SOURCES

    text, path = str(teacher), Path(teacher).expanduser()
    if text.partition(":")[0] in SOURCES and ":" in text and not path.exists():
        return text
    if (path / "modules.json").is_file():
        return f"encoder:{path}"
    if path.is_dir():
        return f"run:{path}"
    if path.is_file():
        suffix = path.suffix.lower()
        if suffix in TABLES:
            return f"predictions:{path}"
        if suffix in WEIGHTS:
            return f"ckpt:{path}"
        if suffix == ".npz":
            return f"vectors:{path}"
        if suffix == ".npy":
            return f"{_kind(np.load(path, mmap_mode='r', allow_pickle=False), data)}:{path}"
    raise InputError(
        f"teacher {text!r}: expected a file, a folder or {', '.join(f'{kind}:...' for kind in SOURCES[:-1])}; nothing lies there"
    )


def _written(array: np.ndarray, data: GivenData, folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    path, kind = folder / "teacher.npy", _kind(array, data)
    if kind == "predictions" and array.ndim == 2 and data.labels is not None:
        array = array[:, [[str(label) for label in data.labels].index(name) for name in data.classes]]
    elif array.ndim == 1:
        array = array.astype(str)
    np.save(path, array)
    return f"{kind}:{path}"


def _kind(array: np.ndarray, data: GivenData) -> str:
    """Probabilities where there are as many columns as classes, none below 0 and each row of sum 1; else vectors."""
    if array.ndim == 1:
        return "predictions"
    sums = array.sum(1)
    shares = array.ndim == 2 and np.nanmin(array) >= 0 and np.allclose(sums[np.isfinite(sums)], 1, atol=0.02)
    return "predictions" if shares and len(data.classes) in (0, array.shape[1]) else "vectors"


def _of_path(data: str | Path, test: Any, reads: str, text_column: str) -> dict[str, Any]:
    from stillhouse.core.config import settings
    from stillhouse.tasks.classification.data import DataConfig
    from stillhouse.tasks.classification.data.rows import BANKING

    if test is not None and not isinstance(test, (str, Path)):
        raise InputError(f"test: expected a path as data is one, got {type(test).__name__}")
    sets = [name for name in get_args(settings(DataConfig)["name"].annotation) if name not in ("folder", "npz")]
    names = [*sets, BANKING]
    path, more = Path(data).expanduser(), {} if test is None else {"test": str(Path(test).expanduser())}
    if str(data) in sets and not path.exists():
        return {"name": str(data), **more}
    if str(data) == BANKING:
        return {"name": "words", "root": BANKING, **more}
    if not path.exists():
        raise InputError(f"data {str(data)!r}: expected a file, a folder or a data set; {nearest(str(data), names)}")
    if path.is_dir() or path.suffix.lower() == ".npz":
        return {"name": "folder" if path.is_dir() else "npz", "root": str(path), **more}
    if path.suffix.lower() not in TABLES:
        raise InputError(f"data {path}: expected a folder, .npz, {', '.join(TABLES)}, got {path.suffix or 'no suffix'}")
    from stillhouse.tasks.classification.data.readers import rows_of

    name = "texts" if reads == "texts" else "words" if text_column in rows_of(path)[0] else "table"
    return {"name": name, "root": str(path), **more}


def _pair(given: Any, label_column: str) -> tuple[Any, list[Any]]:
    """(X, y), of a frame its other columns and that of the labels."""
    if hasattr(given, "columns"):
        columns = list(map(str, given.columns))
        if label_column not in columns:
            raise InputError(f"data: expected a column {label_column!r} of labels; {nearest(label_column, columns)}")
        given = given.drop(columns=[label_column]), given[label_column]
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise InputError(f"data: expected a path, a frame or (X, y), got {type(given).__name__}")
    inputs, labels = given
    count, labels = len(inputs), _list(labels)
    if count != len(labels):
        raise InputError(
            f"data: expected a label for each of {count:,} rows (-1 or None where there is none), got {len(labels):,}"
        )
    missing = missing_labels(labels)
    numbers = np.array([None if gone else label for label, gone in zip(labels, missing)], object)
    try:
        labels = whole_numbers(numbers, missing).tolist()
    except (TypeError, ValueError):
        labels = numbers.tolist()
    return inputs, [None if gone else label for label, gone in zip(labels, missing)]


def _classes(labels: Sequence[Any]) -> tuple[Any, ...]:
    """Labels as they were given, each once: numbers by size, words by the alphabet."""
    there = {str(label): label for label in labels if label is not None}
    numbers = all(isinstance(label, (int, float)) for label in there.values())
    return tuple(sorted(there.values(), key=None if numbers else str))


def _images(given: Sequence[Any], labels: Sequence[list[Any]], known: tuple[Any, ...], folder: Path) -> GivenData:
    place = {str(label): number for number, label in enumerate(known)} | {"None": -1}
    arrays = {"class_names": np.array([str(label) for label in known])}
    for prefix, inputs, some in zip(("", "test_"), given, labels):
        arrays |= {f"{prefix}images": _array(inputs), f"{prefix}labels": np.array([place[str(x)] for x in some])}
    np.savez(folder / "data.npz", **arrays)  # type: ignore[arg-type]
    raw = np.concatenate([_array(one) for one in given])
    names = tuple(str(label) for label in known)
    return GivenData({"name": "npz", "root": str(folder / "data.npz")}, names, known, raw)


def _rows(
    given: Sequence[Any],
    labels: Sequence[list[Any]],
    known: tuple[Any, ...],
    reads: str,
    folder: Path,
    text_column: str,
) -> GivenData:
    """Texts, or rows of a table, a line of JSON each."""
    if reads == "texts" and len(given) > 1:
        raise InputError(
            "test: students of token ids hold out their own test rows; leave it out, or take a student of words"
        )
    rows = [_mappings(inputs, text_column) for inputs in given]
    first = rows[0][0]
    texts = all(isinstance(row.get(text_column), str) for row in rows[0]) and (len(first) == 1 or reads == "texts")
    label_column = next(name for name in ("label", "class", "class label", "the label") if name not in first)
    name = "texts" if reads == "texts" else "words" if texts or _is_text(rows[0], text_column) else "table"
    settings: dict[str, Any] = {"name": name, "label_column": label_column}
    if name != "table":
        settings["text_column"] = text_column
    for key, some, classes in zip(("root", "test"), rows, labels):
        path = folder / ("rows.jsonl" if key == "root" else "test.jsonl")
        lines = [
            json.dumps({**row, label_column: None if label is None else str(label)}, ensure_ascii=False)
            for row, label in zip(some, classes)
        ]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        settings[key] = str(path)
    raw = [row[text_column] if name != "table" else row for some in rows for row in some]
    return GivenData(settings, tuple(sorted(str(label) for label in known)), known, raw)


def _is_text(rows: Sequence[Mapping[str, Any]], column: str) -> bool:
    return all(isinstance(row.get(column), str) for row in rows)


def _mappings(inputs: Any, text_column: str) -> list[dict[str, Any]]:
    """Each input as named values."""
    if hasattr(inputs, "columns"):
        return [{str(key): _cell(x) for key, x in row.items()} for row in inputs.to_dict("records")]
    if len(inputs) == 0:
        raise InputError("data: expected at least one row, got none")
    if _axes(inputs) == 2:
        return [{f"x{n}": _cell(x) for n, x in enumerate(row)} for row in _array(inputs).tolist()]
    found = _list(inputs)
    if all(isinstance(one, Mapping) for one in found):
        return [{str(key): _cell(x) for key, x in one.items()} for one in found]
    wrong = next((number for number, one in enumerate(found) if not isinstance(one, str)), None)
    if wrong is not None:
        raise InputError(
            f"data: expected images (N, H, W[, C]), texts, numbers (N, D) or a frame, got {type(found[wrong]).__name__} in row "
            f"{wrong}"
        )
    return [{text_column: one} for one in found]


def inputs_of(inputs: Any, reads: str) -> Any:
    """Inputs as a trained student takes them: texts, mappings or images."""
    if isinstance(inputs, str):
        return [inputs]
    if hasattr(inputs, "columns") or (reads == "table" and _axes(inputs) == 2):
        return _mappings(inputs, "text")
    return list(inputs) if hasattr(inputs, "tolist") else inputs


def _cell(x: Any) -> Any:
    x = x.item() if hasattr(x, "item") else x
    if isinstance(x, float) and not math.isfinite(x):
        return None
    return x if x is None or isinstance(x, (bool, int, float, str)) else str(x)


def _list(values: Any) -> list[Any]:
    found: list[Any] = values.tolist() if hasattr(values, "tolist") else list(values)
    return found


def _array(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)


def _axes(inputs: Any) -> int:
    """Axes of an array; 1 of a list of texts or mappings, 0 of a frame."""
    if hasattr(inputs, "columns"):
        return 0
    if hasattr(inputs, "ndim"):
        return int(inputs.ndim)
    first = inputs[0] if len(inputs) else ""
    return 1 if isinstance(first, (str, Mapping)) else np.ndim(_array(inputs))


def _is_network(teacher: Any) -> bool:
    from torch import nn

    from stillhouse.teachers import Teacher

    return isinstance(teacher, (nn.Module, Teacher))
