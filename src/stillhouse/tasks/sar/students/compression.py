"""Post-training compression: weights of 8 bits with one symmetric scale a tensor, or the smallest weights zero; and what it costs.

Shapes: B range bins, L lines, C input channels.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.tasks.sar.students.network import DYNAMICS, SarSSM

WHOLE = ("feedthrough", "modulation")  # too few numbers to be worth a sparse format


@dataclass(frozen=True)
class QuantizedTensor:
    """One tensor as it is shipped: `values` (int8, -127 to 127) times `scale` is what the quantized network computes with."""

    values: Tensor
    scale: float


@dataclass(frozen=True)
class PruningReport:
    """What pruning changed.

    Attributes:
        zeroed: by parameter name, how many (complex) weights are zero now.
        weights: how many there are in those parameters.
        snr_db: output power over error power on the given lines, against the network before.
    """

    zeroed: dict[str, int]
    weights: int
    snr_db: float


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
    return QuantizedTensor((x.detach() / scale).round().clamp(-127, 127).to(torch.int8), scale)


def quantize(model: SarSSM, lines: Tensor) -> tuple[SarSSM, dict[str, QuantizedTensor], float]:
    """A copy that computes with matrices of 8 bits. Poles and time units stay: one step of a frequency would defocus.

    Args:
        model: trained; left as it is.
        lines: (B, L, C), what the cost is measured on: use held-out lines.

    Returns:
        The network in eval mode, its rounded tensors by name, and its output's SNR in dB against the network before.

    Raises:
        InputError: weights that are not finite.
    """
    small = copy.deepcopy(model).eval()
    tensors: dict[str, QuantizedTensor] = {}
    for name, _, parameter in _matrices(small):
        tensors[name] = found = to_int8(parameter)
        parameter.data.copy_(found.values * found.scale)
    return small, tensors, _cost(model, small, lines)


def prune(model: SarSSM, share: float, lines: Tensor) -> tuple[SarSSM, PruningReport]:
    """A copy in which the `share` smallest weights of every matrix are zero, by modulus: both parts of a number at once.

    Args:
        model: trained; left as it is.
        share: of each matrix, from 0 to below 1.
        lines: (B, L, C) complex, what the cost is measured on.

    Returns:
        The network in eval mode, and the report.

    Raises:
        InputError: share outside [0, 1).

    Example:
        >>> from stillhouse.tasks.sar.students import StateSpaceConfig
        >>> model = StateSpaceConfig(model_dim=4, state_dim=8, num_layers=1).build()
        >>> _, report = prune(model, 0.5, torch.randn(1, 20, 1, dtype=torch.complex64))
        >>> report.zeroed["blocks.0.mix.weight"]
        8
    """
    if not 0 <= share < 1:
        raise InputError(f"share: expected a number from 0 to below 1, got {share}")
    small, zeroed, weights = copy.deepcopy(model).eval(), {}, 0
    for name, last, parameter in _matrices(small):
        if last in WHOLE:
            continue
        pairs = parameter.ndim >= 3  # gates are real matrices
        size = parameter.data.norm(dim=-1) if pairs else parameter.data.abs()
        count = int(share * size.numel())
        parameter.data.view(size.numel(), -1)[size.flatten().argsort()[:count]] = 0
        zeroed[name] = count
        weights += size.numel()
    return small, PruningReport(zeroed, weights, _cost(model, small, lines))


def _matrices(model: SarSSM) -> Iterator[tuple[str, str, nn.Parameter]]:
    """(name, last part of it, weights) of what is not dynamics or one number a channel."""
    for name, parameter in model.named_parameters():
        last = name.rpartition(".")[2]
        if parameter.ndim >= 2 and last not in DYNAMICS:
            yield name, last, parameter


@torch.no_grad()
def _cost(model: SarSSM, small: SarSSM, lines: Tensor) -> float:
    return snr_db(copy.deepcopy(model).eval()(lines), small(lines))
