"""Complex linear maps, norm and dropout that commute with a global phase: f(e^{j phi} x) = e^{j phi} f(x).

Shapes: B batch, L length, D width. No additive bias anywhere: a constant does not turn with the signal.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from stillhouse.layers.state_space.pairs import joined


class ComplexLinear(nn.Module):
    """x W^T with true complex multiplication, (..., inputs) -> (..., outputs).

    Two independent real maps of the real and the imaginary part, as in much "complex" code, cannot turn a phase.

    Args:
        inputs: width of what comes in.
        outputs: width of what goes out.
        gain: standard deviation of the output for white input of unit power, at the start.
        real: keep the weights real (the ablation).

    Example:
        Multiplication by j turns 1 into j.

        >>> turn = ComplexLinear(1, 1); _ = turn.weight.data.copy_(torch.tensor([[[0.0, 1.0]]]))
        >>> turn(torch.ones(1, 1) + 0j).item()
        1j
    """

    def __init__(self, inputs: int, outputs: int, *, gain: float = 1.0, real: bool = False) -> None:
        super().__init__()
        self.inputs, self.outputs, self.real = inputs, outputs, real
        parts = 1 if real else 2
        self.weight = nn.Parameter(torch.randn(outputs, inputs, parts) * (gain / math.sqrt(parts * inputs)))

    def matrix(self) -> Tensor:
        """(outputs, inputs) complex."""
        if self.real:
            weight = self.weight[..., 0]
            return torch.complex(weight, torch.zeros_like(weight))
        return joined(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(..., outputs) complex."""
        return nn.functional.linear(x, self.matrix())


class ComplexRMSNorm(nn.Module):
    """x gain / sqrt(mean |x|^2) over the channels of each sample; real gains, no shift, the phase stays.

    It takes the amplitude of a line away from what follows: for a focusing filter, which is linear, leave it off unless deep
    networks diverge.

    Args:
        width: D.
        floor: added to the mean power, so that silence stays silence.

    Example:
        Power (9 + 16 + 0 + 0) / 2 over two channels.

        >>> [round(v, 4) for v in ComplexRMSNorm(2)(torch.tensor([3 + 4j, 0])).abs().tolist()]
        [1.4142, 0.0]

    Source: Zhang, Sennrich 2019, arXiv:1910.07467.
    """

    def __init__(self, width: int, floor: float = 1e-6) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))
        self.floor = floor

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) complex."""
        power = (x.real.square() + x.imag.square()).mean(-1, keepdim=True)
        return x * (self.gain * torch.rsqrt(power + self.floor))


class ComplexDropout(nn.Module):
    """Drops whole complex numbers: one mask for both parts. Two masks would turn the phases that survive.

    Args:
        share: probability of a zero, in [0, 1).

    Example:
        >>> _ = torch.manual_seed(0); x = torch.full((1000,), 1 + 1j)
        >>> sorted({complex(v) for v in ComplexDropout(0.5)(x).tolist()}, key=abs)
        [0j, (2+2j)]
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """As `x` in eval mode; else zeros and values over 1 - share."""
        if not self.training or self.share == 0:
            return x
        return x * nn.functional.dropout(torch.ones_like(x.real), self.share)
