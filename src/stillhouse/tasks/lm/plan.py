"""A whole language-model run as one value: text, teacher, student, loss, arms and seeds. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field

from stillhouse.core.config import configclass
from stillhouse.core.plan import RunPlan, check_plan
from stillhouse.tasks.lm.data import CorpusConfig
from stillhouse.tasks.lm.loss import LanguageLossConfig
from stillhouse.tasks.lm.students import SpikingLMConfig
from stillhouse.tasks.lm.teachers import LanguageTeacherConfig, SmallTransformerConfig
from stillhouse.temperature import FixedTemperature
from stillhouse.training.config import TrainingConfig

LmArm = Literal["kd", "no-kd", "dense", "dense-no-kd", "scalar"]
ARMS: dict[str, str] = {
    "kd": "the student, taught",
    "no-kd": "the same student from the text alone: the control",
    "dense": "the student without spikes and ternary weights, taught: the upper bound",
    "dense-no-kd": "the same from the text alone",
    "scalar": "the student with the public design's recurrence in the place of its own, taught",
}


@configclass
class LanguageTrainingConfig(TrainingConfig):
    """Knobs of the loop, at the values that recurrent language models want."""

    epochs: int = Field(
        default=8, gt=0, description="of epoch_steps optimizer steps each (of a student: loss.epoch_steps)"
    )
    batch_size: int = Field(default=16, gt=0, le=2**24, description="windows per optimizer step")
    learning_rate: float = Field(default=3e-3, gt=0, description="peak learning rate of AdamW")
    final_learning_rate: float = Field(default=3e-4, ge=0, description="learning rate at the end of the cosine")
    weight_decay: float = Field(default=0.1, ge=0, description="decoupled weight decay of matrices")
    keep: Literal["best", "last"] = Field(
        default="last", description="weights to end with: of the best validation among the quantized, or the last"
    )
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = Field(
        default="32-true", description="auto is 32-true here: a recurrence adds up what half precision loses"
    )
    evaluation_batch_size: int = Field(default=16, gt=0, description="windows per forward pass when scoring")
    log_every: int = Field(default=10, gt=0, description="optimizer steps between two records of the loss terms")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.precision == "auto":
            object.__setattr__(self, "precision", "32-true")


@configclass
class TeacherTrainingConfig(LanguageTrainingConfig):
    """The same for a teacher: nothing of it is quantized along the way, so that its best epoch may be any."""

    keep: Literal["best", "last"] = Field(
        default="best", description="weights to end with: of the best validation epoch, or the last"
    )


@configclass
class LmScoreConfig:
    """How models are scored, the same for teacher, students and n-gram: same tokens, same windows."""

    window: int | None = Field(
        default=None, gt=1, description="tokens of a window, and its longest context [loss.window]"
    )
    stride: int | None = Field(
        default=None,
        gt=0,
        description="of a second score with windows that slide, this many new tokens each [half a window]",
    )
    long_window: int = Field(
        default=256, gt=1, description="tokens of the windows for the curve of loss against position"
    )
    tokens: int | None = Field(default=65_536, gt=1, description="of the test split, from its start; null: all")
    sliding_tokens: int | None = Field(
        default=None, gt=1, description="of these, from the start, scored with sliding windows too; null: all"
    )
    position_windows: int = Field(default=128, gt=0, description="windows of the curve")
    batch: int = Field(default=16, gt=0, description="windows at a time")
    ngram: int = Field(default=5, ge=0, le=8, description="order of the n-gram model that is the lower bound; 0: none")


@configclass
class LmTeacherRunConfig:
    """A small transformer learned from a text: a teacher for quick runs."""

    name: str = Field(default="lm-teacher", min_length=1, description="names the run folder")
    corpus: CorpusConfig = Field(description="text and tokenizer")
    model: SmallTransformerConfig = Field(default_factory=SmallTransformerConfig, description="the network")
    window: int = Field(default=128, gt=1, description="tokens of a training row")
    epoch_steps: int = Field(default=100, gt=0, description="optimizer steps between two validations")
    validation_tokens: int = Field(
        default=16_384, gt=0, description="tokens of the valid split that are scored each time"
    )
    training: TeacherTrainingConfig = Field(default_factory=TeacherTrainingConfig, description="the loop")
    score: LmScoreConfig = Field(default_factory=LmScoreConfig, description="how it is scored on the test split")
    seed: int = Field(default=0, ge=0, description="weights and order of the rows")

    def __post_init__(self) -> None:
        if self.window > self.model.context:
            raise ValueError(f"window: expected at most model.context ({self.model.context}) tokens, got {self.window}")

    @property
    def loss(self) -> LanguageLossConfig:
        """The text and nothing else."""
        return LanguageLossConfig(
            window=self.window,
            epoch_steps=self.epoch_steps,
            kd_weight=0.0,
            label_weight=1.0,
            validation_tokens=self.validation_tokens,
        )


@configclass
class LmRunConfig(RunPlan):
    """A spiking student with a teacher and without, a dense one, an n-gram; several seeds, and what the differences show."""

    name: str = Field(default="spiking-lm", min_length=1, description="names the run folder")
    corpus: CorpusConfig = Field(description="text, and the teacher's tokenizer")
    teacher: LanguageTeacherConfig = Field(description="the language model that is learned from")
    more_teachers: tuple[LanguageTeacherConfig, ...] = Field(
        default=(), description="further ones of the same tokenizer; students learn from the mean of all probabilities"
    )
    student: SpikingLMConfig = Field(
        default_factory=SpikingLMConfig, description="the network that learns; its vocabulary is the tokenizer's"
    )
    teacher_assistants: tuple[SpikingLMConfig, ...] = Field(
        default=(), description="assistants between teacher and student, largest first"
    )
    loss: LanguageLossConfig = Field(default_factory=LanguageLossConfig, description="terms and ramps")
    training: LanguageTrainingConfig = Field(
        default_factory=LanguageTrainingConfig, description="the loop, the same for every arm"
    )
    score: LmScoreConfig = Field(default_factory=LmScoreConfig, description="how models are scored")
    arms: tuple[LmArm, ...] = Field(
        default=("kd", "no-kd", "dense"),
        min_length=1,
        description="kd: taught; no-kd: control; dense: without spikes, taught; dense-no-kd; scalar: the public recurrence",
    )

    def __post_init__(self) -> None:
        check_plan(self)
        if self.student.spikes is None and not self.student.ternary_weights and "dense" in self.arms:
            raise ValueError("arms: dense is the student without spikes, which it is already; leave one of them out")
        heard = list(self.signals_heard()) or self.loss.on_policy is not None
        if self.loss.kd_weight == 0 and not heard and "no-kd" in self.arms:
            raise ValueError("loss.kd_weight: 0 teaches nothing, and kd would be no-kd; expected above 0, or signals")
        if self.curriculum is not None and self.curriculum.by_class:
            raise ValueError("curriculum: windows have no classes; take by_class: false")
        if self.curriculum is not None and "rouge-l" in self.curriculum.measures and self.difficulty_model != "student":
            raise ValueError(
                "curriculum.measures: rouge-l compares what the student writes; expected difficulty_model: student"
            )
        if self.student.ngram is not None and (self.loss.on_policy is not None or self.teacher.tokens == "uld"):
            raise ValueError(
                "student.ngram: goes neither with loss.on_policy nor with teacher.tokens uld; set it to null"
            )
        if self.teacher_assistants and self.loss.align:
            raise ValueError(
                "loss.align: an assistant has no attention to align with; leave align or teacher_assistants out"
            )
        self._check_tokens()

    def _check_tokens(self) -> None:
        """Refuse what cannot be learned from a teacher of other tokens, and from a cache."""
        kinds = {one.tokens for one in (self.teacher, *self.more_teachers)}
        loss = self.loss
        if self.teacher.source.startswith("cache:") and loss.on_policy is not None:
            raise ValueError(
                "loss.on_policy: a cache has no answers to what the student writes; name the teacher itself"
            )
        if kinds == {"same"}:
            return
        if len(kinds) > 1:
            raise ValueError(f"more_teachers: expected the same tokens of all teachers, got {', '.join(sorted(kinds))}")
        if loss.align or loss.embedding == "teacher":
            raise ValueError("loss.align and embedding: the teacher has other tokens; leave both out")
        if kinds == {"uld"} and (loss.source, loss.on_policy, self.more_teachers) != ("live", None, ()):
            raise ValueError("teacher.tokens uld: expected loss.source: live, one teacher, and no on_policy")
        if kinds == {"uld"} and (
            list(self.signals_heard()) or (self.curriculum is not None and self.difficulty_model == "teacher")
        ):
            raise ValueError(
                "teacher.tokens uld: sizes of probabilities are no scores; expected no signals and difficulty_model: student"
            )
        if kinds == {"uld"} and (loss.divergence != "forward-kl" or loss.temperature != FixedTemperature(value=1.0)):
            raise ValueError("loss.divergence and temperature: do nothing under teacher.tokens uld; leave them out")

    def student_of(self, arm: str) -> SpikingLMConfig:
        """The network of an arm."""
        if arm.startswith("dense"):
            return self.student.without_special_part()
        return replace(self.student, mixer="scalar") if arm == "scalar" else self.student

    def signals_heard(self) -> Iterator[tuple[str, Any]]:
        """Where each signal of the run is configured, and the signal."""
        for number, signal in enumerate(self.signals):
            yield f"signals.{number}", signal
        for stage in self.stages:
            for number, signal in enumerate(stage.signals or ()):
                yield f"stages ({stage.name}).signals.{number}", signal

    @property
    def total_steps(self) -> int:
        """Optimizer steps of an arm, over all stages."""
        return sum(stage.training.epochs for stage in self.stages_of(True)) * self.loss.epoch_steps


def taught(arm: str) -> bool:
    """Whether an arm hears the teacher.

    Example:
        >>> [arm for arm in ARMS if taught(arm)]
        ['kd', 'dense', 'scalar']
    """
    return not arm.endswith("no-kd")


def unsupported_reason(signal: Any) -> str | None:
    """Why a signal cannot work between a transformer and a recurrent student; None: it works.

    Example:
        >>> from stillhouse.signals import LogitsConfig
        >>> unsupported_reason(LogitsConfig()) is None
        True
    """
    if signal.kind == "time-steps":
        return "a recurrent student of texts has one answer a token and no time steps; take logits"
    if signal.kind == "clause-targets":
        return "a recurrent student has no clauses to teach; take a student of clauses on images"
    if signal.kind == "attention" and signal.what in ("scores", "probabilities") and len(signal.paths("student")) == 1:
        return (
            f"what {signal.what!r}: a recurrent student weighs the past by learned decays and has no attention map; name its "
            "blocks.N.mixer.receptance and key, whose products stand in for queries and keys"
        )
    return None
