"""A whole embedding run as one value: vectors, student, loss, training, controls and seeds. No torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from pydantic import Field, model_validator

from stillhouse.core.config import configclass
from stillhouse.core.plan import RunPlan, check_plan, one_teacher
from stillhouse.tasks.embed.data.vectors import VectorsConfig
from stillhouse.tasks.embed.loss import EmbeddingLossConfig, EmbeddingTrainingConfig
from stillhouse.tasks.embed.students import EmbeddingStudentConfig

AnchorName = Literal["pca", "random-projection", "truncation", "autoencoder", "umap"]
STUDENT, TEXT = "student", "text"  # the arms that learn; all others are anchors, or points of the frontier
DETERMINISTIC = ("pca", "truncation")  # fitted once, whatever the seeds

CLASS_SCORES = ("logits", "ensemble", "exits", "dual-head", "probes", "contrastive", "ofa", "taid")
ATTENTIONS = ("attention", "activation-maps", "mixing")


@configclass
class TextArmConfig:
    """A student that reads texts and needs no teacher at inference: a ridge regression of the vector student's codes."""

    features: int = Field(default=1 << 17, gt=1, multiple_of=2, description="hashed words, pairs and groups of letters")
    strengths: tuple[float, ...] = Field(
        default=(0.03, 0.1, 0.3, 1.0, 3.0), min_length=1, description="of the penalty; validation texts choose"
    )


@configclass
class EmbedRunConfig(RunPlan):
    """Everything that an embedding run depends on; saved with the run."""

    name: str = Field(default="embedding", min_length=1, description="the folder is runs/NAME unless --out is given")
    data: VectorsConfig = Field(description="the teacher's vectors and their splits")
    student: EmbeddingStudentConfig = Field(default_factory=EmbeddingStudentConfig, description="vectors -> codes")
    loss: EmbeddingLossConfig = Field(default_factory=EmbeddingLossConfig, description="what it learns from")
    training: EmbeddingTrainingConfig = Field(default_factory=EmbeddingTrainingConfig, description="the loop")
    teacher_assistants: tuple[EmbeddingStudentConfig, ...] = Field(
        default=(), description="assistants between the vectors and the student: wider codes, largest first"
    )
    text: TextArmConfig | None = Field(
        default=None, description="also a student that reads texts; {} for one as it comes (needs texts)"
    )
    anchors: tuple[AnchorName, ...] = Field(
        default=("pca", "random-projection", "truncation", "autoencoder", "umap"),
        description="what it is held against",
    )
    anchor_rows: int = Field(default=50_000, gt=10, description="training rows that anchors are fitted on, at most")
    frontier: tuple[float, ...] = Field(
        default=(), description="further neighbor weights to train, one seed each: the curve of local against global"
    )
    pairs_file: str | None = Field(
        default=None,
        min_length=1,
        description="sentence pairs with a gold similarity (STS-B); their texts are captured too",
    )
    pairs_columns: tuple[int | str, int | str, int | str] = Field(
        default=(0, 1, 2), description="its columns: first sentence, second, score; by number from 0 or by name"
    )
    poles_file: str | None = Field(
        default=None,
        min_length=1,
        description="rows at known ends of axes: .csv or .jsonl of text (or row), axis, pole",
    )
    teacher_dim: int | None = Field(default=None, gt=1, description="width that the vectors must have [as they come]")
    test_rows: int = Field(default=5000, gt=21, description="test rows that are judged, at most")

    @model_validator(mode="before")
    @classmethod
    def _one_teacher(cls, given: Any) -> Any:
        return one_teacher(
            given, "the teacher of a code is one set of vectors; join several beforehand, side by side, as one file"
        )

    def __post_init__(self) -> None:
        self._check_signals()
        if len(set(self.anchors)) < len(self.anchors):
            raise ValueError(f"anchors: expected each once, got {', '.join(self.anchors)}")
        if any(weight < 0 for weight in self.frontier) or len(set(self.frontier)) < len(self.frontier):
            raise ValueError(f"frontier: expected different weights from 0, got {list(self.frontier)}")
        if 0.0 in self.frontier and not (self.loss.global_weight or self.loss.reconstruction_weight):
            raise ValueError("frontier: at neighbor weight 0 nothing is left to learn, since global_weight is 0 too")
        compared = self.loss.neighbor_weight or not self.loss.class_weight
        if self.loss.tau and compared and self.student.output != "sphere":
            raise ValueError(
                f"loss.tau: compares directions, and codes of student.output {self.student.output!r} are compared by "
                "distance; take student.output: sphere, or perplexity instead of tau"
            )
        if self.poles_file is not None and not self.student.axes:
            raise ValueError("poles_file: expected student.axes with it: [[name, pole at -1, pole at +1], ...]")
        check_plan(self)

    def _check_signals(self) -> None:
        """Raise ValueError for what has no meaning between codes and vectors."""
        stages = {f"stages.{n}.signals": stage.signals or () for n, stage in enumerate(self.stages)}
        for place, signals in {"signals": self.signals, **stages}.items():
            for number, signal in enumerate(signals):
                if why := unsupported_reason(signal):
                    raise ValueError(f"{place}.{number} ({signal.kind}): {why}")
        if self.auxiliary_losses or self.auxiliary_decay is not None:
            raise ValueError(
                "auxiliary_losses: codes have neither classes nor exits to learn from without a teacher; see loss.spread_weight, "
                "loss.decorrelation_weight and loss.reconstruction_weight"
            )
        if self.init_from_teacher:
            raise ValueError("init_from_teacher: vectors are no network with parts that could be copied; leave it out")
        if self.teacher_assistants and not any(stage.signals for stage in self.stages_of(True)):
            raise ValueError(
                "teacher_assistants: an assistant teaches by signals only, and there are none; give some with teacher: vector "
                "(the assistant's codes), or leave teacher_assistants out"
            )
        for number, stage in enumerate(self.stages):
            if stage.train_only:
                raise ValueError(f"stages.{number}.train_only: no sub-module of the student has weights")

    @property
    def trained(self) -> dict[str, EmbeddingLossConfig]:
        """The vector students to train: that of the run, then the points of the frontier."""
        points = {
            frontier_name(weight): replace(self.loss, neighbor_weight=weight)
            for weight in self.frontier
            if weight != self.loss.neighbor_weight
        }
        return {STUDENT: self.loss, **points}

    def seeds_of(self, arm: str) -> int:
        """How many times an arm is made."""
        return 1 if arm in DETERMINISTIC or arm.startswith("near-") else self.seeds

    @property
    def arms(self) -> tuple[str, ...]:
        """Every arm in the order of the report."""
        return (*self.trained, *((TEXT,) if self.text else ()), *self.anchors)

    @property
    def fits(self) -> int:
        """How many trainings and fits there are in all."""
        return sum(self.seeds_of(arm) for arm in self.arms)


def unsupported_reason(signal: Any) -> str | None:
    """Why a signal cannot work here; None where it can. Codes and vectors are relations and features, never class scores."""
    if signal.kind in CLASS_SCORES:
        return (
            "vectors have no classes, and codes no class scores; take relations or features (student: code, hidden1 or "
            "hidden2; teacher: vector)"
        )
    if signal.kind in ATTENTIONS:
        return "neither vectors nor the student have attention maps"
    if signal.kind == "clause-targets":
        return "an embedder has no clauses to teach; take a student of clauses on images"
    if signal.kind == "time-steps":
        return "vectors have no classes, and the student no time steps"
    if getattr(signal, "space", None) == "logits":
        return "space: logits compares class scores, which codes are not; take space: projector"
    return None


def frontier_name(weight: float) -> str:
    """The arm of a neighbor weight.

    Example:
        >>> frontier_name(0.3), frontier_name(10.0)
        ('near-0.3', 'near-10')
    """
    return f"near-{weight:g}"
