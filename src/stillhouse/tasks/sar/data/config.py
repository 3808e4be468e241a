"""Which SAR lines a run learns from: simulated ones, arrays of one file, or columns of Zarr products. No torch at module level."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stillhouse.core.config import configclass
from stillhouse.tasks.sar.data.parameters import PRESETS, SarParameters, preset
from stillhouse.tasks.sar.data.scene import SceneConfig

if TYPE_CHECKING:
    from stillhouse.tasks.sar.data.sequences import SarData

Level = Literal["raw", "rc", "rcmc", "az"]
Polarization = Literal["hh", "hv", "vh", "vv"]
LINES_PER_APERTURE = 8  # length where none is given: 7/8 of it is valid


@configclass
class ProductsConfig:
    """Zarr products in the Maya4 layout, and which of them go where: split by year, or by acquisition where no years are given."""

    root: str = Field(
        default="maya4",
        min_length=1,
        description="folder that holds the products (in PT1, PT2, ... or not), or one product",
    )
    level_from: Level = Field(default="rcmc", description="what the model sees; rc still has range migration in it")
    level_to: Level = Field(default="az", description="the level that models are to reach")
    train_years: tuple[int, ...] = Field(default=(), description="acquisition years that are trained on, as 2023")
    validation_years: tuple[int, ...] = Field(default=(), description="acquisition years that pick the best epoch")
    test_years: tuple[int, ...] = Field(default=(), description="acquisition years that are judged once")
    validation_fraction: float = Field(default=0.1, gt=0, lt=1, description="share of acquisitions, without years")
    test_fraction: float = Field(default=0.2, gt=0, lt=1, description="share of acquisitions, without years")
    polarizations: tuple[Polarization, ...] = Field(default=(), description="only these; all where none is given")
    beams: tuple[int, ...] = Field(default=(), description="only these stripmap beams, 1 to 6")
    parts: tuple[str, ...] = Field(default=(), description="only these part folders, as PT1")
    max_products: int | None = Field(default=None, gt=0, description="at most that many products a split")
    row_stride: int | None = Field(default=None, gt=0, description="azimuth lines from patch to patch [the length]")
    column_stride: int = Field(default=1, gt=0, description="range columns from patch to patch")
    row_buffer: int = Field(default=0, ge=0, description="azimuth lines left out at both ends of a product")
    column_buffer: int = Field(default=0, ge=0, description="range columns left out at both sides of a product")
    cache_chunks: int = Field(default=1000, gt=0, description="chunks kept in memory, the least recently used go first")

    def __post_init__(self) -> None:
        order = ("raw", "rc", "rcmc", "az")
        if order.index(self.level_from) >= order.index(self.level_to):
            raise ValueError(
                f"level_to: expected a level after {self.level_from!r} in {', '.join(order)}, got {self.level_to!r}"
            )
        years = {"train": self.train_years, "validation": self.validation_years, "test": self.test_years}
        given = [name for name, some in years.items() if some]
        if given and len(given) < 3:
            missing = next(name for name in years if name not in given)
            raise ValueError(
                f"{missing}_years: expected years for all three splits or for none, got {', '.join(given)} only"
            )
        everything = [year for some in years.values() for year in some]
        twice = sorted({year for year in everything if everything.count(year) > 1})
        if twice:
            raise ValueError(
                f"train_years, validation_years, test_years: expected every year once, got {twice[0]} twice"
            )
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError(
                f"validation_fraction + test_fraction: expected below 1, got {self.validation_fraction + self.test_fraction:g}"
            )


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
        default=None,
        min_length=1,
        description="npz: train_inputs and train_targets (N, L) complex, the same of validation and test, and what else is known",
    )
    preset: str | None = Field(
        default=None,
        description="radar: toy-64, toy-128, toy-256 or sentinel-1 [simulated: toy-64; npz: that of the file; zarr: unknown]",
    )
    parameters: SarParameters | None = Field(default=None, description="radar, in place of a preset")
    length: int | None = Field(default=None, ge=8, description="azimuth samples of a line [8 apertures]")
    train: int = Field(default=512, gt=0, description="lines to train on")
    validation: int = Field(default=64, gt=0, description="lines that pick the best epoch")
    test: int = Field(default=128, gt=0, description="lines that are judged once, at the end")
    seed: int = Field(default=0, ge=0, lt=2**32, description="fixes scenes, noise and which patches are taken")
    acquisitions: int = Field(
        default=4, gt=0, description="simulated acquisitions a split; each has its own beam pointing"
    )
    scene: SceneConfig = Field(default_factory=SceneConfig, description="simulated: what lies on the ground")
    snr_db: float | None = Field(
        default=20.0, description="simulated: raw signal over thermal noise; none without noise"
    )
    rate_spread: float = Field(
        default=0.0, ge=0, le=0.6, description="simulated: by what share the azimuth rate varies from near to far range"
    )
    centroid_spread_hz: float = Field(
        default=0.0, ge=0, description="simulated: Doppler centroids of acquisitions lie within plus and minus this"
    )
    position_channel: bool = Field(
        default=False,
        description="a second input channel x / Xmax + j y / Ymax; the only place that shows the azimuth rate",
    )
    products: ProductsConfig | None = Field(default=None, description="zarr: which products")

    def __post_init__(self) -> None:
        if self.preset is not None and self.parameters is not None:
            raise ValueError("preset, parameters: expected one of them, got both")
        if self.preset is not None and self.preset not in PRESETS:
            raise ValueError(f"preset: expected one of {', '.join(PRESETS)}, got {self.preset!r}")
        if (self.source == "zarr") != (self.products is not None):
            got = "none" if self.products is None else f"some for source {self.source!r}"
            raise ValueError(f"products: expected with source 'zarr' and only there, got {got}")
        if self.source == "zarr" and self.length is None:
            raise ValueError("length: expected a number of azimuth samples for source 'zarr', got none")
        if (self.source == "npz") != (self.file is not None):
            got = "none" if self.file is None else f"one for source {self.source!r}"
            raise ValueError(f"file: expected with source 'npz' and only there, got {got}")
        if self.source == "npz":
            self._check_file()
        radar = self.radar
        if radar is not None and self.centroid_spread_hz > (radar.prf - radar.doppler_bandwidth) / 2:
            raise ValueError(
                f"centroid_spread_hz: expected at most {(radar.prf - radar.doppler_bandwidth) / 2:g} "
                f"((prf - doppler_bandwidth) / 2: beyond it the band folds), got {self.centroid_spread_hz:g}"
            )

    def _check_file(self) -> None:
        """Refuse what a file decides: all its lines are taken, as they are."""
        plain = type(self)()
        for name in ("length", "train", "validation", "test", "position_channel"):
            if getattr(self, name) != getattr(plain, name):
                raise ValueError(f"{name}: all lines of a file are taken as they are; leave it out")

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
            InputError: lines shorter than the aperture; products, levels or filters that are not there; damaged lines; deramped
                ones.
        """
        if self.source == "simulated":
            from stillhouse.tasks.sar.data.simulated import simulated_data

            return simulated_data(self)
        from stillhouse.tasks.sar.data.deramped import check_stripmap
        from stillhouse.tasks.sar.data.from_arrays import array_data
        from stillhouse.tasks.sar.data.from_products import product_data

        found = array_data(self) if self.source == "npz" else product_data(self)
        check_stripmap(found.name, found.train.inputs[..., 0].numpy(), found.train.targets[..., 0].numpy())
        return found
