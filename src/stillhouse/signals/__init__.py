"""What a student may learn from a teacher. A signal picks tensors by name, joins their shapes and calls one loss.

`SignalConfig` is the list of signals; configurations are here, without torch, and build the parts that own tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from stillhouse.checks import InputError
from stillhouse.config import configclass
from stillhouse.types import OutputSpec

if TYPE_CHECKING:
    from torch import nn

    from stillhouse.signals.features import FeatureSignal
    from stillhouse.signals.logits import LogitSignal

Layout = Literal["auto", "vector", "tokens", "nchw", "nhwc"]


@configclass
class LogitsConfig:
    """Match the teacher's class scores.

    Source: Hinton, Vinyals, Dean 2015, arXiv:1503.02531.
    """

    kind: Literal["logits"] = "logits"
    loss: Literal["forward-kl", "reverse-kl", "js", "mse"] = Field(
        default="forward-kl", description="how scores are compared"
    )
    temperature: float | None = Field(
        default=None, gt=0, description="softens both sides; the loss is multiplied by T^2 [2]"
    )
    beta: float | None = Field(default=None, gt=0, lt=1, description="weight of the teacher in the mixture of js [0.5]")
    weight: float = Field(default=1.0, ge=0, description="factor in the total loss")

    def __post_init__(self) -> None:
        if self.loss == "mse" and self.temperature is not None:
            raise ValueError("temperature: does nothing under loss 'mse' (it compares raw scores); leave it out")
        if self.loss != "js" and self.beta is not None:
            raise ValueError(f"beta: does nothing under loss {self.loss!r}; it belongs to 'js'")

    def build(self, student: OutputSpec, teacher: OutputSpec) -> LogitSignal:
        """The signal, for a student and a teacher of equal class counts."""
        from stillhouse.signals.logits import LogitSignal

        return LogitSignal(self, student, teacher)


@configclass
class FeaturesConfig:
    """Match the output of a student's sub-module to that of a teacher's, through a learned projector.

    Outputs are (D), tokens (N, D), maps (D, H, W), or (H, W, D) where the layout says `nhwc`: three axes alone cannot tell.
    With `pool: mean` every position counts, a class token too. With `pool: none` positions are joined one by one: as many
    on both sides, or grids averaged down to the smaller one, a leading class token left out (17 tokens are 4 x 4 and one).

    Source: Romero et al. 2015, arXiv:1412.6550 (FitNets).
    """

    kind: Literal["features"] = "features"
    student: str = Field(min_length=1, description="path of the student's sub-module, as blocks.1")
    teacher: str = Field(min_length=1, description="path of the teacher's sub-module, as layer3")
    distance: Literal["mse", "cosine", "smooth-l1"] = Field(default="mse", description="how features are compared")
    projector: Literal["linear", "none"] = Field(
        default="linear", description="map from the student's width to the teacher's"
    )
    pool: Literal["mean", "none"] = Field(
        default="mean", description="average over positions, or join position by position"
    )
    normalize: bool = Field(
        default=True, description="standardize both sides over channels, so the teacher's scale sets no weight"
    )
    student_layout: Layout = Field(default="auto", description="axes of the student's output; auto: by their number")
    teacher_layout: Layout = Field(default="auto", description="axes of the teacher's output; auto: by their number")
    weight: float = Field(default=1.0, ge=0, description="factor in the total loss")

    def build(self, student: OutputSpec, teacher: OutputSpec) -> FeatureSignal:
        """The signal; names and shapes are resolved here, before any training."""
        from stillhouse.signals.features import FeatureSignal

        return FeatureSignal(self, student, teacher)


SignalConfig = Annotated[LogitsConfig | FeaturesConfig, Field(discriminator="kind")]


def student_features(configs: Sequence[LogitsConfig | FeaturesConfig]) -> tuple[str, ...]:
    """Paths to tap in the student."""
    return tuple(dict.fromkeys(c.student for c in configs if isinstance(c, FeaturesConfig)))


def teacher_features(configs: Sequence[LogitsConfig | FeaturesConfig]) -> tuple[str, ...]:
    """Paths to tap in the teacher."""
    return tuple(dict.fromkeys(c.teacher for c in configs if isinstance(c, FeaturesConfig)))


def build_signals(
    configs: Sequence[LogitsConfig | FeaturesConfig], student: OutputSpec, teacher: OutputSpec
) -> nn.ModuleList:
    """All signals of a run.

    Raises:
        InputError: two of one name would overwrite each other in the record of terms.
    """
    from torch import nn

    signals = nn.ModuleList(config.build(student, teacher) for config in configs)
    names = [str(signal.name) for signal in signals]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"signals: expected different names, {', '.join(map(repr, twice))} stands more than once")
    return signals
