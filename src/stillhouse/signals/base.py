"""What every signal is: a frozen configuration that names tensors, and a module that compares them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field
from torch import Tensor

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.config import configclass
from stillhouse.core.schedules import ScheduleConfig
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.layers.part import TrainedPart


@configclass
class SignalBase:
    """What all signal configurations share; a new one adds `kind`, its own fields, the paths that it taps and `build`."""

    module: ClassVar[type[Any]]  # set by `class MySignal(Signal, of=MyConfig)`
    needs_teacher: ClassVar[bool] = True  # false: learned from the labels or from the student itself

    name: str | None = Field(
        default=None,
        min_length=1,
        pattern=r"^[\w-]+$",
        description="name in the record of terms, where two of a kind stand side by side [the kind and its paths]",
    )
    weight: float = Field(default=1.0, ge=0, description="factor in the total loss")

    if TYPE_CHECKING:
        # every configuration has one, a `Literal` of its own; a field here would stand before it in the YAML
        @property
        def kind(self) -> str:
            """The word that names the signal in YAML."""

    @property
    def student_paths(self) -> tuple[str, ...]:
        """Sub-modules to tap in the student, each once: what `student` names, where a signal has it."""
        return _paths(getattr(self, "student", ()))

    @property
    def teacher_paths(self) -> tuple[str, ...]:
        """Sub-modules to tap in the teacher, each once: what `teacher` names, where a signal has it."""
        return _paths(getattr(self, "teacher", ()))

    @property
    def compares_samples(self) -> bool:
        """Whether the samples of a batch are compared with each other, so that a smaller micro-batch is another loss."""
        return False

    @property
    def reads_one_label(self) -> bool:
        """Whether it reads one label a sample, which a mixed image does not have."""
        return False

    @property
    def reads_labels(self) -> bool:
        """Whether it reads labels at all, so that it says nothing of a row without one."""
        return self.reads_one_label or not self.needs_teacher

    @property
    def schedule(self) -> ScheduleConfig | None:
        """The schedule that its temperature follows, if it follows one."""
        return None

    def build(self, student: OutputSpec, teacher: OutputSpec | None = None) -> Any:
        """The module, for a student and a teacher of these output shapes: the `Signal` that names this configuration.

        Raises:
            InputError: names or shapes that do not fit; all are resolved here, before any training.
        """
        return self.module(self, student, teacher)


class Signal(TrainedPart, ABC):
    """One term of the loss: the distance of what a student puts out to what its teacher does.

    `class MySignal(Signal, of=MyConfig)` is made by `MyConfig.build` as `MySignal(config, student, teacher)`.

    Attributes:
        name: key in the record of terms; no two of a run are alike.
        weight: factor in the total loss.
        always: computed at weight 0 too, because it measures something.
        compares: names of the features of student and teacher that it needs of a whole batch; None: of each sample alone, so that
            several processes compute it for their own samples.
        reads_labels: whether it is given labelled rows alone.
    """

    reads_labels = False
    always: ClassVar[bool] = False

    def __init_subclass__(cls, of: type[SignalBase] | None = None) -> None:
        super().__init_subclass__()
        if of is not None:
            of.module = cls

    def __init__(self, name: str, weight: float) -> None:
        super().__init__()
        self.name, self.weight = name, weight
        self.compares: tuple[tuple[str, ...], tuple[str, ...]] | None = None

    @abstractmethod
    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) loss of each sample or 0-d of the batch, unweighted; gradients reach the student and this module only."""

    def exit_logits(self, student_out: Outputs) -> Mapping[str, Tensor]:
        """Class scores (B, K) that are read out on the way, by path; their accuracy is validated as `component/PATH`."""
        return {}


class BatchSignal(Signal):
    """A signal that compares samples. A batch of too few rows, as the last of an epoch may be, is left out (0) and counted as
    `skipped` in the figures; the first of a run is refused.
    """

    skipped = 0

    def too_few(self, rows: int, least: int, progress: Progress) -> bool:
        """Whether a batch is left out.

        Raises:
            InputError: it is the first.
        """
        if rows >= least:
            return False
        if progress.step == 0:
            raise InputError(
                f"signal {self.name!r}: expected a batch of at least {least} samples, got {rows}; take a larger batch_size"
            )
        self.skipped += 1
        return True

    def figures(self) -> dict[str, float]:
        """Batches that were too small, where there were any."""
        return {"skipped": float(self.skipped)} if self.skipped else {}


def feature_shape(who: str, path: str, spec: OutputSpec) -> tuple[int, ...]:
    """Shape of a feature, without the batch.

    Raises:
        InputError: a name that is not there.
    """
    if path not in spec.features:
        raise InputError(f"{who} feature {path!r} is not among its outputs; {nearest(path, spec.features)}")
    return spec.features[path]


def check_classes(name: str, student: OutputSpec, teacher: OutputSpec, *, all_scores: bool = True) -> None:
    """Refuse unlike classes, and where all scores are needed a teacher of which only the largest are known.

    Raises:
        InputError: with both numbers.
    """
    if student.num_classes != teacher.num_classes:
        raise InputError(
            f"signal {name!r}: expected equal class counts, student has {student.num_classes}, teacher {teacher.num_classes}"
        )
    if all_scores and teacher.kept is not None:
        raise InputError(
            f"signal {name!r}: needs all class scores, and the cache holds the {teacher.kept} largest; expected a cache of "
            "--content scores"
        )


def _paths(given: str | tuple[str, ...]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else given
