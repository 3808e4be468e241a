"""Attention over all tokens or in windows, by torch's fused kernels, with gains that heads can be weighted by.

Shapes: B batch, N tokens, D width, H heads, G windows in a map; of windows: H W rows and columns of the map, M side.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from stillhouse.core.checks import InputError


class Attended(NamedTuple):
    """What attention puts out (B, N, D), and the heads' contexts side by side (B, N, D) before the output projection."""

    out: Tensor
    context: Tensor


@dataclass(frozen=True)
class Place:
    """How tokens know where they are.

    Attributes:
        kind: "none", "learned" (a table), "rotary" (both axes).
        grid: (rows, columns) of the tokens, where positions are relative.
        prefix: tokens ahead of the grid that have no place in it (the class token).
    """

    kind: str = "none"
    grid: tuple[int, int] = (0, 0)
    prefix: int = 0


class Attention(nn.Module):
    """Multi-head self-attention over all tokens, (B, N, D) -> (B, N, D).

    Args:
        width: D, a multiple of `heads`.
        heads: H.
        dropout: on the attention weights.
        place: of the tokens.
        fused: ask for a fused kernel; where none takes the inputs, a warning says so once a layer.

    Attributes:
        head_gains: (H) buffer of ones; clause specialization weights heads with it. In the state dict.
    """

    def __init__(
        self, width: int, heads: int, dropout: float = 0.0, *, place: Place | None = None, fused: bool = False
    ) -> None:
        super().__init__()
        place = place or Place()
        self.heads, self.dropout, self.prefix, self.fused = heads, dropout, place.prefix, fused
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        for layer in (self.qkv, self.projection):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        # products of standard deviation 4: heads look somewhere from the first step, not everywhere
        nn.init.normal_(self.qkv.weight[: 2 * width], std=2 * width**-0.5)
        self.head_gains: Tensor
        self.register_buffer("head_gains", torch.ones(heads))
        self.bias: Any = None
        self.rotary: Any = None
        if place.kind == "learned":
            from timm.layers import RelPosBias

            self.bias = RelPosBias(place.grid, heads, prefix_tokens=place.prefix)
        elif place.kind == "rotary":
            from timm.layers import RotaryEmbeddingCat

            self.rotary = RotaryEmbeddingCat(width // heads, in_pixels=False, feat_shape=list(place.grid))

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v (B, H, N, D / H), positions turned in."""
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        if self.rotary is not None:
            from timm.layers import apply_rot_embed_cat

            turn, first = self.rotary.get_embed(), self.prefix
            q, k = (torch.cat([x[:, :, :first], apply_rot_embed_cat(x[:, :, first:], turn)], dim=2) for x in (q, k))
        return q, k, v

    def _mask(self, mask: Tensor | None, like: Tensor) -> Tensor | None:
        """(1 or B, 1 or H, N, N): relative bias plus the mask, as scaled_dot_product_attention takes it."""
        if self.bias is None:
            return mask
        bias: Tensor = self.bias.get_bias().to(like.dtype)
        return bias if mask is None else bias.masked_fill(~mask, float("-inf"))

    def _mixed(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """Attention itself; with `fused` by a fused kernel where one takes these inputs, and a warning where none does."""
        dropout = self.dropout if self.training else 0.0
        if self.fused:
            try:
                with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]):
                    return nn.functional.scaled_dot_product_attention(q, k, v, mask, dropout_p=dropout)
            except RuntimeError as error:
                if "No available kernel" not in str(error):
                    raise
                self.fused = False
                warnings.warn(
                    "use_flash_attention: no fused kernel takes these inputs (dropout, a learned bias, type or device); the "
                    "ordinary one is used",
                    stacklevel=2,
                )
        return nn.functional.scaled_dot_product_attention(q, k, v, mask, dropout_p=dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Attended:
        """Attend.

        Args:
            x: (B, N, D).
            mask: (B, 1, N, N) bool, True where the row may attend to the column.
        """
        q, k, v = self._parts(x)
        mixed = self._mixed(q, k, v, self._mask(mask, q))
        mixed = mixed * self.head_gains.to(mixed.dtype)[:, None, None]
        context = mixed.transpose(1, 2).flatten(2)
        return Attended(self.projection(context), context)

    @torch.no_grad()
    def weights(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, H, N, N) attention weights of the same input, rows summing to 1: for pictures, not for training."""
        q, k, _ = self._parts(x)
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        allowed = self._mask(mask, q)
        if allowed is not None:
            scores = scores.masked_fill(~allowed, float("-inf")) if allowed.dtype == torch.bool else scores + allowed
        return scores.softmax(-1)


class Windows:
    """The geometry of windows over an H x W map of tokens.

    A map that the window does not divide is padded right and below. A window at least as large as the map becomes the
    map, unshifted: there is nothing to shift. A shifted window holds tokens from opposite borders, and a padded one holds
    tokens that are none; `mask` lets a token attend only to tokens of its own region.

    Args:
        height: H.
        width: W.
        side: M.
        shifted: shift by half a window.
        cap: shrink a window that is larger than the map; else the map is padded to the window.

    Attributes:
        shift: (rows, columns) that the map is rolled by; 0 where one window covers the map on that axis.
        mask: (G, N, N) bool, True where the row may attend to the column; None where every pair may.

    Example:
        >>> windows = Windows(6, 6, 4, shifted=True)
        >>> windows.padded, windows.shift, windows.count, tuple(windows.mask.shape)
        ((8, 8), (2, 2), 4, (4, 16, 16))

    Raises:
        InputError: sizes below 1.

    Source: Liu et al. 2021, arXiv:2103.14030 (Swin), section 3.2; the padding mask is ours.
    """

    def __init__(self, height: int, width: int, side: int, *, shifted: bool = False, cap: bool = True) -> None:
        if min(height, width, side) < 1:
            raise InputError(f"windows: expected sizes of at least 1, got a {height} x {width} map and window {side}")
        self.map = (height, width)
        self.sides = (min(side, height), min(side, width)) if cap else (side, side)
        self.padded = (-(-height // self.sides[0]) * self.sides[0], -(-width // self.sides[1]) * self.sides[1])
        self.shift = tuple(m // 2 if shifted and m < n else 0 for m, n in zip(self.sides, self.map))
        self.count = (self.padded[0] // self.sides[0]) * (self.padded[1] // self.sides[1])
        self.tokens = self.sides[0] * self.sides[1]
        self.mask = self._mask()

    def _mask(self) -> Tensor | None:
        if not any(self.shift) and self.padded == self.map:
            return None
        # after rolling, the last `shift` places of an axis hold tokens of the other border
        strange = [np.arange(n) >= n - shift for n, shift in zip(self.padded, self.shift)]
        labels = 2 * strange[0].astype(np.int64)[:, None] + strange[1].astype(np.int64)[None, :]
        absent = np.ones(self.padded, dtype=np.int64)
        absent[: self.map[0], : self.map[1]] = 0
        labels += 4 * np.roll(absent, (-self.shift[0], -self.shift[1]), (0, 1))
        rows, columns = self.sides
        grid = labels.reshape(self.padded[0] // rows, rows, self.padded[1] // columns, columns)
        flat = grid.transpose(0, 2, 1, 3).reshape(self.count, self.tokens)
        return torch.from_numpy(flat[:, :, None] == flat[:, None, :])

    def split(self, x: Tensor) -> Tensor:
        """(B, H, W, D) to (B G, N, D): pad, roll, cut."""
        batch, height, width, depth = x.shape
        if (height, width) != self.map:
            raise InputError(f"windows: expected a {self.map[0]} x {self.map[1]} map, got {height} x {width}")
        x = torch.nn.functional.pad(x, (0, 0, 0, self.padded[1] - width, 0, self.padded[0] - height))
        if any(self.shift):
            x = x.roll((-self.shift[0], -self.shift[1]), (1, 2))
        rows, columns = self.sides
        x = x.reshape(batch, self.padded[0] // rows, rows, self.padded[1] // columns, columns, depth)
        return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, self.tokens, depth)

    def join(self, windows: Tensor) -> Tensor:
        """(B G, N, D) back to (B, H, W, D): the inverse of `split`."""
        rows, columns = self.sides
        grid = (self.padded[0] // rows, self.padded[1] // columns)
        x = windows.reshape(-1, *grid, rows, columns, windows.shape[-1]).permute(0, 1, 3, 2, 4, 5)
        x = x.reshape(-1, *self.padded, windows.shape[-1])
        if any(self.shift):
            x = x.roll((self.shift[0], self.shift[1]), (1, 2))
        return x[:, : self.map[0], : self.map[1]]


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


def stochastic_depth(rate: float) -> nn.Module:
    """Leave a branch out of some samples in training, at a rate; timm is imported where there is one only (3 processor seconds)."""
    if rate == 0:
        return nn.Identity()
    from timm.layers import DropPath

    return DropPath(rate)


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
