"""A transformer encoder that classifies texts.

Shapes: B batch, L tokens, D width, H heads, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.types import TextSpec


def checked_ids(ids: Tensor, length: int, vocabulary: int) -> Tensor:
    """The ids, if they are rows of at most `length` tokens of the vocabulary.

    Raises:
        InputError: they are not.
    """
    if ids.ndim != 2 or ids.shape[1] > length:
        raise InputError(f"token ids: expected (B, at most {length}), got {tuple(ids.shape)}")
    if ids.numel() and not (int(ids.min()) >= 0 and int(ids.max()) < vocabulary):
        raise InputError(f"token ids: expected 0 to {vocabulary - 1}, got {int(ids.min())} to {int(ids.max())}")
    return ids


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


class TextTransformer(nn.Module):
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
        super().__init__()
        self.padding, self.length, self.vocabulary = input_spec.padding, input_spec.length, input_spec.vocabulary
        self.tokens = nn.Embedding(input_spec.vocabulary, width)
        self.positions = nn.Parameter(torch.zeros(1, input_spec.length, width))
        nn.init.normal_(self.tokens.weight, std=0.1)
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.pooled = nn.Identity()
        self.head = nn.Linear(width, input_spec.num_classes)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, K).

        Raises:
            InputError: rows longer than the positions that there are, or token ids outside the vocabulary.
        """
        there = checked_ids(ids, self.length, self.vocabulary) != self.padding
        there[:, 0] |= ~there.any(1)  # a row without any token attends to its first padding instead of to nothing (NaN)
        x = self.dropout(self.tokens(ids) + self.positions[:, : ids.shape[1]])
        for block in self.blocks:
            x = block(x, there)
        weight = there.unsqueeze(2).to(x.dtype)
        return self.head(self.pooled((self.norm(x) * weight).sum(1) / weight.sum(1)))
