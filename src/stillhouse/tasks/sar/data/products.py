"""Zarr products in the Maya4 layout: Sentinel-1 stripmap, one group a product, one array a processing level.

    ROOT/[PT1/]s1a-s3-raw-s-hh-20230331t123129-20230331t123154-047888-05c119.zarr
        raw, rc, rcmc, az   (azimuth, range) complex, chunked; attributes: metadata, ephemeris

Zarr formats 2 and 3 are read alike. Legend: M azimuth lines, R range columns, L lines of a patch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.core.config import parse, to_mapping
from stillhouse.tasks.sar.data import LEVELS, ProductsConfig, SarConfig
from stillhouse.tasks.sar.data.radar import SPEED_OF_LIGHT, Complex, SarParameters, half_aperture
from stillhouse.tasks.sar.data.sequences import RawSplit, SarData, in_units_of_the_echo, position_code, scaled

BEAMS = 6
YEARS = {"train": 2023, "validation": 2024, "test": 2025}  # of simulated products
_NAME = re.compile(r"s1[a-z]-s([1-6])-raw-s-(hh|hv|vh|vv)-(\d{4})\d{4}t\d{6}-.*\.zarr", re.IGNORECASE)
Line = tuple[NDArray[np.complex64], NDArray[np.complex64]]


@dataclass(frozen=True)
class Product:
    """One product by its name."""

    path: Path
    beam: int
    polarization: str
    year: int

    @classmethod
    def at(cls, path: Path) -> Product:
        """Read its name.

        Example:
            >>> Product.at(Path("PT2/s1a-s3-raw-s-hh-20230331t123129-20230331t123154-047888-05c119.zarr")).year
            2023
        """
        found = _NAME.fullmatch(path.name)
        if found is None:
            pattern = "s1a-s{beam}-raw-s-{pol}-{start}-{stop}-{orbit}-{id}.zarr"
            raise InputError(f"{path}: expected a product named {pattern}")
        return cls(path, int(found[1]), found[2].lower(), int(found[3]))

    def group(self) -> Any:
        """Its Zarr group."""
        try:
            return zarr().open_group(str(self.path), mode="r")
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{self.path}: expected a Zarr group of format 2 or 3: {error}") from None

    def level(self, name: str) -> Any:
        """The array of a level, whole and complex."""
        arrays = {key: array for key, array in self.group().arrays() if key in LEVELS}
        if name not in arrays:
            raise InputError(f"{self.path}: expected level {name!r}, got {', '.join(arrays) or 'no level'}")
        array = arrays[name]
        if array.ndim != 2 or np.dtype(array.dtype).kind != "c":
            raise InputError(f"{self.path}: {name}: expected complex numbers (azimuth, range), got {array.dtype}")
        if holes := int(array.nchunks) - int(array.nchunks_initialized):
            raise InputError(
                f"{self.path}: {name}: expected all chunks, got {holes} that are missing (they would read as zeros)"
            )
        return array


def find_products(root: Path, years: Sequence[int], polarizations: Sequence[str] = ()) -> list[Product]:
    """Products of these years and polarizations (all where none is given) under a folder, sorted by name.

    Raises:
        InputError: none; the message says what there is.
    """
    paths = [root] if root.suffix == ".zarr" else [*root.glob("*.zarr"), *root.glob("*/*.zarr")]
    inside = {path.resolve() for path in paths if path.is_dir() and path.resolve().is_relative_to(root.resolve())}
    there = [Product.at(path) for path in inside]
    found = [x for x in there if x.year in years and (not polarizations or x.polarization in polarizations)]
    if not found:
        shown = ", ".join(sorted({f"{x.year} {x.polarization}" for x in there})) or "none"
        wanted = " ".join(map(str, (*years, *polarizations)))
        raise InputError(f"products: expected some of {wanted} in {root} (*.zarr folders), got {shown}")
    return sorted(found, key=lambda x: x.path.name)


def product_data(config: SarConfig) -> SarData:
    """Read the three splits of a configuration; patches are drawn over whole products.

    Raises:
        InputError: no products for a split; a missing level; damaged lines.
    """
    wanted, length = config.products, config.samples
    assert wanted is not None
    root = Path(wanted.root).expanduser()
    sides = {
        split: find_products(root, getattr(wanted, f"{split}_years"), wanted.polarizations)[: wanted.max_products]
        for split in config.counts
    }
    written = sides["train"][0].group().attrs.get("radar")  # of simulated ones
    radar = config.radar or (None if written is None else parse(SarParameters, written))
    half = 0 if radar is None else half_aperture(radar)
    if length <= 2 * half:
        raise InputError(f"length: expected more than one aperture ({2 * half + 1} samples), got {length}")
    splits = {split: _split(config, number, sides[split]) for number, split in enumerate(sides)}
    return scaled(splits, name=root.name, valid=slice(half, length - half), parameters=radar)


def _split(config: SarConfig, number: int, products: Sequence[Product]) -> RawSplit:
    wanted, length = config.products, config.samples
    assert wanted is not None
    rng, count = np.random.default_rng([config.seed, number]), list(config.counts.values())[number]
    shares = np.diff(np.linspace(0, count, len(products) + 1).round().astype(int))
    pairs, facts, codes = list[Line](), list[tuple[int, ...]](), list[Complex]()
    for place, (product, share) in enumerate(zip(products, shares)):
        levels: dict[str, Any] = {name: product.level(name) for name in (wanted.level_from, wanted.level_to)}
        if len({array.shape for array in levels.values()}) > 1:
            shapes = {name: array.shape for name, array in levels.items()}
            raise InputError(f"{product.path}: expected levels of one shape, got {shapes}")
        shape = levels[wanted.level_to].shape
        origins = patch_origins(shape, wanted, length)
        if share < len(origins):  # over the whole product: the first ones would be one strip
            origins = origins[np.sort(rng.choice(len(origins), size=int(share), replace=False))]
        for row, column, pair in _lines(product.path, levels, origins, length):
            pairs.append(pair)
            facts.append((place, row, column))
            across = ((product.beam - 1) * shape[1] + column) / (BEAMS * shape[1])  # beams lie side by side in x
            codes.append(position_code(np.array([across]), np.array([row / shape[0]]), 1 / shape[0], length)[0])
    inputs, targets = (np.stack(side) for side in zip(*pairs))
    named = dict(zip(("product", "row", "column"), np.array(facts, np.int64).T))
    return RawSplit(inputs, targets, named, np.stack(codes) if config.position_channel else None)


def _lines(
    path: Path, levels: Mapping[str, Any], origins: NDArray[np.int64], length: int
) -> Iterator[tuple[int, int, Line]]:
    """(row, column, a line of both levels) of every patch; what lies in one column of chunks is read at once."""
    wide = max(array.chunks[1] for array in levels.values())
    for (row, _), some in groupby(origins.tolist(), key=lambda place: (place[0], place[1] // wide)):
        columns = [column for _, column in some]
        rows, across = slice(row, row + length), slice(min(columns), max(columns) + 1)
        slabs = []
        for name, array in levels.items():
            try:
                slab = np.asarray(array[rows, across], np.complex64)
            except Exception as error:  # codecs raise nearly anything on a torn file
                raise InputError(f"{path}: {name}: cannot be read in rows {row} to {row + length}: {error}") from None
            if len(bad := row + np.flatnonzero(~np.isfinite(slab).all(1))):
                raise InputError(f"{path}: {name}: expected finite numbers, got NaN or infinity in rows {bad[:5]}")
            slabs.append(slab)
        for column in columns:
            source, target = (slab[:, column - across.start] for slab in slabs)
            yield row, column, (source, target)


def patch_origins(shape: tuple[int, int], config: ProductsConfig, length: int) -> NDArray[np.int64]:
    """First row and column of every patch of `length` rows and one column between the margins, (P, 2), row by row."""
    rows = np.arange(config.row_buffer, shape[0] - config.row_buffer - length + 1, config.row_stride or length)
    columns = np.arange(config.column_buffer, shape[1] - config.column_buffer, config.column_stride)
    if not len(rows) or not len(columns):
        margins = (config.row_buffer, config.column_buffer)
        raise InputError(f"patch: expected one that fits {shape} less a buffer of {margins}, got {(length, 1)}")
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)


# ---------------------------------------------------------------------------------------------- simulated products


def write_products(out: Path, data: SarData) -> list[str]:
    """A simulated data set as a folder of products, one an acquisition, lines side by side as range columns; their names.

    Levels are `raw`, `rc`, `rcmc` and `az`. `rcmc` is what the simulation draws; `rc` has the migration of its radar in it and
    `raw` the transmitted pulse too (half the swath long), both by exact inverses whose edges wrap round.
    """
    radar, names = data.parameters, []
    assert radar is not None
    for split, year in YEARS.items():
        lines = data.splits[split]
        for number in np.unique(lines.facts["acquisition"]):
            chosen = lines.facts["acquisition"] == number
            rcmc, az = (x[chosen].T.astype(np.complex128) for x in in_units_of_the_echo(data, lines))
            pulse = rcmc.shape[1] / (2 * radar.range_sampling)
            rc = migration_corrected(radar, rcmc, backwards=True)
            raw = pulse_compressed(radar, rc, pulse, backwards=True)
            day = f"{year}01{1 + number % 28:02d}"
            name = f"s1a-s1-raw-s-vv-{day}t000000-{day}t000025-{100000 + number:06d}-{number:06x}.zarr"
            about = {"simulated": True, "radar": to_mapping(radar), "pulse_seconds": pulse}
            write_product(out / name, {"raw": raw, "rc": rc, "rcmc": rcmc, "az": az}, about)
            names.append(name)
    return names


def write_product(
    path: Path,
    levels: Mapping[str, NDArray[Any]],
    attributes: Mapping[str, Any] | None = None,
    chunks: tuple[int, int] = (256, 256),
    zarr_format: int = 3,
) -> None:
    """Write arrays (azimuth, range) by level as a product."""
    group = zarr().open_group(str(path), mode="w", zarr_format=zarr_format)
    for level, values in levels.items():
        size = (min(chunks[0], values.shape[0]), min(chunks[1], values.shape[1]))
        array = group.create_array(
            level, shape=values.shape, chunks=size, dtype="complex64", config={"write_empty_chunks": True}
        )
        array[:] = np.asarray(values, np.complex64)
    group.attrs.update(dict(attributes or {}))


def range_spacing(parameters: SarParameters) -> float:
    """Metres of slant range from column to column: c / (2 fs)."""
    return SPEED_OF_LIGHT / (2 * parameters.range_sampling)


def migration_corrected(parameters: SarParameters, data: Complex, *, backwards: bool = False) -> Complex:
    """Shift every Doppler line back by R0 (1 / D - 1), D = sqrt(1 - (wavelength f / 2 Vr)^2): level `rc` to `rcmc`.

    Args:
        parameters: the radar.
        data: (M, R) range compressed; edges wrap round, so points should be an aperture and a few cells away from them.
        backwards: put the migration in again, `rcmc` to `rc`: the exact inverse.

    Source: Cumming & Wong 2005, ch. 6.4 (range-Doppler algorithm).
    """
    doppler = np.fft.fftfreq(data.shape[0]) * parameters.prf
    cosine = np.sqrt(1 - (parameters.wavelength * doppler / (2 * parameters.velocity)) ** 2)
    cells = parameters.distance * (1 / cosine - 1) / range_spacing(parameters)
    ramp = np.exp(2j * np.pi * cells[:, None] * np.fft.fftfreq(data.shape[1])[None, :])
    return np.fft.ifft2(np.fft.fft2(data) * (ramp.conj() if backwards else ramp))


def pulse_compressed(parameters: SarParameters, data: Complex, seconds: float, *, backwards: bool = False) -> Complex:
    """The phase of the transmitted chirp taken off every range line: level `raw` to `rc`.

    Args:
        parameters: the radar; its `range_bandwidth` is swept in `seconds`.
        data: (M, R) echoes; edges wrap round.
        seconds: length of the pulse.
        backwards: put the chirp in again, `rc` to `raw`: the exact inverse, since a phase alone is changed.

    Source: Cumming & Wong 2005, ch. 3.4 (matched filter of a linear FM pulse, by its stationary phase).
    """
    hertz = np.fft.fftfreq(data.shape[1]) * parameters.range_sampling
    turned = np.exp(1j * np.pi * hertz**2 * seconds / parameters.range_bandwidth)
    return np.fft.ifft(np.fft.fft(data, axis=1) * (turned.conj() if backwards else turned), axis=1)


def zarr() -> Any:
    """The package, which is needed for products alone."""
    try:
        import zarr as package
    except ImportError:
        raise InputError("reading Zarr products needs the zarr package: pip install 'stillhouse[sar]'") from None
    return package
