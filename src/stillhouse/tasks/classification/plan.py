"""A run with classes as one value: data, teachers, student, signals, training, arms and seeds. No torch."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field, field_validator

from stillhouse.core import plan
from stillhouse.core.config import configclass, kinds, merge, to_mapping
from stillhouse.core.plan import RunPlan, Stage, check_plan
from stillhouse.core.types import Progress
from stillhouse.signals import LogitsConfig, SignalConfig, teacher_features
from stillhouse.tasks.classification.data.config import ClassesDataConfig, DataConfig
from stillhouse.tasks.classification.students import StudentConfig, TsetlinViTConfig, has_clauses
from stillhouse.teachers.config import TeacherConfig
from stillhouse.training.config import TrainingConfig

SELF: Literal["self-trained"] = "self-trained"  # the arm that learns the untaught student's own answers
MEMBER = re.compile(r"^(\d+):.")  # `1:layer3` is layer3 of the second teacher

ArmName = Literal["kd", "no-kd", "self-trained", "direct", "clauses-off", "mlp"]
CONTROLS = ("clauses-off", "mlp")  # of clauses
LINEAR, MAJORITY = "linear", "majority"
PLAIN = {LINEAR: "a linear classifier", MAJORITY: "the commonest class"}  # rows beside every student, in words
MOST_ROWS, MOST_NUMBERS = 5_000, 1_024  # that the linear classifier is fitted on: training rows, numbers of an image
READABLE = ("rules", "scorecard", "tree")  # students that are rules from the words to the class


Ramp = Literal["constant", "linear", "cosine"]


@configclass
class MixingConfig:
    """Mixup and CutMix: images of a batch are blended or pasted in pairs, and so are their labels.

    If both are on, a fair coin decides for each batch. The teacher is shown the mixed image, so that its answer and the
    student's are about the same pixels. The ramps act on alpha: an epoch with alpha 0 is not mixed; the last has all of it.

    Source: Zhang et al. 2018, arXiv:1710.09412 (mixup); Yun et al. 2019, arXiv:1905.04899 (CutMix); Beyer et al. 2022,
        arXiv:2106.05237 (one view for teacher and student).
    """

    mixup_alpha: float = Field(default=0.0, ge=0, description="Beta(alpha, alpha) of the share of an image; 0: none")
    cutmix_alpha: float = Field(default=0.0, ge=0, description="the same for the area of a pasted box; 0: no CutMix")
    mixup_schedule: Ramp = Field(default="constant", description="alpha of mixup over the epochs: all of it, or a ramp")
    cutmix_schedule: Ramp = Field(default="constant", description="alpha of CutMix over the epochs")

    @property
    def on(self) -> bool:
        """Whether anything is mixed in any epoch."""
        return self.mixup_alpha > 0 or self.cutmix_alpha > 0

    def alphas(self, epoch: int, epochs: int) -> tuple[float, float]:
        """Alpha of mixup and of CutMix in an epoch, counted from 0.

        Example:
            >>> ramped = MixingConfig(mixup_alpha=0.8, mixup_schedule="cosine", cutmix_alpha=1.0, cutmix_schedule="linear")
            >>> [tuple(round(a, 3) for a in ramped.alphas(epoch, 3)) for epoch in range(3)]
            [(0.0, 0.0), (0.4, 0.5), (0.8, 1.0)]
        """
        x = 1.0 if epochs <= 1 else min(epoch, epochs - 1) / (epochs - 1)
        ramps = {"constant": 1.0, "linear": x, "cosine": (1 - math.cos(math.pi * x)) / 2}
        return self.mixup_alpha * ramps[self.mixup_schedule], self.cutmix_alpha * ramps[self.cutmix_schedule]

    def alphas_at(self, progress: Progress, epochs: int) -> tuple[float, float]:
        """The same, by the optimizer steps that are done."""
        return self.alphas(progress.step * epochs // max(1, progress.total_steps), epochs)


@configclass
class ClassificationTrainingConfig(TrainingConfig):
    """Knobs of the loop, the weight of the labels, mixed images, those of clauses, and what is recorded of the accuracy."""

    label_weight: float = Field(default=1.0, ge=0, description="weight of the cross-entropy with the labels")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="label smoothing of that cross-entropy")
    balanced: bool | None = Field(
        default=False,
        description="weigh the labels so that all classes count alike; null: where the largest class has 1.5 times the rows of the "
        "smallest, or more",
    )
    labelled_share: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="share of each batch that has a label at least, where training rows without one are many; every arm alike",
    )
    mixing: MixingConfig = Field(default_factory=MixingConfig, description="mixup and CutMix of training images")
    teacher_view: Literal["same", "independent", "clean"] = Field(
        default="same",
        description="what the teacher sees under augmentation: the student's very images, a draw of its own, or none of it",
    )
    clause_learning_rate_factor: float = Field(
        default=10.0,
        gt=0,
        le=1000,
        description="learning rate of what belongs to clauses (literals, votes) over the common one",
    )
    clause_specialize: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="how far attention heads are weighed by the clauses they feed, each epoch; 0: off",
    )
    report_train: bool = Field(
        default=False, description="record accuracy on the training batches as they were seen, per epoch"
    )
    report_test: bool = Field(
        default=False, description="record accuracy on the test split after each epoch; nothing is ever chosen by it"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mixing.on and self.batch_size // self.accumulate < 2:
            raise ValueError(
                f"mixing: mixup and CutMix need at least 2 images to mix, and a micro-batch has "
                f"{self.batch_size // self.accumulate}; raise batch_size or lower accumulate"
            )
        if self.mixing.on and self.teacher_view != "same":
            raise ValueError(
                f"teacher_view: {self.teacher_view!r} would show the teacher unmixed images, whose classes are others; "
                "under mixing take 'same'"
            )


@configclass
class StageConfig(plan.StageConfig):
    """One stage of a pipeline. What is left out stays as in the run; weights always go on to the next stage."""

    label_weight: float | None = Field(default=None, ge=0, description="weight of the cross-entropy with the labels")


def _bundled(data: Any) -> TeacherConfig | None:
    """The teacher of a run that names none: that of the digits in the package; no other data has one."""
    return TeacherConfig() if getattr(data, "name", None) == "digits" else None


@configclass
class ClassificationRunConfig(RunPlan):
    """Everything that a distillation run with classes depends on; saved with the run."""

    data: ClassesDataConfig = Field(default_factory=DataConfig)
    teacher: TeacherConfig | None = Field(
        default_factory=lambda known: _bundled(known.get("data")),
        description="null trains on labels alone; digits have one in the package",
    )
    more_teachers: tuple[TeacherConfig, ...] = Field(
        default=(),
        description="further teachers: all are asked, signals of kind 'ensemble' weigh them; features of the second are 1:PATH",
    )
    student: StudentConfig = Field(default_factory=TsetlinViTConfig)
    signals: tuple[SignalConfig, ...] = Field(default=(LogitsConfig(),), description="what is learned from the teacher")
    training: ClassificationTrainingConfig = Field(default_factory=ClassificationTrainingConfig)
    stages: tuple[StageConfig, ...] = Field(
        default=(), description="stages one after another, as general and task distillation; empty: one stage"
    )
    prior: Literal["none", "symmetric", "zero"] = Field(
        default="none",
        description="how include logits of clauses start: drawn; in complementary pairs; all close to the threshold",
    )
    teacher_assistants: tuple[StudentConfig, ...] = Field(
        default=(),
        description="assistants between teacher and student, largest first; the student's own configuration again: born-again",
    )
    arms: tuple[ArmName, ...] = Field(
        default=(),
        validate_default=True,
        description="kd: taught; no-kd: labels alone; self-trained: its own answers as labels of rows without one; direct: "
        "without the chain; of clauses also clauses-off: no clause branch, and mlp: an MLP there; empty: kd (where there is a "
        "teacher), no-kd, under data.label_limit self-trained, and of clauses clauses-off",
    )

    @field_validator("arms")
    @classmethod
    def _named(cls, arms: tuple[ArmName, ...], info: Any) -> tuple[ArmName, ...]:
        if arms:
            return arms
        few = getattr(info.data.get("data"), "label_limit", None) is not None
        signals = info.data.get("signals", ())
        taught = info.data.get("teacher") is not None or not all(x.needs_teacher for x in signals)
        usual: dict[ArmName, bool] = {"kd": taught, "no-kd": True, SELF: few}
        usual["clauses-off"] = has_clauses(info.data.get("student"))
        return tuple(arm for arm, wanted in usual.items() if wanted)

    def __post_init__(self) -> None:
        check_plan(self)
        stages = self.stages_of(True)
        signals = [signal for stage in stages for signal in stage.signals]
        for wrong, words in (*self._unfit_arms(signals), *self._unfit_signals(signals)):
            if wrong:
                raise ValueError(words)
        for stage in stages if "kd" in self.arms else ():
            weights = [getattr(stage.training, "label_weight", 1.0), *(x.weight for x in stage.signals)]
            if not any(weights) and not self.auxiliary_losses:
                raise ValueError(f"stage {stage.name!r}: no weight is above 0: nothing is left to learn from")

    @classmethod
    def owns(cls, mapping: Mapping[str, Any]) -> bool:
        """A run of one of the students; a run that names no student is one where no other task owns it."""
        student = mapping.get("student")
        return isinstance(student, Mapping) and str(student.get("kind")) in kinds(StudentConfig)

    @classmethod
    def completed(cls, base: Any, mapping: dict[str, Any], named: AbstractSet[str]) -> dict[str, Any]:
        """With what is usual for the student: signals and training where nothing is named, and arms that were left as they are."""
        student = mapping.get("student")
        kind = kinds(StudentConfig).get(str(student.get("kind"))) if isinstance(student, Mapping) else None
        usual: Any = getattr(kind, "usual", {})
        if base is None:
            return merge(usual, mapping)
        if kind is not type(base.student) and usual:
            mapping = fill_defaults(usual, to_mapping(base), mapping)
        if mapping["arms"] != list(base.arms):
            return mapping
        if has_clauses(base.student) and not has_clauses(kind):
            mapping["arms"] = [arm for arm in base.arms if arm not in CONTROLS]
        if mapping["data"].get("label_limit") and not base.data.label_limit and {"kd", "no-kd"} <= set(base.arms):
            mapping["arms"] = [*mapping["arms"], SELF]
        return mapping

    def unsupported_reason(self, signal: Any) -> str | None:
        """Networks without clauses have none to teach."""
        if signal.kind == "clause-targets" and not has_clauses(self.student):
            return (
                "an ordinary network has no clauses to teach; take a student of clauses (kind: unified-tm, tsetlin-vit)"
            )
        return None

    def stages_of(self, taught: bool) -> tuple[Stage, ...]:
        """The stages of an arm, in order; a stage without labels has them in an untaught arm."""
        stages = tuple(replace(stage, teacher=self.teacher) for stage in super().stages_of(True))
        return stages if taught else tuple(self.untaught_stage(stage) for stage in stages)

    def untaught_stage(self, stage: Stage) -> Stage:
        """A stage as the control has it: labels instead of a teacher, with a weight of at least 1: nothing stands beside them."""
        plain = super().untaught_stage(stage)
        training: Any = plain.training
        return replace(plain, training=replace(training, label_weight=max(training.label_weight, 1.0)))

    def trial_stage(self, stage: Stage) -> Stage:
        """A stage as the judge of a curriculum has it: one epoch of labels, by the training of the run."""
        return super().trial_stage(replace(stage, training=replace(self.training, label_weight=1.0)))

    @property
    def reference(self) -> str:
        """The arm that the controls are held against: taught if any arm is."""
        return "kd" if "kd" in self.arms else "no-kd"

    def _unfit_arms(self, signals: Sequence[Any]) -> Iterator[tuple[bool, str]]:
        """Whether something does not fit the arms, and what to say then."""
        arms, taught = self.arms, "kd" in self.arms
        yield self.reference not in arms, "arms: expected 'kd' or 'no-kd', which the others are held against"
        yield SELF in arms and "no-kd" not in arms, f"arms: {SELF!r} learns the answers of 'no-kd', which is not there"
        yield (
            "direct" in arms and not self.teacher_assistants,
            "arms: 'direct' leaves out assistants, and there are none",
        )
        for lost in [arm for arm in arms if arm in CONTROLS] if not has_clauses(self.student) else ():
            yield True, f"arms: {lost!r} is a control of clauses, and a student of kind {self.student.kind!r} has none"
        yield taught and not signals, "arms: 'kd' needs at least one signal; take 'no-kd' to train on labels alone"
        silent = taught and self.teacher is None and any(signal.needs_teacher for signal in signals)
        yield (
            silent,
            "arms: 'kd' needs a teacher: name it (teacher.source), or take arms=[no-kd] to train on labels alone",
        )
        copies = bool(self.init_from_teacher) and (not taught or bool(self.more_teachers))
        yield copies, "init_from_teacher: copies from the teacher of arm 'kd'; expected that arm and one teacher"

    def _unfit_signals(self, signals: Sequence[Any]) -> Iterator[tuple[bool, str]]:
        """The same of signals, and of what is learned without a teacher."""
        count = 1 + len(self.more_teachers)
        for path in teacher_features(tuple(signals)) if count > 1 else ():
            member = MEMBER.match(path)
            yield (
                member is None or int(member[1]) >= count,
                f"signals: there are {count} teachers, and {path!r} is of none of them; write 0:PATH for a feature of the "
                f"first, up to {count - 1}:PATH",
            )
        own = [signal.kind for signal in self.auxiliary_losses if signal.needs_teacher]
        yield (
            any(kind != "logits" for kind in own) or bool(own) != (self.auxiliary_decay is not None),
            "auxiliary_losses: expected logits together with auxiliary_decay (the student's own average teaches), or signals "
            "without a teacher",
        )
        yield (
            self.training.mixing.on and any(signal.reads_one_label for signal in (*signals, *self.auxiliary_losses)),
            "training.mixing: a mixed image has two labels, and a signal here reads one an image (dkd, ofa, ensemble)",
        )
        staged = [s for s in signals if s.schedule is not None and s.schedule.over == "stages"]
        yield self.curriculum is None and bool(staged), "signals: a temperature moves over stages; take over: steps"
        by_teacher = self.curriculum is not None and self.difficulty_model == "teacher"
        yield (
            by_teacher and ("kd" not in self.arms or self.teacher is None or self.teacher.is_student),
            "curriculum: its difficulty_model is the teacher, and there is none; take difficulty_model: student",
        )


@configclass
class TeacherRunConfig:
    """A teacher to be fine-tuned on a data set and saved in the form that `ckpt:` reads."""

    name: str = Field(
        default="teacher", min_length=1, description="name of the run; the folder is runs/NAME unless --out is given"
    )
    data: DataConfig = Field(default_factory=DataConfig)
    teacher: TeacherConfig = Field(default_factory=TeacherConfig)
    training: ClassificationTrainingConfig = Field(default_factory=ClassificationTrainingConfig)
    seed: int = Field(default=0, ge=0, description="fixes weights of a new head, order and augmentation")


def fill_defaults(usual: Mapping[str, Any], base: Mapping[str, Any], mapping: Mapping[str, Any]) -> dict[str, Any]:
    """A run as plain data, with what is usual in the place of what it still has from a recipe.

    Example:
        >>> base = {"training": {"epochs": 9, "batch_size": 32}}
        >>> fill_defaults({"training": {"epochs": 20, "batch_size": 128}}, base, {"training": {"epochs": 9, "batch_size": 64}})
        {'training': {'epochs': 20, 'batch_size': 64}}
    """
    found = dict(mapping)
    for key, value in usual.items():
        if isinstance(value, Mapping):
            found[key] = fill_defaults(value, base[key], mapping[key])
        elif mapping[key] == base[key]:
            found[key] = value
    return found
