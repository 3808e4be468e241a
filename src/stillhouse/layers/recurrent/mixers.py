"""The token mixer, with an explicit state: `mixer(x, state) -> (y, state)`.

Shapes: B batch, L length, D width, H heads, K key width of a head (D / H, and the value width).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stillhouse.layers.recurrent.delta import LOWEST_LOG_DECAY, delta_chunked, delta_recurrent
from stillhouse.layers.spikes.linear import Quantization


class MixerState(NamedTuple):
    """What a mixer keeps of the past, the same size whatever its length.

    Attributes:
        last: (B, D) the input of the last token.
        memory: (B, H, K, V).
    """

    last: Tensor
    memory: Tensor


class TokenShift(nn.Module):
    """Blends of a token with the one before it, one learned blend a channel and stream: x + mu * (previous - x).

    Args:
        width: D.
        streams: number of blends.

    Example:
        >>> shift = TokenShift(1, 1)
        >>> x, last = torch.tensor([[[2.0], [4.0]]]), torch.tensor([[0.0]])
        >>> shift(x, last)[0].flatten().tolist()
        [1.0, 3.0]

    Source: Peng et al. 2023, arXiv:2305.13048 (RWKV).
    """

    def __init__(self, width: int, streams: int) -> None:
        super().__init__()
        start = torch.linspace(0, 1, width) if width > 1 else torch.tensor([0.5])
        self.mu = nn.Parameter(start.repeat(streams, 1))

    def forward(self, x: Tensor, last: Tensor) -> tuple[Tensor, ...]:
        """(B, L, D) of each stream, of tokens (B, L, D) and the one before them (B, D)."""
        change = torch.cat([last.unsqueeze(1), x[:, :-1]], 1) - x
        return tuple(torch.addcmul(x, mu, change) for mu in self.mu)


class LowRank(nn.Module):
    """A small data-dependent vector: W2 f(W1 x) + bias, with W2 zero at the start."""

    def __init__(self, make: Quantization, width: int, rank: int, bias: Tensor, activation: str) -> None:
        super().__init__()
        self.down = make.linear("gates", width, rank)
        self.up = nn.Parameter(torch.zeros(width, rank))
        self.bias = nn.Parameter(bias)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D)."""
        h = self.down(x)
        h = torch.tanh(h) if self.activation == "tanh" else torch.sigmoid(h) if self.activation == "sigmoid" else h
        return F.linear(h, self.up, self.bias)


class MatrixMixer(nn.Module):
    """RWKV-7's time mixing by the generalized delta rule: a matrix a head.

    Left out of RWKV-7: values blended with those of the first layer, so that a layer needs nothing but its input.

    Args:
        width: D.
        heads: H, a divisor of D.
        make: makes the linear layers: parts "mixer" (r, k, v), "gates" and "output".
        chunk: tokens of a chunk of the parallel form.
        gain: of the output's first weights.

    Example:
        >>> mixer = MatrixMixer(8, 2, Quantization())
        >>> y, state = mixer(torch.randn(3, 5, 8))
        >>> tuple(y.shape), tuple(state.memory.shape)
        ((3, 5, 8), (3, 2, 4, 4))

    Source: Peng et al. 2025, arXiv:2503.14456, section 4.
    """

    def __init__(self, width: int, heads: int, make: Quantization, *, chunk: int = 32, gain: float = 1.0) -> None:
        super().__init__()
        self.width, self.heads, self.chunk = width, heads, chunk
        rank = max(8, width // 8)
        self.shift = TokenShift(width, 6)
        self.receptance = make.linear("mixer", width, width)
        self.key = make.linear("mixer", width, width)
        self.value = make.linear("mixer", width, width)
        self.output = make.linear("output", width, width, gain=gain)
        memories = torch.linspace(-7, 0, width // heads).repeat(heads)  # memories of 1800 to 3 tokens in every head
        self.decay = LowRank(make, width, rank, memories, "tanh")
        self.gate = LowRank(make, width, 2 * rank, torch.zeros(width), "sigmoid")
        self.bonus = nn.Parameter(torch.zeros(width))
        self.norm_gain = nn.Parameter(torch.ones(width))
        self.rate = LowRank(make, width, rank, torch.zeros(width), "none")
        self.removal_gain = nn.Parameter(torch.ones(width))
        self.rate_share = nn.Parameter(torch.ones(width))

    def initial_state(self, batch: int) -> MixerState:
        """Zeros, on the device of the weights."""
        zeros, size = self.bonus.new_zeros, self.width // self.heads
        return MixerState(zeros(batch, self.width), zeros(batch, self.heads, size, size))

    def forward(self, x: Tensor, state: MixerState | None = None) -> tuple[Tensor, MixerState]:
        """(B, L, D) of (B, L, D), and the state after the last token."""
        state = self.initial_state(x.shape[0]) if state is None else state
        streams = self.shift(x, state.last)
        r, k, v = (self._heads(layer(z)) for layer, z in zip((self.receptance, self.key, self.value), streams))
        log_w = self._heads(LOWEST_LOG_DECAY * torch.sigmoid(self.decay(streams[3])))
        rate = self._heads(torch.sigmoid(self.rate(streams[5])))
        kappa = F.normalize(k * self._vector(self.removal_gain), dim=-1, eps=1e-6)
        k = k * (1 + (rate - 1) * self._vector(self.rate_share))
        removed = (-rate * kappa, kappa)
        with torch.autocast(x.device.type, enabled=False):  # a recurrence adds up what half precision loses
            if x.shape[1] == 1:
                y, memory = delta_recurrent(r, k, v, log_w, *removed, state.memory)
            else:
                y, memory = delta_chunked(r, k, v, log_w, *removed, state.memory, chunk=self.chunk)
        # a head's answer at unit size, whatever its memory holds: what the output's spikes rely on
        y = F.layer_norm(y, y.shape[-1:], eps=1e-5)
        y = y * self._vector(self.norm_gain) + (r * k * self._vector(self.bonus)).sum(-1, keepdim=True) * v
        y = y.transpose(1, 2).flatten(2) * (2 * torch.sigmoid(self.gate(streams[4])))
        return self.output(y), MixerState(x[:, -1], memory)

    def _heads(self, x: Tensor) -> Tensor:
        """(B, H, L, K) float32 or wider of (B, L, D)."""
        split = x.unflatten(-1, (self.heads, -1)).transpose(1, 2).contiguous()
        return split if split.dtype == torch.float64 else split.float()

    def _vector(self, x: Tensor) -> Tensor:
        """(H, 1, K) of (D,)."""
        return x.view(self.heads, 1, -1)
