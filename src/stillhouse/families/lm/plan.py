"""A whole language-model run as one value: text, teacher, student, lesson, arms and seeds. No torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import Field

from stillhouse.core.config import configclass
from stillhouse.families.lm.data import CorpusConfig
from stillhouse.families.lm.lesson import LanguageLessonConfig, complete, default_training
from stillhouse.families.lm.students import SpikingLMConfig
from stillhouse.families.lm.teachers import LanguageTeacherConfig, SmallTransformerConfig
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
class LmScoreConfig:
    """How models are scored, the same for teacher, students and n-gram: same tokens, same windows."""

    window: int | None = Field(
        default=None, gt=1, description="tokens of a window, and its longest context [lesson.window]"
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
    sliding_tokens: int = Field(default=16_384, gt=1, description="of these, scored with sliding windows")
    position_windows: int = Field(default=128, gt=0, description="windows of the curve")
    batch: int = Field(default=16, gt=0, description="windows at a time")
    ngram: int = Field(default=5, ge=0, le=8, description="order of the n-gram model that is the lower bound; 0: none")
    dynamic_rate: float | None = Field(
        default=None,
        gt=0,
        description="also score models that learn from each window after it was scored, at this rate",
    )


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
    training: TrainingConfig = Field(default_factory=default_training, description="the loop")
    score: LmScoreConfig = Field(default_factory=LmScoreConfig, description="how it is scored on the test split")
    seed: int = Field(default=0, ge=0, description="weights and order of the rows")

    def __post_init__(self) -> None:
        complete(self.training)
        if self.window > self.model.context:
            raise ValueError(f"window: expected at most model.context ({self.model.context}) tokens, got {self.window}")

    @property
    def lesson(self) -> LanguageLessonConfig:
        """The text and nothing else."""
        return LanguageLessonConfig(
            window=self.window,
            epoch_steps=self.epoch_steps,
            kd_weight=0.0,
            label_weight=1.0,
            validation_tokens=self.validation_tokens,
        )


@configclass
class LmRunConfig:
    """A spiking student with a teacher and without, a dense one, an n-gram; several seeds, and what the differences say."""

    name: str = Field(default="spiking-lm", min_length=1, description="names the run folder")
    corpus: CorpusConfig = Field(description="text, and the teacher's tokenizer")
    teacher: LanguageTeacherConfig = Field(description="the language model that tells")
    student: SpikingLMConfig = Field(
        default_factory=SpikingLMConfig, description="the network that learns; its vocabulary is the tokenizer's"
    )
    lesson: LanguageLessonConfig = Field(default_factory=LanguageLessonConfig, description="terms and stages")
    training: TrainingConfig = Field(default_factory=default_training, description="the loop, the same for every arm")
    score: LmScoreConfig = Field(default_factory=LmScoreConfig, description="how models are scored")
    arms: tuple[LmArm, ...] = Field(
        default=("kd", "no-kd", "dense"),
        min_length=1,
        description="kd: taught; no-kd: control; dense: without spikes, taught; dense-no-kd; scalar: the public recurrence",
    )
    seeds: int = Field(default=3, gt=0, description="trainings of each arm; a verdict wants 3")

    def __post_init__(self) -> None:
        complete(self.training)
        if len(set(self.arms)) < len(self.arms):
            raise ValueError(f"arms: expected each once, got {', '.join(self.arms)}")
        if self.student.spikes is None and not self.student.ternary_weights and "dense" in self.arms:
            raise ValueError("arms: dense is the student without spikes, which it is already; leave one of them out")
        if self.lesson.kd_weight == 0 and not self.lesson.signals and "no-kd" in self.arms:
            raise ValueError("lesson.kd_weight: 0 teaches nothing, and kd would be no-kd; expected above 0, or signals")

    def student_of(self, arm: str) -> SpikingLMConfig:
        """The network of an arm."""
        if arm.startswith("dense"):
            return self.student.without_special_part()
        return replace(self.student, mixer="scalar") if arm == "scalar" else self.student


def taught(arm: str) -> bool:
    """Whether an arm hears the teacher.

    Example:
        >>> [arm for arm in ARMS if taught(arm)]
        ['kd', 'dense', 'scalar']
    """
    return not arm.endswith("no-kd")
