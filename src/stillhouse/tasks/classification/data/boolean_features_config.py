"""Which boolean features flat clause machines read in place of pixels. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stillhouse.core.config import configclass

if TYPE_CHECKING:
    from stillhouse.tasks.classification.data.config import DataConfig

Preset = Literal["mnist", "fashionmnist", "cifar10", "generic_28_gray", "generic_32_rgb", "generic_64_rgb"]
PRESETS: dict[str, tuple[int, bool]] = {  # side in pixels, gray
    "mnist": (28, True),
    "fashionmnist": (28, True),
    "cifar10": (32, False),
    "generic_28_gray": (28, True),
    "generic_32_rgb": (32, False),
    "generic_64_rgb": (64, False),
}


@configclass
class FeaturesMode:
    """Raw pixels, or bits made once from oriented filters and quantiles and kept packed on disk."""

    mode: Literal["raw", "conv", "fashion_aug"] = Field(
        default="raw",
        description="raw pixels; conv: 76 bits a pixel; fashion_aug: those of zoomed, turned, mirrored copies too",
    )
    preset: Preset | None = Field(default=None, description="size and channels by name; none: as the images are")
    size: tuple[int, int] | None = Field(
        default=None, description="two numbers, height and width, that images are resized to first"
    )
    grayscale: bool | None = Field(default=None, description="gray first; none: as in the preset, or as they are")
    cache: str = Field(default="~/.cache/stillhouse/boolean-features", description="folder of the packed bits")
    force: bool = Field(default=False, description="build them again")
    batch_size: int = Field(default=256, gt=0, description="images at a time while building")

    def __post_init__(self) -> None:
        if self.size is not None and min(self.size) < 1:
            raise ValueError(f"size: expected a height and a width of at least 1, got {self.size[0]} {self.size[1]}")

    def check(self, data: DataConfig) -> None:
        """Refuse what cannot be cached: images that change from epoch to epoch.

        Raises:
            ValueError: augmentation is on.
        """
        if data.augment != "none" or data.randaugment:
            raise ValueError("data.augment, data.randaugment: boolean features are made once; take mode fashion_aug")

    def shape(self, channels: int, height: int, width: int) -> tuple[int, int, int]:
        """(channels, height, width) of the images that bits are made of, from those of the data."""
        side, gray = (None, None) if self.preset is None else PRESETS[self.preset]
        if self.grayscale is not None:
            gray = self.grayscale
        wanted = self.size or ((side, side) if side else (height, width))
        return (1 if gray else channels), *wanted
