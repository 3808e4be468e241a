"""Simulated data on disk: one npz file, or a folder of Zarr products in the layout that the readers take."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.core.config import to_mapping
from stillhouse.core.records import write_arrays, write_json
from stillhouse.tasks.sar.data import SarConfig
from stillhouse.tasks.sar.data.products import write_product
from stillhouse.tasks.sar.data.range_doppler import migration_corrected, pulse_compressed
from stillhouse.tasks.sar.data.sequences import SarData, SarSplit

YEARS = {"train": 2023, "validation": 2024, "test": 2025}  # so that products are split by year, as the document does
ABOUT = "simulation.json"


def simulate(config: SarConfig, out: Path) -> dict[str, Any]:
    """Simulate the lines of a configuration and write them; nothing half-written is left.

    Args:
        config: simulated data.
        out: `FILE.npz` for arrays `train_inputs` (N, L), `train_targets`, ... in the units of the echo, which
            `sar train --data` reads (`data/from_arrays.py`); else a folder, one product an acquisition, lines side by side as range
            columns, levels `raw`, `rc`, `rcmc` and `az`.
            `rcmc` is what the simulation draws; `rc` has the migration of its radar in it and `raw` the transmitted pulse too (half
            the swath long), both by exact inverses whose edges wrap round.

    Returns:
        Name, sizes, fingerprint, valid region and files.

    Raises:
        InputError: data that are not simulated; a place that is taken.
    """
    if config.source != "simulated":
        raise InputError(f"source: expected simulated lines, got {config.source!r}")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"cannot write {out}: it exists; choose another --out")
    data = config.build()
    about: dict[str, Any] = {
        "name": data.name,
        "sizes": data.sizes,
        "sha256": data.sha256,
        "length": data.length,
        "valid": [data.valid.start, data.valid.stop],
        "config": to_mapping(config),
    }
    if out.suffix == ".npz":
        write_arrays(out, **_arrays(data))
        return {**about, "files": [out.name]}
    files = [
        _product(out, data, split, acquisition)
        for split in YEARS
        for acquisition in np.unique(data.splits[split].facts["acquisition"])
    ]
    write_json(out / ABOUT, {**about, "files": files})
    return {**about, "files": files}


def _arrays(data: SarData) -> dict[str, np.ndarray]:
    arrays: dict[str, Any] = {
        "valid": [data.valid.start, data.valid.stop],
        "radar": json.dumps(to_mapping(data.parameters)),
        "rate_spread": data.rate_spread,
        "point_amplitude": data.point_amplitude,
    }
    for name, split in data.splits.items():
        raw, focused = _in_units_of_the_echo(data, split)
        arrays |= {f"{name}_inputs": raw, f"{name}_targets": focused}
        arrays |= {f"{name}_{key}": value for key, value in split.facts.items()}
    return {name: np.asarray(value) for name, value in arrays.items()}


def _product(out: Path, data: SarData, split: str, acquisition: int) -> str:
    """Write one acquisition beside its place, then move it there."""
    year, lines, number = YEARS[split], data.splits[split], int(acquisition)
    chosen = lines.facts["acquisition"] == acquisition
    day, orbit = f"{year}01{1 + number % 28:02d}", f"{100000 + number:06d}"
    name = f"s1a-s1-raw-s-vv-{day}t000000-{day}t000025-{orbit}-{number:06x}.zarr"
    facts = {key: np.asarray(value)[chosen].tolist() for key, value in lines.facts.items()}
    levels, pulse = _levels(data, *(x[chosen].T for x in _in_units_of_the_echo(data, lines)))
    about = {"simulated": True, "radar": to_mapping(data.parameters), "columns": facts, "pulse_seconds": pulse}
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=".partial-") as partial:
            write_product(Path(partial, name), levels, attributes=about)
            os.replace(Path(partial, name), out / name)
    except OSError as error:
        raise InputError(f"cannot write {out / name}: {error.strerror}") from None
    return name


def _levels(data: SarData, rcmc: np.ndarray, az: np.ndarray) -> tuple[dict[str, np.ndarray], float]:
    """All four levels (azimuth, range), and the seconds of the pulse."""
    radar = data.parameters
    assert radar is not None
    pulse = rcmc.shape[1] / (2 * radar.range_sampling)
    rc = migration_corrected(radar, rcmc.astype(np.complex128), backwards=True)
    raw = pulse_compressed(radar, rc, pulse, backwards=True)
    return {"raw": raw, "rc": rc, "rcmc": rcmc, "az": az}, pulse


def _in_units_of_the_echo(data: SarData, split: SarSplit) -> tuple[np.ndarray, np.ndarray]:
    """(N, L) raw lines and their focus, not scaled."""
    raw, focused = split.inputs[..., 0] * data.scale.input_rms, data.scale.focused(split.targets[..., 0])
    return np.asarray(raw.numpy(), np.complex64), np.asarray(focused.numpy(), np.complex64)
