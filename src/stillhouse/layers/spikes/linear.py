"""A linear layer whose input spikes and whose weight is ternary, either of which can be off; and the choice of where.

Shapes: I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stillhouse.layers.spikes.unit import SHARE_UNIT, SpikeUnit, share_of
from stillhouse.layers.straight_through import ternary_weight


class SpikeLinear(nn.Module):
    """`weight @ spikes(x)`: with spikes of one level and a ternary weight there is nothing left to multiply but scales.

    Args:
        inputs: I.
        outputs: O.
        spike: makes the spikes; None: the input goes in as it is.
        ternary: whether the weight becomes ternary.
        gain: standard deviation of the first weights, times sqrt(I).

    Example:
        >>> layer = SpikeLinear(4, 2, spike=SpikeUnit(4), ternary=True)
        >>> layer(torch.randn(5, 4)).shape, len(layer.effective_weight().abs().unique()) <= 2
        (torch.Size([5, 2]), True)

    Source: Ma et al. 2024, arXiv:2402.17764 for the weights; Xing et al. 2024, arXiv:2406.03287 for the spikes.
    """

    share: Tensor

    def __init__(
        self, inputs: int, outputs: int, *, spike: SpikeUnit | None = None, ternary: bool = False, gain: float = 1.0
    ) -> None:
        super().__init__()
        self.inputs, self.outputs, self.ternary = inputs, outputs, ternary
        self.spike = spike
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * (gain * inputs**-0.5))
        self.register_buffer("share", torch.tensor(SHARE_UNIT if ternary else 0))

    def effective_weight(self) -> Tensor:
        """(O, I) what the input is multiplied with now."""
        return ternary_weight(self.weight, share_of(self.share)) if self.ternary else self.weight

    def forward(self, x: Tensor) -> Tensor:
        """(..., O) of (..., I)."""
        return F.linear(x if self.spike is None else self.spike(x), self.effective_weight())


@dataclass(frozen=True)
class Quantization:
    """Which parts of a network spike and which have ternary weights: it makes the linear layers.

    Attributes:
        spiking: parts whose inputs spike.
        ternary: parts whose weights are ternary.
        levels: largest count of signed spikes.
        hidden_levels: largest count of the one-sided spikes inside a feed-forward layer.
        density: target of every unit.

    Example:
        >>> layer = Quantization(spiking={"ffn"}).linear("ffn", 8, 4)
        >>> layer.spike is None, layer.ternary
        (False, False)
    """

    spiking: Collection[str] = ()
    ternary: Collection[str] = ()
    levels: int = 1
    hidden_levels: int = 1
    density: float = 0.3

    def unit(self, part: str, channels: int, *, hidden: bool = False) -> SpikeUnit | None:
        """The spikes of a part, or None."""
        if part not in self.spiking:
            return None
        levels = self.hidden_levels if hidden else self.levels
        return SpikeUnit(channels, levels=levels, density=self.density, signed=not hidden)

    def linear(self, part: str, inputs: int, outputs: int, *, gain: float = 1.0, hidden: bool = False) -> SpikeLinear:
        """A linear layer of a part; `hidden`: its input is what a feed-forward layer has before its relu^2."""
        unit = self.unit(part, inputs, hidden=hidden)
        return SpikeLinear(inputs, outputs, spike=unit, ternary=part in self.ternary, gain=gain)
