"""Class scores, matched by one of a dozen losses at a temperature that may move. Shapes: B batch, K classes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

from pydantic import Field
from torch import Tensor

from stillhouse import losses
from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass
from stillhouse.core.schedules import ScheduleConfig
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.signals.base import Signal, SignalBase, check_classes, refuse_idle
from stillhouse.temperature import HOTTEST, FixedTemperature, ScheduledTemperature, Softness, Temperature

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
    "mlld",
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
    "forward-kl": LogitLoss(losses.forward_kl),
    "reverse-kl": LogitLoss(losses.reverse_kl),
    "symmetric-kl": LogitLoss(losses.symmetric_kl, ("mix",)),
    "js": LogitLoss(losses.generalized_js, ("beta", "normalized")),
    "skew-forward-kl": LogitLoss(losses.skew_forward_kl, ("skew",)),
    "skew-reverse-kl": LogitLoss(losses.skew_reverse_kl, ("skew",)),
    "total-variation": LogitLoss(losses.total_variation, temperature=1.0),
    "mse": LogitLoss(losses.mse_logits, temperature=None),
    "centered-mse": LogitLoss(partial(losses.mse_logits, centered=True), temperature=None),
    "dkd": LogitLoss(losses.decoupled_kl, ("target_weight", "nontarget_weight"), reads_labels=True),
    "dist": LogitLoss(losses.dist_relations, ("inter_weight", "intra_weight"), temperature=1.0),
    "ofa": LogitLoss(losses.target_enhanced_kl, ("gamma",), temperature=1.0, reads_labels=True),
    "mlld": LogitLoss(losses.multi_level, ("temperatures",), temperature=None),
}
READ_BY = {name: (*row.settings, *(["temperature"] if row.temperature else [])) for name, row in LOSSES.items()}


@configclass
class LogitsConfig(SignalBase):
    """Match the teacher's class scores.

    `forward-kl` is the default. `dist` follows relations only and `dkd` gives wrong classes their own weight: both are for
    teachers much stronger or surer than the student. `dkd` and `ofa` read the labels; `dist` needs batches of at least 3.
    `ofa` is for teachers of another architecture, `mlld` compares whole batches at several temperatures.

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
    mix: float | None = Field(default=None, ge=0, le=1, description="symmetric-kl: share of the reverse KL [0.5]")
    beta: float | None = Field(default=None, gt=0, lt=1, description="js: weight of the teacher in the mixture [0.5]")
    normalized: bool = Field(default=False, description="js: divide by beta (1 - beta), so that beta sets no weight")
    skew: float | None = Field(
        default=None, ge=0, lt=1, description="skewed KLs: share of the first side in the mixture [0.1]"
    )
    target_weight: float | None = Field(default=None, ge=0, description="dkd: weight of the label's class [1]")
    nontarget_weight: float | None = Field(default=None, ge=0, description="dkd: weight of the other classes [8]")
    inter_weight: float | None = Field(default=None, ge=0, description="dist: weight between classes [1]")
    intra_weight: float | None = Field(default=None, ge=0, description="dist: weight within a class over the batch [1]")
    gamma: float | None = Field(default=None, ge=1, description="ofa: exponent; 1 is the plain KL [1.4]")
    temperatures: tuple[float, ...] | None = Field(
        default=None, min_length=1, description="mlld: at which predictions are compared [2, 3, 4, 5, 6]"
    )

    def __post_init__(self) -> None:
        refuse_idle(self, "loss", READ_BY)
        for one, other in (("target_weight", "nontarget_weight"), ("inter_weight", "intra_weight")):
            if getattr(self, one) == 0 and getattr(self, other) == 0:
                raise ValueError(f"{one} and {other}: expected at least one above 0, got 0 and 0")
        if self.temperatures and not 0 < min(self.temperatures) <= max(self.temperatures) <= HOTTEST:
            raise ValueError(f"temperatures: expected above 0 and at most {HOTTEST:g}, got {self.temperatures}")

    @property
    def compares_samples(self) -> bool:
        """True of the relations within a class, and of those of a batch."""
        return self.loss == "mlld" or (self.loss == "dist" and self.intra_weight != 0)

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
        _check_enough_classes(self.name, config, student.num_classes)
        self.loss, self.standardize = LOSSES[config.loss], config.standardize
        given = {name: getattr(config, name) for name in self.loss.settings}
        self.settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
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
            return losses.scores_kl(student, teacher_out.kept, self.temperature(student, teacher, progress))
        if self.standardize:
            student, teacher = losses.standardize_logits(student), losses.standardize_logits(teacher)
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


def _check_enough_classes(name: str, config: LogitsConfig, classes: int) -> None:
    """Refuse a loss whose gradient is 0 whatever the scores: two standardized or correlated ones are always -1 and 1."""
    zero = [name for name in ("intra_weight", "target_weight") if getattr(config, name) == 0]
    why = ["standardize", *zero] if config.standardize else zero
    fewest = 3 if why else 1 if config.loss == "mse" else 2
    if classes < fewest:
        raise InputError(
            f"signal {name!r}: expected at least {fewest} classes, got {classes}, where {why[0] if why else config.loss} leaves "
            "nothing to learn"
        )
