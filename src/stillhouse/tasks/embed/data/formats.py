"""Where vectors lie: .npy, .npz, .safetensors, .parquet, .pt, or a folder of a capture, each read by its own library.

.npy, .safetensors and .pt files are mapped and may be larger than memory; .npz and .parquet are read into it.
Legend: N rows, D width.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.core.checks import InputError, nearest, one_line_for_pickles
from stillhouse.core.hashes import verify_files
from stillhouse.core.records import read_json

KEY = "embeddings"  # taken where several arrays would do
MANIFEST, TEXTS, VECTORS = "manifest.json", "texts.jsonl", "vectors.npy"  # of a capture folder
LABELS = "labels.txt"  # of a capture of several files: the name of each text's file, a line a row
SUFFIXES = (".npy", ".npz", ".safetensors", ".parquet", ".pt", ".pth")


def open_array(path: Path, key: str | None) -> Any:
    """The (N, D) floats of a file or of a capture folder: an array of numpy (mapped, where it can be) or a tensor.

    Raises:
        InputError: nothing there, an unknown format, a damaged or empty file, no such key, not (N, D) floats, a pickle.
    """
    if path.is_dir():
        if key is not None:
            raise InputError(f"key: a capture folder has none, got {key!r} for {path}")
        verify_files(path, capture_manifest(path), (VECTORS,))
        return open_array(path / VECTORS, None)
    arrays = read_entries(path, key)
    name = choose(path, key, arrays)
    array, where = arrays[name], f"{path}: {name!r}" if name else str(path)
    if not hasattr(array, "shape") or len(array.shape) != 2:
        raise InputError(f"{where}: expected shape (rows, width), got {_shown(array)}")
    if not _is_float(array):
        raise InputError(f"{where}: expected floats (16, 32 or 64 bits), got {array.dtype}")
    if 0 in array.shape:
        raise InputError(f"{where}: expected vectors, got shape {tuple(array.shape)}: empty")
    return array


def take(array: Any, rows: np.ndarray) -> np.ndarray:
    """(n, D) float32 of some rows of what `open_array` gave."""
    if not isinstance(array, np.ndarray):
        import torch

        return np.asarray(array[torch.from_numpy(rows)].float().numpy())
    with np.errstate(over="ignore"):  # infinities are found and named by the scan of the store
        return np.asarray(array[rows], np.float32)


def read_column(path: Path, key: str) -> list[Any]:
    """Texts or labels (N) that lie in the same file as the vectors.

    Raises:
        InputError: the format has no such columns, no such key, not one value a row.
    """
    if path.is_dir() or path.suffix.lower() == ".npy":
        what = path.suffix or "a folder"
        raise InputError(f"{key!r}: {what} holds vectors only; give texts and labels in separate files")
    found = read_entries(path, key)
    _known(path, key, found)
    column = found[key]
    if hasattr(column, "tolist"):
        if column.ndim != 1:
            raise InputError(f"{path}: {key!r}: expected one value a row, got shape {tuple(column.shape)}")
        column = column.tolist()
    if not isinstance(column, (list, tuple)):
        raise InputError(f"{path}: {key!r}: expected one value a row, got {type(column).__name__}")
    return [value.decode() if isinstance(value, bytes) else value for value in column]


def read_entries(path: Path, key: str | None) -> dict[str, Any]:
    """What a file holds, by name ("" for one array without a name); of .parquet the column `key`, or all lists of numbers.

    Raises:
        InputError: nothing there, an unknown format, or a file that its library cannot read.
    """
    if not path.is_file():
        raise InputError(f"{path}: expected a file of vectors or a capture folder, got nothing there")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        pickled = "; a pickle can run code when it is read" if suffix in (".pkl", ".pickle", ".joblib") else ""
        raise InputError(f"{path}: expected {', '.join(SUFFIXES)} or a capture folder, got {suffix!r}{pickled}")
    try:
        if suffix == ".npy":
            return {"": np.load(path, mmap_mode="r", allow_pickle=False)}
        if suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return {name: file[name] for name in file.files if key is None or name == key} or dict.fromkeys(file)
        if suffix == ".parquet":
            return _parquet(path, key)
        return _safetensors(path) if suffix == ".safetensors" else _torch(path)
    except InputError:
        raise
    except Exception as error:  # five libraries, each with errors of its own for a damaged file
        reason = str(error).strip().split("\n")[0].split(". ")[0] or type(error).__name__
        pickles = "; pickles of Python objects can run code and are refused" if "ickle" in str(error) else ""
        raise InputError(
            f"{path}: expected a whole {suffix} file, got one that cannot be read: {reason}{pickles}"
        ) from None


def capture_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished capture.

    Raises:
        InputError: the folder is not a capture, or one that is not finished.
    """
    manifest = read_json(folder / MANIFEST) if (folder / MANIFEST).is_file() else {}
    if not isinstance(manifest, dict) or "sha256" not in manifest or "rows" not in manifest:
        raise InputError(f"{folder}: expected a finished capture, got none; capture again to finish it")
    return manifest


def _safetensors(path: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping


def _torch(path: Path) -> dict[str, Any]:
    import torch

    with one_line_for_pickles():
        # only the zip format (torch 1.6 and later) can be mapped
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    return {str(name): value for name, value in found.items()} if isinstance(found, dict) else {"": found}


def _parquet(path: Path, key: str | None) -> dict[str, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise InputError(f"{path}: .parquet needs pyarrow: pip install 'stillhouse[embeddings]'") from None
    schema = pq.read_schema(path)
    if key is not None:
        _known(path, key, schema.names)
    lists = [field.name for field in schema if pa.types.is_nested(field.type)]
    table = pq.read_table(path, columns=lists if key is None else [key])
    return {name: _dense(table.column(name).combine_chunks(), f"{path}: {name!r}") for name in table.column_names}


def _dense(column: Any, where: str) -> Any:
    """A column of lists as (N, D); of anything else its values."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_nested(column.type):
        return column.to_pylist()
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    odd = np.flatnonzero(lengths != lengths[:1])
    if len(odd):
        raise InputError(f"{where}: row {odd[0]}: expected {lengths[0]} values as in row 0, got {lengths[odd[0]]}")
    values = column.flatten()
    if values.null_count:
        row = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0]) // int(lengths[0])
        raise InputError(f"{where}: row {row}: expected numbers, got a null among them")
    return values.to_numpy(zero_copy_only=False).reshape(len(column), -1)


def _is_float(array: Any) -> bool:
    return bool(array.dtype.kind == "f" if isinstance(array, np.ndarray) else array.is_floating_point())


def choose(path: Path, key: str | None, arrays: Mapping[str, Any]) -> str:
    """The key that was asked for; else KEY, else the only one that can be vectors.

    Raises:
        InputError: no such key, or none or several that can be vectors.
    """
    if set(arrays) == {""}:
        if key is not None:
            raise InputError(f"key: {path} holds one array without a name, got {key!r}")
        return ""
    if key is not None:
        _known(path, key, arrays)
        return key
    able = [name for name, x in arrays.items() if hasattr(x, "shape") and len(x.shape) == 2 and _is_float(x)]
    if KEY in able:
        return KEY
    if len(able) == 1:
        return able[0]
    wanted = "one array of shape (rows, width)" if not able else f"a key, since {len(able)} of them can be vectors"
    listed = ", ".join(f"{name!r} {_shown(x)}" for name, x in arrays.items())
    raise InputError(f"{path}: expected {wanted}, got {listed or 'nothing'}")


def _shown(value: Any) -> str:
    return f"{value.dtype} {tuple(value.shape)}" if hasattr(value, "shape") else type(value).__name__


def _known(path: Path, key: str, names: Iterable[str]) -> None:
    if key not in (known := list(names)):
        raise InputError(f"{path}: no {key!r} in it; {nearest(key, known)}")
