"""One block of the transformer: attention, then the feed-forward, each normalized, scaled, dropped and added.

Shapes: B batch, N tokens, D width, C clauses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stillhouse.layers.norms import make_norm
from stillhouse.layers.windows import Windows
from stillhouse.tasks.classification.students.attention import Attended, Attention, Place, WindowAttention
from stillhouse.tasks.classification.students.config import UnifiedTMConfig
from stillhouse.tasks.classification.students.feed_forward import ClauseFeedForward, MLPFeedForward
from stillhouse.tasks.classification.students.geometry import Stage


class BlockOut(NamedTuple):
    """What a block puts out; a tap takes the first entry.

    Attributes:
        tokens: (B, N, D).
        attended: (B, N, D) attention output, what residual attention hands on.
        context: (B, N, D) the heads' contexts side by side.
        strength: (B, N, C) clause strengths; None without clauses.
    """

    tokens: Tensor
    attended: Tensor
    context: Tensor
    strength: Tensor | None


class LayerScale(nn.Module):
    """LayerScale: a learned gain per channel.

    The documents start it at 1e-4 on the clause branch, which buries the clauses for a short run; here it starts at 1.

    Source: Touvron et al. 2021, arXiv:2103.17239 (CaiT).
    """

    def __init__(self, width: int, start: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((width,), start))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) times the gains."""
        return x * self.gain


def stochastic_depth(rate: float) -> nn.Module:
    """Leave a branch out of some samples in training, at a rate; timm is imported where there is one only (3 processor seconds)."""
    if rate == 0:
        return nn.Identity()
    from timm.layers import DropPath

    return DropPath(rate)


class Block(nn.Module):
    """Attention, then the feed-forward (if any).

    Args:
        config: of the model.
        stage: its sizes.
        clauses: C of this block.
        drop_path: rate of stochastic depth.
        shifted: shift the windows (Swin).
        prefix: tokens ahead of the grid.
    """

    def __init__(
        self, config: UnifiedTMConfig, stage: Stage, clauses: int, drop_path: float, *, shifted: bool, prefix: int
    ) -> None:
        super().__init__()
        width = stage.width
        self.post_norm, self.carries = config.swin_version == 2, config.use_residual_attention
        self.norm1 = make_norm(config.norm_type, width)
        self.attention = make_attention(config, stage, shifted=shifted, prefix=prefix)
        self.contexts = nn.Identity()  # a place to tap the heads' contexts at
        self.attention_gain = LayerScale(width, 1.0) if config.use_layerscale else nn.Identity()
        self.drop = nn.Dropout(config.drop_rate)
        self.drop_path = stochastic_depth(drop_path)
        self.feed_forward: ClauseFeedForward | MLPFeedForward | None = None
        if config.feed_forward == "mlp":
            self.feed_forward = MLPFeedForward(width, stage.hidden, config.drop_rate)
        elif config.feed_forward == "clauses":
            self.feed_forward = ClauseFeedForward(width, stage.hidden, clauses, config, grid=stage.grid, prefix=prefix)
        if self.feed_forward is not None:
            self.norm2 = make_norm(config.norm_type, width)
            self.gain = LayerScale(width, config.layerscale_init) if config.use_layerscale else nn.Identity()

    @property
    def heads(self) -> Attention:
        """The attention of one set of tokens (of one window, in Swin), where the head gains are."""
        return self.attention.attention if isinstance(self.attention, WindowAttention) else self.attention

    def forward(self, x: Tensor, carried: Tensor | None = None) -> BlockOut:
        """Tokens (B, N, D), and the attention output of the block before where attention is residual."""
        found: Attended = self.attention(x if self.post_norm else self.norm1(x))
        context = self.contexts(found.context)
        attended = self.drop(found.out)
        if self.carries and carried is not None:
            attended = attended + carried
        x = x + self.drop_path(self.attention_gain(self.norm1(attended) if self.post_norm else attended))
        if self.feed_forward is None:
            return BlockOut(x, attended, context, None)
        answer = self.feed_forward(x if self.post_norm else self.norm2(x))
        votes, strength = answer if isinstance(answer, tuple) else (answer, None)
        x = x + self.drop_path(self.gain(self.norm2(votes) if self.post_norm else votes))
        return BlockOut(x, attended, context, strength)


def make_attention(config: UnifiedTMConfig, stage: Stage, *, shifted: bool, prefix: int) -> Attention | WindowAttention:
    """Global attention for a ViT, attention in windows for Swin."""
    windows = Windows(*stage.grid, stage.window, shifted=shifted) if stage.window else None
    grid = stage.grid if windows is None else windows.sides
    place = Place(config.relative_position(stage.width // stage.heads), grid, prefix)
    attention = Attention(
        stage.width,
        stage.heads,
        config.attn_drop_rate,
        place=place,
        cosine=config.swin_version == 2,
        fused=config.use_flash_attention,
    )
    return attention if windows is None else WindowAttention(windows, attention)


class PatchMerge(nn.Module):
    """Four neighbours become one token: (B, rows x columns, D) to (B, ceil half x ceil half, D')."""

    def __init__(self, width: int, out: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        from timm.models.swin_transformer import PatchMerging

        self.merge = PatchMerging(width, out)

    def forward(self, x: Tensor) -> Tensor:
        """Merge; odd maps are padded with zeros."""
        merged: Tensor = self.merge(x.unflatten(1, self.grid))
        return merged.flatten(1, 2)


class SwinStage(nn.Module):
    """Blocks of one width over one map, after the merging that makes it (none for the first stage)."""

    def __init__(self, blocks: Sequence[Block], merge: PatchMerge | None) -> None:
        super().__init__()
        self.merge = nn.Identity() if merge is None else merge
        self.blocks = nn.ModuleList(blocks)
