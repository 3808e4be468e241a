"""What the configurations of all models share. No torch here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass, parse, to_mapping
from stillhouse.core.types import ImageSpec, InputSpec

if TYPE_CHECKING:
    from stillhouse.tasks.classification.students.base import ClauseModel


@configclass
class ClauseOptions:
    """The rule of one bank of clauses; `failures` well below `literals` makes a clause a soft AND and not a count."""

    failures: int = Field(default=4, ge=1, description="LF: misses that silence a clause")
    literals: float | None = Field(
        default=None, gt=0, description="literals that a clause includes at the start, on average; none: 3 LF"
    )
    tau: float = Field(default=0.5, gt=0, lt=1, description="include threshold on the sigmoid of the include logits")
    learnable_tau: bool = Field(default=False, description="tau is learned: it gets the gradient of the masks")
    tau_min: float = Field(default=0.05, gt=0, lt=1, description="lower bound of a learned tau")
    tau_max: float = Field(default=0.95, gt=0, lt=1, description="upper bound of a learned tau")
    tau_ema: float | None = Field(
        default=None, gt=0, lt=1, description="masks use a moving average of tau with this memory, in (0, 1)"
    )
    literal_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="share of literals that no clause cares about in a training step"
    )
    literal_budget: int | None = Field(
        default=None, gt=0, description="L: a clause keeps only its L most included literals"
    )
    clause_dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout on clause strengths")
    clause_bias: float | None = Field(
        default=0.0, description="start of the learned bias of each clause before voting; none: a bias on the votes"
    )
    leak: float = Field(default=0.1, ge=0, le=1, description="backward slope of a silent clause, so that it can return")

    per_failure: ClassVar[float] = 3.0

    @property
    def literals_at_start(self) -> float:
        """Literals of a clause at the start. Half of them are drawn wrong for a given input: far above 2 LF nothing fires."""
        return self.per_failure * self.failures if self.literals is None else self.literals

    def __post_init__(self) -> None:
        if not self.tau_min < self.tau_max:
            raise ValueError(f"tau_min: expected below tau_max ({self.tau_max}), got {self.tau_min}")
        if self.learnable_tau and not self.tau_min < self.tau < self.tau_max:
            raise ValueError(
                f"tau: expected between tau_min and tau_max ({self.tau_min}, {self.tau_max}), got {self.tau}"
            )


@configclass
class PixelClauseOptions(ClauseOptions):
    """The rule for clauses that read a whole image: more literals, more of which may fail."""

    failures: int = Field(default=16, ge=1, description="LF: misses that silence a clause")
    literals: float | None = Field(
        default=None, gt=0, description="literals that a clause includes at the start, on average; none: 2.25 LF"
    )
    per_failure: ClassVar[float] = 2.25


@configclass
class ClauseModelConfig(ABC):
    """What every model has; not a model itself."""

    num_classes: int = Field(default=10, ge=2, description="K; the data set gives it when a run builds the student")
    image_size: int | tuple[int, int] = Field(default=(32, 32), description="height and width, or one side, in pixels")
    in_channels: int = Field(default=3, gt=0, description="channels of the image")
    part: Literal["clauses", "mlp", "none"] = Field(
        default="clauses",
        description="clause layers; mlp (as many units as clauses) and none (linear) are the controls",
    )
    rule: ClauseOptions = Field(default_factory=ClauseOptions, description="how clauses are evaluated and learned")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        size = self.image_size
        return (self.in_channels, size, size) if isinstance(size, int) else (self.in_channels, *size)

    def without_special_part(self) -> Self:
        """The same network, linear where clause layers were."""
        return replace(self, part="none")

    def with_ordinary_part(self) -> Self:
        """The same network with MLPs where clause layers were."""
        return replace(self, part="mlp")

    def for_task(self, input_spec: InputSpec) -> Self:
        """This configuration with the classes, the image and the pixel statistics of a data set."""
        if not isinstance(input_spec, ImageSpec):
            raise InputError(f"student {getattr(self, 'kind', '')!r}: expected images, got {input_spec.rows}")
        channels, height, width = input_spec.shape
        found: dict[str, Any] = {
            "image_size": (height, width),
            "in_channels": channels,
            "num_classes": input_spec.num_classes,
        }
        if hasattr(self, "pixel_mean"):
            found |= {"pixel_mean": tuple(input_spec.pixel_mean), "pixel_std": tuple(input_spec.pixel_std)}
        return parse(type(self), {**to_mapping(self), **found})  # an image that does not fit is the user's fault

    @abstractmethod
    def model_class(self) -> type[ClauseModel]:
        """The class of the network."""

    def build(self, input_spec: InputSpec) -> ClauseModel:
        """The network for a data set, with weights from torch's global generator."""
        return self.model_class().from_config(self.for_task(input_spec))


def expect_even(name: str, *clauses: int) -> None:
    """Raise ValueError unless every number of clauses is even and at least 2: half of them for, half against."""
    odd = next((c for c in clauses if c < 2 or c % 2), None)
    if odd is not None:
        raise ValueError(f"{name}: expected even numbers of at least 2, got {odd}")


@configclass
class PixelBitsConfig(ClauseModelConfig):
    """Models whose literals are pixels compared with fixed levels."""

    levels: int = Field(
        default=1, gt=0, description="bits a pixel: brighter than i / (levels + 1); bits pass as they are"
    )


@configclass
class NormalizedConfig(ClauseModelConfig):
    """Models that standardize their pixels."""

    pixel_mean: float | tuple[float, ...] = Field(default=0.0, description="subtracted from the pixels in [0, 1]")
    pixel_std: float | tuple[float, ...] = Field(default=1.0, description="divides them")
