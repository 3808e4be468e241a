"""Clauses over patch codes: where in a picture patches like those of the training images lie, counted and compared with levels.

Shapes: B batch, C channels, H W pixels, P patches, s their side, g cells a side, L levels, F = 2 L P g^2 bits, K classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, conv2d

from stillhouse.tasks.classification.students.clauses import ClauseModel
from stillhouse.tasks.classification.students.config import PatchTMConfig
from stillhouse.tasks.classification.students.core import ClauseOutput, make_core

STRIDE = 2  # pixels from place to place: one gains nothing and costs four times as much
DRAWN = 20_000  # patches, of which whitening is learned
SOFTEN = 0.1  # of the mean eigenvalue, so that noise is not blown up
MET = 0.7  # deviations above the mean


class PatchBits(nn.Module):
    """Bits of pictures: whether a patch is met (or its negative) at more places of a cell than in so many training images.

    Patches are drawn from the first batch in training, without their brightness and whitened: convolutions that stay as they are.
    A place meets one if its response is far above the mean. The share of such places in each cell of a g x g
    grid is compared with L quantiles of the same batch. Nothing is learned by gradient; the same seed draws the same patches.

    Args:
        channels: C.
        patches: P.
        side: s, in pixels.
        grid: g.
        levels: L.

    Example:
        >>> bits = PatchBits(3, patches=4, side=5, grid=3, levels=2)
        >>> tuple(bits(torch.rand(8, 3, 32, 32)).shape), bits.count
        ((8, 144), 144)

    Source: Coates, Lee, Ng 2011, "An Analysis of Single-Layer Networks in Unsupervised Feature Learning", AISTATS.
    """

    def __init__(self, channels: int, *, patches: int, side: int, grid: int, levels: int) -> None:
        super().__init__()
        self.grid, self.count = grid, 2 * levels * patches * grid**2
        self.kernels: Tensor
        self.offsets: Tensor
        self.edges: Tensor
        self.register_buffer("kernels", torch.zeros(patches, channels, side, side))
        self.register_buffer("offsets", torch.zeros(patches))
        self.register_buffer("edges", torch.zeros(levels, 2 * patches, grid, grid))

    def shares(self, pixels: Tensor) -> Tensor:
        """(B, 2 P, g, g): at which share of a cell's places each patch is met, then its negative."""
        response = conv2d(pixels, self.kernels, self.offsets, STRIDE)
        met = torch.cat([response > MET, response < -MET], dim=1).to(pixels.dtype)
        return adaptive_avg_pool2d(met, self.grid)

    @torch.no_grad()
    def draw(self, pixels: Tensor) -> None:
        """Take patches and levels from pictures (B, C, H, W) in [0, 1], with torch's global generator."""
        columns = nn.functional.unfold(pixels, self.kernels.shape[-1]).transpose(1, 2).flatten(0, 1)
        rows = columns[torch.randperm(len(columns), device=columns.device)[:DRAWN]]
        rows = rows - rows.mean(1, keepdim=True)
        values, vectors = torch.linalg.eigh(torch.cov((rows - rows.mean(0)).T.double()))
        softened = values.clamp(min=0) + SOFTEN * values.mean() + 1e-12
        whiten = (vectors * softened.rsqrt() @ vectors.T).to(rows.dtype)
        white = (rows - rows.mean(0)) @ whiten
        size = white.norm(dim=1)
        strong = white[size >= size.median() / 2]  # flat patches are noise
        strong = strong[torch.arange(len(self.kernels), device=strong.device) % len(strong)]
        kernels = nn.functional.normalize(strong) @ whiten
        self.kernels.copy_((kernels - kernels.mean(1, keepdim=True)).view_as(self.kernels))
        deviation, mean = torch.std_mean(conv2d(pixels, self.kernels, None, STRIDE), (0, 2, 3))
        scale = 1 / deviation.clamp(min=1e-6)
        self.kernels.mul_(scale.view(-1, 1, 1, 1))
        self.offsets.copy_(-mean * scale)
        shares = torch.linspace(0, 1, len(self.edges) + 2, dtype=pixels.dtype, device=pixels.device)[1:-1]
        self.edges.copy_(torch.quantile(self.shares(pixels), shares, dim=0))

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] to bits (B, F), level by level; all 0 before the first batch in training."""
        with torch.autocast(pixels.device.type, enabled=False):  # half precision would move bits
            pixels = pixels.float()
            if self.training and not self.kernels.any() and pixels.std() > 0:
                self.draw(pixels)
            return (self.shares(pixels).unsqueeze(1) > self.edges).to(pixels.dtype).flatten(1)


class PatchTM(ClauseModel):
    """One layer of clauses over the patch codes of an image.

    Example:
        >>> model = PatchTM(image_size=16, in_channels=1, patches=4, clauses=20, num_classes=3)
        >>> tuple(model(torch.rand(4, 1, 16, 16)).shape)
        (4, 3)
    """

    config_class = PatchTMConfig

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        config: PatchTMConfig = self.config
        parts = {name: getattr(config, name) for name in ("patches", "side", "grid", "levels")}
        self.bits = PatchBits(config.in_channels, **parts)
        self.core = make_core(config.part, (self.bits.count, config.num_classes), config.clauses, config.rule)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, K) of raw pixels (B, C, H, W)."""
        self.advance_tau()
        voted: ClauseOutput = self.core(self.bits(self.checked(pixels)) - 0.5)
        return voted.votes
