"""Which range-compressed azimuth lines a run learns from, and their focus: simulated, of one file, or of Zarr products. No torch.

    SarConfig(preset="toy-64").build()                       -> SarData: train, validation, test, valid, scale, kernels, points
    SarConfig(source="zarr", length=1000,
              products=ProductsConfig(root="Maya4", ...)).build() -> the same from Zarr products

`SarData.valid` is part of the task: outside it a line does not hold the whole aperture of its targets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stillhouse.core.config import configclass
from stillhouse.tasks.sar.data.radar import PRESETS, SarParameters, preset
from stillhouse.tasks.sar.data.simulate import SceneConfig

if TYPE_CHECKING:
    from stillhouse.tasks.sar.data.sequences import SarData

LEVELS = ("raw", "rc", "rcmc", "az")
Level = Literal["raw", "rc", "rcmc", "az"]
Polarization = Literal["hh", "hv", "vh", "vv"]
LINES_PER_APERTURE = 8  # length where none is given: 7/8 of it is valid


@configclass
class ProductsConfig:
    """Zarr products in the Maya4 layout, split by the year of their acquisition."""

    root: str = Field(default="maya4", min_length=1, description="folder of products or of PT1, PT2, ..., or a product")
    level_from: Level = Field(default="rcmc", description="what the model sees; rc still has range migration in it")
    level_to: Level = Field(default="az", description="the level that models are to reach")
    train_years: tuple[int, ...] = Field(min_length=1, description="acquisition years that are trained on, as 2023")
    validation_years: tuple[int, ...] = Field(min_length=1, description="acquisition years that pick the best epoch")
    test_years: tuple[int, ...] = Field(min_length=1, description="acquisition years that are judged once")
    polarizations: tuple[Polarization, ...] = Field(default=(), description="only these; all where none is given")
    max_products: int | None = Field(default=None, gt=0, description="at most that many products a split")
    row_stride: int | None = Field(default=None, gt=0, description="azimuth lines from patch to patch [the length]")
    column_stride: int = Field(default=1, gt=0, description="range columns from patch to patch")
    row_buffer: int = Field(default=0, ge=0, description="azimuth lines left out at both ends of a product")
    column_buffer: int = Field(default=0, ge=0, description="range columns left out at both sides of a product")

    def __post_init__(self) -> None:
        if LEVELS.index(self.level_from) >= LEVELS.index(self.level_to):
            raise ValueError(f"level_to: expected a level after {self.level_from!r}, got {self.level_to!r}")
        years = (*self.train_years, *self.validation_years, *self.test_years)
        if len(set(years)) < len(years):
            raise ValueError(f"train_years, validation_years, test_years: expected every year once, got {years}")


@configclass
class SarConfig:
    """Range-compressed azimuth lines and their focus, in three splits that share no acquisition.

    Example:
        >>> data = SarConfig(train=8, validation=4, test=4).build()
        >>> inputs, targets = data.train.batch([0, 5])
        >>> tuple(inputs.shape), tuple(targets.shape), data.valid
        ((2, 512, 1), (2, 512, 1), slice(32, 480, None))
    """

    source: Literal["simulated", "npz", "zarr"] = Field(default="simulated", description="where the lines come from")
    file: str | None = Field(
        default=None, min_length=1, description="npz: train_inputs, train_targets (N, L) complex, ..."
    )
    preset: str | None = Field(default=None, description="radar: toy-64, -128, -256, sentinel-1 [toy-64 or the file's]")
    parameters: SarParameters | None = Field(default=None, description="radar, in place of a preset")
    length: int | None = Field(default=None, ge=8, description="azimuth samples of a line [8 apertures]")
    train: int = Field(default=512, gt=0, description="lines to train on")
    validation: int = Field(default=64, gt=0, description="lines that pick the best epoch")
    test: int = Field(default=128, gt=0, description="lines that are judged once, at the end")
    seed: int = Field(default=0, ge=0, lt=2**32, description="fixes scenes, noise and which patches are taken")
    acquisitions: int = Field(default=4, gt=0, description="simulated acquisitions a split")
    scene: SceneConfig = Field(default_factory=SceneConfig, description="simulated: what lies on the ground")
    snr_db: float | None = Field(default=20.0, description="simulated: raw signal over thermal noise; none: no noise")
    rate_spread: float = Field(
        default=0.0, ge=0, le=0.6, description="simulated: share by which azimuth rates vary in range"
    )
    position_channel: bool = Field(default=False, description="a second input channel, x / Xmax + j y / Ymax")
    products: ProductsConfig | None = Field(default=None, description="zarr: which products")

    def __post_init__(self) -> None:
        if self.preset is not None and self.parameters is not None:
            raise ValueError("preset, parameters: expected one of them, got both")
        if self.preset is not None and self.preset not in PRESETS:
            raise ValueError(f"preset: expected one of {', '.join(PRESETS)}, got {self.preset!r}")
        for name, source in (("products", "zarr"), ("file", "npz")):
            if (getattr(self, name) is not None) != (self.source == source):
                raise ValueError(f"{name}: expected with source {source!r} and only there, got source {self.source!r}")
        if self.source == "zarr" and self.length is None:
            raise ValueError("length: expected a number of azimuth samples for source 'zarr', got none")
        if self.source == "npz":
            fields = ("length", "train", "validation", "test", "position_channel")
            changed = [name for name in fields if getattr(self, name) != getattr(type(self)(), name)]
            if changed:
                raise ValueError(f"{changed[0]}: all lines of a file are taken as they are; leave it out")

    @property
    def radar(self) -> SarParameters | None:
        """The radar, if it is known: always for simulated lines."""
        if self.parameters is not None:
            return self.parameters
        name = self.preset or ("toy-64" if self.source == "simulated" else None)
        return None if name is None else preset(name)

    @property
    def samples(self) -> int:
        """Azimuth samples of a line."""
        if self.length is not None:
            return self.length
        assert self.radar is not None
        return LINES_PER_APERTURE * round(self.radar.aperture_samples)

    @property
    def counts(self) -> dict[str, int]:
        """Lines asked for, by split."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def build(self) -> SarData:
        """Simulate the lines, or read them from the file or the products, and scale them.

        Raises:
            InputError: lines shorter than the aperture; products, levels or filters that are not there; damaged lines.
        """
        if self.source == "simulated":
            from stillhouse.tasks.sar.data.sequences import simulated_data

            return simulated_data(self)
        if self.source == "npz":
            from stillhouse.tasks.sar.data.arrays import array_data

            return array_data(self)
        from stillhouse.tasks.sar.data.products import product_data

        return product_data(self)
