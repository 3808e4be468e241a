"""A data set of simulated lines: every split from acquisitions of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.families.sar.data.config import SarConfig
from stillhouse.families.sar.data.matched_filter import half_aperture
from stillhouse.families.sar.data.parameters import SarParameters
from stillhouse.families.sar.data.sequences import (
    AZIMUTH_LINES,
    SarData,
    SarScale,
    SarSplit,
    as_inputs,
    as_lines,
    position_code,
    rate_at,
    rms,
)
from stillhouse.families.sar.data.simulate import Motion, simulate_lines

SPLITS = ("train", "validation", "test")
Arrays = dict[str, NDArray[Any]]


def simulated_data(config: SarConfig) -> SarData:
    """Simulate the three splits of a configuration.

    Raises:
        InputError: lines shorter than the longest aperture.
    """
    radar = config.radar
    assert radar is not None
    half = _reach(radar, config)
    if config.samples <= 2 * half:
        raise InputError(
            f"length: expected more than the longest aperture ({2 * half + 1} samples), got {config.samples}"
        )
    drawn = {name: _split(config, radar, number, config.counts[name], half) for number, name in enumerate(SPLITS)}
    scale = SarScale(rms(drawn["train"]["raw"], "inputs"), rms(drawn["train"]["focused"], "targets"))
    splits = {name: _scaled(arrays, scale, config.position_channel) for name, arrays in drawn.items()}
    middle = (config.scene.scr_db_min + config.scene.scr_db_max) / 2
    return SarData(
        name=config.preset or ("radar" if config.parameters is not None else "toy-64"),
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        valid=slice(half, config.samples - half),
        scale=scale,
        parameters=radar,
        rate_spread=config.rate_spread,
        point_amplitude=float(np.sqrt(10 ** (middle / 10) * radar.oversampling)),
    )


def _reach(radar: SarParameters, config: SarConfig) -> int:
    """Half of the longest aperture that any line can have, so that all splits share one valid region."""
    slowest = rate_at(radar, np.array([1.0]), config.rate_spread)
    return half_aperture(radar, azimuth_rate=slowest, doppler_centroid=config.centroid_spread_hz)


def _split(config: SarConfig, radar: SarParameters, number: int, count: int, half: int) -> Arrays:
    """The lines of one split, acquisition by acquisition; each draws from a seed of its own."""
    shares = np.array_split(np.arange(count), min(config.acquisitions, count))
    parts: list[Arrays] = []
    for acquisition, rows in enumerate(shares):
        rng = np.random.default_rng([config.seed, number, acquisition])
        centroid = rng.uniform(-1, 1) * config.centroid_spread_hz
        column = rng.uniform(size=len(rows))
        start = rng.uniform(0, 1 - 1 / AZIMUTH_LINES, size=len(rows))
        lines = simulate_lines(
            radar,
            config.scene,
            rng,
            lines=len(rows),
            length=config.samples,
            snr_db=config.snr_db,
            motion=Motion(rate_at(radar, column, config.rate_spread), centroid, half),
        )
        parts.append(
            {
                "raw": lines.raw.astype(np.complex64),
                "focused": lines.focused.astype(np.complex64),
                "azimuth_rate": lines.azimuth_rate,
                "doppler_centroid": lines.doppler_centroid,
                "kind": lines.kinds,
                "acquisition": np.full(len(rows), acquisition + number * config.acquisitions),
                "column": column,
                "start": start,
            }
        )
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _scaled(arrays: Mapping[str, NDArray[Any]], scale: SarScale, with_position: bool) -> SarSplit:
    code = None
    length = arrays["raw"].shape[1]
    if with_position:
        code = position_code(arrays["column"], arrays["start"], 1 / (AZIMUTH_LINES * length), length)
    return SarSplit(
        inputs=as_inputs(scale.inputs(arrays["raw"]), code),
        targets=as_lines(scale.targets(arrays["focused"])),
        facts={key: value for key, value in arrays.items() if key not in ("raw", "focused", "start")},
    )
