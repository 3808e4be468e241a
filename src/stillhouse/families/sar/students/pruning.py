"""Magnitude pruning of complex weights, and what it costs."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.families.sar.students.network import DYNAMICS, SarSSM
from stillhouse.families.sar.students.quantization import snr_db

WHOLE = ("feedthrough", "modulation")  # too few numbers to be worth a sparse format


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
        >>> from stillhouse.families.sar.students import StateSpaceConfig
        >>> model = StateSpaceConfig(model_dim=4, state_dim=8, num_layers=1).build()
        >>> _, report = prune(model, 0.5, torch.randn(1, 20, 1, dtype=torch.complex64))
        >>> report.zeroed["blocks.0.mix.weight"]
        8
    """
    if not 0 <= share < 1:
        raise InputError(f"share: expected a number from 0 to below 1, got {share}")
    small, zeroed, weights = copy.deepcopy(model).eval(), {}, 0
    for name, parameter in small.named_parameters():
        last = name.rpartition(".")[2]
        if parameter.ndim < 2 or last in DYNAMICS or last in WHOLE:
            continue
        pairs = parameter.ndim >= 3  # gates are real matrices
        size = parameter.data.norm(dim=-1) if pairs else parameter.data.abs()
        count = int(share * size.numel())
        kept = torch.ones(size.numel(), dtype=torch.bool, device=size.device)
        kept[size.flatten().argsort()[:count]] = False
        mask = kept.reshape(size.shape)
        parameter.data.mul_(mask.unsqueeze(-1) if pairs else mask)
        zeroed[name] = count
        weights += size.numel()
    with torch.no_grad():
        cost = snr_db(copy.deepcopy(model).eval()(lines), small(lines))
    return small, PruningReport(zeroed, weights, cost)
