"""Windows over a map of tokens, shifted or not, with the mask that keeps strangers apart.

Shapes: B batch, H W rows and columns of the map, M window side, G windows in a map, N = M M tokens in a window, D width.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from stillhouse.core.checks import InputError


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
