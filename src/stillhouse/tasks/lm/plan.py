"""A whole language-model run as one value: text, teacher, student, loss, arms and seeds. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from stillhouse.core.config import configclass
from stillhouse.core.plan import RunPlan, check_plan
from stillhouse.tasks.lm.corpus import CorpusConfig
from stillhouse.tasks.lm.students import SpikingLMConfig
from stillhouse.tasks.lm.teachers import LanguageTeacherConfig, SmallTransformerConfig
from stillhouse.tasks.lm.tokenizer import TOKENIZER_FILE
from stillhouse.temperature import FixedTemperature, TemperatureConfig
from stillhouse.training.config import TrainingConfig

LmArm = Literal["kd", "no-kd", "dense", "dense-no-kd"]
ARMS: dict[str, str] = {
    "kd": "the student, taught",
    "no-kd": "the same student from the text alone: the control",
    "dense": "the student without spikes and ternary weights, taught: the upper bound",
    "dense-no-kd": "the same from the text alone",
}
Ramp = tuple[float, float]
LOGITS = "logits"  # folder of the cache of a run's teacher
CACHE = "cache:"  # begins the source of a teacher that is a cache


@configclass
class LanguageLossConfig:
    """Loss terms, and ramps from dense to quantized; what is left of a run polishes.

    Ramps are shares of the run. Weights and activations are quantized one after the other; a network without ignores its ramp.

    Source: the ramp: Ma et al. 2024, arXiv:2402.17764.
    """

    window: int = Field(default=128, gt=1, description="tokens of a training row")
    epoch_steps: int = Field(default=50, gt=0, description="optimizer steps between two validations: an epoch")
    label_weight: float = Field(default=0.5, ge=0, description="weight of the cross-entropy with the text")
    kd_weight: float = Field(default=1.0, ge=0, description="weight of the divergence from the teacher's distribution")
    temperature: TemperatureConfig = Field(default=FixedTemperature(value=1.0), description="of it; learned is CTKD")
    source: Literal["live", "cache"] = Field(
        default="cache", description="cache: the k largest logits, asked once; live: all logits, asked at every step"
    )
    k: int = Field(default=32, gt=0, description="of the cache: logits kept of each token")
    weights_ramp: Ramp = Field(default=(0.1, 0.4), description="shares of the run between which weights become ternary")
    spikes_ramp: Ramp = Field(default=(0.2, 0.5), description="shares of the run between which activations spike")
    validation_tokens: int = Field(default=16_384, gt=0, description="of the valid split that are scored each time")

    def __post_init__(self) -> None:
        for start, end in (self.weights_ramp, self.spikes_ramp):
            if not 0 <= start <= end < 1:
                raise ValueError(
                    f"ramps: expected a start and a later end from 0 to below 1, got {start:g} and {end:g}"
                )
        if self.label_weight + self.kd_weight == 0:
            raise ValueError("label_weight, kd_weight: expected one above 0, got 0 and 0")
        if getattr(self.temperature, "per_sample", False):
            raise ValueError(
                "temperature: expected one of all tokens (fixed, scheduled or learned); kd_weight: 0 and a signal of kind logits "
                "have one a token"
            )

    @property
    def temperatures(self) -> tuple[float, ...]:
        """At which a cache is exact; any other can be applied later, within bounds."""
        return (self.temperature.value,) if isinstance(self.temperature, FixedTemperature) else (1.0,)


def grown(ramp: Ramp, fraction: float) -> float:
    """How far a ramp has come at a share of the run.

    Example:
        >>> grown((0.0, 0.5), 0.25), grown((0.5, 0.5), 0.25)
        (0.5, 0.0)
    """
    start, end = ramp
    if start == end:
        return float(fraction >= start)
    return min(1.0, max(0.0, (fraction - start) / (end - start)))


@configclass
class LanguageTrainingConfig(TrainingConfig):
    """Knobs of the loop, at the values that recurrent language models want."""

    epochs: int = Field(default=8, gt=0, description="of epoch_steps optimizer steps each")
    batch_size: int = Field(default=16, gt=0, le=2**24, description="windows per optimizer step")
    learning_rate: float = Field(default=3e-3, gt=0, description="peak learning rate of AdamW")
    final_learning_rate: float = Field(default=3e-4, ge=0, description="learning rate at the end of the cosine")
    weight_decay: float = Field(default=0.1, ge=0, description="decoupled weight decay of matrices")
    keep: Literal["best", "last"] = Field(default="last", description="weights kept: of the best epoch, or the last")
    precision: Literal["32-true", "bf16-mixed"] = Field(
        default="32-true", description="a recurrence adds up what half precision loses"
    )
    evaluation_batch_size: int = Field(default=16, gt=0, description="windows per forward pass when scoring")
    log_every: int = Field(default=10, gt=0, description="optimizer steps between two records of the loss terms")


@configclass
class LmScoreConfig:
    """How models are scored, the same for teacher, students and n-gram: same tokens, same windows."""

    window: int | None = Field(default=None, gt=1, description="tokens of a window, the longest context [loss.window]")
    tokens: int | None = Field(default=65_536, gt=1, description="of the test split, from its start; null: all")
    ngram: int = Field(default=5, ge=0, le=8, description="order of the n-gram model that is the lower bound; 0: none")


@configclass
class LmTeacherRunConfig:
    """A small transformer learned from a text: a teacher for quick runs."""

    name: str = Field(default="lm-teacher", min_length=1, description="names the run folder")
    corpus: CorpusConfig = Field(description="text and tokenizer")
    model: SmallTransformerConfig = Field(default_factory=SmallTransformerConfig, description="the network")
    window: int = Field(default=128, gt=1, description="tokens of a training row")
    epoch_steps: int = Field(default=100, gt=0, description="optimizer steps between two validations")
    validation_tokens: int = Field(default=16_384, gt=0, description="of the valid split that are scored each time")
    training: LanguageTrainingConfig = Field(default_factory=LanguageTrainingConfig, description="the loop")
    score: LmScoreConfig = Field(default_factory=LmScoreConfig, description="how it is scored on the test split")
    seed: int = Field(default=0, ge=0, description="weights and order of the rows")

    @classmethod
    def owns(cls, mapping: Mapping[str, Any]) -> bool:
        """A transformer to be learned from a text: `corpus`."""
        return "corpus" in mapping

    def __post_init__(self) -> None:
        if self.window > self.model.context:
            raise ValueError(f"window: expected at most model.context ({self.model.context}) tokens, got {self.window}")

    @property
    def loss(self) -> LanguageLossConfig:
        """The text and nothing else."""
        return LanguageLossConfig(
            window=self.window,
            epoch_steps=self.epoch_steps,
            label_weight=1.0,
            kd_weight=0.0,
            validation_tokens=self.validation_tokens,
        )


@configclass
class LmRunConfig(RunPlan):
    """A spiking student with a teacher and without, a dense one, an n-gram; several seeds, and what the differences show."""

    may_hold: ClassVar[tuple[str, ...]] = (LOGITS,)

    name: str = Field(default="spiking-lm", min_length=1, description="names the run folder")
    corpus: CorpusConfig = Field(description="text, and the teacher's tokenizer")
    teacher: LanguageTeacherConfig = Field(description="the language model that is learned from")
    more_teachers: tuple[LanguageTeacherConfig, ...] = Field(
        default=(), description="further ones of the same tokenizer; students learn from the mean of all probabilities"
    )
    student: SpikingLMConfig = Field(default_factory=SpikingLMConfig, description="the network that learns")
    teacher_assistants: tuple[SpikingLMConfig, ...] = Field(
        default=(), description="assistants between teacher and student, largest first"
    )
    loss: LanguageLossConfig = Field(default_factory=LanguageLossConfig, description="terms and ramps")
    training: LanguageTrainingConfig = Field(default_factory=LanguageTrainingConfig, description="loop of every arm")
    score: LmScoreConfig = Field(default_factory=LmScoreConfig, description="how models are scored")
    arms: tuple[LmArm, ...] = Field(
        default=("kd", "no-kd", "dense"),
        min_length=1,
        description="kd: taught; no-kd: control; dense: without spikes, taught; dense-no-kd",
    )

    def __post_init__(self) -> None:
        check_plan(self)
        teachers = (self.teacher, *self.more_teachers)
        plain = all(one.tokens == "same" and not one.source.startswith(CACHE) for one in teachers)
        judged = self.curriculum is not None and self.difficulty_model == "teacher"
        if self.curriculum is not None and "rouge-l" in self.curriculum.measures and judged:
            raise ValueError(
                "curriculum.measures: rouge-l is of what the student writes; take difficulty_model: student"
            )
        if len(teachers) > 1 and not plain:
            raise ValueError("more_teachers: expected live teachers of the same tokens")
        counted = self.student.ngram is not None and self.student.ngram.taught and any(map(taught, self.arms))
        if counted and (self.loss.source != "cache" or self.loss.kd_weight == 0):
            raise ValueError(
                "student.ngram.taught: counts the teacher's stored answers: expected loss.source cache and loss.kd_weight above 0, "
                f"got {self.loss.source} and {self.loss.kd_weight:g}"
            )

    def student_of(self, arm: str) -> SpikingLMConfig:
        """The network of an arm."""
        return self.student.without_special_part() if arm.startswith("dense") else self.student

    @classmethod
    def owns(cls, mapping: Mapping[str, Any]) -> bool:
        """A run on a text: `corpus`."""
        return "corpus" in mapping

    @classmethod
    def completed(cls, base: Any, mapping: dict[str, Any], named: AbstractSet[str]) -> dict[str, Any]:
        """A teacher that was named brings its tokenizer, if it has one and none was named beside it."""
        teacher, corpus = mapping.get("teacher"), mapping.get("corpus")
        if "teacher.source" not in named or named & {"corpus", "corpus.tokenizer"} or not isinstance(teacher, Mapping):
            return mapping
        own = (Path(str(teacher["source"])) / TOKENIZER_FILE).is_file() and teacher.get("tokens", "same") == "same"
        if own and isinstance(corpus, Mapping):
            return {**mapping, "corpus": {**corpus, "tokenizer": teacher["source"]}}
        return mapping

    def unsupported_reason(self, signal: Any) -> str | None:
        """A recurrent student has neither attention maps nor clauses."""
        if signal.kind == "clause-targets":
            return "a recurrent student has no clauses to teach; take a student of clauses on images"
        maps = signal.kind == "attention" and signal.what in ("scores", "probabilities")
        if maps and isinstance(signal.student, str):
            return (
                f"what {signal.what!r}: a recurrent student weighs the past by learned decays and has no attention map; name "
                "its blocks.N.mixer.receptance and key, whose products stand in for queries and keys"
            )
        return None

    @property
    def total_steps(self) -> int:
        """Optimizer steps of an arm, over all stages."""
        return sum(stage.training.epochs for stage in self.stages_of(True)) * self.loss.epoch_steps


def taught(arm: str) -> bool:
    """Whether an arm hears the teacher.

    Example:
        >>> [arm for arm in ARMS if taught(arm)]
        ['kd', 'dense']
    """
    return not arm.endswith("no-kd")
