"""Configurations of the other networks with clauses. No torch here.

Defaults are the configurations of table 6.1 (32 x 32 RGB, ten classes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, PositiveInt

from stillhouse.core.config import configclass
from stillhouse.tasks.classification.students.config import (
    ClauseModelConfig,
    Even,
    Numbers,
    PixelClauseOptions,
    UnifiedTMConfig,
)

if TYPE_CHECKING:
    from stillhouse.tasks.classification.students.base import ClauseModel


@configclass
class PixelConfig(ClauseModelConfig):
    """Networks whose clauses read the whole image."""

    rule: PixelClauseOptions = Field(
        default_factory=PixelClauseOptions, description="how clauses are evaluated and learned"
    )


@configclass
class NormalizedConfig(ClauseModelConfig):
    """Networks that standardize their pixels."""

    pixel_mean: Numbers = Field(default=0.0, description="subtracted from the pixels in [0, 1]")
    pixel_std: Numbers = Field(default=1.0, description="divides them")


@configclass
class FlatTMConfig(PixelConfig):
    """One layer of clauses over all pixels: the classical Tsetlin machine with fuzzy clauses."""

    kind: Literal["flat-tm"] = "flat-tm"
    levels: int = Field(default=4, gt=0, description="bits a pixel: brighter than i / (levels + 1)")
    clauses: Even = Field(default=512, description="clauses in all, even")
    filters: bool = Field(default=False, description="76 bits a pixel of oriented filters and quantiles, not levels")
    square: int = Field(
        default=1, gt=0, description="of filters: bits of squares of so many pixels a side joined by OR"
    )

    @property
    def bits(self) -> int:
        """Bits of an image that the clauses read."""
        channels, height, width = self.image_shape
        if not self.filters:
            return self.levels * channels * height * width
        return 76 * channels * -(-height // self.square) * -(-width // self.square)

    def model_class(self) -> type[ClauseModel]:
        """FlatTM."""
        from stillhouse.tasks.classification.students.flat import FlatTM

        return FlatTM


@configclass
class DeepTMConfig(PixelConfig):
    """Several layers of clauses over all pixels."""

    kind: Literal["deep-tm"] = "deep-tm"
    levels: int = Field(default=1, gt=0, description="bits a pixel: brighter than i / (levels + 1)")
    hidden_dims: tuple[PositiveInt, ...] = Field(default=(256, 128), description="widths between the layers")
    clauses: Even = Field(default=256, description="clauses of each layer, even")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="on the votes between the layers")

    def model_class(self) -> type[ClauseModel]:
        """DeepTMClassifier."""
        from stillhouse.tasks.classification.students.flat import DeepTMClassifier

        return DeepTMClassifier


@configclass
class HybridTMConfig(NormalizedConfig):
    """A small convolutional network whose features become bits for one clause layer."""

    kind: Literal["hybrid-tm"] = "hybrid-tm"
    thresholds: int = Field(default=32, gt=0, description="channels that are compared with learned thresholds")
    hidden: int = Field(default=64, gt=0, description="width of the MLP between shares of bits and the clauses' bits")
    clauses: Even = Field(default=384, description="clauses, even")

    def model_class(self) -> type[ClauseModel]:
        """HybridTM."""
        from stillhouse.tasks.classification.students.flat import HybridTM

        return HybridTM


@configclass
class ResNetTMConfig(NormalizedConfig):
    """A ResNet with a clause layer at the end of every block, and one that votes after every stage."""

    kind: Literal["resnet-tm"] = "resnet-tm"
    layers: Literal[18, 34, 50, 101] = Field(default=18, description="which ResNet")
    width: int = Field(default=64, gt=0, description="channels of the first stage; doubles from stage to stage")
    tm_hidden: int = Field(default=256, gt=0, description="bits that each clause layer reads")
    clauses: Even = Field(default=128, description="clauses of each layer, even")
    stem: Literal["imagenet", "small"] = Field(
        default="imagenet", description="7 x 7 with stride 2 and pooling (as documented), or 3 x 3 for small images"
    )

    def model_class(self) -> type[ClauseModel]:
        """ResNetTM."""
        from stillhouse.tasks.classification.students.resnet import ResNetTM

        return ResNetTM


SWIN_SIZES = {
    "tiny": (96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "small": (96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "base": (128, (2, 2, 18, 2), (4, 8, 16, 32)),
    "large": (192, (2, 2, 18, 2), (6, 12, 24, 48)),
}


@configclass
class SwinTMConfig(NormalizedConfig):
    """Swin with a clause layer that reads a whole window at once, and one that votes after every stage."""

    kind: Literal["swin-tm"] = "swin-tm"
    size: Literal["tiny", "small", "base", "large"] = Field(default="tiny", description="widths, depths, heads of Swin")
    embed_dim: int | None = Field(default=None, gt=0, description="width of the first stage in place of the size's")
    depths: tuple[int, ...] | None = Field(default=None, description="blocks of each stage in place of the size's")
    num_heads: tuple[int, ...] | None = Field(default=None, description="heads of each stage in place of the size's")
    patch_size: int = Field(default=4, gt=0, description="side of a patch; an image it does not divide is padded")
    window_size: int | None = Field(default=None, gt=0, description="side of a window; none: 7, capped to maps")
    cap_windows: bool = Field(
        default=True, description="off, as documented: pad small maps to the window (175 M weights)"
    )
    tm_hidden: int = Field(default=256, gt=0, description="bits that each clause layer reads")
    clauses: Even = Field(default=256, description="clauses of each block, even")
    head_clauses: Even = Field(default=128, description="clauses of each read-out, even")
    drop_path_rate: float = Field(default=0.1, ge=0, lt=1, description="stochastic depth of the last block")
    drop_rate: float = Field(default=0.0, ge=0, lt=1, description="dropout on tokens and on both branches")
    attn_drop_rate: float = Field(default=0.0, ge=0, lt=1, description="dropout on the attention weights")

    def __post_init__(self) -> None:
        self.backbone()

    def backbone(self) -> UnifiedTMConfig:
        """The sizes, checked by the configuration of the transformer they are shared with."""
        first, blocks, split = SWIN_SIZES[self.size]
        depths, width = self.depths or blocks, self.embed_dim or first
        return UnifiedTMConfig(
            architecture="swin",
            image_size=self.image_size,
            patch_size=self.patch_size,
            embed_dim=tuple(width * 2**place for place in range(len(depths))),
            depths=depths,
            num_heads=self.num_heads or split,
            window_size=self.window_size,
            tm_clauses=self.clauses,
            drop_path_rate=self.drop_path_rate,
        )

    def model_class(self) -> type[ClauseModel]:
        """SwinTM."""
        from stillhouse.tasks.classification.students.swin import SwinTM

        return SwinTM


@configclass
class PyramidTMConfig(NormalizedConfig):
    """Clause layers on the image pooled to several sizes, and a fusion of their votes."""

    kind: Literal["pyramid-tm"] = "pyramid-tm"
    pools: tuple[int, ...] | None = Field(
        default=None,
        min_length=1,
        description="sides that the image is pooled to; none: its side, a half, a quarter, 1",
    )
    widths: tuple[int, ...] = Field(default=(256, 192, 128, 96), description="bits of each scale")
    clauses: tuple[Even, ...] = Field(default=(256, 192, 160, 128), description="clauses of each scale, even")
    dropout: tuple[float, ...] = Field(default=(0.05, 0.05, 0.05, 0.0), description="on each scale's projected image")

    def __post_init__(self) -> None:
        sides = self.sides()
        for name in ("widths", "clauses", "dropout"):
            if len(getattr(self, name)) != len(sides):
                raise ValueError(f"{name}: expected {len(sides)} numbers (one a scale), got {len(getattr(self, name))}")
        if max(sides) > max(self.image_shape[1:]):
            raise ValueError(f"pools: expected sides up to the image's {self.image_shape[1:]}, got {sides}")

    def sides(self) -> tuple[int, ...]:
        """The side of every scale."""
        side = max(self.image_shape[1:])
        return self.pools or (side, max(1, side // 2), max(1, side // 4), 1)

    def model_class(self) -> type[ClauseModel]:
        """PyramidTM."""
        from stillhouse.tasks.classification.students.pyramid import PyramidTM

        return PyramidTM
