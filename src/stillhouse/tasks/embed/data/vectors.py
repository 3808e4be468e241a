"""Vectors of a teacher on disk, larger than memory: opened, checked once, split so that no row is on two sides. No torch.

store = open_vectors("ada.npy")                  -> VectorStore: len, width, read(rows), chunks(size)
data = VectorsConfig(path="ada.npy").build()     -> VectorData: store, train, validation, test (row numbers)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass
from stillhouse.core.labels import missing_labels, require_labels
from stillhouse.core.sample import sample_rows
from stillhouse.tasks.embed.data.formats import LABELS, TEXTS, VECTORS, open_array, read_column, take

Index = NDArray[np.int64]
SHOWN = 5
CHUNK_BYTES = 1 << 24


@dataclass(frozen=True, eq=False)
class Scan:
    """What one pass over all rows found.

    Attributes:
        sha256: of the shape and of all values as float32: equal only for equal vectors, whatever the file format.
        zero_rows: rows without a direction.
        digests: (N) uint64; equal for equal rows.
    """

    sha256: str
    zero_rows: Index
    digests: NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class VectorStore:
    """(N, D) vectors on disk, with texts and labels in memory where they were given. Made by `open_vectors`.

    Reading touches only the rows that are asked for, and every read checks that the file is still the one that was opened.
    """

    path: Path
    array: Any
    texts: Sequence[str] | None = None
    labels: NDArray[Any] | None = None
    _stamp: tuple[int, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_stamp", self._now())
        for name, column in (("texts", self.texts), ("labels", self.labels)):
            if column is not None and len(column) != len(self):
                raise InputError(
                    f"{name}: expected one for each of the {len(self)} vectors of {self.path}, got {len(column)}"
                )

    def __len__(self) -> int:
        return int(self.array.shape[0])

    @property
    def width(self) -> int:
        """D."""
        return int(self.array.shape[1])

    def _now(self) -> tuple[int, int]:
        try:
            status = (self.path / VECTORS if self.path.is_dir() else self.path).stat()
        except OSError as error:
            raise InputError(f"cannot read {self.path}: {error.strerror}") from None
        return status.st_size, status.st_mtime_ns

    def read(self, rows: ArrayLike) -> NDArray[np.float32]:
        """Some rows, in the order asked for.

        Args:
            rows: (n) row numbers, repeats allowed.

        Returns:
            (n, D) float32.

        Raises:
            InputError: not whole numbers in 0..N - 1; the file was changed, cut or removed since it was opened.
        """
        wanted = np.asarray(rows)
        if wanted.ndim != 1 or (wanted.dtype.kind not in "iu" and wanted.size):
            raise InputError(f"rows: expected whole numbers (n), got {wanted.dtype} of shape {wanted.shape}")
        if wanted.size and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise InputError(f"rows: expected 0 to {len(self) - 1}, got {wanted.min()} to {wanted.max()}")
        if self._now() != self._stamp:  # a map of a file that shrank ends the process without a message
            raise InputError(f"{self.path}: expected the file that was opened, got one that was changed since")
        return take(self.array, wanted.astype(np.int64))

    def chunks(self, size: int | None = None) -> Iterator[NDArray[np.float32]]:
        """All rows in order, `size` (16 MB where not given) at a time: (n, D) float32 each.

        Raises:
            InputError: size below 1, or as `read`.
        """
        size = max(1, CHUNK_BYTES // (4 * self.width)) if size is None else size
        if size < 1:
            raise InputError(f"size: expected at least 1 row a chunk, got {size}")
        return (self.read(np.arange(s, min(s + size, len(self)))) for s in range(0, len(self), size))

    @cached_property
    def scan(self) -> Scan:
        """One pass over all rows, done once: fingerprint, zero rows, digests of rows.

        Raises:
            InputError: rows with NaN or infinite values; the first are named.
        """
        digest = hashlib.sha256(f"float32 {len(self)} {self.width}\n".encode())
        bad: list[int] = []
        zero: list[int] = []
        digests, start = np.empty(len(self), np.uint64), 0
        for chunk in self.chunks():
            chunk = np.ascontiguousarray(chunk + 0.0, dtype="<f4")  # -0.0 + 0.0 is 0.0: equal rows, equal bytes
            bad += (start + np.flatnonzero(~np.isfinite(chunk).all(1))).tolist()
            zero += (start + np.flatnonzero(~chunk.any(1))).tolist()
            digest.update(chunk.data)
            hashes = b"".join(hashlib.blake2b(row.data, digest_size=8).digest() for row in chunk)
            digests[start : start + len(chunk)] = np.frombuffer(hashes, "<u8")
            start += len(chunk)
        if bad:
            shown = ", ".join(map(str, bad[:SHOWN])) + (f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else "")
            raise InputError(f"{self.path}: expected finite numbers, got NaN or infinite ones in row {shown}")
        return Scan(digest.hexdigest(), np.array(zero, np.int64), digests)


def open_vectors(
    path: str | Path,
    *,
    key: str | None = None,
    texts: Sequence[str] | None = None,
    labels: Sequence[Any] | NDArray[Any] | None = None,
    check: bool = True,
) -> VectorStore:
    """Vectors of a .npy, .npz, .safetensors, .parquet, .pt or .pth file, or of a capture folder, read as they are needed.

    Args:
        path: the file or folder; .npz and .parquet are read into memory.
        key: which array, tensor, column or entry; `embeddings`, or the only one that can be vectors, where not given.
        texts: (N) what each vector stands for; a capture folder has them.
        labels: (N) whole numbers or strings.
        check: read all rows once and refuse NaN and infinite values (the pass also gives the fingerprint).

    Returns:
        The store. Zero rows are allowed in it and counted by `store.scan`; `VectorsConfig.build` leaves them out.

    Raises:
        InputError: no such file or key, unknown format, a pickle, a file that is empty, damaged or cut short, not (N, D)
            floats, NaN or infinite rows, another number of texts or labels, labels that are missing.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/x.npy", np.arange(6, dtype=np.float16).reshape(3, 2))
        ...     open_vectors(f"{folder}/x.npy").read([2, 0]).tolist()
        [[4.0, 5.0], [0.0, 1.0]]
    """
    place = Path(path).expanduser()
    array = open_array(place, key)
    if place.is_dir() and texts is None:
        texts = _texts_of(place / TEXTS)
    store = VectorStore(place, array, texts, None if labels is None else _checked_labels(labels))
    if check:
        _ = store.scan
    return store


@dataclass(frozen=True, eq=False)
class VectorData:
    """Vectors and three sets of rows, none in two of them.

    Attributes:
        store: all vectors.
        train: row numbers, ascending.
        validation: the same; picks the best step.
        test: the same; read once, at the end.
        name: of the file or folder.
        sha256: of vectors, texts and labels.
        zero_rows: rows left out because they have no direction.
        duplicates: rows left out because an equal vector or an equal text is kept (0 without `deduplicate`).
    """

    store: VectorStore
    train: Index
    validation: Index
    test: Index
    name: str
    sha256: str
    zero_rows: int = 0
    duplicates: int = 0

    @property
    def width(self) -> int:
        """D of the teacher."""
        return self.store.width

    @property
    def sizes(self) -> dict[str, int]:
        """Number of rows of every split."""
        return {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)}

    def texts(self, rows: ArrayLike) -> list[str] | None:
        """What the vectors of some rows stand for; None where the store has no texts."""
        known = self.store.texts
        return None if known is None else [known[int(row)] for row in np.asarray(rows)]

    def labels(self, rows: ArrayLike) -> NDArray[Any] | None:
        """(n) labels of some rows; None where the store has none."""
        known = self.store.labels
        return None if known is None else known[np.asarray(rows, np.int64)]


@configclass
class VectorsConfig:
    """Vectors of a teacher on disk, and how they are split."""

    path: str = Field(
        min_length=1, description="a .npy, .npz, .safetensors, .parquet or .pt file, or a folder made by embed capture"
    )
    key: str | None = Field(
        default=None, min_length=1, description="which array, column or entry [embeddings, or the only one]"
    )
    texts_key: str | None = Field(
        default=None, min_length=1, description="array, column or entry of texts in the same file"
    )
    labels_key: str | None = Field(
        default=None, min_length=1, description="array, column or entry of labels in the same file"
    )
    texts_file: str | None = Field(
        default=None,
        min_length=1,
        description="texts in a separate file: .txt, a line a row, or .jsonl with 'text'",
    )
    labels_file: str | None = Field(
        default=None,
        min_length=1,
        description="labels in a separate file: .txt, a line a row, or .npy [a capture of several files: their names]",
    )
    validation_fraction: float = Field(default=0.1, gt=0, lt=1, description="share of rows that picks the best step")
    test_fraction: float = Field(default=0.1, gt=0, lt=1, description="share of rows that is judged once, at the end")
    train_limit: int | None = Field(default=None, gt=0, description="train on that many rows only")
    split_seed: int = Field(default=0, ge=0, lt=2**32, description="fixes which rows are held out and kept")
    deduplicate: bool = Field(
        default=True, description="keep one of equal vectors or equal texts; else all, but on one side of the split"
    )

    def __post_init__(self) -> None:
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError(
                f"validation_fraction + test_fraction: expected below 1, got {self.validation_fraction + self.test_fraction:g}"
            )
        for name in ("texts", "labels"):
            if getattr(self, f"{name}_key") and getattr(self, f"{name}_file"):
                raise ValueError(f"{name}_key, {name}_file: expected one of them, got both")

    def build(self) -> VectorData:
        """Open, check and split; zero rows are left out.

        Raises:
            InputError: as `open_vectors`; a split that would be empty.
        """
        path = Path(self.path).expanduser()
        texts: list[Any] | None = None
        labels: Any = None
        if self.texts_key or self.texts_file:
            texts = read_column(path, self.texts_key) if self.texts_key else _texts_of(Path(self.texts_file or ""))
            _checked_texts(texts, path)
        if self.labels_key or self.labels_file:
            labels = read_column(path, self.labels_key) if self.labels_key else _labels_of(Path(self.labels_file or ""))
        elif (path / LABELS).is_file():
            named = _texts_of(path / LABELS)
            labels = named if len(set(named)) > 1 else None  # texts of one file: no two classes
        return split_rows(open_vectors(path, key=self.key, texts=texts, labels=labels), self)


def split_rows(store: VectorStore, config: VectorsConfig) -> VectorData:
    """The three splits of a store: a seeded shuffle of groups of equal rows, so that no row has a twin on another side.

    Raises:
        InputError: a split that would be empty.
    """
    groups = _groups(store)
    kept = np.setdiff1d(np.arange(len(store)), store.scan.zero_rows)
    duplicates = 0
    if config.deduplicate:
        first = np.sort(kept[np.unique(groups[kept], return_index=True)[1]])
        duplicates, kept = len(kept) - len(first), first
    names = np.unique(groups[kept])
    order = np.random.default_rng(config.split_seed).permutation(names)
    held = [int(np.ceil(share * len(order))) for share in (config.test_fraction, config.validation_fraction)]
    test, validation, train = (
        kept[np.isin(groups[kept], some)] for some in np.split(order, [held[0], held[0] + held[1]])
    )
    if not len(train):
        raise InputError(
            f"{store.path}: expected rows for training, validation and test, got {len(order)} different ones "
            f"({len(store.scan.zero_rows)} zero, {duplicates} equal to others)"
        )
    # a smaller limit is a subset of a larger one
    train = train[sample_rows(len(train), config.train_limit, seed=config.split_seed + 1)]
    return VectorData(
        store=store,
        train=train,
        validation=validation,
        test=test,
        name=store.path.stem,
        sha256=_fingerprint(store),
        zero_rows=len(store.scan.zero_rows),
        duplicates=duplicates,
    )


def _groups(store: VectorStore) -> Index:
    """(N) numbers, equal for rows with equal vectors or equal texts, or that are joined by a chain of such."""
    vectors = np.unique(store.scan.digests, return_inverse=True)[1]
    if store.texts is None:
        return vectors.astype(np.int64)
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    numbers: dict[str, int] = {}
    texts = np.array([numbers.setdefault(text, len(numbers)) for text in store.texts])
    rows, first, size = len(store), int(vectors.max()) + 1, int(vectors.max()) + 1 + len(numbers)
    edges = coo_array((np.ones(rows, np.int8), (vectors, first + texts)), shape=(size, size))
    found: Index = connected_components(edges, directed=False)[1][vectors].astype(np.int64)
    return found


def _fingerprint(store: VectorStore) -> str:
    digest = hashlib.sha256(store.scan.sha256.encode())
    for name, column in (("texts", store.texts), ("labels", store.labels)):
        if column is not None:
            digest.update(f"\n{name}\n".encode())
            for value in column:
                digest.update(json.dumps(str(value)).encode() + b"\n")
    return digest.hexdigest()


def _texts_of(path: Path) -> list[str]:
    from stillhouse.tasks.embed.data.texts import read_lines

    return read_lines(path)


def _labels_of(path: Path) -> Any:
    if path.suffix.lower() != ".npy":
        return _texts_of(path)
    try:
        return np.load(path.expanduser(), allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected labels of numpy.save, got what cannot be read: {error}") from None


def _checked_texts(texts: Sequence[Any], path: Path) -> None:
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"{path}: texts: row {row}: expected a string, got {type(text).__name__}")


def _checked_labels(labels: Sequence[Any] | NDArray[Any]) -> NDArray[Any]:
    found = np.asarray(labels)
    if found.ndim == 1:
        require_labels(missing_labels(labels), "labels", "test")  # which any row may become
    if found.ndim != 1 or found.dtype.kind not in "iubU":
        raise InputError(f"labels: expected whole numbers or strings (N), got {found.dtype} of shape {found.shape}")
    return found
