"""Activations of the modulus: x m(|x|) / |x|, so that the phase passes unchanged and a global phase commutes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError, nearest

TINY = 1e-6
LEAK = 0.125
SAME = {"linear": "identity", "none": "identity", "swish": "silu"}
REFUSED = {
    "sigmoid": "the sigmoid of a modulus is 1/2 at 0, where there is no phase to carry it; take 'silu'",
    "glu": "it halves the channels; take 'silu', or use_selectivity for a learned gate",
}
NAMES = ("gelu", "hardswish", "identity", "leakyrelu", "relu", "silu", "tanh")


def canonical(name: str) -> str:
    """The one spelling of an activation's name.

    Raises:
        InputError: no such activation, with the near one; or one that has no form on the modulus, with the reason.

    Example:
        >>> canonical("swish"), canonical("none")
        ('silu', 'identity')
    """
    if name in REFUSED:
        raise InputError(f"activation: {name!r} is not offered for complex signals: {REFUSED[name]}")
    found = SAME.get(name, name)
    if found not in NAMES:
        raise InputError(f"activation: there is no {name!r}; {nearest(name, (*NAMES, *SAME))}")
    return found


def gain(name: str, modulus: Tensor, threshold: Tensor | None = None) -> Tensor:
    """m(|x|) / |x|, the real factor of an activation, at the moduli (..., D).

    Args:
        name: a canonical name.
        modulus: |x|, not negative.
        threshold: (D), not negative; the dead zone of `relu` and `leakyrelu`.

    Returns:
        (..., D) real.

    Example:
        gelu(m) / m is the normal distribution function: 1/2 at 0, 0.8413 at 1.

        >>> [round(v, 4) for v in gain("gelu", torch.tensor([0.0, 1.0])).tolist()]
        [0.5, 0.8413]
    """
    if name == "gelu":
        return 0.5 * (1 + torch.erf(modulus / math.sqrt(2)))
    if name == "silu":
        return torch.sigmoid(modulus)
    if name == "hardswish":
        return ((modulus + 3) / 6).clamp(max=1)
    safe = modulus.clamp(min=TINY)
    if name == "tanh":
        return torch.tanh(safe) / safe
    if threshold is None:
        return torch.ones_like(modulus)
    return (1 - threshold / safe).clamp(min=LEAK if name == "leakyrelu" else 0.0)


class ModulusActivation(nn.Module):
    """The activation as a module.

    `relu` is modReLU, max(|x| - t, 0) x / |x|, with a learned threshold t >= 0 a channel; `leakyrelu` is
    max(|x| - t, |x| / 8) x / |x|: on a modulus, which is never negative, the usual ones would do nothing.

    Args:
        name: any name of `canonical`.
        width: D, channels of the input.
        threshold: t at the start, in units of the input.

    Example:
        >>> relu = ModulusActivation("relu", 1, threshold=1.0)
        >>> [round(v, 4) for v in relu(torch.tensor([[3 + 4j], [0.3 + 0.4j]])).abs().flatten().tolist()]
        [4.0, 0.0]

    Source: Arjovsky, Shah, Bengio 2016, arXiv:1511.06464 (modReLU).
    """

    def __init__(self, name: str, width: int, *, threshold: float = 0.05) -> None:
        super().__init__()
        self.name = canonical(name)
        self.raw_threshold: nn.Parameter | None = None
        if self.name in ("relu", "leakyrelu"):
            self.raw_threshold = nn.Parameter(torch.full((width,), math.log(math.expm1(threshold))))

    def threshold(self) -> Tensor | None:
        """(D), not negative; None where the activation has none."""
        return None if self.raw_threshold is None else nn.functional.softplus(self.raw_threshold)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) complex."""
        return x if self.name == "identity" else x * gain(self.name, x.abs(), self.threshold())
