"""Small transformers that classify texts; in one of them every matrix product of the blocks takes spikes, over a few time steps.

Shapes: B batch, T time steps, L tokens, D width, H heads, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from stillhouse.core.types import TextSpec
from stillhouse.layers.spikes.neurons import LeakyNeurons


class Attention(nn.Module):
    """Multi-head self-attention over the tokens that are there, (B, L, D) -> (B, L, D); `qkv` can be tapped."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        """Attend to tokens where `there` (B, L) is true."""
        B, L, D = x.shape
        q, k, v = self.qkv(x).reshape(B, L, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=there[:, None, None, :])
        return self.projection(mixed.transpose(1, 2).reshape(B, L, D))


class Block(nn.Module):
    """Attention and an MLP of four times the width, each normalized before and added after."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        x = x + self.dropout(self.attention(self.norm1(x), there))
        return x + self.dropout(self.mlp(self.norm2(x)))


class TextNetwork(nn.Module):
    """Token ids (B, L) to tokens of width D, blocks over them, and what reads them; sub-module to tap: `pooled`."""

    def __init__(
        self, input_spec: TextSpec, width: int, blocks: Callable[[], Iterable[nn.Module]], token_std: float = 1.0
    ) -> None:
        super().__init__()
        self.padding = input_spec.padding
        self.tokens = nn.Embedding(input_spec.vocabulary, width)
        self.positions = nn.Parameter(torch.zeros(1, input_spec.length, width))
        if token_std != 1:
            nn.init.normal_(self.tokens.weight, std=token_std)
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.blocks = nn.ModuleList(blocks())
        self.norm = nn.LayerNorm(width)
        self.pooled = nn.Identity()
        self.head = nn.Linear(width, input_spec.num_classes)

    def embedded(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, D), and (B, L) which tokens are there."""
        return self.tokens(ids) + self.positions[:, : ids.shape[1]], ids != self.padding


class TextTransformer(TextNetwork):
    """Token ids (B, L) -> logits (B, K); sub-modules to tap: `blocks.0`, ..., `blocks.0.attention.qkv`, `pooled`.

    Args:
        input_spec: vocabulary, length, padding and classes.
        width: D.
        depth: blocks.
        heads: H, divides D.
        dropout: on embeddings and branches.

    Example:
        >>> model = TextTransformer(TextSpec(("no", "yes"), 5, 11), width=8, depth=1, heads=2, dropout=0.0)
        >>> tuple(model(torch.tensor([[3, 4, 0, 0, 0]])).shape)
        (1, 2)

    Source: Vaswani et al. 2017, arXiv:1706.03762.
    """

    def __init__(self, input_spec: TextSpec, *, width: int, depth: int, heads: int, dropout: float) -> None:
        super().__init__(input_spec, width, lambda: (Block(width, heads, dropout) for _ in range(depth)), token_std=0.1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, K)."""
        x, there = self.embedded(ids)
        there[:, 0] |= ~there.any(1)  # a row without any token attends to its first padding instead of to nothing (NaN)
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, there)
        weight = there.unsqueeze(2).to(x.dtype)
        return self.head(self.pooled((self.norm(x) * weight).sum(1) / weight.sum(1)))


class Neurons(nn.Module):
    """Layer norm, then leaky neurons.

    Example:
        >>> Neurons(4, decay=0.5)(torch.randn(2, 3, 5, 4)).unique().tolist()
        [0.0, 1.0]
    """

    def __init__(self, width: int, decay: float) -> None:
        super().__init__()
        self.norm, self.neurons = nn.LayerNorm(width), LeakyNeurons(decay)

    def forward(self, x: Tensor) -> Tensor:
        """Spikes (B, T, L, D) of 0 and 1."""
        spikes: Tensor = self.neurons(self.norm(x))
        return spikes


class SpikingBlock(nn.Module):
    """Attention between spikes without a softmax, (q k^T) v, and a feed-forward layer; each adds to the stream."""

    def __init__(self, width: int, heads: int, decay: float) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.before, self.between = Neurons(width, decay), Neurons(width, decay)
        self.qkv = nn.Linear(width, 3 * width)
        self.spikes = nn.ModuleList(Neurons(width, decay) for _ in range(3))
        self.mixed = Neurons(width, decay)
        self.projection = nn.Linear(width, width)
        self.up = nn.Linear(width, 4 * width)
        self.inside = Neurons(4 * width, decay)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        """(B, T, L, D) -> (B, T, L, D); keys where `there` (B, L) is false are not looked at."""
        parts = [make(part) for make, part in zip(self.spikes, self.qkv(self.before(x)).chunk(3, -1))]
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(2, 3) for part in parts)  # (B, T, H, L, D / H)
        k = k * there[:, None, None, :, None]
        # no softmax: k^T v first, so that the cost is linear in the length
        found = (q @ (k.transpose(-1, -2) @ v) * self.scale).transpose(2, 3).flatten(-2)
        x = x + self.projection(self.mixed(found))
        return x + self.down(self.inside(self.up(self.between(x))))


class SpikingTextTransformer(TextNetwork):
    """Token ids (B, L) -> logits (B, K), the mean over the time steps of `head`'s scores (B, T, K).

    Sub-modules to tap: `layers.0`, ... the stream after each block, averaged over time (B, L, D); `pooled` (B, T, D); `head`.

    Args:
        input_spec: vocabulary, length, padding and classes.
        width: D.
        depth: blocks.
        heads: H, divides D.
        steps: T.
        decay: share of a neuron's charge that is left after a time step.

    Example:
        >>> model = SpikingTextTransformer(TextSpec(("no", "yes"), 5, 11), width=8, depth=1, heads=2, steps=3, decay=0.5)
        >>> tuple(model(torch.tensor([[3, 4, 0, 0, 0]])).shape)
        (1, 2)

    Source: Lv et al. 2023, arXiv:2308.15122 (SpikeBERT); its attention: Zhou et al. 2022, arXiv:2209.15425 (Spikformer).
    """

    def __init__(self, input_spec: TextSpec, *, width: int, depth: int, heads: int, steps: int, decay: float) -> None:
        super().__init__(input_spec, width, lambda: (SpikingBlock(width, heads, decay) for _ in range(depth)))
        self.steps = steps
        self.layers = nn.ModuleList(nn.Identity() for _ in range(depth))

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, K)."""
        x, there = self.embedded(ids)
        x = x.unsqueeze(1).expand(-1, self.steps, -1, -1)
        for block, seen in zip(self.blocks, self.layers):
            x = block(x, there)
            seen(x.mean(1))
        weight = there[:, None, :, None].to(x.dtype)
        pooled = self.pooled((self.norm(x) * weight).sum(2) / weight.sum(2).clamp(min=1))
        scores: Tensor = self.head(pooled)
        return scores.mean(1)
