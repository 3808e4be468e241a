"""Attention over all tokens or in windows, by torch's fused kernels, with gains that heads can be weighted by.

Shapes: B batch, N tokens, D width, H heads, G windows.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from stillhouse.layers.windows import Windows

PositionKind = Literal["none", "learned", "rotary", "log"]
MAX_LOG_SCALE = 4.6052  # log 100, the bound of Swin V2


class Attended(NamedTuple):
    """What attention puts out (B, N, D), and the heads' contexts side by side (B, N, D) before the output projection."""

    out: Tensor
    context: Tensor


@dataclass(frozen=True)
class Place:
    """How tokens know where they are.

    Attributes:
        kind: "none", "learned" (a table), "log" (an MLP of log distances), "rotary" (both axes).
        grid: (rows, columns) of the tokens, where positions are relative.
        prefix: tokens ahead of the grid that have no place in it (the class token).
    """

    kind: PositionKind = "none"
    grid: tuple[int, int] = (0, 0)
    prefix: int = 0


class Attention(nn.Module):
    """Multi-head self-attention over all tokens, (B, N, D) -> (B, N, D).

    Args:
        width: D, a multiple of `heads`.
        heads: H.
        dropout: on the attention weights.
        place: of the tokens.
        cosine: cosine similarities with a learned scale (Swin V2).
        fused: ask for a fused kernel; where none takes the inputs, a warning says so once a layer.

    Attributes:
        head_gains: (H) buffer of ones; clause specialization weights heads with it. In the state dict.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        dropout: float = 0.0,
        *,
        place: Place | None = None,
        cosine: bool = False,
        fused: bool = False,
    ) -> None:
        super().__init__()
        place = place or Place()
        position, grid, prefix = place.kind, place.grid, place.prefix
        self.heads, self.dropout, self.prefix, self.fused = heads, dropout, prefix, fused
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        for layer in (self.qkv, self.projection):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        if not cosine:  # products of standard deviation 4: heads look somewhere from the first step, not everywhere
            nn.init.normal_(self.qkv.weight[: 2 * width], std=2 * width**-0.5)
        self.head_gains: Tensor
        self.register_buffer("head_gains", torch.ones(heads))
        self.log_scale = nn.Parameter(torch.full((heads, 1, 1), 2.3026)) if cosine else None
        self.bias: Any = None
        self.rotary: Any = None
        if position == "learned":
            from timm.layers import RelPosBias

            self.bias = RelPosBias(grid, heads, prefix_tokens=prefix)
        elif position == "log":
            from timm.layers import RelPosMlp

            self.bias = RelPosMlp(grid, heads, prefix_tokens=prefix, mode="swin")
            self.bias.mlp.drop1.p = 0.0  # timm's is 0.125; Swin V2 has none there
            self.bias.rel_coords_log.nan_to_num_(0.0)  # along an axis of one token timm divides 0 by 0
        elif position == "rotary":
            from timm.layers import RotaryEmbeddingCat

            self.rotary = RotaryEmbeddingCat(width // heads, in_pixels=False, feat_shape=list(grid))

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, float | None]:
        """q, k, v (B, H, N, D / H), positions turned in and scaled for cosines; and the scale of the products."""
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        scale = None
        if self.log_scale is not None:
            factor = self.log_scale.clamp(max=MAX_LOG_SCALE).exp()
            q, k, scale = nn.functional.normalize(q, dim=-1) * factor, nn.functional.normalize(k, dim=-1), 1.0
        if self.rotary is not None:
            from timm.layers import apply_rot_embed_cat

            turn, first = self.rotary.get_embed(), self.prefix
            q = torch.cat([q[:, :, :first], apply_rot_embed_cat(q[:, :, first:], turn)], dim=2)
            k = torch.cat([k[:, :, :first], apply_rot_embed_cat(k[:, :, first:], turn)], dim=2)
        return q, k, v, scale

    def _mask(self, mask: Tensor | None, like: Tensor) -> Tensor | None:
        """(1 or B, 1 or H, N, N): relative bias plus the mask, as scaled_dot_product_attention takes it."""
        if self.bias is None:
            return mask
        bias: Tensor = self.bias.get_bias().to(like.dtype)
        return bias if mask is None else bias.masked_fill(~mask, float("-inf"))

    def _mixed(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
        """Attention itself; with `fused` by a fused kernel where one takes these inputs, and a warning where none does."""
        dropout = self.dropout if self.training else 0.0
        if self.fused:
            try:
                with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]):
                    return nn.functional.scaled_dot_product_attention(q, k, v, mask, dropout_p=dropout, scale=scale)
            except RuntimeError as error:
                if "No available kernel" not in str(error):
                    raise
                self.fused = False
                warnings.warn(
                    f"use_flash_attention: no fused kernel for dropout {dropout:g}"
                    f"{', a learned bias' if mask is not None and mask.requires_grad else ''} and {q.dtype} on {q.device.type}; "
                    "the ordinary one is used",
                    stacklevel=2,
                )
        return nn.functional.scaled_dot_product_attention(q, k, v, mask, dropout_p=dropout, scale=scale)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Attended:
        """Attend.

        Args:
            x: (B, N, D).
            mask: (B, 1, N, N) bool, True where the row may attend to the column.
        """
        q, k, v, scale = self._parts(x)
        mixed = self._mixed(q, k, v, self._mask(mask, q), scale)
        mixed = mixed * self.head_gains.to(mixed.dtype)[:, None, None]
        context = mixed.transpose(1, 2).flatten(2)
        return Attended(self.projection(context), context)

    @torch.no_grad()
    def weights(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, H, N, N) attention weights of the same input, rows summing to 1: for pictures, not for training."""
        q, k, _, scale = self._parts(x)
        scores = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
        allowed = self._mask(mask, q)
        if allowed is not None:
            scores = scores.masked_fill(~allowed, float("-inf")) if allowed.dtype == torch.bool else scores + allowed
        return scores.softmax(-1)


class WindowAttention(nn.Module):
    """`Attention` inside windows of a map of tokens, (B, N, D) -> (B, N, D) with N = rows x columns.

    Args:
        windows: the geometry.
        attention: of one window's tokens.
    """

    def __init__(self, windows: Windows, attention: Attention) -> None:
        super().__init__()
        self.windows, self.attention = windows, attention
        self.mask: Tensor | None
        self.register_buffer("mask", windows.mask, persistent=False)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        batch = x.shape[0]
        mask = None if self.mask is None else self.mask.unsqueeze(1).repeat(batch, 1, 1, 1)
        return self.windows.split(x.unflatten(1, self.windows.map)), mask

    def forward(self, x: Tensor) -> Attended:
        """Attend in windows."""
        out, context = self.attention(*self._split(x))
        return Attended(self.windows.join(out).flatten(1, 2), self.windows.join(context).flatten(1, 2))

    @torch.no_grad()
    def received(self, x: Tensor) -> Tensor:
        """(B, N) how much attention each token gets from its window, mean over heads and rows."""
        parts, mask = self._split(x)
        weight = self.attention.weights(parts, mask).mean((1, 2)).unsqueeze(-1)  # (B G, n, 1)
        return self.windows.join(weight).flatten(1)
