"""A data set of range columns cut from Zarr products, split by year or by acquisition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.core.config import parse
from stillhouse.core.records import read_json
from stillhouse.tasks.sar.data.config import ProductsConfig, SarConfig
from stillhouse.tasks.sar.data.matched_filter import half_aperture
from stillhouse.tasks.sar.data.parameters import SarParameters
from stillhouse.tasks.sar.data.products import BEAMS, Product, ProductName, find_products
from stillhouse.tasks.sar.data.sequences import RawSplit, SarData, position_code, scaled

SPLITS = ("train", "validation", "test")
Origins = NDArray[np.int64]


def product_data(config: SarConfig) -> SarData:
    """Read the three splits of a configuration; patches are drawn over whole products and read chunk by chunk.

    Raises:
        InputError: no products for a split; a missing level; damaged lines.
    """
    wanted = config.products
    assert wanted is not None
    sides = split_products(wanted, config.seed)
    acquisitions = {name.acquisition: n for n, name in enumerate(x for side in sides.values() for x in side)}
    radar = config.radar or _written_radar(sides["train"][0], config.samples)
    return scaled(
        {
            split: _read_split(config, number, names, acquisitions)
            for number, (split, names) in enumerate(sides.items())
        },
        name=Path(wanted.root).name,
        valid=_valid(radar, config.samples),
        parameters=radar,
    )


def split_products(config: ProductsConfig, seed: int) -> dict[str, tuple[ProductName, ...]]:
    """Which products go to which split: by year, or a seeded shuffle of acquisitions, so that no data take is on two sides.

    Raises:
        InputError: a split without a product.
    """
    how = {"polarizations": config.polarizations, "beams": config.beams, "parts": config.parts}
    root = Path(config.root).expanduser()
    if config.train_years:
        years = dict(zip(SPLITS, (config.train_years, config.validation_years, config.test_years)))
        found = {split: find_products(root, years=some, **how) for split, some in years.items()}  # type: ignore[arg-type]
    else:
        names = find_products(root, **how)  # type: ignore[arg-type]
        takes = sorted({name.acquisition for name in names})
        if len(takes) < 3:
            raise InputError(f"{root}: expected 3 acquisitions or more to split without years, got {len(takes)}")
        order = [takes[i] for i in np.random.default_rng(seed).permutation(len(takes))]
        test = max(1, round(config.test_fraction * len(order)))
        held = test + max(1, round(config.validation_fraction * len(order)))
        held = min(held, len(order) - 1)
        test = min(test, held - 1)
        sets = {"test": set(order[:test]), "validation": set(order[test:held]), "train": set(order[held:])}
        found = {split: tuple(name for name in names if name.acquisition in sets[split]) for split in SPLITS}
    return {split: some[: config.max_products] for split, some in found.items()}


def _read_split(
    config: SarConfig, number: int, names: Sequence[ProductName], acquisitions: Mapping[tuple[str, int, str], int]
) -> RawSplit:
    assert config.products is not None
    rng, count = np.random.default_rng([config.seed, number]), list(config.counts.values())[number]
    shares = np.diff(np.linspace(0, count, len(names) + 1).round().astype(int))
    pairs, facts, codes = list[Any](), list[tuple[int, ...]](), list[NDArray[np.complex128]]()
    for place, (name, share) in enumerate(zip(names, shares)):
        product = Product(name.path, config.products.cache_chunks)
        shape, chunks = _checked(product, config.products)
        origins = patch_origins(shape, config.products, config.samples)
        for row, column in pick_patches(origins, int(share), rng, chunks).tolist():
            pairs.append(_pair(product, config, row, column))
            facts.append((acquisitions[name.acquisition], place, row, column))
            codes.append(_code(product, shape, row, column, config.samples))
    inputs, targets = (np.stack(side) for side in zip(*pairs))
    named = dict(zip(("acquisition", "product", "row", "column"), np.array(facts, np.int64).T))
    return RawSplit(inputs, targets, named, np.stack(codes) if config.position_channel else None)


def _checked(product: Product, wanted: ProductsConfig) -> tuple[tuple[int, int], tuple[int, int]]:
    """Shape and chunks of a product whose two levels are whole and alike."""
    arrays = {level: product.array(level) for level in (wanted.level_from, wanted.level_to)}
    if len({array.shape for array in arrays.values()}) > 1:
        shapes = {level: array.shape for level, array in arrays.items()}
        raise InputError(f"{product.path}: expected levels of one shape, got {shapes}")
    for level, array in arrays.items():
        if holes := int(array.nchunks) - int(array.nchunks_initialized):
            raise InputError(
                f"{product.path}: {level}: expected all chunks, got {holes} that are missing (they would read as zeros)"
            )
    return arrays[wanted.level_to].shape, arrays[wanted.level_to].chunks


def _pair(product: Product, config: SarConfig, row: int, column: int) -> list[NDArray[np.complex64]]:
    """A line of both levels, (L)."""
    assert config.products is not None
    levels = (config.products.level_from, config.products.level_to)
    rows, one = slice(row, row + config.samples), slice(column, column + 1)
    pair = [product.read(level, rows, one)[:, 0] for level in levels]
    for level, line in zip(levels, pair):
        if len(bad := row + np.flatnonzero(~np.isfinite(line))):
            shown = ", ".join(map(str, bad[:5])) + (f", ... ({len(bad)} in all)" if len(bad) > 5 else "")
            raise InputError(
                f"{product.path}: {level}: column {column}: expected finite numbers, got NaN or infinity in rows {shown}"
            )
    return pair


def patch_origins(shape: tuple[int, int], config: ProductsConfig, length: int) -> Origins:
    """First row and column of every patch of `length` rows and one column between the margins, (P, 2), row by row.

    Raises:
        InputError: none fits.

    Example:
        >>> patch_origins((10, 4), ProductsConfig(column_stride=2, row_buffer=1), 4).tolist()
        [[1, 0], [1, 2], [5, 0], [5, 2]]
    """
    rows = np.arange(config.row_buffer, shape[0] - config.row_buffer - length + 1, config.row_stride or length)
    columns = np.arange(config.column_buffer, shape[1] - config.column_buffer, config.column_stride)
    if not len(rows) or not len(columns):
        margins = (config.row_buffer, config.column_buffer)
        raise InputError(f"patch: expected one that fits {shape} less a buffer of {margins}, got {(length, 1)}")
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)


def pick_patches(origins: Origins, count: int, rng: np.random.Generator, chunks: tuple[int, int]) -> Origins:
    """At most `count` of them, drawn over the whole product (the first ones would be one strip), in the order of chunks.

    Chunk by chunk, so that every chunk is decoded once.
    """
    if count < len(origins):
        origins = origins[np.sort(rng.choice(len(origins), size=count, replace=False))]
    row, column = origins.T
    return origins[np.lexsort((column, row, column // chunks[1], row // chunks[0]))]


def _code(product: Product, shape: tuple[int, int], row: int, column: int, length: int) -> NDArray[np.complex128]:
    """p over the whole product; beams lie side by side in x, so that x also gives the beam."""
    across = ((product.name.beam - 1) * shape[1] + column) / (BEAMS * shape[1])
    return position_code(np.array([across]), np.array([row / shape[0]]), 1 / shape[0], length)[0]


def _written_radar(product: ProductName, samples: int) -> SarParameters | None:
    """The radar that a simulated product was written with, where its lines are longer than an aperture; else it is unknown."""
    meta = product.path / "zarr.json"
    stored = read_json(meta).get("attributes", {}).get("radar") if meta.is_file() else None
    if not isinstance(stored, Mapping):
        return None
    radar = parse(SarParameters, stored)
    return radar if samples > 2 * half_aperture(radar) else None


def _valid(radar: SarParameters | None, samples: int) -> slice:
    if radar is None:
        return slice(0, samples)
    half = half_aperture(radar)
    if samples <= 2 * half:
        raise InputError(f"length: expected more than one aperture ({2 * half + 1} samples), got {samples}")
    return slice(half, samples - half)
