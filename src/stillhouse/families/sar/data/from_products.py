"""A data set of range columns cut from Zarr products, split by year or by acquisition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.core.config import parse
from stillhouse.core.records import read_json
from stillhouse.families.sar.data.config import ProductsConfig, SarConfig
from stillhouse.families.sar.data.matched_filter import half_aperture
from stillhouse.families.sar.data.parameters import SarParameters
from stillhouse.families.sar.data.products import BEAMS, Product, ProductName, find_products
from stillhouse.families.sar.data.sequences import SarData, SarScale, SarSplit, as_inputs, as_lines, position_code, rms

SPLITS = ("train", "validation", "test")
Origins = NDArray[np.int64]


@dataclass
class _Taken:
    """Patches read so far."""

    inputs: list[NDArray[np.complex64]] = field(default_factory=list)
    targets: list[NDArray[np.complex64]] = field(default_factory=list)
    codes: list[NDArray[np.complex128]] = field(default_factory=list)
    facts: list[tuple[int, int, int, int]] = field(default_factory=list)
    skipped: int = 0


def product_data(config: SarConfig) -> SarData:
    """Read the three splits of a configuration; patches are drawn over whole products and read chunk by chunk.

    Raises:
        InputError: no products for a split; a missing level; damaged lines, unless they are to be skipped.
    """
    wanted = config.products
    assert wanted is not None
    sides = split_products(wanted, config.seed)
    acquisitions = {name.acquisition: n for n, name in enumerate(x for side in sides.values() for x in side)}
    taken = {}
    for number, split in enumerate(SPLITS):
        rng = np.random.default_rng([config.seed, number])
        taken[split] = _read_split(config, split, sides[split], acquisitions, rng)
    scale = SarScale(
        rms(np.stack(taken["train"].inputs), "inputs"),
        rms(np.stack(taken["train"].targets), "targets"),
    )
    radar = config.radar or _written_radar(sides["train"][0], config.samples)
    splits = {split: _scaled(part, scale, config.position_channel) for split, part in taken.items()}
    return SarData(
        name=Path(wanted.root).name,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        valid=_valid(radar, config.samples),
        scale=scale,
        parameters=radar,
        skipped=sum(part.skipped for part in taken.values()),
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
    config: SarConfig,
    split: str,
    names: Sequence[ProductName],
    acquisitions: dict[tuple[str, int, str], int],
    rng: np.random.Generator,
) -> _Taken:
    assert config.products is not None
    taken, count = _Taken(), config.counts[split]
    shares = np.diff(np.linspace(0, count, len(names) + 1).round().astype(int))
    for number, (name, share) in enumerate(zip(names, shares)):
        product = Product(name.path, config.products.cache_chunks)
        _read_product(config, product, int(share), number, acquisitions[name.acquisition], taken, rng)
    if not taken.inputs:
        raise InputError(f"{split}: expected patches without damage, got none ({taken.skipped} skipped)")
    return taken


def _read_product(
    config: SarConfig,
    product: Product,
    count: int,
    number: int,
    acquisition: int,
    taken: _Taken,
    rng: np.random.Generator,
) -> None:
    wanted = config.products
    assert wanted is not None
    levels = (wanted.level_from, wanted.level_to)
    shapes = {level: product.array(level).shape for level in levels}
    if len(set(shapes.values())) > 1:
        raise InputError(f"{product.path}: expected levels of one shape, got {shapes}")
    skip = wanted.damaged == "skip"
    for level in levels:
        if (holes := product.missing_chunks(level)) and not skip:
            raise InputError(
                f"{product.path}: {level}: expected all chunks, got {holes} that are missing (they would read as zeros); "
                "damaged: skip leaves their patches out"
            )
    shape, length = shapes[levels[0]], config.samples
    origins = patch_origins(shape, wanted, length)
    # with damage to be skipped, spare patches stand behind the ones that are asked for
    drawn = rng.permutation(origins) if skip else pick_patches(origins, count, rng, product.array(levels[1]).chunks)
    got = 0
    for row, column in drawn.tolist():
        if got == count:
            break
        pair = [product.read(level, slice(row, row + length), slice(column, column + 1))[:, 0] for level in levels]
        found = ((level, row + np.flatnonzero(~np.isfinite(line))) for level, line in zip(levels, pair))
        bad = [(level, lines) for level, lines in found if len(lines)]
        if bad and not skip:
            level, lines = bad[0]
            shown = ", ".join(map(str, lines[:5])) + (f", ... ({len(lines)} in all)" if len(lines) > 5 else "")
            raise InputError(
                f"{product.path}: {level}: column {column}: expected finite numbers, got NaN or infinity in rows {shown}; "
                "damaged: skip leaves such patches out"
            )
        if bad:
            taken.skipped += 1
            continue
        taken.inputs.append(pair[0])
        taken.targets.append(pair[1])
        taken.facts.append((acquisition, number, row, column))
        taken.codes.append(_code(product, shape, row, column, length))
        got += 1


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


def _scaled(part: _Taken, scale: SarScale, with_position: bool) -> SarSplit:
    facts: NDArray[Any] = np.array(part.facts, np.int64)
    return SarSplit(
        inputs=as_inputs(scale.inputs(np.stack(part.inputs)), np.stack(part.codes) if with_position else None),
        targets=as_lines(scale.targets(np.stack(part.targets))),
        facts=dict(zip(("acquisition", "product", "row", "column"), facts.T)),
    )


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
