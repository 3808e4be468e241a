"""Simulated data on disk: one npz file, or a folder of Zarr products in the layout that the readers take."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.core.config import to_mapping
from stillhouse.core.records import write_arrays, write_json
from stillhouse.families.sar.data import SarConfig
from stillhouse.families.sar.data.products import write_product
from stillhouse.families.sar.data.range_doppler import migration_corrected, pulse_compressed
from stillhouse.families.sar.data.sequences import SarData, SarSplit

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
    arrays: dict[str, np.ndarray] = {"valid": np.array([data.valid.start, data.valid.stop])}
    for name, split in data.splits.items():
        arrays[f"{name}_inputs"] = _raw(data, split)
        arrays[f"{name}_targets"] = _focused(data, split)
        arrays |= {f"{name}_{key}": value for key, value in split.facts.items()}
    if data.parameters is not None:
        arrays["radar"] = np.array(json.dumps(to_mapping(data.parameters)))
    numbers = {"rate_spread": data.rate_spread, "point_amplitude": data.point_amplitude or data.scale.target_rms}
    return {**arrays, **{name: np.array(value) for name, value in numbers.items()}}


def _product(out: Path, data: SarData, split: str, acquisition: int) -> str:
    """Write one acquisition beside its place, then move it there."""
    year, lines = YEARS[split], data.splits[split]
    number = int(acquisition)
    chosen = lines.facts["acquisition"] == acquisition
    day, orbit = f"{year}01{1 + number % 28:02d}", f"{100000 + number:06d}"
    name = f"s1a-s1-raw-s-vv-{day}t000000-{day}t000025-{orbit}-{number:06x}.zarr"
    facts = {key: np.asarray(value)[chosen].tolist() for key, value in lines.facts.items()}
    radar = to_mapping(data.parameters) if data.parameters is not None else None
    partial = out / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        levels, pulse = _levels(data, _raw(data, lines)[chosen].T, _focused(data, lines)[chosen].T)
        about = {"simulated": True, "radar": radar, "columns": facts, "pulse_seconds": pulse}
        write_product(partial / name, levels, attributes=about)
        os.replace(partial / name, out / name)
    except OSError as error:
        raise InputError(f"cannot write {out / name}: {error.strerror}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return name


def _levels(data: SarData, rcmc: np.ndarray, az: np.ndarray) -> tuple[dict[str, np.ndarray], float | None]:
    """All four levels (azimuth, range), and the seconds of the pulse."""
    radar = data.parameters
    if radar is None:
        return {"rcmc": rcmc, "az": az}, None
    pulse = rcmc.shape[1] / (2 * radar.range_sampling)
    rc = migration_corrected(radar, rcmc.astype(np.complex128), backwards=True)
    raw = pulse_compressed(radar, rc, pulse, backwards=True)
    return {"raw": raw.astype(np.complex64), "rc": rc.astype(np.complex64), "rcmc": rcmc, "az": az}, pulse


def _raw(data: SarData, split: SarSplit) -> np.ndarray:
    return np.asarray((split.inputs[..., 0] * data.scale.input_rms).numpy(), np.complex64)


def _focused(data: SarData, split: SarSplit) -> np.ndarray:
    return np.asarray(data.scale.focused(split.targets[..., 0]).numpy(), np.complex64)
