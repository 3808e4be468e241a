"""Post-training quantization to int8, one symmetric scale a tensor, and what it costs.

Shapes: B range bins, L lines, C input channels.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.families.sar.students.network import DYNAMICS, SarSSM
from stillhouse.families.sar.students.streaming import Stream


@dataclass(frozen=True)
class QuantizedTensor:
    """One tensor as it would be shipped: `values * scale` is what the quantized network computes with.

    Attributes:
        values: int8, from -127 to 127.
        scale: one step.
        snr_db: power of the tensor over that of its error.
    """

    values: Tensor
    scale: float
    snr_db: float


@dataclass(frozen=True)
class QuantizationReport:
    """What quantization changed, measured on given lines against the network before it.

    Attributes:
        tensors: by parameter name; the others stay as they are.
        weights_snr_db: output power over error power with quantized weights.
        state_snr_db: the same with the filters' state rounded to 8 bits too; None for a network that cannot stream.
        state_steps: one a layer, to be given to `Stream`; empty for a network that cannot stream.
        bytes_before: of all parameters.
        bytes_after: int8 values and one float32 scale a tensor, float32 for the others.
    """

    tensors: dict[str, QuantizedTensor]
    weights_snr_db: float
    state_snr_db: float | None
    state_steps: tuple[float, ...]
    bytes_before: int
    bytes_after: int


def snr_db(reference: Tensor, other: Tensor) -> float:
    """10 log10 of the power of `reference` over that of the difference; infinite where there is none.

    Example:
        >>> round(snr_db(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 0.9])), 2)
        23.01
    """
    error = float((reference - other).abs().double().square().sum())
    power = float(reference.abs().double().square().sum())
    return math.inf if error == 0 else 10 * math.log10(max(power, 1e-300) / error)


def to_int8(x: Tensor) -> QuantizedTensor:
    """Symmetric rounding with one scale, max |x| / 127: zero stays zero.

    Raises:
        InputError: NaN or infinity.

    Example:
        >>> q = to_int8(torch.tensor([0.0, 1.0, -2.54])); q.values.tolist(), round(q.scale, 4)
        ([0, 50, -127], 0.02)
    """
    largest = float(x.detach().abs().max()) if x.numel() else 0.0
    if not math.isfinite(largest):
        raise InputError("quantize: expected finite weights, got a NaN or an infinity")
    scale = largest / 127 if largest > 0 else 1.0
    values = (x.detach() / scale).round().clamp(-127, 127).to(torch.int8)
    return QuantizedTensor(values, scale, snr_db(x.detach(), values * scale))


def quantize(model: SarSSM, lines: Tensor, *, dynamics: bool = False) -> tuple[SarSSM, QuantizationReport]:
    """A copy that computes with 8-bit weights, and the cost of it on `lines`; the state's cost too where it can stream.

    Args:
        model: trained; left as it is.
        lines: (B, L, C), what the cost is measured on and the state's range is taken from: use held-out lines.
        dynamics: quantize poles and time units too. They are few (modes, not channels times modes), and one step of a
            frequency is up to 1/127 of the band, which defocuses: off by default. A pole stays stable either way.

    Returns:
        The network in eval mode with rounded weights, and the report.

    Raises:
        InputError: weights or lines that are not finite.
    """
    small = copy.deepcopy(model).eval()
    tensors: dict[str, QuantizedTensor] = {}
    after = 0
    for name, parameter in small.named_parameters():
        last = name.rpartition(".")[2]
        if (parameter.ndim < 2) or (last in DYNAMICS and not dynamics):
            after += parameter.numel() * 4
            continue
        tensors[name] = to_int8(parameter)
        parameter.data.copy_(tensors[name].values * tensors[name].scale)
        after += parameter.numel() + 4
    original = copy.deepcopy(model).eval()
    with torch.no_grad():
        reference = original(lines)
        rounded = small(lines)
    steps, state_snr = _state_cost(small, lines, reference) if model.config.look_ahead is not None else ((), None)
    before = sum(p.numel() * p.element_size() for p in model.parameters())
    return small, QuantizationReport(tensors, snr_db(reference, rounded), state_snr, steps, before, after)


def _state_cost(model: SarSSM, lines: Tensor, reference: Tensor) -> tuple[tuple[float, ...], float]:
    """Steps from the largest state seen on the lines, and the SNR with states rounded to them."""
    watched = Stream(model, lines.shape[0])
    names = [f"blocks.{place}.modes" for place in range(len(model.blocks))]
    largest = [0.0] * len(names)
    for t in range(lines.shape[1]):
        watched.step(lines[:, t])
        state = watched.state
        largest = [max(m, float(torch.view_as_real(state[n]).abs().max())) for m, n in zip(largest, names)]
    steps = tuple(m / 127 if m > 0 else 1.0 for m in largest)
    rounded = Stream(model, lines.shape[0], state_steps=steps)
    focused = [line for t in range(lines.shape[1]) if (line := rounded.step(lines[:, t])) is not None]
    rest = rounded.finish()
    return steps, snr_db(reference, torch.cat([*(x.unsqueeze(1) for x in focused), rest], 1))
