"""Vectors of a teacher on disk: opened, checked once, split so that no row has a twin on another side. No torch.

Files are .npy, .npz, .safetensors, .parquet or .pt, each read by its own library, or the folder of a capture. .npy, .safetensors
and .pt are mapped and may be larger than memory; .npz and .parquet are read into it.

Legend: N rows, D width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from stillhouse.core.checks import InputError, nearest, quiet_pickle_warnings
from stillhouse.core.config import configclass
from stillhouse.core.hashes import hash_of, verify_files
from stillhouse.core.labels import missing_labels, require_labels
from stillhouse.core.records import read_json
from stillhouse.tasks.embed.texts import read_lines

Index = NDArray[np.int64]
KEY = "embeddings"  # taken where several arrays would do
MANIFEST, TEXTS, VECTORS = "manifest.json", "texts.jsonl", "vectors.npy"  # of a capture folder
LABELS = "labels.txt"  # of a capture of several files: the name of each text's file, a line a row
CHUNK_BYTES = 1 << 24


# ------------------------------------------------------------------------------------------------------------ a store


@dataclass(frozen=True, eq=False)
class VectorStore:
    """(N, D) vectors on disk, of which only the rows that are asked for are read. Made by `open_vectors`.

    Attributes:
        path: the file or folder.
        array: of numpy or torch, mapped where it can be.
        texts: (N) what each vector stands for.
        labels: (N) whole numbers or strings.
        sha256: of the shape and of all values as float32: equal only for equal vectors, whatever the file format.
        zero_rows: rows without a direction.
        digests: (N) uint64; equal for equal rows.
    """

    path: Path
    array: Any
    texts: Sequence[str] | None
    labels: NDArray[Any] | None
    sha256: str
    zero_rows: Index
    digests: NDArray[np.uint64]

    def __len__(self) -> int:
        return int(self.array.shape[0])

    @property
    def width(self) -> int:
        """D."""
        return int(self.array.shape[1])

    def read(self, rows: ArrayLike) -> NDArray[np.float32]:
        """(n, D) float32 of some rows, in the order asked for."""
        return _rows(self.array, np.asarray(rows, np.int64))


def open_vectors(
    path: str | Path,
    *,
    key: str | None = None,
    texts: Sequence[str] | None = None,
    labels: Sequence[Any] | NDArray[Any] | None = None,
) -> VectorStore:
    """Open vectors, and read all rows once.

    Args:
        path: a file or a capture folder.
        key: which array, tensor, column or entry; `embeddings`, or the only one that can be vectors, where not given.
        texts: (N); a capture folder has them.
        labels: (N).

    Raises:
        InputError: nothing there, an unknown format, a pickle, a file that is empty, damaged or cut short, no such key, not
            (N, D) floats, NaN or infinite rows, another number of texts or labels, labels that are missing.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/x.npy", np.arange(6, dtype=np.float16).reshape(3, 2))
        ...     open_vectors(f"{folder}/x.npy").read([2, 0]).tolist()
        [[4.0, 5.0], [0.0, 1.0]]
    """
    place = Path(path).expanduser()
    if place.is_dir():
        verify_files(place, capture_manifest(place), (VECTORS,))
        texts = read_lines(place / TEXTS) if texts is None else texts
    entries = read_entries(place / VECTORS if place.is_dir() else place)
    array = entries[choose(place, key, entries)]
    if len(getattr(array, "shape", ())) != 2 or not _is_float(array) or 0 in array.shape:
        raise InputError(f"{place}: expected floats of shape (rows, width), got {_shown(array)}")
    if labels is not None:
        require_labels(missing_labels(labels), "labels", "test")  # which any row may become
        labels = np.asarray(labels)
    for name, column in (("texts", texts), ("labels", labels)):
        if column is not None and (len(column) != len(array) or np.ndim(column[0])):
            raise InputError(f"{name}: expected one for each of the {len(array)} vectors of {place}, got {len(column)}")
    return VectorStore(place, array, texts, labels, *_scan(place, array))


def _rows(array: Any, rows: Index) -> NDArray[np.float32]:
    if isinstance(array, np.ndarray):
        with np.errstate(over="ignore"):  # infinities are found and named by the scan
            return np.asarray(array[rows], np.float32)
    import torch

    return np.asarray(array[torch.from_numpy(rows)].float().numpy())


def _scan(path: Path, array: Any) -> tuple[str, Index, NDArray[np.uint64]]:
    """One pass over all rows: fingerprint, zero rows, digests of rows."""
    N, D = array.shape
    digest = hashlib.sha256(f"float32 {N} {D}\n".encode())
    zero, digests = [], []
    for rows in np.array_split(np.arange(N), -(-N * D * 4 // CHUNK_BYTES)):
        chunk = np.ascontiguousarray(_rows(array, rows) + 0.0, dtype="<f4")  # -0.0 becomes 0.0: equal rows, equal bytes
        if len(bad := rows[~np.isfinite(chunk).all(1)]):
            raise InputError(f"{path}: expected finite numbers, got NaN or infinite ones in row {bad[0]}")
        zero.append(rows[~chunk.any(1)])
        digest.update(chunk.data)
        digests += [hashlib.blake2b(row.data, digest_size=8).digest() for row in chunk]
    return digest.hexdigest(), np.concatenate(zero), np.frombuffer(b"".join(digests), "<u8")


# ---------------------------------------------------------------------------------------------------------- the formats


def read_entries(path: Path) -> dict[str, Any]:
    """What a file of vectors holds, by name ("" for one array without a name).

    Raises:
        InputError: nothing there, an unknown format, or a file that its library cannot read.
    """
    suffix = path.suffix.lower()
    if not path.is_file():
        raise InputError(f"{path}: expected a file of vectors or a capture folder, got nothing there")
    if suffix not in _READERS:
        raise InputError(f"{path}: expected {', '.join(_READERS)} or a capture folder, got {suffix!r}")
    try:
        return _READERS[suffix](path)
    except InputError:
        raise
    except Exception as error:  # five libraries, each with errors of its own for a damaged file
        reason = str(error).strip().split("\n")[0].split(". ")[0] or type(error).__name__
        pickles = "; pickles of Python objects can run code and are refused" if "ickle" in str(error) else ""
        raise InputError(
            f"{path}: expected a whole {suffix} file, got one that cannot be read: {reason}{pickles}"
        ) from None


def choose(path: Path, key: str | None, entries: Mapping[str, Any]) -> str:
    """The entry that was asked for; else KEY, else the only one that can be vectors.

    Raises:
        InputError: no such key, or none or several that can be vectors.
    """
    if key is not None:
        if key not in entries:
            raise InputError(f"{path}: no {key!r} in it; {nearest(key, entries)}")
        return key
    if set(entries) == {""}:
        return ""
    able = [name for name, x in entries.items() if len(getattr(x, "shape", ())) == 2 and _is_float(x)]
    if KEY in able or len(able) == 1:
        return KEY if KEY in able else able[0]
    wanted = "one array of shape (rows, width)" if not able else f"a key, since {len(able)} of them can be vectors"
    listed = ", ".join(f"{name!r} {_shown(x)}" for name, x in entries.items())
    raise InputError(f"{path}: expected {wanted}, got {listed or 'nothing'}")


def capture_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished capture.

    Raises:
        InputError: the folder is not a capture, or one that is not finished.
    """
    manifest = read_json(folder / MANIFEST) if (folder / MANIFEST).is_file() else {}
    if not isinstance(manifest, dict) or "sha256" not in manifest:
        raise InputError(f"{folder}: expected a finished capture, got none; capture again to finish it")
    return manifest


def _npz(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def _safetensors(path: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping


def _parquet(path: Path) -> dict[str, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise InputError(f"{path}: .parquet needs pyarrow: pip install 'stillhouse[embeddings]'") from None
    columns = pq.read_table(path)
    return {
        name: np.stack(column.to_numpy()) if pa.types.is_nested(column.type) else column.to_pylist()
        for name, column in zip(columns.column_names, columns.columns)
    }


def _torch(path: Path) -> dict[str, Any]:
    import torch

    with quiet_pickle_warnings():
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return {str(name): value for name, value in found.items()} if isinstance(found, dict) else {"": found}


_READERS = {
    ".npy": lambda path: {"": np.load(path, mmap_mode="r", allow_pickle=False)},
    ".npz": _npz,
    ".safetensors": _safetensors,
    ".parquet": _parquet,
    ".pt": _torch,
    ".pth": _torch,
}


def _is_float(array: Any) -> bool:
    return bool(array.dtype.kind == "f" if isinstance(array, np.ndarray) else array.is_floating_point())


def _shown(value: Any) -> str:
    return f"{value.dtype} {tuple(value.shape)}" if hasattr(value, "shape") else type(value).__name__


# ----------------------------------------------------------------------------------------------------------- splits


@dataclass(frozen=True, eq=False)
class VectorData:
    """Vectors and three sets of rows, none in two of them.

    Attributes:
        store: all vectors.
        train: row numbers, ascending.
        validation: the same; picks the best step.
        test: the same; read once, at the end.
        sha256: of vectors, texts and labels.
        duplicates: rows left out because an equal vector or an equal text is kept.
    """

    store: VectorStore
    train: Index
    validation: Index
    test: Index
    sha256: str
    duplicates: int


@configclass
class VectorsConfig:
    """Vectors of a teacher on disk, and how they are split."""

    path: str = Field(
        min_length=1, description="a .npy, .npz, .safetensors, .parquet or .pt file, or a folder made by embed capture"
    )
    key: str | None = Field(default=None, description="which array, column or entry [embeddings, or the only one]")
    texts: str | None = Field(
        default=None,
        description="texts: an array, column or entry of the same file, or a file: .txt, a line a row, or .jsonl with 'text'",
    )
    labels: str | None = Field(
        default=None, description="labels, as texts [a capture of several files: the names of these]"
    )
    validation_fraction: float = Field(default=0.1, gt=0, lt=1, description="share of rows that picks the best step")
    test_fraction: float = Field(default=0.1, gt=0, lt=1, description="share of rows that is judged once, at the end")
    split_seed: int = Field(default=0, ge=0, lt=2**32, description="fixes which rows are held out and kept")

    def build(self) -> VectorData:
        """Open, check and split; zero rows, and all but the first of equal vectors or equal texts, are left out.

        Raises:
            InputError: as `open_vectors`; a split that would be empty.
        """
        path = Path(self.path).expanduser()
        texts = _column(path, self.texts)
        labels = _column(path, self.labels)
        texts = None if texts is None else list(map(str, texts))
        if labels is None and (path / LABELS).is_file():
            named = read_lines(path / LABELS)
            labels = named if len(set(named)) > 1 else None  # texts of one file: no two classes
        return self._split(open_vectors(path, key=self.key, texts=texts, labels=labels))

    def _split(self, store: VectorStore) -> VectorData:
        """A seeded shuffle of the rows that are left."""
        kept = np.setdiff1d(np.arange(len(store)), store.zero_rows)
        rows = kept[np.unique(store.digests[kept], return_index=True)[1]]
        if store.texts is not None:
            texts = np.array([store.texts[row] for row in rows], object)
            rows = rows[np.sort(np.unique(texts, return_index=True)[1])]
        order, duplicates = np.random.default_rng(self.split_seed).permutation(rows), len(kept) - len(rows)
        held = [int(np.ceil(share * len(order))) for share in (self.test_fraction, self.validation_fraction)]
        test, validation, train = map(np.sort, np.split(order, [held[0], held[0] + held[1]]))
        if not len(train):
            raise InputError(
                f"{store.path}: expected rows for training, validation and test, got {len(order)} different ones "
                f"({len(store.zero_rows)} zero, {duplicates} equal to others)"
            )
        labels = None if store.labels is None else store.labels.tolist()
        sha256 = hash_of({"vectors": store.sha256, "texts": store.texts, "labels": labels})
        return VectorData(store, train, validation, test, sha256, duplicates)


def _column(path: Path, source: str | None) -> Any:
    """(N) texts or labels, of the file of the vectors or of one beside it; None for none."""
    if source is None or Path(source).suffix.lower() in (".txt", ".jsonl"):
        return None if source is None else read_lines(Path(source))
    entries = read_entries(path)
    found = entries[choose(path, source, entries)]
    return found.tolist() if hasattr(found, "tolist") else found
