"""Configurations of students made of clauses: what they share, and the networks that are no transformers. No torch here.

Defaults of networks are the configurations of table 6.1 (32 x 32 RGB, ten classes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pkgutil import resolve_name
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PositiveInt

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass, parse, to_mapping
from stillhouse.core.types import ImageSpec, InputSpec

Even = Annotated[int, Field(ge=2, multiple_of=2)]  # clauses: half of them for, half against
Numbers = float | tuple[float, ...]
Feedforward = Literal["clauses", "mlp", "none"]
LEVELS = 4  # bits a pixel of a flat machine without filters
PLACE = "stillhouse.tasks.classification.students"

# What students of images train by where a run names nothing else (benchmarks/results/tuning.md).
TRAINING = {"batch_size": 32, "learning_rate": 2e-3, "clause_learning_rate_factor": 10.0, "weight_decay": 0.05}
IMAGES: Mapping[str, Any] = {"training": {**TRAINING, "warmup_epochs": 1.0, "ema_decay": 0.98}}


@configclass
class ClauseOptions:
    """The rule of one bank of clauses; `failures` well below `literals` makes a clause a soft AND and not a count."""

    failures: int = Field(default=4, ge=1, description="LF: misses that silence a clause")
    literals: float | None = Field(default=None, gt=0, description="literals of a clause at the start; none: 3 LF")
    tau: float = Field(default=0.5, gt=0.05, lt=0.95, description="include threshold on the sigmoid of the logits")
    learnable_tau: bool = Field(default=False, description="tau is learned: it gets the gradient of the masks")
    tau_ema: float | None = Field(default=None, gt=0, lt=1, description="memory of a moving average of tau")
    literal_dropout: float = Field(default=0.0, ge=0, lt=1, description="share of literals made don't-care in a step")
    literal_budget: int | None = Field(default=None, gt=0, description="L: most literals that a clause may include")
    clause_dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout on clause strengths")
    clause_bias: float | None = Field(default=0.0, description="start of each clause's bias; none: one on the votes")
    leak: float = Field(default=0.1, ge=0, le=1, description="backward slope of a silent clause, so that it can return")

    per_failure: ClassVar[float] = 3.0

    @property
    def literals_at_start(self) -> float:
        """Literals of a clause at the start. Half of them are drawn wrong for a given input: far above 2 LF nothing fires."""
        return self.per_failure * self.failures if self.literals is None else self.literals


@configclass
class PixelClauseOptions(ClauseOptions):
    """The rule for clauses that read a whole image: more literals, more of which may fail."""

    failures: int = Field(default=16, ge=1, description="LF: misses that silence a clause")
    literals: float | None = Field(default=None, gt=0, description="literals of a clause at the start; none: 2.25 LF")
    per_failure: ClassVar[float] = 2.25


def images_for(config: Any, input_spec: InputSpec) -> ImageSpec:
    """The spec of a student's images.

    Raises:
        InputError: it is of texts or tables.
    """
    if not isinstance(input_spec, ImageSpec):
        raise InputError(f"student {config.kind!r}: expected images, got {input_spec.rows}")
    return input_spec


class ClauseStudent:
    """A configuration of a network with clauses, of which there are controls without them."""

    part_field: ClassVar[str] = "part"
    usual: ClassVar[Mapping[str, Any]] = IMAGES

    def without_special_part(self) -> Self:
        """The same network trained without its clauses: linear maps, or nothing, where they were."""
        return replace(self, **{self.part_field: "none"})  # type: ignore[type-var]

    def with_ordinary_part(self) -> Self:
        """The same network with MLPs of the same hidden width where clauses were."""
        return replace(self, **{self.part_field: "mlp"})  # type: ignore[type-var]


@configclass
class ImageModelConfig(ClauseStudent):
    """What every network over images has; not a network itself."""

    network: ClassVar[str]  # module:class beside this one
    num_classes: int = Field(default=10, ge=2, description="K; the data set gives it when a run builds the student")
    image_size: int | tuple[int, int] = Field(default=(32, 32), description="height and width, or one side, in pixels")
    in_channels: int = Field(default=3, gt=0, description="channels of the image")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        size = self.image_size
        return (self.in_channels, size, size) if isinstance(size, int) else (self.in_channels, *size)

    def for_task(self, input_spec: InputSpec) -> Self:
        """This configuration with the classes, the image and the pixel statistics of a data set.

        Raises:
            InputError: not images.
            ConfigError: sizes that do not fit the image.
        """
        spec = images_for(self, input_spec)
        known = to_mapping(self)
        found = {
            "image_size": spec.shape[1:],
            "in_channels": spec.shape[0],
            "num_classes": spec.num_classes,
            "pixel_mean": tuple(spec.pixel_mean),
            "pixel_std": tuple(spec.pixel_std),
        }
        return parse(type(self), known | {name: value for name, value in found.items() if name in known})

    def build(self, input_spec: InputSpec) -> Any:
        """The network for a data set, with weights from torch's global generator."""
        options = to_mapping(self.for_task(input_spec))
        del options["kind"]
        return resolve_name(f"{PLACE}.{self.network}")(**options)


@configclass
class ClauseModelConfig(ImageModelConfig):
    """Networks whose clause layers have an ordinary layer as control."""

    part: Feedforward = Field(default="clauses", description="clause layers, or the controls: mlp, none (linear maps)")
    rule: ClauseOptions = Field(default_factory=ClauseOptions, description="how clauses are evaluated and learned")


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
    network: ClassVar[str] = "flat:FlatTM"
    levels: int | None = Field(
        default=None, gt=0, description="bits a pixel: brighter than i / (levels + 1); none: 4, where filters are off"
    )
    clauses: Even = Field(default=512, description="clauses in all, even")
    filters: bool | None = Field(
        default=None,
        description="76 bits a pixel of oriented filters and quantiles, not levels; none: where square is set, and for images of "
        "16 pixels or more a side where levels is not",
    )
    square: int | None = Field(
        default=None,
        gt=0,
        description="of filters: bits of squares of so many pixels a side joined by OR; none: so that about 7 x 7 squares are left",
    )

    @property
    def joined(self) -> int:
        """Side in pixels of the squares whose filter bits are joined; 0: there are no filters.

        Example:
            >>> [FlatTMConfig(image_size=side).joined for side in (8, 16, 28, 32, 64)], FlatTMConfig(levels=4).joined
            ([0, 2, 4, 5, 9], 0)
        """
        side, filters = min(self.image_shape[1:]), self.filters
        if filters is None:
            filters = self.levels is None and (side >= 16 or self.square is not None)
        return (self.square or max(1, round(side / 7))) if filters else 0

    @property
    def bits(self) -> int:
        """Bits of an image that the clauses read."""
        channels, height, width = self.image_shape
        if not self.joined:
            return (self.levels or LEVELS) * channels * height * width
        return 76 * channels * -(-height // self.joined) * -(-width // self.joined)


@configclass
class DeepTMConfig(PixelConfig):
    """Several layers of clauses over all pixels."""

    kind: Literal["deep-tm"] = "deep-tm"
    network: ClassVar[str] = "flat:DeepTMClassifier"
    levels: int = Field(default=4, gt=0, description="bits a pixel: brighter than i / (levels + 1)")
    hidden_dims: tuple[PositiveInt, ...] = Field(default=(256, 128), description="widths between the layers")
    clauses: Even = Field(default=256, description="clauses of each layer, even")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="on the votes between the layers")


@configclass
class PatchTMConfig(PixelConfig):
    """One layer of clauses over patches of the training images: how much of each is in which part of the picture."""

    kind: Literal["patch-tm"] = "patch-tm"
    network: ClassVar[str] = "patches:PatchTM"
    clauses: Even = Field(default=512, description="clauses in all, even")
    patches: int = Field(default=128, gt=0, description="patches, drawn from the first batch of training images")
    side: int = Field(default=5, gt=1, description="of a patch, in pixels")
    grid: int = Field(default=3, gt=0, description="parts of the picture a side, in which patches are counted")
    levels: int = Field(default=4, gt=0, description="bits a count: above a quantile of the first batch")

    def __post_init__(self) -> None:
        if self.side > min(self.image_shape[1:]):
            raise ValueError(f"side: expected at most the image's {self.image_shape[1:]}, got {self.side}")


@configclass
class HybridTMConfig(NormalizedConfig):
    """A small convolutional network whose features become bits for one clause layer."""

    kind: Literal["hybrid-tm"] = "hybrid-tm"
    network: ClassVar[str] = "flat:HybridTM"
    depth: int | None = Field(default=None, gt=1, description="convolutions; none: two, or till 2 pixels are left")
    thresholds: int = Field(default=32, gt=0, description="channels that are compared with learned thresholds")
    hidden: int = Field(default=64, gt=0, description="width of the MLP between shares of bits and the clauses' bits")
    clauses: Even = Field(default=384, description="clauses, even")


@configclass
class ResNetTMConfig(NormalizedConfig):
    """A ResNet with a clause layer at the end of every block, and one that votes after every stage."""

    kind: Literal["resnet-tm"] = "resnet-tm"
    network: ClassVar[str] = "resnet:ResNetTM"
    layers: Literal[18, 34, 50, 101] = Field(default=18, description="which ResNet")
    width: int = Field(default=64, gt=0, description="channels of the first stage; doubles from stage to stage")
    tm_hidden: int = Field(default=256, gt=0, description="bits that each clause layer reads")
    clauses: Even = Field(default=128, description="clauses of each layer, even")
    stem: Literal["imagenet", "small"] = Field(
        default="imagenet", description="7 x 7 with stride 2 and pooling (as documented), or 3 x 3 for small images"
    )


@configclass
class PyramidTMConfig(NormalizedConfig):
    """Clause layers on the image pooled to several sizes, and a fusion of their votes."""

    kind: Literal["pyramid-tm"] = "pyramid-tm"
    network: ClassVar[str] = "pyramid:PyramidTM"
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
