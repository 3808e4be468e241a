"""Swin with clauses that read a whole window at once, and stages that vote.

Shapes: B batch, N tokens, D width, G windows, n tokens in a window, K classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.tasks.classification.students.attention import (
    Attention,
    PatchMerge,
    Place,
    WindowAttention,
    Windows,
    stochastic_depth,
)
from stillhouse.tasks.classification.students.clauses import ClauseModel
from stillhouse.tasks.classification.students.core import StageVote, make_core
from stillhouse.tasks.classification.students.transformer_config import Stage, SwinTMConfig


class WindowClauses(nn.Module):
    """All tokens of a window to bits, clauses, votes, and back to all tokens of the window: (B, N, D) to itself.

    `n D -> bits -> clauses -> D -> n D`, then `g m + (1 - g) sigmoid(m)` with a learned gate g per layer.

    Args:
        windows: the geometry; not shifted.
        width: D.
        config: of the model.
    """

    def __init__(self, windows: Windows, width: int, config: SwinTMConfig) -> None:
        super().__init__()
        self.windows, count = windows, windows.tokens * width
        self.project = nn.Linear(count, config.tm_hidden)
        self.core = make_core(config.part, (config.tm_hidden, width), config.clauses, config.rule)
        self.spread = nn.Linear(width, count)
        self.gate = nn.Parameter(torch.tensor(0.5))
        self.drop = nn.Dropout(config.drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, N, D) to tokens."""
        windows = self.windows.split(x.unflatten(1, self.windows.map))
        mixed = self.spread(self.core(self.project(windows.flatten(1))).votes).unflatten(1, windows.shape[1:])
        g = torch.sigmoid(self.gate)
        mixed = self.drop(g * mixed + (1 - g) * torch.sigmoid(mixed))
        return self.windows.join(mixed).flatten(1, 2)


class WindowBlock(nn.Module):
    """Window attention, then window clauses, each normalized before, dropped and added."""

    def __init__(self, stage: Stage, shifted: bool, drop_path: float, config: SwinTMConfig) -> None:
        super().__init__()
        windows = Windows(*stage.grid, stage.window, shifted=shifted, cap=config.cap_windows)
        attention = Attention(stage.width, stage.heads, config.attn_drop_rate, place=Place("learned", windows.sides))
        self.norm1 = nn.LayerNorm(stage.width)
        self.attention = WindowAttention(windows, attention)
        self.norm2 = nn.LayerNorm(stage.width)
        whole = Windows(*stage.grid, stage.window, cap=config.cap_windows)
        self.clauses = WindowClauses(whole, stage.width, config)
        self.drop = nn.Dropout(config.drop_rate)
        self.drop_path = stochastic_depth(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, N, D) to tokens."""
        x = x + self.drop_path(self.drop(self.attention(self.norm1(x)).out))
        return x + self.drop_path(self.clauses(self.norm2(x)))


class SwinTM(ClauseModel):
    """Swin tiny, small, base or large with window-level clauses; every stage votes, and the last one twice.

    Example:
        >>> model = SwinTM(image_size=16, in_channels=1, embed_dim=8, depths=(1, 1), num_heads=(2, 2), window_size=2,
        ...                tm_hidden=16, clauses=8, head_clauses=8, num_classes=3)
        >>> tuple(model(torch.rand(2, 1, 16, 16)).shape)
        (2, 3)

    Source: Liu et al. 2021, arXiv:2103.14030 (Swin).
    """

    config_class = SwinTMConfig

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        config: SwinTMConfig = self.config
        sizes = config.backbone()
        stages, side, rates = sizes.stages(), config.patch_size, sizes.drop_paths()
        _, height, width = self.image_shape
        self.padding = (stages[0].grid[1] * side - width, stages[0].grid[0] * side - height)
        self.patch_embed = nn.Conv2d(config.in_channels, stages[0].width, side, stride=side)
        self.dropout = nn.Dropout(config.drop_rate)
        self.stages, self.merges, self.heads = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for place, stage in enumerate(stages):
            blocks = [WindowBlock(stage, bool(i % 2), rates.pop(0), config) for i in range(stage.depth)]
            before = stages[place - 1]
            self.merges.append(PatchMerge(before.width, stage.width, before.grid) if place else nn.Identity())
            self.stages.append(nn.Sequential(*blocks))
            self.heads.append(StageVote(stage.width, config, config.head_clauses))
        self.norm = nn.LayerNorm(stages[-1].width)
        self.final = StageVote(stages[-1].width, config, config.head_clauses)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, K) of raw pixels (B, C, H, W)."""
        self.advance_tau()
        votes = []
        x = nn.functional.pad(self.normalized(pixels), (0, self.padding[0], 0, self.padding[1]))
        x = self.dropout(self.patch_embed(x).flatten(2).transpose(1, 2))
        for merge, blocks, head in zip(self.merges, self.stages, self.heads):
            x = blocks(merge(x))
            votes.append(head(x.mean(1)))
        final: Tensor = self.final(self.norm(x).mean(1))
        return final + torch.stack(votes).mean(0)
