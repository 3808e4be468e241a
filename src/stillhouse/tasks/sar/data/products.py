"""Zarr products in the Maya4 layout: Sentinel-1 stripmap, one group a product, one array a processing level.

    ROOT/[PT1/]s1a-s3-raw-s-hh-20230331t123129-20230331t123154-047888-05c119.zarr
        raw, rc, rcmc, az   (azimuth, range) complex, chunked; attributes: metadata, ephemeris

Zarr formats 2 and 3 are read alike. Chunks are decoded once and kept while they are in use.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.walk import Passed, follow

LEVELS = ("raw", "rc", "rcmc", "az")
BEAMS = 6
_NAME = re.compile(
    r"(s1[a-z])-s([1-6])-raw-s-(hh|hv|vh|vv)-(\d{8}t\d{6})-\d{8}t\d{6}-(\d+)-([0-9a-f]+)\.zarr", re.IGNORECASE
)


@dataclass(frozen=True)
class ProductName:
    """The parts of a product's name."""

    path: Path
    satellite: str
    beam: int
    polarization: str
    start: str
    orbit: int
    take: str

    @property
    def year(self) -> int:
        """Of the acquisition."""
        return int(self.start[:4])

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
        InputError: another pattern.

    Example:
        >>> name = parse_name(Path("PT2/s1a-s3-raw-s-hh-20230331t123129-20230331t123154-047888-05c119.zarr"))
        >>> name.beam, name.polarization, name.year, name.part
        (3, 'hh', 2023, 'PT2')
    """
    found = _NAME.fullmatch(path.name)
    if found is None:
        pattern = "s1a-s{beam}-raw-s-{pol}-{start}-{stop}-{orbit}-{id}.zarr"
        raise InputError(f"{path}: expected a product named {pattern}, got {path.name!r}")
    satellite, beam, polarization, start, orbit, take = (part.lower() for part in found.groups())
    return ProductName(path, satellite, int(beam), polarization, start, int(orbit), take)


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


class Product:
    """One opened product.

    Args:
        path: its folder.
        cache_chunks: decoded chunks that are kept, the least recently used go first.

    Raises:
        InputError: the zarr package is not installed; nothing there; no Zarr group; a level that is not 2-D and complex.
    """

    def __init__(self, path: Path, cache_chunks: int = 256) -> None:
        self.path, self.name = path, parse_name(path)
        zarr = _zarr()
        if not path.is_dir():
            raise InputError(
                f"{path}: expected a Zarr product (a folder), got {'a file' if path.exists() else 'nothing there'}"
            )
        try:
            group = zarr.open_group(str(path), mode="r")
            arrays = {name: array for name, array in group.arrays() if name in LEVELS}
            self.attributes: dict[str, Any] = dict(group.attrs)
        except Exception as error:
            raise InputError(
                f"{path}: expected a Zarr group of format 2 or 3, got {type(error).__name__}: {error}"
            ) from None
        for level, array in arrays.items():
            if array.ndim != 2 or np.dtype(array.dtype).kind != "c":
                raise InputError(
                    f"{path}: {level}: expected complex numbers (azimuth, range), got {array.dtype} of shape {array.shape}"
                )
        self._arrays = arrays
        self.levels = tuple(level for level in LEVELS if level in arrays)
        self._chunk = lru_cache(cache_chunks)(self._decoded)

    def array(self, level: str) -> Any:
        """The Zarr array of a level, with its `shape` and `chunks`.

        Raises:
            InputError: it is not there.
        """
        if level not in self._arrays:
            raise InputError(
                f"{self.path}: expected level {level!r}, got a product with {', '.join(self.levels) or 'no level'}; "
                f"{nearest(level, self.levels)}"
            )
        return self._arrays[level]

    def read(self, level: str, rows: slice, columns: slice) -> NDArray[np.complex64]:
        """A rectangle of a level, (rows, columns) complex64; the slices lie inside it.

        Raises:
            InputError: the level is not there; a chunk that cannot be decoded.
        """
        high, wide = self.array(level).chunks
        top, left = rows.start // high, columns.start // wide
        across = range(left, (columns.stop - 1) // wide + 1)
        found = np.block([[self._chunk(level, i, j) for j in across] for i in range(top, (rows.stop - 1) // high + 1)])
        return found[
            rows.start - top * high : rows.stop - top * high, columns.start - left * wide : columns.stop - left * wide
        ]

    def _decoded(self, level: str, i: int, j: int) -> NDArray[np.complex64]:
        array = self._arrays[level]
        high, wide = array.chunks
        try:
            return np.asarray(array[i * high : (i + 1) * high, j * wide : (j + 1) * wide], np.complex64)
        except Exception as error:  # codecs raise nearly anything on a torn file
            raise InputError(
                f"{self.path}: {level}: chunk ({i}, {j}) cannot be read ({type(error).__name__}: {error})"
            ) from None


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
        path: ends in a product's name.
        levels: arrays (azimuth, range) by level, of one shape.
        attributes: of the group; JSON-ready.
        chunks: samples of a chunk.
        zarr_format: 2 or 3.

    Raises:
        InputError: the zarr package is not installed.
    """
    group = _zarr().open_group(str(path), mode="w", zarr_format=zarr_format)
    for level, values in levels.items():
        shape = np.shape(values)
        size = (min(chunks[0], shape[0]), min(chunks[1], shape[1]))
        array = group.create_array(
            level, shape=shape, chunks=size, dtype="complex64", config={"write_empty_chunks": True}
        )
        array[:] = np.asarray(values, np.complex64)
    group.attrs.update(dict(attributes or {}))


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
