"""Lines in memory, ready for training: three splits of one data set, scaled by one number a side; and simulated ones.

Legend: N lines, B batch, L azimuth samples, C input channels (1, or 2 with the position code), K filter taps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.tasks.sar.data import SarConfig
from stillhouse.tasks.sar.data.radar import Complex, SarParameters, half_aperture, matched_filter
from stillhouse.tasks.sar.data.simulate import point_lines, simulate_lines

AZIMUTH_LINES = 16  # simulated acquisitions are that many lines long; Ymax of the position code


@dataclass(frozen=True)
class SarScale:
    """One real factor for the inputs and one for the targets: root mean squares of the training split.

    No offset is taken off and real and imaginary parts are treated alike, so a global phase stays a global phase and a
    linear focuser stays linear. (Min-max scaling puts 97 % of the power into a constant.)
    """

    input_rms: float
    target_rms: float


@dataclass(frozen=True, eq=False)
class SarSplit:
    """N lines of one split.

    Attributes:
        inputs: (N, L, C) complex64, scaled raw data, then the position code where asked for.
        targets: (N, L, 1) complex64, scaled focus.
        facts: (N) numbers of each line: `acquisition`, `azimuth_rate` of simulated ones, or `product`, `row`, `column`.
    """

    inputs: Tensor
    targets: Tensor
    facts: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.inputs)

    def batch(self, rows: Tensor | ArrayLike) -> tuple[Tensor, Tensor]:
        """Inputs (B, L, C) and targets (B, L, 1) of some rows, in the order asked for."""
        index = torch.as_tensor(rows, dtype=torch.int64)
        return self.inputs.index_select(0, index), self.targets.index_select(0, index)


@dataclass(frozen=True, eq=False)
class PointSet:
    """Isolated point targets, one a line, scaled as the data set: what width, sidelobes, place and phase are measured on.

    Attributes:
        inputs: (N, L, C) complex64.
        targets: (N, L, 1) complex64: the matched filter's focus.
        positions: (N) in samples.
        kernels: (N, K) the matched filter of each line, for scaled data.
    """

    inputs: Tensor
    targets: Tensor
    positions: NDArray[np.float64]
    kernels: Complex


@dataclass(frozen=True, eq=False)
class SarData:
    """A data set of range-compressed lines and their focus.

    Attributes:
        name: of the preset, or of the folder of products.
        train: what is learned from; the scale is its own.
        validation: picks the best epoch; other acquisitions.
        test: read once, at the end; other acquisitions again.
        valid: samples whose whole aperture lies inside the line: judge there and nowhere else.
        scale: the two factors.
        parameters: the radar, None where it is not known.
        rate_spread: by what share the azimuth rate varies from near to far range.
        point_amplitude: of the points that `points` draws, unscaled; None: the RMS of the targets.
    """

    name: str
    train: SarSplit
    validation: SarSplit
    test: SarSplit
    valid: slice
    scale: SarScale
    parameters: SarParameters | None = None
    rate_spread: float = 0.0
    point_amplitude: float | None = None

    @property
    def splits(self) -> dict[str, SarSplit]:
        """By name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def sizes(self) -> dict[str, int]:
        """Number of lines of every split."""
        return {name: len(split) for name, split in self.splits.items()}

    @property
    def length(self) -> int:
        """L."""
        return int(self.train.inputs.shape[1])

    @property
    def channels(self) -> int:
        """C."""
        return int(self.train.inputs.shape[2])

    @property
    def facts(self) -> dict[str, Any]:
        """Where lines are judged."""
        return {"length": self.length, "valid": [self.valid.start, self.valid.stop]}

    @cached_property
    def sha256(self) -> str:
        """Fingerprint of all inputs and targets: two runs with the same one saw the same data."""
        digest = hashlib.sha256()
        for name, split in self.splits.items():
            for part in (split.inputs, split.targets):
                digest.update(f"{name} {tuple(part.shape)}\n".encode())
                digest.update(torch.view_as_real(part).contiguous().numpy().tobytes())
        return digest.hexdigest()

    def kernels(self, split: SarSplit) -> Complex:
        """The matched filter (N, K) of every line of a split: on scaled inputs it gives scaled targets inside `valid`.

        Of products only the nominal rate is known, and their processor has a gain of its own.

        Raises:
            InputError: the radar is not known.
        """
        if self.parameters is None:
            raise InputError("kernels: expected a radar (preset or parameters of the data), got none")
        return self._filters(split.facts.get("azimuth_rate", np.full(len(split), self.parameters.rate)))

    def points(self, count: int, seed: int = 0) -> PointSet:
        """Draw isolated points at random places between samples, with random phase, near the middle of the line."""
        if self.parameters is None:
            raise InputError("points: expected a radar (preset or parameters of the data), got none")
        rng = np.random.default_rng([seed, 3])
        places = (self.length - 1) / 2 + rng.uniform(-4, 4, size=count)
        size = self.point_amplitude or self.scale.target_rms
        peaks = size * np.exp(2j * np.pi * rng.uniform(size=count))
        column = rng.uniform(size=count)
        rate = rate_at(self.parameters, column, self.rate_spread)
        how: dict[str, Any] = {"length": self.length, "azimuth_rate": rate, "half": self.valid.start}
        lines = point_lines(self.parameters, places, amplitudes=peaks, **how)
        code = _drawn_code(rng, column, self.length) if self.channels == 2 else None
        return PointSet(
            inputs=as_inputs(lines.raw / self.scale.input_rms, code),
            targets=as_lines(lines.focused / self.scale.target_rms),
            positions=places,
            kernels=self._filters(rate),
        )

    def _filters(self, rate: NDArray[np.float64]) -> Complex:
        assert self.parameters is not None
        half = self.valid.start  # of the longest aperture: all kernels of a data set have one length
        return matched_filter(self.parameters, rate, half) * (self.scale.input_rms / self.scale.target_rms)


@dataclass(frozen=True)
class RawSplit:
    """Lines (N, L) of one split as they were read or simulated, their facts, and the position code where it is asked for."""

    inputs: NDArray[Any]
    targets: NDArray[Any]
    facts: Mapping[str, NDArray[Any]]
    code: NDArray[Any] | None = None


def scaled(raw: Mapping[str, RawSplit], **more: Any) -> SarData:
    """The data set of three splits, divided by the RMS of the training lines; `more` are further attributes.

    Raises:
        InputError: training lines of zeros.
    """
    scale = SarScale(_rms(raw["train"].inputs, "inputs"), _rms(raw["train"].targets, "targets"))
    splits: dict[str, Any] = {
        name: SarSplit(as_inputs(x.inputs / scale.input_rms, x.code), as_lines(x.targets / scale.target_rms), x.facts)
        for name, x in raw.items()
    }
    return SarData(**splits, scale=scale, **more)


def in_units_of_the_echo(data: SarData, split: SarSplit) -> tuple[NDArray[Any], NDArray[Any]]:
    """(N, L) raw lines and their focus, not scaled."""
    raw, focused = split.inputs[..., 0] * data.scale.input_rms, split.targets[..., 0] * data.scale.target_rms
    return np.asarray(raw.numpy(), np.complex64), np.asarray(focused.numpy(), np.complex64)


def rate_at(parameters: SarParameters, column: NDArray[np.float64], spread: float) -> NDArray[np.float64]:
    """Ka of a range column: it falls as 1 / R from near (column 0) to far (column 1), the nominal rate in the middle."""
    return parameters.rate / (1 + spread * (column - 0.5))


def position_code(
    column: NDArray[np.float64], start: NDArray[np.float64], step: float, length: int
) -> NDArray[np.complex128]:
    """p = x / Xmax + j y / Ymax of every sample, (N, L).

    Args:
        column: (N) x / Xmax, range.
        start: (N) y / Ymax of the first sample, azimuth.
        step: y / Ymax from sample to sample.
        length: L.

    Example:
        >>> position_code(np.array([0.5]), np.array([0.25]), 0.25, 2).tolist()
        [[(0.5+0.25j), (0.5+0.5j)]]
    """
    return column[:, None] + 1j * (start[:, None] + step * np.arange(length))


def as_lines(values: NDArray[Any]) -> Tensor:
    """(N, L) to a tensor (N, L, 1) complex64."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.complex64)).unsqueeze(-1)


def as_inputs(signal: NDArray[Any], code: NDArray[Any] | None) -> Tensor:
    """(N, L) signal and, where given, position code to (N, L, C) complex64."""
    return as_lines(signal) if code is None else torch.cat([as_lines(signal), as_lines(code)], dim=-1)


def _rms(values: NDArray[Any], name: str) -> float:
    found = float(np.sqrt(np.mean(np.abs(values).astype(np.float64) ** 2)))
    if not found > 0 or not np.isfinite(found):
        raise InputError(f"{name}: expected a signal in the training split, got a root mean square of {found}")
    return found


# ---------------------------------------------------------------------------------------------- simulated


def simulated_data(config: SarConfig) -> SarData:
    """Simulate the three splits of a configuration, every one from acquisitions of its own.

    Raises:
        InputError: lines shorter than the longest aperture.
    """
    radar = config.radar
    assert radar is not None
    half = half_aperture(radar, rate_at(radar, np.array([1.0]), config.rate_spread))  # splits share one valid region
    middle = (config.scene.scr_db_min + config.scene.scr_db_max) / 2
    return scaled(
        {name: _simulated(config, radar, number, half) for number, name in enumerate(config.counts)},
        name=config.preset or ("radar" if config.parameters is not None else "toy-64"),
        valid=slice(half, config.samples - half),
        parameters=radar,
        rate_spread=config.rate_spread,
        point_amplitude=float(np.sqrt(10 ** (middle / 10) * radar.prf / radar.doppler_bandwidth)),
    )


def _simulated(config: SarConfig, radar: SarParameters, number: int, half: int) -> RawSplit:
    """The lines of one split, acquisition by acquisition; each draws from a seed of its own."""
    count, length = list(config.counts.values())[number], config.samples
    shares = np.array_split(np.arange(count), min(config.acquisitions, count))
    parts: list[dict[str, NDArray[Any]]] = []
    for acquisition, rows in enumerate(shares):
        rng = np.random.default_rng([config.seed, number, acquisition])
        rng.uniform()  # drawn and left, so that the lines of a seed stay what they were
        column = rng.uniform(size=len(rows))
        code = _drawn_code(rng, column, length)
        rate = rate_at(radar, column, config.rate_spread)
        how: dict[str, Any] = {"snr_db": config.snr_db, "azimuth_rate": rate, "half": half}
        lines = simulate_lines(radar, config.scene, rng, lines=len(rows), length=length, **how)
        parts.append(
            {
                "raw": lines.raw.astype(np.complex64),
                "focused": lines.focused.astype(np.complex64),
                "code": code,
                "azimuth_rate": rate,
                "acquisition": np.full(len(rows), acquisition + number * config.acquisitions),
            }
        )
    facts = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    raw, focused, code = (facts.pop(key) for key in ("raw", "focused", "code"))
    return RawSplit(raw, focused, facts, code if config.position_channel else None)


def _drawn_code(rng: np.random.Generator, column: NDArray[np.float64], length: int) -> NDArray[np.complex128]:
    """Position codes (N, L) of lines that start anywhere in an acquisition."""
    start = rng.uniform(0, 1 - 1 / AZIMUTH_LINES, size=len(column))
    return position_code(column, start, 1 / (AZIMUTH_LINES * length), length)
