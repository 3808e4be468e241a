"""Class scores, matched by one of a dozen losses at a temperature that may move. Shapes: B batch, K classes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

from pydantic import Field
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass
from stillhouse.core.schedules import ScheduleConfig
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses import divergence
from stillhouse.losses.correlation import dist_relations
from stillhouse.losses.regression import mse_logits
from stillhouse.losses.softened import standardize_logits
from stillhouse.losses.top_k import scores_kl
from stillhouse.signals.base import Signal, SignalBase, check_classes
from stillhouse.temperature import FixedTemperature, ScheduledTemperature, Softness, Temperature

LossName = Literal[
    "forward-kl",
    "reverse-kl",
    "symmetric-kl",
    "js",
    "skew-forward-kl",
    "skew-reverse-kl",
    "total-variation",
    "mse",
    "centered-mse",
    "dkd",
    "dist",
    "ofa",
]


class LogitLoss(NamedTuple):
    """How the scores (B, K) of two sides are compared.

    Attributes:
        function: student, teacher (and labels) -> (B,), or 0-d of the batch.
        settings: of the configuration, that it reads.
        temperature: at which it softens both sides unless one is given; None: it softens nothing.
        reads_labels: whether it is called with the labels.
    """

    function: Callable[..., Tensor]
    settings: tuple[str, ...] = ()
    temperature: float | None = 2.0
    reads_labels: bool = False


LOSSES: dict[LossName, LogitLoss] = {
    "forward-kl": LogitLoss(divergence.forward_kl),
    "reverse-kl": LogitLoss(divergence.reverse_kl),
    "symmetric-kl": LogitLoss(divergence.symmetric_kl, ("mix",)),
    "js": LogitLoss(divergence.generalized_js, ("beta", "normalized")),
    "skew-forward-kl": LogitLoss(divergence.skew_forward_kl, ("skew",)),
    "skew-reverse-kl": LogitLoss(divergence.skew_reverse_kl, ("skew",)),
    "total-variation": LogitLoss(divergence.total_variation, temperature=1.0),
    "mse": LogitLoss(mse_logits, temperature=None),
    "centered-mse": LogitLoss(partial(mse_logits, centered=True), temperature=None),
    "dkd": LogitLoss(divergence.decoupled_kl, ("target_weight", "nontarget_weight"), reads_labels=True),
    "dist": LogitLoss(dist_relations, ("inter_weight", "intra_weight"), temperature=1.0),
    "ofa": LogitLoss(divergence.target_enhanced_kl, ("gamma",), temperature=1.0, reads_labels=True),
}


@configclass
class LogitsConfig(SignalBase):
    """Match the teacher's class scores.

    `forward-kl` is the default. `dist` follows relations only and `dkd` gives wrong classes their own weight: both are for
    teachers much stronger or surer than the student. `dkd` and `ofa` read the labels; `dist` needs batches of at least 3.
    `ofa` is for teachers of another architecture.

    Source: Hinton, Vinyals, Dean 2015, arXiv:1503.02531; for each loss see its function in `stillhouse.losses`.
    """

    kind: Literal["logits"] = "logits"
    loss: LossName = Field(default="forward-kl", description="how scores are compared")
    temperature: Softness | None = Field(
        default=None,
        description="softens both sides; most losses are multiplied by T^2 [2; total-variation, dist, ofa: 1]",
    )
    standardize: bool = Field(
        default=False, description="bring each row of scores to mean 0 and deviation 1 first, on both sides"
    )
    mix: float = Field(default=0.5, ge=0, le=1, description="symmetric-kl: share of the reverse KL")
    beta: float = Field(default=0.5, gt=0, lt=1, description="js: weight of the teacher in the mixture")
    normalized: bool = Field(default=False, description="js: divide by beta (1 - beta), so that beta sets no weight")
    skew: float = Field(default=0.1, ge=0, lt=1, description="skewed KLs: share of the first side in the mixture")
    target_weight: float = Field(default=1.0, ge=0, description="dkd: weight of the label's class")
    nontarget_weight: float = Field(default=8.0, ge=0, description="dkd: weight of the other classes")
    inter_weight: float = Field(default=1.0, ge=0, description="dist: weight between classes")
    intra_weight: float = Field(default=1.0, ge=0, description="dist: weight within a class over the batch")
    gamma: float = Field(default=1.4, ge=1, description="ofa: exponent; 1 is the plain KL")

    def __post_init__(self) -> None:
        for one, other in (("target_weight", "nontarget_weight"), ("inter_weight", "intra_weight")):
            if getattr(self, one) == 0 and getattr(self, other) == 0:
                raise ValueError(f"{one} and {other}: expected at least one above 0, got 0 and 0")
        if self.temperature is not None and LOSSES[self.loss].temperature is None:
            raise ValueError(f"temperature: does nothing under loss {self.loss!r}; leave it out")

    @property
    def compares_samples(self) -> bool:
        """True of the relations within a class."""
        return self.loss == "dist" and self.intra_weight != 0

    @property
    def reads_one_label(self) -> bool:
        """True of `dkd` and `ofa`."""
        return LOSSES[self.loss].reads_labels

    @property
    def schedule(self) -> ScheduleConfig | None:
        """That of the temperature."""
        return self.temperature.schedule if isinstance(self.temperature, ScheduledTemperature) else None


class LogitSignal(Signal, of=LogitsConfig):
    """Compares (B, K) logits by the configured loss; (B,) unweighted, 0-d for `dist`.

    A learned temperature is a sub-module: it is trained, saved and resumed with the signal, and its figures and loss terms
    are passed on.

    Raises:
        InputError: teacher and student differ in the number of classes, or there are so few that the loss is blind to them.
    """

    def __init__(self, config: LogitsConfig, student: OutputSpec, teacher: OutputSpec) -> None:
        super().__init__(config.name or "logits", config.weight)
        check_classes(self.name, student, teacher, all_scores=config.loss != "forward-kl" or config.standardize)
        # two standardized scores are always -1 and 1, two probabilities correlate by -1 or 1: a gradient of 0 whatever they are
        unused = {"dist": config.intra_weight, "dkd": config.target_weight}.get(config.loss, 1.0) == 0
        fewest = 3 if config.standardize or unused else 1 if config.loss == "mse" else 2
        if student.num_classes < fewest:
            raise InputError(
                f"signal {self.name!r}: expected at least {fewest} classes for {config.loss}, got {student.num_classes}"
            )
        self.loss, self.standardize = LOSSES[config.loss], config.standardize
        self.settings = {name: getattr(config, name) for name in self.loss.settings}
        chosen = config.temperature or FixedTemperature(value=self.loss.temperature or 1.0)
        self.temperature: Temperature = chosen.build(student, teacher)
        if teacher.kept is not None and self.temperature.reads_scores:
            raise InputError(
                f"signal {self.name!r}: a temperature that is read from the scores needs all of them, and the cache holds the "
                f"{teacher.kept} largest; expected one that is fixed, scheduled or learned for all samples"
            )

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) loss of each sample, or 0-d of the batch."""
        student, teacher = student_out.logits, teacher_out.logits.detach()
        if teacher_out.kept is not None:
            return scores_kl(student, teacher_out.kept, self.temperature(student, teacher, progress))
        if self.standardize:
            student, teacher = standardize_logits(student), standardize_logits(teacher)
        sides = (student, teacher, batch.labels) if self.loss.reads_labels else (student, teacher)
        if self.loss.temperature is None:
            return self.loss.function(*sides, **self.settings)
        hot = self.temperature(student, teacher, progress)
        return self.loss.function(*sides, temperature=hot, **self.settings)

    def figures(self) -> dict[str, float]:
        """Those of the temperature."""
        return self.temperature.figures()

    def regularizers(self) -> dict[str, tuple[float, Tensor]]:
        """Those of the temperature."""
        return self.temperature.regularizers()

    def groups(self) -> list[dict[str, Any]]:
        """Those of the temperature."""
        return self.temperature.groups()
