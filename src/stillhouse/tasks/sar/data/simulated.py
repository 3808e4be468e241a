"""A data set of simulated lines: every split from acquisitions of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.tasks.sar.data.config import SarConfig
from stillhouse.tasks.sar.data.matched_filter import half_aperture
from stillhouse.tasks.sar.data.parameters import SarParameters
from stillhouse.tasks.sar.data.sequences import AZIMUTH_LINES, RawSplit, SarData, position_code, rate_at, scaled
from stillhouse.tasks.sar.data.simulate import Motion, simulate_lines


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
    middle = (config.scene.scr_db_min + config.scene.scr_db_max) / 2
    return scaled(
        {name: _split(config, radar, number, half) for number, name in enumerate(config.counts)},
        name=config.preset or ("radar" if config.parameters is not None else "toy-64"),
        valid=slice(half, config.samples - half),
        parameters=radar,
        rate_spread=config.rate_spread,
        point_amplitude=float(np.sqrt(10 ** (middle / 10) * radar.oversampling)),
    )


def _reach(radar: SarParameters, config: SarConfig) -> int:
    """Half of the longest aperture that any line can have, so that all splits share one valid region."""
    slowest = rate_at(radar, np.array([1.0]), config.rate_spread)
    return half_aperture(radar, azimuth_rate=slowest, doppler_centroid=config.centroid_spread_hz)


def _split(config: SarConfig, radar: SarParameters, number: int, half: int) -> RawSplit:
    """The lines of one split, acquisition by acquisition; each draws from a seed of its own."""
    count = list(config.counts.values())[number]
    shares = np.array_split(np.arange(count), min(config.acquisitions, count))
    parts: list[dict[str, NDArray[Any]]] = []
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
    facts = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    raw, focused, start = (facts.pop(key) for key in ("raw", "focused", "start"))
    code = None
    if config.position_channel:
        code = position_code(facts["column"], start, 1 / (AZIMUTH_LINES * config.samples), config.samples)
    return RawSplit(raw, focused, facts, code)
