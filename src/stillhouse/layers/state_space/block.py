"""One layer of the network: norm, state-space filter, activation, complex mixing, selectivity, residual.

Shapes: B batch, L length, H channels, D lines that the layer looks ahead.

Nothing here has an additive bias, so zeros in are zeros out, and what is not there yet (or no more) is the same as zero lines.
"""

from __future__ import annotations

from torch import Tensor, nn

from stillhouse.layers.state_space.activation import ModulusActivation
from stillhouse.layers.state_space.complex_linear import ComplexDropout, ComplexLinear, ComplexRMSNorm
from stillhouse.layers.state_space.gate import PhaseGate
from stillhouse.layers.state_space.s4d import S4D


class StateSpaceBlock(nn.Module):
    """h + gate * mix(activation(S4D(norm(h)))).

    Args:
        s4d: the filter; its width is the block's.
        activation: a name of `ModulusActivation`.
        norm: RMS norm before the filter.
        dropout: share dropped after the activation.
        gate: selectivity by the signal.
        gain: of the mixing at the start.

    Example:
        >>> import torch
        >>> block = StateSpaceBlock(S4D(3, 4, look_ahead=2)); h = torch.randn(2, 9, 3, dtype=torch.complex64)
        >>> tuple(block(h).shape)
        (2, 9, 3)
    """

    def __init__(
        self,
        s4d: S4D,
        *,
        activation: str = "identity",
        norm: bool = False,
        dropout: float = 0.0,
        gate: PhaseGate | None = None,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        width = s4d.channels
        self.norm: nn.Module = ComplexRMSNorm(width) if norm else nn.Identity()
        self.s4d, self.gate = s4d, gate
        self.activation = ModulusActivation(activation, width)
        self.dropout = ComplexDropout(dropout)
        self.mix = ComplexLinear(width, width, gain=gain, real=s4d.real_kernel)

    @property
    def look_ahead(self) -> int:
        """D, lines between an input and its output in the step form; 0 for a bidirectional layer, which has none."""
        return self.s4d.look_ahead or 0

    def forward(self, h: Tensor) -> Tensor:
        """The training form, (B, L, H) to (B, L, H)."""
        y = self.s4d(self.norm(h))
        y = self.mix(self.dropout(self.activation(y)))
        return h + y if self.gate is None else h + self.gate(h) * y
