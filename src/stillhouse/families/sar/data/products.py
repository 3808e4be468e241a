"""Zarr products in the Maya4 layout: Sentinel-1 stripmap, one group a product, one array a processing level.

    ROOT/[PT1/]s1a-s3-raw-s-hh-20230331t123129-20230331t123154-047888-05c119.zarr
        raw, rc, rcmc, az   (azimuth, range) complex, chunked; attributes: metadata, ephemeris

Zarr formats 2 and 3 are read alike. Chunks are decoded once and kept while they are in use (least recently used go first).
"""

from __future__ import annotations

import os
import re
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.walk import Passed, follow

LEVELS = ("raw", "rc", "rcmc", "az")
BEAMS = 6
SHOWN = 5
_NAME = re.compile(
    r"(?P<satellite>s1[a-z])-s(?P<beam>[1-6])-raw-s-(?P<polarization>hh|hv|vh|vv)-(?P<start>\d{8}t\d{6})-(?P<stop>\d{8}t\d{6})"
    r"-(?P<orbit>\d+)-(?P<take>[0-9a-f]+)\.zarr",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ProductName:
    """The parts of a product's name."""

    path: Path
    satellite: str
    beam: int
    polarization: str
    start: datetime
    stop: datetime
    orbit: int
    take: str

    @property
    def year(self) -> int:
        """Of the acquisition."""
        return self.start.year

    @property
    def part(self) -> str:
        """The folder it lies in, as PT1."""
        return self.path.parent.name

    @property
    def acquisition(self) -> tuple[str, int, str]:
        """The data take: both polarizations of one pass have the same, and must not be on two sides of a split."""
        return (self.satellite, self.orbit, self.take)


def parse_name(path: Path) -> ProductName:
    """Read the name of a product.

    Raises:
        InputError: another pattern, or a date that does not exist.

    Example:
        >>> name = parse_name(Path("PT2/s1a-s3-raw-s-hh-20230331t123129-20230331t123154-047888-05c119.zarr"))
        >>> name.beam, name.polarization, name.year, name.part
        (3, 'hh', 2023, 'PT2')
    """
    found = _NAME.fullmatch(path.name)
    pattern = "s1a-s{beam}-raw-s-{pol}-{start}-{stop}-{orbit}-{id}.zarr"
    if found is None:
        raise InputError(f"{path}: expected a product named {pattern}, got {path.name!r}")
    try:
        start, stop = (datetime.strptime(found[key].lower(), "%Y%m%dt%H%M%S") for key in ("start", "stop"))
    except ValueError:
        raise InputError(
            f"{path}: expected times as 20230331t123129, got {found['start']} and {found['stop']}"
        ) from None
    return ProductName(
        path=path,
        satellite=found["satellite"].lower(),
        beam=int(found["beam"]),
        polarization=found["polarization"].lower(),
        start=start,
        stop=stop,
        orbit=int(found["orbit"]),
        take=found["take"].lower(),
    )


def find_products(
    root: Path,
    *,
    years: Sequence[int] = (),
    polarizations: Sequence[str] = (),
    beams: Sequence[int] = (),
    parts: Sequence[str] = (),
) -> tuple[ProductName, ...]:
    """Products under a folder that pass every filter, sorted by start, then name. An empty filter lets all pass.

    Raises:
        InputError: nothing there, a name of another pattern, or a filter that lets nothing pass (the message lists what there is).
    """
    names = [parse_name(path) for path in _zarr_folders(root)]
    if not names:
        raise InputError(f"{root}: expected products (*.zarr), got none there")
    filters: dict[str, tuple[Sequence[Any], str]] = {
        "parts": (tuple(parts), "part"),
        "years": (tuple(years), "year"),
        "polarizations": (tuple(str(p).lower() for p in polarizations), "polarization"),
        "beams": (tuple(beams), "beam"),
    }
    kept = names
    for filter_name, (wanted, attribute) in filters.items():
        there = Counter(getattr(name, attribute) for name in kept)
        kept = [name for name in kept if not wanted or getattr(name, attribute) in wanted]
        if not kept:
            shown = ", ".join(f"{value} ({count})" for value, count in sorted(there.items()))
            asked = ", ".join(str(value) for value in wanted)
            raise InputError(f"{filter_name}: expected products of {asked} in {root}, got only {shown}")
    return tuple(sorted(kept, key=lambda name: (name.start, name.path.name)))


class ChunkCache:
    """Decoded chunks of any number of products, the least recently used go first.

    Example:
        >>> cache = ChunkCache(2)
        >>> for key in "abac":
        ...     _ = cache.get((key,), lambda: np.zeros(1))
        >>> cache.hits, cache.misses, len(cache)
        (1, 3, 2)
    """

    def __init__(self, capacity: int) -> None:
        self.capacity, self.hits, self.misses = capacity, 0, 0
        self._chunks: OrderedDict[tuple[Any, ...], NDArray[Any]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._chunks)

    def get(self, key: tuple[Any, ...], read: Any) -> NDArray[Any]:
        """The chunk of a key; `read()` is called where it is not there."""
        if key in self._chunks:
            self.hits += 1
            self._chunks.move_to_end(key)
            return self._chunks[key]
        self.misses += 1
        chunk: NDArray[Any] = read()
        self._chunks[key] = chunk
        if len(self._chunks) > self.capacity:
            self._chunks.popitem(last=False)
        return chunk


@dataclass(frozen=True, eq=False)
class Product:
    """One opened product. Made by `open_product`.

    Attributes:
        path: of the group.
        levels: names of the arrays that there are, in the order of processing.
        attributes: of the group (metadata, ephemeris).
        zarr_format: 2 or 3.
    """

    path: Path
    levels: tuple[str, ...]
    attributes: Mapping[str, Any]
    zarr_format: int
    _arrays: Mapping[str, Any] = field(repr=False)
    _cache: ChunkCache = field(repr=False)

    @cached_property
    def name(self) -> ProductName:
        """The parts of its name."""
        return parse_name(self.path)

    def shape(self, level: str) -> tuple[int, int]:
        """(azimuth, range) of a level."""
        rows, columns = self._array(level).shape
        return int(rows), int(columns)

    def chunks(self, level: str) -> tuple[int, int]:
        """(azimuth, range) samples of a chunk."""
        rows, columns = self._array(level).chunks
        return int(rows), int(columns)

    def missing_chunks(self, level: str) -> int:
        """Chunks that were never written: Zarr reads them as zeros, and so would a broken download."""
        array = self._array(level)
        return int(array.nchunks) - int(array.nchunks_initialized)

    def read(self, level: str, rows: slice, columns: slice) -> NDArray[np.complex64]:
        """A rectangle of a level, (rows, columns) complex64, through the cache.

        A chunk that was never written comes as NaN, not as zeros: nobody should train on a hole.

        Raises:
            InputError: the level is not there, not complex, or the rectangle is not inside it; a chunk that cannot be decoded.
        """
        array = self._array(level)
        for axis, part, size in (("rows", rows, array.shape[0]), ("columns", columns, array.shape[1])):
            if part.step not in (None, 1) or not 0 <= part.start < part.stop <= size:
                raise InputError(f"{self.path}: {level}: {axis}: expected a range in 0 to {size}, got {part}")
        found = np.empty((rows.stop - rows.start, columns.stop - columns.start), np.complex64)
        high, wide = self.chunks(level)
        for i in range(rows.start // high, (rows.stop - 1) // high + 1):
            for j in range(columns.start // wide, (columns.stop - 1) // wide + 1):
                chunk = self._cache.get((self.path, level, i, j), lambda i=i, j=j: self._chunk(level, i, j))
                top, left = max(rows.start, i * high), max(columns.start, j * wide)
                bottom, right = min(rows.stop, (i + 1) * high), min(columns.stop, (j + 1) * wide)
                found[top - rows.start : bottom - rows.start, left - columns.start : right - columns.start] = chunk[
                    top - i * high : bottom - i * high, left - j * wide : right - j * wide
                ]
        return found

    def _chunk(self, level: str, i: int, j: int) -> NDArray[np.complex64]:
        array = self._array(level)
        high, wide = self.chunks(level)
        try:
            values = np.asarray(array[i * high : (i + 1) * high, j * wide : (j + 1) * wide])
        except Exception as error:  # codecs raise nearly anything on a torn file
            raise InputError(
                f"{self.path}: {level}: chunk ({i}, {j}) cannot be read ({type(error).__name__}: {error})"
            ) from None
        chunk = values.astype(np.complex64)
        if not values.any() and self._holes[level]:
            chunk[...] = np.nan
        return chunk

    @cached_property
    def _holes(self) -> dict[str, bool]:
        return {level: self.missing_chunks(level) > 0 for level in self.levels}

    def _array(self, level: str) -> Any:
        if level not in self._arrays:
            raise InputError(
                f"{self.path}: expected level {level!r}, got a product with {', '.join(self.levels) or 'no level'}"
            )
        return self._arrays[level]


def open_product(path: Path, *, cache: ChunkCache | None = None) -> Product:
    """Open a product for reading.

    Args:
        path: its folder.
        cache: shared with other products; one of 256 chunks of its own where not given.

    Raises:
        InputError: the zarr package is not installed; nothing there; no Zarr group; a level that is not 2-D and complex.
    """
    zarr = _zarr()
    if not path.is_dir():
        raise InputError(
            f"{path}: expected a Zarr product (a folder), got {'a file' if path.exists() else 'nothing there'}"
        )
    try:
        group = zarr.open_group(str(path), mode="r")
        arrays = {name: array for name, array in group.arrays() if name in LEVELS}
        attributes, version = dict(group.attrs), int(group.metadata.zarr_format)
    except Exception as error:
        raise InputError(
            f"{path}: expected a Zarr group of format 2 or 3, got {type(error).__name__}: {error}"
        ) from None
    for level, array in arrays.items():
        if array.ndim != 2 or np.dtype(array.dtype).kind != "c":
            raise InputError(
                f"{path}: {level}: expected complex numbers (azimuth, range), got {array.dtype} of shape {array.shape}"
            )
    levels = tuple(level for level in LEVELS if level in arrays)
    return Product(path, levels, attributes, version, arrays, ChunkCache(256) if cache is None else cache)


def write_product(
    path: Path,
    levels: Mapping[str, NDArray[Any]],
    *,
    attributes: Mapping[str, Any] | None = None,
    chunks: tuple[int, int] = (256, 256),
    zarr_format: int = 3,
) -> None:
    """Write a product in the same layout, for instance a simulated one.

    Args:
        path: ends in a product's name; must not be there yet.
        levels: arrays (azimuth, range) by level, of one shape.
        attributes: of the group; JSON-ready.
        chunks: samples of a chunk.
        zarr_format: 2 or 3.

    Raises:
        InputError: the zarr package is not installed; a name of another pattern; something there already; an unknown level;
            shapes that differ.
    """
    zarr = _zarr()
    parse_name(path)
    if path.exists():
        raise InputError(f"{path}: expected nothing there, got something")
    unknown = [level for level in levels if level not in LEVELS]
    if unknown or not levels:
        raise InputError(f"levels: expected some of {', '.join(LEVELS)}, got {', '.join(map(repr, levels)) or 'none'}")
    shapes = {np.shape(values) for values in levels.values()}
    if len(shapes) > 1 or len(next(iter(shapes))) != 2:
        raise InputError(f"levels: expected one shape (azimuth, range) for all, got {sorted(shapes)}")
    group = zarr.open_group(str(path), mode="w", zarr_format=zarr_format)
    for level, values in levels.items():
        shape = np.shape(values)
        size = (min(chunks[0], shape[0]), min(chunks[1], shape[1]))
        array = group.create_array(
            level, shape=shape, chunks=size, dtype="complex64", config={"write_empty_chunks": True}
        )
        array[:] = np.asarray(values, np.complex64)
    group.attrs.update(dict(attributes or {}))


def damaged_rows(values: NDArray[Any], first_row: int = 0) -> list[int]:
    """Row numbers that hold NaN or infinity, counted from `first_row`.

    Example:
        >>> damaged_rows(np.array([[1.0], [np.nan], [2.0]]), first_row=100)
        [101]
    """
    bad = ~np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
    return [int(row) + first_row for row in np.flatnonzero(bad)]


def row_list(rows: Sequence[int]) -> str:
    """A few row numbers and how many there are, for messages.

    Example:
        >>> row_list([3, 4, 5, 9, 11, 12, 20])
        'rows 3, 4, 5, 9, 11, ... (7 in all)'
    """
    shown = ", ".join(str(row) for row in rows[:SHOWN])
    return f"rows {shown}" + (f", ... ({len(rows)} in all)" if len(rows) > SHOWN else "")


def _zarr_folders(root: Path) -> list[Path]:
    if root.suffix == ".zarr":
        return [root] if root.is_dir() else []
    if not root.is_dir():
        raise InputError(f"{root}: expected a folder of products, got {'a file' if root.exists() else 'nothing there'}")
    found, passed = [], Passed()
    for folder, children, _ in os.walk(root):
        found += [
            path for child in children if child.endswith(".zarr") and follow(path := Path(folder, child), root, passed)
        ]
        children[:] = sorted(
            child for child in children if not child.endswith(".zarr")
        )  # a product has thousands of files
    real: dict[Path, Path] = {}
    for path in sorted(found, key=lambda path: (path.is_symlink(), path)):  # its own name before those of links to it
        if real.setdefault(path.resolve(), path) is not path:
            passed.again.append(path)
    passed.warn(root)
    return sorted(real.values())


def _zarr() -> Any:
    try:
        import zarr
    except ImportError:
        raise InputError("reading Zarr products needs the zarr package: pip install 'stillhouse[sar]'") from None
    return zarr


def check_levels(product: Product, levels: Sequence[str]) -> None:
    """Raise `InputError` unless a product has the levels, in one shape; a missing one is answered with those there."""
    missing = [level for level in levels if level not in product.levels]
    if missing:
        raise InputError(
            f"{product.path}: expected level {missing[0]!r}, got a product with {', '.join(product.levels) or 'no level'}; "
            f"{nearest(missing[0], product.levels)}"
        )
    shapes = {level: product.shape(level) for level in levels}
    if len(set(shapes.values())) > 1:
        raise InputError(f"{product.path}: expected levels of one shape, got {shapes}")
