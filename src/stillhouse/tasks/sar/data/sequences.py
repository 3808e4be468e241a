"""Lines in memory, ready for training: three splits of one data set, scaled by one number a side.

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

from stillhouse.core.checks import InputError, same_shape
from stillhouse.tasks.sar.data.matched_filter import Complex, matched_filter
from stillhouse.tasks.sar.data.parameters import SarParameters
from stillhouse.tasks.sar.data.simulate import Motion, point_lines


@dataclass(frozen=True)
class SarScale:
    """One real factor for the inputs and one for the targets: root mean squares of the training split.

    No offset is taken off and real and imaginary parts are treated alike, so a global phase stays a global phase and a
    linear focuser stays linear. (Min-max scaling puts 97 % of the power into a constant.)
    """

    input_rms: float
    target_rms: float

    def inputs(self, raw: Any) -> Any:
        """Raw data to what models see."""
        return raw / self.input_rms

    def targets(self, focused: Any) -> Any:
        """A focused image to what models should put out."""
        return focused / self.target_rms

    def focused(self, outputs: Any) -> Any:
        """What models put out, back in the units of the focused image."""
        return outputs * self.target_rms


@dataclass(frozen=True, eq=False)
class SarSplit:
    """N lines of one split.

    Attributes:
        inputs: (N, L, C) complex64, scaled raw data, then the position code where asked for.
        targets: (N, L, 1) complex64, scaled focus.
        facts: (N) numbers of each line: `acquisition`, and `azimuth_rate`, `doppler_centroid`, `kind` of simulated ones, or
            `product`, `row`, `column` of others.
    """

    inputs: Tensor
    targets: Tensor
    facts: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.inputs)

    def batch(self, rows: Tensor | ArrayLike) -> tuple[Tensor, Tensor]:
        """The lines of some rows, in the order asked for.

        Args:
            rows: (B) whole numbers from 0 to N - 1.

        Returns:
            inputs (B, L, C) and targets (B, L, 1), complex64.

        Raises:
            InputError: no rows, or one that is not there.
        """
        index = torch.as_tensor(rows, dtype=torch.int64).reshape(-1)
        if len(index) == 0 or int(index.min()) < 0 or int(index.max()) >= len(self):
            raise InputError(f"rows: expected numbers from 0 to {len(self) - 1}, got {index.tolist()[:5]}")
        return self.inputs.index_select(0, index), self.targets.index_select(0, index)


@dataclass(frozen=True, eq=False)
class PointSet:
    """Isolated point targets, one a line, scaled as the data set: what IRW, PSLR, place and phase are measured on.

    Attributes:
        inputs: (N, L, C) complex64.
        targets: (N, L, 1) complex64: the matched filter's focus.
        positions: (N) in samples.
        peaks: (N) complex, the scaled amplitude that a perfect focus peaks at.
        kernels: (N, K) the matched filter of each line, for scaled data.
    """

    inputs: Tensor
    targets: Tensor
    positions: NDArray[np.float64]
    peaks: Complex
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
        point_amplitude: of the points that `points` draws by default, unscaled; None: the RMS of the targets.
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

    @cached_property
    def sha256(self) -> str:
        """Fingerprint of all inputs and targets: two runs with the same one saw the same data."""
        digest = hashlib.sha256()
        for name, split in self.splits.items():
            for part in (split.inputs, split.targets):
                digest.update(f"{name} {tuple(part.shape)}\n".encode())
                digest.update(torch.view_as_real(part).contiguous().numpy().tobytes())
        return digest.hexdigest()

    def kernels(self, split: SarSplit, rows: Tensor | ArrayLike | None = None) -> Complex:
        """The matched filter (B, K) of some lines, or all: on scaled inputs it gives scaled targets inside `valid`.

        Of products only the nominal rate is known, and their processor has a gain of its own: judge such a filter by
        scale-invariant figures.

        Raises:
            InputError: the radar is not known.
        """
        if self.parameters is None:
            raise InputError(
                "kernels: expected a radar (preset or parameters of the data), got none: its filter is not known"
            )
        rows = np.arange(len(split)) if rows is None else np.asarray(rows).reshape(-1)
        every = np.full(len(split), self.parameters.rate)
        return self._filters(
            split.facts.get("azimuth_rate", every)[rows],
            split.facts.get("doppler_centroid", np.zeros(len(split)))[rows],
        )

    def points(self, count: int, *, seed: int = 0, amplitude: float | None = None, rates: bool = True) -> PointSet:
        """Draw isolated points at random places between samples, with random phase, near the middle of the line.

        Args:
            count: N.
            seed: fixes them.
            amplitude: unscaled; that of a point in the middle of the scene's signal-to-clutter range where not given.
            rates: let the azimuth rate vary as in the data; False for the nominal rate only.

        Raises:
            InputError: the radar is not known.
        """
        if self.parameters is None:
            raise InputError("points: expected a radar (preset or parameters of the data), got none")
        rng = np.random.default_rng([seed, 3])
        places = (self.length - 1) / 2 + rng.uniform(-4, 4, size=count)
        size = amplitude or self.point_amplitude or self.scale.target_rms
        peaks = size * np.exp(2j * np.pi * rng.uniform(size=count))
        column = rng.uniform(size=count) if rates else np.full(count, 0.5)
        rate = rate_at(self.parameters, column, self.rate_spread)
        motion = Motion(azimuth_rate=rate, half=self.valid.start)
        lines = point_lines(self.parameters, places, length=self.length, amplitudes=peaks, motion=motion)
        code = None
        if self.channels == 2:
            start = rng.uniform(0, 1 - 1 / AZIMUTH_LINES, size=count)
            code = position_code(column, start, 1 / (AZIMUTH_LINES * self.length), self.length)
        return PointSet(
            inputs=as_inputs(self.scale.inputs(lines.raw), code),
            targets=as_lines(self.scale.targets(lines.focused)),
            positions=places,
            peaks=self.scale.targets(peaks),
            kernels=self._filters(rate, np.zeros(count)),
        )

    def _filters(self, rate: NDArray[np.float64], centroid: NDArray[np.float64]) -> Complex:
        assert self.parameters is not None
        half = self.valid.start  # of the longest aperture: all kernels of a data set have one length
        kernels = matched_filter(self.parameters, azimuth_rate=rate, doppler_centroid=centroid, half=half)
        return kernels * (self.scale.input_rms / self.scale.target_rms)


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
    scale = SarScale(rms(raw["train"].inputs, "inputs"), rms(raw["train"].targets, "targets"))
    splits: dict[str, Any] = {
        name: SarSplit(as_inputs(scale.inputs(one.inputs), one.code), as_lines(scale.targets(one.targets)), one.facts)
        for name, one in raw.items()
    }
    return SarData(**splits, scale=scale, **more)


AZIMUTH_LINES = 16  # simulated acquisitions are that many lines long; Ymax of the position code


def rate_at(parameters: SarParameters, column: NDArray[np.float64], spread: float) -> NDArray[np.float64]:
    """Ka of a range column: it falls as 1 / R from near (column 0) to far (column 1), the nominal rate in the middle."""
    return parameters.rate / (1 + spread * (column - 0.5))


def position_code(
    column: NDArray[np.float64], start: NDArray[np.float64], step: float | NDArray[np.float64], length: int
) -> NDArray[np.complex128]:
    """p = x / Xmax + j y / Ymax of every sample, (N, L).

    Args:
        column: (N) x / Xmax, range.
        start: (N) y / Ymax of the first sample, azimuth.
        step: y / Ymax from sample to sample; a number or (N).
        length: L.

    Example:
        >>> position_code(np.array([0.5]), np.array([0.25]), 0.25, 2).tolist()
        [[(0.5+0.25j), (0.5+0.5j)]]
    """
    along = np.asarray(start)[:, None] + np.asarray(step).reshape(-1, 1) * np.arange(length)
    return np.asarray(column)[:, None] + 1j * along


def as_lines(values: NDArray[Any]) -> Tensor:
    """(N, L) to a tensor (N, L, 1) complex64."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.complex64)).unsqueeze(-1)


def as_inputs(signal: NDArray[Any], code: NDArray[Any] | None) -> Tensor:
    """(N, L) signal and, where given, position code to (N, L, C) complex64."""
    if code is None:
        return as_lines(signal)
    same_shape("position code", code.shape, signal.shape)
    return torch.cat([as_lines(signal), as_lines(code)], dim=-1)


def rms(values: NDArray[Any], name: str) -> float:
    """Root mean square of complex values.

    Raises:
        InputError: nothing but zeros: there is no scale.
    """
    found = float(np.sqrt(np.mean(np.abs(values).astype(np.float64) ** 2)))
    if not found > 0 or not np.isfinite(found):
        raise InputError(f"{name}: expected a signal in the training split, got a root mean square of {found}")
    return found
