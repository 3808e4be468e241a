"""Class scores, matched by one of a dozen losses at a temperature that may move. Shapes: B batch, K classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union, get_args

from pydantic import Discriminator, Field, Tag
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.core.config import Beside, configclass
from stillhouse.core.schedules import ScheduleConfig
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses import (
    cosine_logits,
    decoupled_kl,
    dist_relations,
    forward_kl,
    generalized_js,
    mse_logits,
    multi_level,
    reverse_kl,
    skew_forward_kl,
    skew_reverse_kl,
    standardize_logits,
    symmetric_kl,
    target_enhanced_kl,
    total_variation,
)
from stillhouse.losses.top_k import scores_kl
from stillhouse.signals.base import Signal, SignalBase, check_classes, options
from stillhouse.temperature import NumberTemperature, ScheduledTemperature, Temperature, TemperatureConfig

# beyond it the loss is half of centered-mse to a hundredth, and what is left of float32 fewer than four digits
HOTTEST = 1000.0


def _form(value: Any) -> str:
    """A number, or the `kind` of a temperature: one of them is validated, so that an error speaks of what was meant."""
    if isinstance(value, Mapping):
        return str(value.get("kind", "no kind"))
    return str(getattr(value, "kind", "number"))


if TYPE_CHECKING:
    Softness = float | TemperatureConfig
else:
    _CONFIGS = get_args(get_args(TemperatureConfig)[0])
    Softness = Annotated[
        Union[  # noqa: UP007 - its members are computed
            tuple(
                [Annotated[float, Field(gt=0, le=HOTTEST), Tag("number")]]
                + [Annotated[config, Tag(config.__dataclass_fields__["kind"].default)] for config in _CONFIGS]
            )
        ],
        Discriminator(_form),
    ]


# ---------------------------------------------------------------------------------------------- losses


class LogitLoss:
    """How the scores (B, K) of two sides are compared, by a function of `losses`."""

    function: ClassVar[Callable[..., Tensor]]
    reads_labels: ClassVar[bool] = False

    def __call__(self, student: Tensor, teacher: Tensor, labels: Tensor, temperature: float | Tensor) -> Tensor:
        """(B,), or 0-d of the batch."""
        sides = (student, teacher, labels) if self.reads_labels else (student, teacher)
        softness = {"temperature": temperature} if hasattr(self, "temperature") else {}
        return type(self).function(*sides, **options(self, "temperature"), **softness)


@configclass
class _Softened(LogitLoss):
    temperature: Softness = Field(default=2.0, description="softens both sides; the loss is multiplied by T^2")


@configclass
class ForwardKL(_Softened):
    """KL from the teacher's distribution to the student's."""

    function = staticmethod(forward_kl)
    kind: Literal["forward-kl"] = "forward-kl"


@configclass
class ReverseKL(_Softened):
    """KL from the student's distribution to the teacher's."""

    function = staticmethod(reverse_kl)
    kind: Literal["reverse-kl"] = "reverse-kl"


@configclass
class SymmetricKL(_Softened):
    """Both KLs, mixed."""

    function = staticmethod(symmetric_kl)
    kind: Literal["symmetric-kl"] = "symmetric-kl"
    mix: float = Field(default=0.5, ge=0, le=1, description="share of the reverse KL")


@configclass
class JensenShannon(_Softened):
    """Generalized Jensen-Shannon divergence."""

    function = staticmethod(generalized_js)
    kind: Literal["js"] = "js"
    beta: float = Field(default=0.5, gt=0, lt=1, description="weight of the teacher in the mixture")
    normalized: bool = Field(default=False, description="divide by beta (1 - beta), so that beta sets no weight")


@configclass
class _Skewed(_Softened):
    skew: float = Field(default=0.1, ge=0, lt=1, description="share of the first side in the mixture")


@configclass
class SkewForwardKL(_Skewed):
    """KL from the teacher's distribution to its mixture with the student's."""

    function = staticmethod(skew_forward_kl)
    kind: Literal["skew-forward-kl"] = "skew-forward-kl"


@configclass
class SkewReverseKL(_Skewed):
    """KL from the student's distribution to its mixture with the teacher's."""

    function = staticmethod(skew_reverse_kl)
    kind: Literal["skew-reverse-kl"] = "skew-reverse-kl"


@configclass
class TotalVariation(LogitLoss):
    """Half the summed difference of probabilities."""

    function = staticmethod(total_variation)
    kind: Literal["total-variation"] = "total-variation"
    temperature: Softness = Field(default=1.0, description="softens both sides; there is no factor T^2")


@configclass
class ScoreMSE(LogitLoss):
    """Mean squared difference of scores."""

    function = staticmethod(mse_logits)
    kind: Literal["mse"] = "mse"


@configclass
class CenteredMSE(LogitLoss):
    """Mean squared difference of scores less their mean: the limit of the KL at high temperatures."""

    function = partial(mse_logits, centered=True)
    kind: Literal["centered-mse"] = "centered-mse"


@configclass
class Cosine(LogitLoss):
    """One minus the cosine of the scores."""

    function = staticmethod(cosine_logits)
    kind: Literal["cosine"] = "cosine"


@configclass
class DecoupledKL(_Softened):
    """The label's class and the other classes with a weight each (DKD); reads the labels."""

    function = staticmethod(decoupled_kl)
    reads_labels = True
    kind: Literal["dkd"] = "dkd"
    target_weight: float = Field(default=1.0, ge=0, description="weight of the label's class")
    nontarget_weight: float = Field(default=8.0, ge=0, description="weight of the other classes")

    def __post_init__(self) -> None:
        _one_above_0("target_weight", self.target_weight, "nontarget_weight", self.nontarget_weight)


@configclass
class Dist(LogitLoss):
    """Correlations between classes, and within a class over the batch (DIST); wants batches of at least 3."""

    function = staticmethod(dist_relations)
    kind: Literal["dist"] = "dist"
    temperature: Softness = Field(default=1.0, description="softens both sides; there is no factor T^2")
    inter_weight: float = Field(default=1.0, ge=0, description="weight of the relations between classes")
    intra_weight: float = Field(default=1.0, ge=0, description="weight of the relations within a class over the batch")

    def __post_init__(self) -> None:
        _one_above_0("inter_weight", self.inter_weight, "intra_weight", self.intra_weight)


@configclass
class TargetEnhancedKL(_Softened):
    """KL from the teacher's distribution, enhanced at the label the more the surer the teacher is (OFA-KD); reads the labels."""

    function = staticmethod(target_enhanced_kl)
    reads_labels = True
    kind: Literal["ofa"] = "ofa"
    temperature: Softness = Field(default=1.0, description="softens both sides; the loss is multiplied by T^2")
    gamma: float = Field(default=1.4, ge=1, description="exponent of the enhancement; 1 is the plain KL")


@configclass
class MultiLevel(LogitLoss):
    """KL at several temperatures, and which samples and which classes are judged alike (multi-level logit distillation)."""

    function = staticmethod(multi_level)
    kind: Literal["mlld"] = "mlld"
    temperatures: tuple[float, ...] = Field(
        default=(2.0, 3.0, 4.0, 5.0, 6.0), min_length=1, description="at which predictions are compared; their mean"
    )
    instance_weight: float = Field(default=1.0, ge=0, description="weight of the KL of each sample, times T^2")
    sample_weight: float = Field(default=1.0, ge=0, description="weight of the relations between samples of a batch")
    class_weight: float = Field(default=1.0, ge=0, description="weight of the relations between classes over a batch")

    def __post_init__(self) -> None:
        if min(self.temperatures) <= 0 or max(self.temperatures) > HOTTEST:
            raise ValueError(f"temperatures: expected above 0 and at most {HOTTEST:g}, got {self.temperatures}")
        if max(self.instance_weight, self.sample_weight, self.class_weight) == 0:
            raise ValueError(
                "instance_weight, sample_weight and class_weight: expected at least one above 0, got 0, 0 and 0"
            )


def _one_above_0(first: str, one: float, second: str, other: float) -> None:
    if one == 0 and other == 0:
        raise ValueError(f"{first} and {second}: expected at least one above 0, got 0 and 0")


AnyLogitLoss = (
    ForwardKL
    | ReverseKL
    | SymmetricKL
    | JensenShannon
    | SkewForwardKL
    | SkewReverseKL
    | TotalVariation
    | ScoreMSE
    | CenteredMSE
    | Cosine
    | DecoupledKL
    | Dist
    | TargetEnhancedKL
    | MultiLevel
)

# ---------------------------------------------------------------------------------------------- signal


@configclass
class LogitsConfig(SignalBase):
    """Match the teacher's class scores.

    `forward-kl` is the default. `dist` follows relations only and `dkd` gives wrong classes their own weight: both are for
    teachers much stronger or surer than the student. `dkd` and `ofa` read the labels; `dist` needs batches of at least 3.
    `ofa` is for teachers of another architecture, `mlld` compares whole batches at several temperatures.

    Source: Hinton, Vinyals, Dean 2015, arXiv:1503.02531; for each loss see its function in `stillhouse.losses`.
    """

    kind: Literal["logits"] = "logits"
    loss: Annotated[AnyLogitLoss, Beside()] = Field(
        default=ForwardKL(), discriminator="kind", description="how scores are compared"
    )
    standardize: bool = Field(
        default=False, description="bring each row of scores to mean 0 and deviation 1 first, on both sides"
    )

    @property
    def temperature(self) -> float | TemperatureConfig | None:
        """That of the loss; None where it softens nothing."""
        return getattr(self.loss, "temperature", None)

    @property
    def compares_samples(self) -> bool:
        """True of the relations within a class, and of those of a batch."""
        if isinstance(self.loss, MultiLevel):
            return max(self.loss.sample_weight, self.loss.class_weight) > 0
        return isinstance(self.loss, Dist) and self.loss.intra_weight != 0

    @property
    def reads_one_label(self) -> bool:
        """True of `dkd` and `ofa`."""
        return self.loss.reads_labels

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
        check_classes(self.name, student, teacher, all_scores=False)
        _check_enough_classes(self.name, config, student.num_classes)
        if teacher.kept is not None:
            _check_kept(self.name, config, teacher.kept)
        self.loss, self.standardize = config.loss, config.standardize
        chosen = config.temperature
        self.temperature: Temperature = (
            NumberTemperature(1.0 if chosen is None else chosen)
            if chosen is None or isinstance(chosen, (int, float))
            else chosen.build(student, teacher)
        )

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) loss of each sample, or 0-d of the batch."""
        student, teacher = student_out.logits, teacher_out.logits.detach()
        if teacher_out.kept is not None:
            return scores_kl(student, teacher_out.kept, self.temperature(student, teacher, progress))
        if self.standardize:
            student, teacher = standardize_logits(student), standardize_logits(teacher)
        return self.loss(student, teacher, batch.labels, self.temperature(student, teacher, progress))

    def figures(self) -> dict[str, float]:
        """Those of the temperature."""
        return self.temperature.figures()

    def regularizers(self) -> dict[str, tuple[float, Tensor]]:
        """Those of the temperature."""
        return self.temperature.regularizers()

    def groups(self) -> list[dict[str, Any]]:
        """Those of the temperature."""
        return self.temperature.groups()


def _check_kept(name: str, config: LogitsConfig, kept: int) -> None:
    """Refuse what needs a score of every class where a cache holds the largest."""
    temperature = config.temperature
    alone = isinstance(temperature, (int, float)) or getattr(temperature, "kind", "") in {
        "fixed",
        "scheduled",
        "learned",
    }
    if type(config.loss) is not ForwardKL or config.standardize:
        what = "standardize" if config.standardize else f"loss {config.loss.kind!r}"
    elif not alone or getattr(temperature, "per_sample", False):
        what = "a temperature that is read from the scores"
    else:
        return
    raise InputError(
        f"signal {name!r}: {what} needs all class scores, and the cache holds the {kept} largest; expected loss: forward-kl at a "
        "fixed, scheduled or learned temperature, or a cache of --content scores"
    )


def _check_enough_classes(name: str, config: LogitsConfig, classes: int) -> None:
    """Refuse a loss whose gradient is 0 whatever the scores: two standardized or correlated ones are always -1 and 1."""
    loss = config.loss
    if config.standardize:
        fewest, why, instead = 3, "two standardized scores are -1 and 1 whatever they were", "standardize: false"
    elif isinstance(loss, Dist) and loss.intra_weight == 0:
        fewest, why, instead = 3, "two probabilities always correlate by -1 or 1", "an intra_weight above 0"
    elif isinstance(loss, DecoupledKL) and loss.target_weight == 0:
        fewest, why, instead = 3, "one other class has nothing to be compared with", "a target_weight above 0"
    else:
        single = isinstance(loss, ScoreMSE)
        fewest, why, instead = 1 if single else 2, "a single score has nothing beside it", "loss: mse"
    if classes < fewest:
        raise InputError(
            f"signal {name!r}: expected at least {fewest} classes, got {classes}, where it teaches nothing ({why}); take {instead}"
        )
