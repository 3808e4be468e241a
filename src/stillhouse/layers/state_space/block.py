"""One layer of the network, and its parts: state-space filter, activation, complex mixing, selectivity, residual.

All of it commutes with a global phase: f(e^{j phi} x) = e^{j phi} f(x). Nothing here has an additive bias, since a constant does
not turn with the signal; so zeros in are zeros out, and what is not there yet (or no more) is the same as zero lines.

Shapes: B batch, L length, H channels, D lines that the layer looks ahead.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from stillhouse.layers.state_space.kernel import real_pairs_to_complex
from stillhouse.layers.state_space.s4d import S4D

TINY = 1e-6
SOFT = 1e-4  # power below which a relative phase fades out, for a signal scaled to unit RMS


class ComplexLinear(nn.Module):
    """x W^T with true complex multiplication, (..., inputs) -> (..., outputs).

    Two independent real maps of the real and the imaginary part, as in much "complex" code, cannot turn a phase.

    Args:
        inputs: width of what comes in.
        outputs: width of what goes out.
        gain: standard deviation of the output for white input of unit power, at the start.

    Example:
        Multiplication by j turns 1 into j.

        >>> turn = ComplexLinear(1, 1); _ = turn.weight.data.copy_(torch.tensor([[[0.0, 1.0]]]))
        >>> turn(torch.ones(1, 1) + 0j).item()
        1j
    """

    def __init__(self, inputs: int, outputs: int, *, gain: float = 1.0) -> None:
        super().__init__()
        self.inputs = inputs
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 2) * (gain / math.sqrt(2 * inputs)))

    def matrix(self) -> Tensor:
        """(outputs, inputs) complex."""
        return real_pairs_to_complex(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(..., outputs) complex."""
        return nn.functional.linear(x, self.matrix())


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


class ModulusActivation(nn.Module):
    """An activation of the modulus, m(|x|) x / |x|: the phase stays.

    `relu` is modReLU, max(|x| - t, 0) x / |x|, with a learned threshold t >= 0 a channel: on a modulus, which is never negative,
    the usual one would do nothing.

    Args:
        name: gelu, identity, relu or silu.
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
        self.name = name
        self.raw_threshold: nn.Parameter | None = None
        if name == "relu":
            self.raw_threshold = nn.Parameter(torch.full((width,), math.log(math.expm1(threshold))))

    def gain(self, modulus: Tensor) -> Tensor:
        """m(|x|) / |x|, real, at the moduli (..., D)."""
        if self.name == "gelu":
            return 0.5 * (1 + torch.erf(modulus / math.sqrt(2)))
        if self.name == "silu":
            return torch.sigmoid(modulus)
        assert self.raw_threshold is not None, "an identity has no gain"
        return (1 - nn.functional.softplus(self.raw_threshold) / modulus.clamp(min=TINY)).clamp(min=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) complex."""
        return x if self.name == "identity" else x * self.gain(x.abs())


class PhaseGate(nn.Module):
    """Factors in (0, 2), one a channel and sample, from log(1 + |h|) and the turn since the previous sample.

    The turn is (cos, sin) of the phase difference: it has no jump at pi, as a raw angle has, and it does not see a global phase.

    Args:
        channels: H.
        hidden: width of the hidden layer; H / 4 by default, 4 at least.

    Example:
        A global phase changes nothing.

        >>> _ = torch.manual_seed(0); gate, h = PhaseGate(3), torch.randn(1, 5, 3, dtype=torch.complex64)
        >>> bool(torch.allclose(gate(h), gate(1j * h), atol=1e-6))
        True
    """

    def __init__(self, channels: int, hidden: int | None = None) -> None:
        super().__init__()
        width = max(4, channels // 4) if hidden is None else hidden
        self.inner = nn.Linear(3 * channels, width)
        self.outer = nn.Linear(width, channels)

    def forward(self, h: Tensor, previous: Tensor | None = None) -> Tensor:
        """Factors (B, L, H).

        Args:
            h: (B, L, H) complex.
            previous: (B, H), the sample before the first; none (zero, no turn) by default.
        """
        first = torch.zeros_like(h[:, 0]) if previous is None else previous
        turn = h * torch.cat([first.unsqueeze(1), h[:, :-1]], 1).conj()
        turn = turn / (turn.abs() + SOFT)
        return self.factors(h.abs(), turn.real, turn.imag)

    def factors(self, modulus: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """The same of |h| and the soft unit phasor of the turn, real and imaginary part."""
        features = torch.cat([torch.log1p(modulus), cosine, sine], -1)
        return 2 * torch.sigmoid(self.outer(nn.functional.gelu(self.inner(features))))


class StateSpaceBlock(nn.Module):
    """h + gate * mix(activation(S4D(h))).

    Args:
        s4d: the filter; its width is the block's.
        activation: a name of `ModulusActivation`.
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
        dropout: float = 0.0,
        gate: PhaseGate | None = None,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        width = s4d.channels
        self.s4d, self.gate = s4d, gate
        self.activation = ModulusActivation(activation, width)
        self.dropout = ComplexDropout(dropout)
        self.mix = ComplexLinear(width, width, gain=gain)

    @property
    def look_ahead(self) -> int:
        """D, lines between an input and its output in the step form; 0 for a bidirectional layer, which has none."""
        return self.s4d.look_ahead or 0

    def forward(self, h: Tensor) -> Tensor:
        """The training form, (B, L, H) to (B, L, H)."""
        y = self.mix(self.dropout(self.activation(self.s4d(h))))
        return h + y if self.gate is None else h + self.gate(h) * y
