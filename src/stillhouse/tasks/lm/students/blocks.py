"""What the network is made of: a block of mixer and feed-forward layer, and the readout.

Shapes: B batch, L length, D width, E width of the embedding, F hidden width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stillhouse.layers.recurrent import MatrixMixer, Mixer, MixerState, ScalarMixer, TokenShift
from stillhouse.layers.spikes import SHARE_UNIT, Quantization, SpikeLinear, share_of
from stillhouse.layers.ternary import ternary_weight
from stillhouse.tasks.lm.students import SpikingLMConfig


class BlockState(NamedTuple):
    """What a block keeps of the past: its mixer's state, and the input of its feed-forward layer at the last token (B, D)."""

    mixer: MixerState
    ffn: Tensor


class ChannelMix(nn.Module):
    """W_2 relu(W_1 shift(x))^2, RWKV's feed-forward layer; with spikes, whole counts stand in for relu^2.

    Signed, it is W_2 h|h| of h = W_1 shift(x): both signs pass, and what goes into W_2 never spikes.

    Example:
        >>> ffn = ChannelMix(4, 8, Quantization(), gain=1.0)
        >>> tuple(ffn(torch.randn(2, 3, 4), torch.zeros(2, 4)).shape)
        (2, 3, 4)

    Source: Peng et al. 2025, arXiv:2503.14456, section 4.2.
    """

    def __init__(self, width: int, hidden: int, make: Quantization, *, gain: float, signed: bool = False) -> None:
        super().__init__()
        self.signed = signed
        self.shift = TokenShift(width, 1)
        self.up = make.linear("ffn", width, hidden)
        down = replace(make, spiking=()) if signed else make
        self.down = down.linear("ffn", hidden, width, gain=gain, hidden=True)

    def forward(self, x: Tensor, last: Tensor) -> Tensor:
        """(B, L, D) of (B, L, D) and the token before (B, D)."""
        h = self.up(self.shift(x, last)[0])
        if self.signed:
            return self.down(h * h.abs())
        return self.down(h if self.down.spike is not None else torch.relu(h).square())


class Block(nn.Module):
    """x + mixer(norm(x)), then x + ffn(norm(x)); `block(x, state) -> (x, state)`."""

    def __init__(self, config: SpikingLMConfig, make: Quantization) -> None:
        super().__init__()
        gain = (2 * config.layers) ** -0.5  # the sum over the layers keeps its size
        self.mixer_norm = nn.LayerNorm(config.width)
        self.mixer: Mixer = (
            ScalarMixer(config.width, make, chunk=config.chunk, gain=gain)
            if config.mixer == "scalar"
            else MatrixMixer(config.width, config.heads, make, chunk=config.chunk, gain=gain)
        )
        self.ffn_norm = nn.LayerNorm(config.width)
        signed = config.activation == "signed-square"
        self.ffn = ChannelMix(config.width, config.hidden, make, gain=gain, signed=signed)
        self.dropout = nn.Dropout(config.dropout)

    def initial_state(self, batch: int) -> BlockState:
        """Zeros."""
        mixer = self.mixer.initial_state(batch)
        return BlockState(mixer, torch.zeros_like(mixer.last))

    def forward(self, x: Tensor, state: BlockState) -> tuple[Tensor, BlockState]:
        """(B, L, D) of (B, L, D), and the state after the last token."""
        mixed, mixer = self.mixer(self.mixer_norm(x), state.mixer)
        x = x + self.dropout(mixed)
        z = self.ffn_norm(x)
        return x + self.dropout(self.ffn(z, state.ffn)), BlockState(mixer, z[:, -1])


class Readout(nn.Module):
    """Hidden states to logits, as `nn.Linear` without bias; `.weight` (V, E) is what is multiplied with, ternary or not.

    Args:
        config: of the network.
        embedding: whose weight is shared if the configuration ties them; kept outside of this module's own parameters.
    """

    share: Tensor

    def __init__(self, config: SpikingLMConfig, embedding: nn.Embedding) -> None:
        super().__init__()
        self.ternary = "readout" in config.ternary_weights
        self.dense = None if config.tie_embeddings else nn.Parameter(embedding.weight.detach().clone())
        self._shared = (embedding,)  # in a tuple: registered once, as the embedding
        self.register_buffer("share", torch.tensor(SHARE_UNIT if self.ternary else 0))

    @property
    def weight(self) -> Tensor:
        """(V, E), with its gradient."""
        own = self._shared[0].weight if self.dense is None else self.dense
        return ternary_weight(own, share_of(self.share)) if self.ternary else own

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., V) of (..., E)."""
        return F.linear(hidden, self.weight)


def quantized_layers(module: nn.Module) -> dict[str, SpikeLinear]:
    """The spiking linear layers of a network, by path."""
    return {name: part for name, part in module.named_modules() if isinstance(part, SpikeLinear)}
