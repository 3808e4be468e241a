"""A vision transformer whose feed-forward is a bank of clauses.

Shapes: B batch, C channels, H W pixels, P patch side, N tokens, D width, K classes.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from stillhouse.checks import InputError
from stillhouse.students.tsetlin.feed_forward import ClauseFeedForward, MLPFeedForward

FeedForward = Literal["clauses", "mlp", "none"]


class Attention(nn.Module):
    """Multi-head self-attention over all tokens, (B, N, D) -> (B, N, D)."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Attend; scaled dot products by torch's fused kernel."""
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        return self.projection(mixed.transpose(1, 2).reshape(batch, tokens, width))


class Block(nn.Module):
    """Attention, then the feed-forward (if any), each normalized before, added after and dropped at `drop_path`."""

    def __init__(self, width: int, attention: Attention, feed_forward: nn.Module | None, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = attention
        self.drop_path = StochasticDepth(drop_path, "row") if drop_path > 0 else nn.Identity()
        self.norm2 = nn.LayerNorm(width) if feed_forward is not None else None
        self.feed_forward = feed_forward

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        x = x + self.drop_path(self.attention(self.norm1(x)))
        if self.feed_forward is not None and self.norm2 is not None:
            x = x + self.drop_path(self.feed_forward(self.norm2(x)))
        return x


class UnifiedTMTransformer(nn.Module):
    """Vision transformer with clause feed-forwards (ViT form, straight-through backend).

    It takes raw pixels in [0, 1] and normalizes them itself, so a saved student needs nothing beside it. A patch side that
    does not divide the image pads the right and the bottom with the mean pixel (never cuts); an image smaller than one
    patch is refused.

    Args:
        num_classes: K.
        architecture: "vit".
        backend: "ste".
        image_size: (H, W) or one side, in pixels.
        in_channels: C.
        patch_size: P, in pixels.
        embed_dim: D, a multiple of `num_heads`.
        depths: number of blocks.
        num_heads: attention heads.
        mlp_ratio: hidden width of the feed-forward (bits of the clauses) over D.
        tm_clauses: clauses of each block.
        tm_failures: LF, misses that silence a clause; at least as many literals are silent clauses' due, so keep
            `tm_literals` well above it.
        tm_literals: literals that a clause includes at the start, on average.
        tm_tau: include threshold on the sigmoid of the include logits.
        drop_rate: dropout on the embedded tokens.
        attn_drop_rate: dropout on attention weights.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        use_cls_token: prepend a learned class token.
        pool: "cls" reads the class token, "mean" the mean of the patch tokens.
        feed_forward: "clauses"; "mlp" (same hidden width) and "none" are the controls.
        pixel_mean: (C) or one number, subtracted from the pixels.
        pixel_std: (C) or one number, divides them.

    Example:
        >>> model = UnifiedTMTransformer(num_classes=10, image_size=8, in_channels=1, patch_size=2, embed_dim=24, depths=1)
        >>> tuple(model(torch.rand(4, 1, 8, 8)).shape)
        (4, 10)
        >>> again = UnifiedTMTransformer(**model.model_kwargs)

    Source: Dosovitskiy et al. 2021, arXiv:2010.11929 (ViT); Hnilov 2025, arXiv:2508.08350 (fuzzy-pattern clauses).
    """

    def __init__(
        self,
        num_classes: int,
        *,
        architecture: Literal["vit"] = "vit",
        backend: Literal["ste"] = "ste",
        image_size: int | Sequence[int] = (32, 32),
        in_channels: int = 3,
        patch_size: int = 4,
        embed_dim: int = 96,
        depths: int = 4,
        num_heads: int = 3,
        mlp_ratio: float = 4.0,
        tm_clauses: int = 256,
        tm_failures: int = 4,
        tm_literals: float = 12.0,
        tm_tau: float = 0.5,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
        use_cls_token: bool = True,
        pool: Literal["cls", "mean"] = "cls",
        feed_forward: FeedForward = "clauses",
        pixel_mean: float | Sequence[float] = 0.0,
        pixel_std: float | Sequence[float] = 1.0,
    ) -> None:
        given = {name: value for name, value in locals().items() if name in inspect.signature(type(self)).parameters}
        super().__init__()
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        if architecture != "vit" or backend != "ste":
            raise InputError(f"expected architecture 'vit' with backend 'ste', got {architecture!r} with {backend!r}")
        if min(height, width) < patch_size:
            raise InputError(f"patch_size: expected at most the image ({height} x {width}), got {patch_size}")
        if embed_dim % num_heads:
            raise InputError(f"embed_dim: expected a multiple of num_heads ({num_heads}), got {embed_dim}")
        if pool == "cls" and not use_cls_token:
            raise InputError("pool='cls' reads the class token, but use_cls_token is off; take pool='mean'")
        self.model_kwargs: dict[str, Any] = {
            name: list(value) if isinstance(value, (tuple, list)) else value for name, value in given.items()
        }
        self.pool = pool
        self.image_shape = (in_channels, height, width)
        self.patch_size = patch_size
        self.grid = (math.ceil(height / patch_size), math.ceil(width / patch_size))
        self.padding = (self.grid[1] * patch_size - width, self.grid[0] * patch_size - height)

        self.pixel_mean: Tensor
        self.pixel_std: Tensor
        self.register_buffer("pixel_mean", torch.as_tensor(pixel_mean, dtype=torch.float32).reshape(-1, 1, 1))
        self.register_buffer("pixel_std", torch.as_tensor(pixel_std, dtype=torch.float32).reshape(-1, 1, 1))
        self.patch_embed = nn.Conv2d(in_channels, embed_dim, patch_size, stride=patch_size)
        self.patch_norm = nn.LayerNorm(embed_dim)
        self.class_token = nn.Parameter(torch.zeros(1, 1, embed_dim)) if use_cls_token else None
        tokens = self.grid[0] * self.grid[1] + int(use_cls_token)
        self.positions = nn.Parameter(torch.zeros(1, tokens, embed_dim))
        self.dropout = nn.Dropout(drop_rate)

        def branch() -> nn.Module | None:
            hidden = int(embed_dim * mlp_ratio)
            if feed_forward == "mlp":
                return MLPFeedForward(embed_dim, hidden)
            if feed_forward == "none":
                return None
            return ClauseFeedForward(
                embed_dim, hidden, tm_clauses, failures=tm_failures, tau=tm_tau, literals=tm_literals
            )

        rates = [drop_path_rate * i / max(1, depths - 1) for i in range(depths)]
        self.blocks = nn.Sequential(
            *(Block(embed_dim, Attention(embed_dim, num_heads, attn_drop_rate), branch(), rate) for rate in rates)
        )
        self.norm = nn.LayerNorm(embed_dim)
        self.head = nn.Linear(embed_dim, num_classes)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, Attention):
                nn.init.xavier_uniform_(module.qkv.weight)
                nn.init.xavier_uniform_(module.projection.weight)
                nn.init.zeros_(module.qkv.bias)
                nn.init.zeros_(module.projection.bias)
        nn.init.kaiming_normal_(self.patch_embed.weight, mode="fan_out")
        nn.init.zeros_(self.patch_embed.bias)  # type: ignore[arg-type]
        # patch tokens leave their norm at scale 1: positions of the usual 0.02 would be invisible for the first epochs
        nn.init.trunc_normal_(self.positions, std=0.2)
        for parameter in (self.head.weight, self.class_token):
            if parameter is not None:
                nn.init.trunc_normal_(parameter, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, K) of raw pixels (B, C, H, W) in [0, 1]."""
        if tuple(pixels.shape[1:]) != self.image_shape:
            raise InputError(
                f"pixels: expected (B, {', '.join(map(str, self.image_shape))}), got {tuple(pixels.shape)}"
            )
        x = (pixels - self.pixel_mean) / self.pixel_std
        if any(self.padding):
            x = nn.functional.pad(x, (0, self.padding[0], 0, self.padding[1]))
        x = self.patch_norm(self.patch_embed(x).flatten(2).transpose(1, 2))
        if self.class_token is not None:
            x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)
        x = self.blocks(self.dropout(x + self.positions))
        if self.pool == "cls":
            pooled = self.norm(x[:, 0])
        else:
            pooled = self.norm(x[:, int(self.class_token is not None) :]).mean(1)
        return self.head(pooled)

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Groups for an optimizer: matrices decay; biases, norms, positions, tokens and include logits do not.

        Decay would pull an include logit towards 0, which is the threshold: it would include literals, not forget them.
        """
        decayed: list[nn.Parameter] = []
        free: list[nn.Parameter] = []
        for name, parameter in self.named_parameters():
            keep = parameter.ndim < 2 or name.endswith("include_logits") or name in {"positions", "class_token"}
            (free if keep else decayed).append(parameter)
        return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
