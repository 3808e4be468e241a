"""Where vectors lie: .npy, .npz, .safetensors, .parquet, .pt, or a folder of a capture. Every reader ends in rows of a file.

Legend: N rows, D width. Files without random access (.parquet, compressed .npz, column-ordered .npy) are converted once.
"""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from stillhouse.core.checks import InputError, nearest, one_line_for_pickles
from stillhouse.families.embed.data.vector_cache import converted
from stillhouse.families.embed.data.vector_rows import FileRows, Part, Stamp, TensorRows

KEY = "embeddings"  # taken where several arrays would do
CHUNK_BYTES = 1 << 24
MANIFEST, TEXTS = "manifest.json", "texts.jsonl"  # of a capture folder (teachers.from_sentence_transformers writes it)
ROWS, VECTOR = "texts", "vector"  # the part of the cache that a capture is, and its feature
LABELS = "labels.txt"  # of a capture of several files: the name of each text's file, a line a row
SUFFIXES = (".npy", ".npz", ".safetensors", ".parquet", ".pt", ".pth")
SAFETENSORS = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2"}


def open_parts(path: Path, key: str | None) -> tuple[Part, ...]:
    """The rows of a file or of a capture folder, part by part.

    Raises:
        InputError: nothing there, an unknown format, a damaged or empty file, no such key, not (N, D) floats, a pickle.
    """
    if path.is_dir():
        if key is not None:
            raise InputError(f"key: a capture folder has none, got {key!r} for {path}")
        return tuple(_npy(part, None) for part in _shards(path))
    if not path.is_file():
        raise InputError(f"{path}: expected a file of vectors or a capture folder, got nothing there")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: expected vectors, got an empty file")
    readers = {".npy": _npy, ".npz": _npz, ".safetensors": _safetensors, ".parquet": _parquet}
    suffix = path.suffix.lower()
    if suffix in (".pt", ".pth"):
        return (_torch(path, key),)
    if suffix not in readers:
        pickled = "; a pickle can run code when it is read" if suffix in (".pkl", ".pickle", ".joblib") else ""
        raise InputError(f"{path}: expected {', '.join(SUFFIXES)} or a capture folder, got {suffix!r}{pickled}")
    return (readers[suffix](path, key),)


def read_column(path: Path, key: str) -> list[Any]:
    """Texts or labels (N) that lie in the same file as the vectors.

    Raises:
        InputError: the format has no such columns, no such key, not one value a row.
    """
    suffix = path.suffix.lower()
    found: Any = None
    if suffix == ".npz":
        with _zip(path) as archive:
            _known(path, "array", key, _members(archive))
        try:
            with np.load(path, allow_pickle=False) as file:
                found = file[key]
        except ValueError:
            raise InputError(f"{path}: {key!r}: expected strings or numbers, got Python objects") from None
    elif suffix == ".parquet":
        import pyarrow.parquet as pq

        _known(path, "column", key, _parquet_file(path).schema_arrow.names)
        found = pq.read_table(path, columns=[key]).column(0).to_pylist()
    elif suffix in (".pt", ".pth"):
        loaded = _torch_load(path)
        _known(path, "entry", key, loaded if isinstance(loaded, dict) else {})
        found = loaded[key]
    elif suffix == ".safetensors":
        from safetensors.numpy import load_file

        arrays = load_file(path)
        _known(path, "tensor", key, arrays)
        found = arrays[key]
    else:
        raise InputError(f"{key!r}: {suffix or 'a folder'} holds vectors only; give texts and labels in separate files")
    if hasattr(found, "tolist"):
        if found.ndim != 1:
            raise InputError(f"{path}: {key!r}: expected one value a row, got shape {tuple(found.shape)}")
        found = found.tolist()
    if not isinstance(found, (list, tuple)):
        raise InputError(f"{path}: {key!r}: expected one value a row, got {type(found).__name__}")
    return [value.decode() if isinstance(value, bytes) else value for value in found]


def capture_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished capture.

    Raises:
        InputError: the folder is not a capture, or one that is not finished.
    """
    from stillhouse.cache.files import Store
    from stillhouse.cache.plan import FORMAT
    from stillhouse.core.records import read_json

    if not (folder / MANIFEST).is_file():
        raise InputError(
            f"{folder}: expected a finished capture ({MANIFEST} in it), got none; capture again to finish it"
        )
    manifest = read_json(folder / MANIFEST)
    if isinstance(manifest, dict) and manifest.get("format") == FORMAT:
        plan = Store(folder).plan
        number = list(plan.key.get("features", ())).index(VECTOR) if VECTOR in plan.key.get("features", ()) else None
        if number is None or ROWS not in plan.parts:
            raise InputError(f"{folder}: expected a capture of vectors, got a cache of {', '.join(plan.parts)}")
        name = f"feature{number}"
        return {
            **plan.about,
            "rows": plan.parts[ROWS],
            "width": plan.arrays[ROWS][name][0][0],
            "shards": [shard.file(name) for shard in plan.shards if shard.part == ROWS],
            "model_sha256": plan.key["teacher"],
        }
    if not isinstance(manifest, dict) or not {"shards", "rows", "width"} <= set(manifest):
        raise InputError(f"{folder / MANIFEST}: expected the manifest of a capture, got something else")
    return manifest


def _shards(folder: Path) -> list[Path]:
    return [folder / name for name in capture_manifest(folder)["shards"]]


# ---------------------------------------------------------------------------------------------------------- readers


def _npy(path: Path, key: str | None) -> FileRows:
    if key is not None:
        raise InputError(f"key: a .npy file has one array without a name, got {key!r} for {path}")
    stamp = Stamp.of(path)
    with path.open("rb") as file:
        shape, fortran, dtype = _header(file, path)
        offset = file.tell()
    rows, width = _checked(str(path), shape, dtype)
    expected = offset + rows * width * dtype.itemsize
    if stamp.size < expected:
        raise InputError(f"{path}: expected {expected} bytes for {rows} x {width} {dtype}, got {stamp.size}: cut short")
    if not fortran:
        return FileRows(stamp, offset, dtype.str, rows, width)

    def chunks() -> Iterator[np.ndarray]:
        columns = np.load(path, mmap_mode="r", allow_pickle=False)
        step = _chunk_rows(width)
        return (columns[start : start + step] for start in range(0, rows, step))

    return _npy(converted(path, "rows", rows, width, chunks), None)  # column after column: a row is all over the file


def _npz(path: Path, key: str | None) -> FileRows:
    stamp = Stamp.of(path)
    with _zip(path) as archive:
        headers = {}
        for name, member in _members(archive).items():
            try:
                with archive.open(member) as file:
                    headers[name] = (*_header(file, path), file.tell())
            except InputError:
                headers[name] = (
                    (),
                    False,
                    np.dtype(object),
                    0,
                )  # strings of Python, for one: no vectors, but no harm either
        name = _choose(path, "array", key, {n: (h[0], str(h[2]), h[2].kind == "f") for n, h in headers.items()})
        shape, fortran, dtype, start = headers[name]
        info = archive.getinfo(_members(archive)[name])
        rows, width = _checked(f"{path}: {name!r}", shape, dtype)
    if info.compress_type == zipfile.ZIP_STORED and not fortran:
        with path.open("rb") as plain:
            plain.seek(info.header_offset + 26)
            name_length, extra_length = struct.unpack("<HH", plain.read(4))
        offset = info.header_offset + 30 + name_length + extra_length + start
        return FileRows(stamp, offset, dtype.str, rows, width)

    def chunks() -> Iterator[np.ndarray]:
        step = _chunk_rows(width)
        if fortran:
            with np.load(path, allow_pickle=False) as arrays:
                whole = arrays[name]
            yield from (whole[first : first + step] for first in range(0, rows, step))
            return
        with _zip(path) as archive, archive.open(info) as file:
            file.read(start)
            for first in range(0, rows, step):
                count = min(step, rows - first)
                raw = file.read(count * width * dtype.itemsize)
                yield np.frombuffer(raw, dtype).reshape(count, width)

    return _npy(converted(path, name, rows, width, chunks), None)


def _safetensors(path: Path, key: str | None) -> FileRows:
    from safetensors import SafetensorError, safe_open

    stamp = Stamp.of(path)
    try:
        with safe_open(path, framework="np") as file:  # checks the header against the file's length
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            known = {
                n: (tuple(s.get_shape()), str(s.get_dtype()), str(s.get_dtype()) in SAFETENSORS)
                for n, s in slices.items()
            }
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: expected a .safetensors file, got one that cannot be read: {error}") from None
    name = _choose(path, "tensor", key, known)
    shape, kind, _ = known[name]
    if kind not in SAFETENSORS:
        raise InputError(f"{path}: {name!r}: expected floats ({', '.join(SAFETENSORS)}), got {kind}")
    dtype = np.dtype(SAFETENSORS[kind])
    rows, width = _checked(f"{path}: {name!r}", shape, np.dtype("f4"))
    with path.open("rb") as raw:
        (length,) = struct.unpack("<Q", raw.read(8))
        first = int(json.loads(raw.read(length))[name]["data_offsets"][0])
    return FileRows(stamp, 8 + length + first, dtype.str, rows, width, bfloat16=kind == "BF16")


def _parquet(path: Path, key: str | None) -> FileRows:
    import pyarrow as pa

    file = _parquet_file(path)
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    known = {}
    for field in file.schema_arrow:
        listed = any(test(field.type) for test in lists)
        floats = listed and pa.types.is_floating(field.type.value_type)
        known[field.name] = (
            (file.metadata.num_rows, -1) if listed else (file.metadata.num_rows,),
            str(field.type),
            floats,
        )
    name = _choose(path, "column", key, known)
    if not known[name][2]:
        raise InputError(f"{path}: {name!r}: expected a column of lists of floats, got {known[name][1]}")
    rows = file.metadata.num_rows
    if rows == 0:
        raise InputError(f"{path}: {name!r}: expected vectors, got 0 rows")
    first = next(file.iter_batches(batch_size=1, columns=[name])).column(0)[0]
    width = len(first) if first.is_valid else 0
    if width == 0:
        raise InputError(
            f"{path}: {name!r}: row 0: expected a list of floats, got {'an empty one' if first.is_valid else 'none'}"
        )

    def chunks() -> Iterator[np.ndarray]:
        start = 0
        for batch in file.iter_batches(batch_size=_chunk_rows(width), columns=[name]):
            yield _dense(batch.column(0), start, width, f"{path}: {name!r}")
            start += len(batch)

    return _npy(converted(path, name, rows, width, chunks), None)


def _dense(column: Any, start: int, width: int, name: str) -> np.ndarray:
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    odd = np.flatnonzero(lengths != width)
    if len(odd):
        raise InputError(f"{name}: row {start + odd[0]}: expected {width} values as in row 0, got {lengths[odd[0]]}")
    values = column.flatten()
    if values.null_count:
        row = start + int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0]) // width
        raise InputError(f"{name}: row {row}: expected {width} numbers, got a null among them")
    dense: np.ndarray = values.to_numpy(zero_copy_only=False).reshape(-1, width)
    return dense


def _torch(path: Path, key: str | None) -> TensorRows:
    import torch

    stamp, loaded = Stamp.of(path), _torch_load(path)
    if isinstance(loaded, torch.Tensor):
        if key is not None:
            raise InputError(f"key: {path} holds one tensor without a name, got {key!r}")
        tensor, name = loaded, str(path)
    else:
        entries = loaded if isinstance(loaded, dict) else {}
        known = {
            str(n): (tuple(t.shape), str(t.dtype), t.is_floating_point())
            if isinstance(t, torch.Tensor)
            else ((), "", False)
            for n, t in entries.items()
        }
        chosen = _choose(path, "entry", key, known)
        tensor, name = entries[chosen], f"{path}: {chosen!r}"
        if not isinstance(tensor, torch.Tensor):
            raise InputError(f"{name}: expected a tensor (N, D), got {type(tensor).__name__}")
    floating = tensor.is_floating_point()
    _checked(name, tuple(tensor.shape), np.dtype("f4") if floating else np.dtype("i8"), str(tensor.dtype))
    return TensorRows(stamp, tensor.detach())


def _torch_load(path: Path) -> Any:
    import torch

    try:
        with one_line_for_pickles():
            # only the zip format (torch 1.6 and later) can be mapped
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        reason = str(error).strip().split("\n")[0].split(". ")[0] or type(error).__name__
        raise InputError(
            f"{path}: expected a file of torch.save with tensors only (pickles of other objects can run code and are refused), "
            f"got one that cannot be read so: {reason}"
        ) from None


# ------------------------------------------------------------------------------------------------------------ guards


def _header(file: IO[bytes], path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type of a .npy stream, which is left at its first entry."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(file)
        shape, fortran, dtype = readers[version](file)
    except (ValueError, KeyError, EOFError) as error:
        raise InputError(f"{path}: expected an array of numpy.save, got one that cannot be read: {error}") from None
    if dtype.hasobject:
        raise InputError(f"{path}: expected floats, got Python objects (a pickle, which can run code: refused)")
    return shape, bool(fortran), dtype


def _checked(name: str, shape: tuple[int, ...], dtype: np.dtype[Any], shown: str = "") -> tuple[int, int]:
    if len(shape) != 2:
        raise InputError(f"{name}: expected shape (rows, width), got {tuple(shape)}")
    if dtype.kind != "f" or dtype.itemsize > 8:
        raise InputError(f"{name}: expected floats (16, 32 or 64 bits), got {shown or dtype}")
    if 0 in shape:
        raise InputError(f"{name}: expected vectors, got shape {tuple(shape)}: empty")
    return int(shape[0]), int(shape[1])


def _choose(path: Path, what: str, key: str | None, known: Mapping[str, tuple[tuple[int, ...], str, bool]]) -> str:
    """The key that was asked for; else KEY, else the only one that can be vectors."""
    if key is not None:
        _known(path, what, key, known)
        return key
    able = [name for name, (shape, _, floats) in known.items() if floats and len(shape) == 2]
    if KEY in able:
        return KEY
    if len(able) == 1:
        return able[0]
    listed = ", ".join(
        f"{name!r} {kind} {'x'.join(map(str, shape))}".strip() for name, (shape, kind, _) in known.items()
    )
    wanted = f"one {what} of shape (rows, width)" if not able else f"a key, since {len(able)} of them can be vectors"
    raise InputError(f"{path}: expected {wanted}, got {listed or 'nothing'}")


def _known(path: Path, what: str, key: str, names: Iterable[str]) -> None:
    if key not in (known := list(names)):
        raise InputError(f"{path}: no {what} {key!r}; {nearest(key, known)}")


def _zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{path}: expected a .npz file, got one that cannot be read: {error}") from None


def _members(archive: zipfile.ZipFile) -> dict[str, str]:
    return {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}


def _parquet_file(path: Path) -> Any:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise InputError(f"{path}: .parquet needs pyarrow: pip install 'stillhouse[embeddings]'") from None
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: expected a .parquet file, got one that cannot be read: {error}") from None


def _chunk_rows(width: int) -> int:
    return max(1, CHUNK_BYTES // (4 * width))
