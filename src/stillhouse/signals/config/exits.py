"""How the deepest layer of a student teaches its shallower ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from stillhouse.core.config import configclass
from stillhouse.core.types import OutputSpec
from stillhouse.signals.config.features import Layout

if TYPE_CHECKING:
    from stillhouse.signals.exits import ExitSignal


@configclass
class ExitsConfig:
    """Be your own teacher: classifiers at intermediate places learn from the labels and from the student's own last scores.

    Sum over exits i of (1 - alpha) CE(labels, exit i) + alpha T^2 KL(last || exit i) + hint_weight MSE(feature i, last
    feature). The last scores and the last feature are held fixed in it; they learn from the labels as ever. Needs no teacher.

    As published, alpha is 0.1 and T is 3. Two things differ: the distillation term is a KL (same gradient as the published
    cross-entropy, but 0 at its best), and the hint is a mean over the width of pooled features where the published code
    sums the squares over all elements of the maps (and only where an activation is positive) with a factor of 1e-6:
    a mean keeps its size when the width changes, so its factor is of the order of 0.1.

    Source: Zhang et al. 2019, arXiv:1905.08094 (Be Your Own Teacher).
    """

    needs_teacher: ClassVar[bool] = False

    kind: Literal["exits"] = "exits"
    exits: tuple[str, ...] = Field(min_length=1, description="paths of the student's sub-modules that get a classifier")
    layout: Layout = Field(default="auto", description="axes of their outputs; auto: by their number")
    alpha: float = Field(default=0.1, ge=0, le=1, description="share of the last scores against the labels")
    temperature: float = Field(default=3.0, gt=0, description="softens both sides; the loss is multiplied by T^2")
    deepest: str | None = Field(default=None, description="path of the sub-module whose output the hint aims at")
    hint_weight: float = Field(default=0.0, ge=0, description="factor of the distance to the deepest feature")
    weight: float = Field(default=1.0, ge=0, description="factor in the total loss")

    def __post_init__(self) -> None:
        if len(set(self.exits)) < len(self.exits):
            raise ValueError(f"exits: expected each path once, got {', '.join(self.exits)}")
        if (self.deepest is None) != (self.hint_weight == 0):
            raise ValueError(
                "deepest and hint_weight: expected both (a path, and a factor above 0) or neither, got "
                f"{self.deepest!r} and {self.hint_weight}"
            )

    def student_features(self) -> tuple[str, ...]:
        """Paths to tap in the student."""
        return self.exits if self.deepest is None else (*self.exits, self.deepest)

    def build(self, student: OutputSpec, teacher: OutputSpec | None = None) -> ExitSignal:
        """The signal; the teacher, if there is one, is not heard."""
        from stillhouse.signals.exits import ExitSignal

        return ExitSignal(self, student)
