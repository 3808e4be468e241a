"""One layer of the network: norm, state-space filter, activation, complex mixing, selectivity, residual; in three equal forms.

Shapes: B batch, L length, H channels, D lines that the layer looks ahead. Places are (B, L, 2) float64 or None.

Both forms give the output of line t - D once line t has come: the residual waits in a delay line until then. Nothing here has
an additive bias, so zeros in are zeros out, and what is not there yet (or no more) is the same as zero lines.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stillhouse.layers.state_space.activation import ModulusActivation
from stillhouse.layers.state_space.complex_linear import ComplexDropout, ComplexLinear, ComplexRMSNorm
from stillhouse.layers.state_space.deramp import Deramp
from stillhouse.layers.state_space.gate import PhaseGate
from stillhouse.layers.state_space.s4d import S4D


@dataclass
class BlockState:
    """All that a layer remembers between lines; its size does not depend on how many there were.

    Attributes:
        modes: (B, H, states) complex, the filter's state.
        delay: (B, D, H) complex, the lines that wait for their output, oldest first.
        places: (B, D, 2) float64, their places; (B, 0, 2) where nothing deramps.
        previous: (B, H) complex, the last line that left, for the gate.
        seen: lines that came in so far.
    """

    modes: Tensor
    delay: Tensor
    places: Tensor
    previous: Tensor
    seen: int = 0

    def tensors(self) -> dict[str, Tensor]:
        """The parts by name, `seen` as a 0-d integer."""
        return {
            "modes": self.modes,
            "delay": self.delay,
            "places": self.places,
            "previous": self.previous,
            "seen": torch.tensor(self.seen),
        }


class StateSpaceBlock(nn.Module):
    """h + gate * mix(activation(S4D(norm(h)))).

    Args:
        s4d: the filter; its width is the block's.
        activation: a name of `ModulusActivation`.
        norm: RMS norm before the filter.
        dropout: share dropped after the activation.
        gate: selectivity by the signal.
        deramp: selectivity by position, around the filter.
        gain: of the mixing at the start.

    Example:
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
        deramp: Deramp | None = None,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        width = s4d.channels
        self.norm: nn.Module = ComplexRMSNorm(width) if norm else nn.Identity()
        self.s4d, self.gate, self.deramp = s4d, gate, deramp
        self.activation = ModulusActivation(activation, width)
        self.dropout = ComplexDropout(dropout)
        self.mix = ComplexLinear(width, width, gain=gain, real=s4d.real_kernel)

    @property
    def look_ahead(self) -> int:
        """D, lines between an input and its output in the step form; 0 for a bidirectional layer, which has none."""
        return self.s4d.look_ahead or 0

    def forward(self, h: Tensor, places: Tensor | None = None, column: Tensor | None = None) -> Tensor:
        """The training form, (B, L, H) to (B, L, H); `column` (B) where the filter has a condition."""
        return self.close(self.s4d(self.enter(h, places), column), h, places)

    def enter(self, h: Tensor, places: Tensor | None) -> Tensor:
        """What the filter gets of the lines (B, L, H)."""
        u = self.norm(h)
        return u if self.deramp is None or places is None else self.deramp.enter(u, places)

    def close(self, y: Tensor, h: Tensor, places: Tensor | None, previous: Tensor | None = None) -> Tensor:
        """The layer's output (B, L, H) of the filter's output, the residual and the places, all of the same lines."""
        if self.deramp is not None and places is not None:
            y = self.deramp.leave(y, places)
        y = self.mix(self.dropout(self.activation(y)))
        return h + y if self.gate is None else h + self.gate(h, previous) * y

    def initial(self, batch: int) -> BlockState:
        """The state before the first line.

        Raises:
            InputError: a bidirectional layer.
        """
        modes = self.s4d.initial(batch)
        delay = modes.new_zeros(batch, self.look_ahead, self.s4d.channels)
        waiting = 0 if self.deramp is None else self.look_ahead  # nothing else reads them
        places = torch.zeros(batch, waiting, 2, dtype=torch.float64, device=modes.device)
        return BlockState(modes, delay, places, modes.new_zeros(batch, self.s4d.channels))

    def remembered(self, state: BlockState) -> tuple[Tensor, ...]:
        """The tensors of a state that this layer reads again; only a gate reads the line before."""
        lines = (state.modes, state.delay, state.places)
        return lines if self.gate is None else (*lines, state.previous)

    def advance(
        self, h: Tensor, places: Tensor | None, state: BlockState, column: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """A chunk of lines with carried state, by FFT; the state is changed.

        Args:
            h: (B, L, H), the newest lines.
            places: (B, L, 2).
            state: after all earlier lines.
            column: (B) where the filter has a condition.

        Returns:
            The outputs that are ready (B, L', H) and their places; L' < L while the layer waits for its look-ahead.
        """
        count = h.shape[1]
        y, state.modes = self.s4d.advance(self.enter(h, places), state.modes, column)
        skipped = min(count, max(0, self.look_ahead - state.seen))
        state.seen += count
        joined = torch.cat([state.delay, h], 1)
        ready, state.delay = joined[:, skipped:count], joined[:, count:]
        if places is not None:
            lines = torch.cat([state.places, places], 1)
            places, state.places = lines[:, skipped:count], lines[:, count:]
        if skipped == count:
            return ready, places
        y = y[:, skipped:] + self.s4d.through() * self.enter(ready, places)
        out = self.close(y, ready, places, state.previous)
        state.previous = ready[:, -1]
        return out, places
