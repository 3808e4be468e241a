"""The job that every task shares: a student's own loss, a term for every signal, a curriculum over its rows.

A task decides how a batch is made, what its own loss is and how a model is scored; signals, curricula, self-distillation,
teachers that follow the student, figures and the state that resume needs are here, once.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.labels import MISSING
from stillhouse.core.processes import gather
from stillhouse.core.types import Batch, Outputs, Progress
from stillhouse.curricula import Curriculum
from stillhouse.layers.hooks import FeatureExtractor
from stillhouse.layers.part import regularizers, set_progress
from stillhouse.signals import signals_in
from stillhouse.signals.base import Signal
from stillhouse.teachers.average import AverageTeacher
from stillhouse.training.job import Job, Terms, Validation


@dataclass(frozen=True)
class SignalSet:
    """What is learned beside the task's own loss.

    Attributes:
        teacher: called with a `Batch`, gives `Outputs`; None where the signals need none.
        signals: modules with `name` and `weight`: (student_out, teacher_out, batch, progress) -> (B,) or a scalar.
        features: module paths that are tapped in the student.
        auxiliary_losses: signals that need no teacher, learned in every stage of a curriculum alike.
        average: the student's moving average, the teacher of `auxiliary_losses`; None: they compare the student with itself.
        curriculum: which rows come first, and how much own loss and signals count in each of its stages.
    """

    teacher: Callable[[Batch], Outputs] | None = None
    signals: nn.ModuleList = field(default_factory=nn.ModuleList)
    features: tuple[str, ...] = ()
    auxiliary_losses: nn.ModuleList = field(default_factory=nn.ModuleList)
    average: AverageTeacher | None = None
    curriculum: Curriculum | None = None


class DistillJob(Job):
    """Rows -> the task's own loss and one term a signal.

    Args:
        model: the student.
        rows: number of training rows.
        seed: decides order and augmentation.
        signal_set: teacher, signals and curriculum; nothing of all that if None.
        extras: what is learned along beside the signals; named, so that checkpoints stay readable.
        call: what to call in place of `model` (its hidden states, for example).

    Attributes:
        labelled: share of a batch's rows that have a label, in (0, 1].
    """

    labelled = 1.0

    def __init__(
        self,
        model: nn.Module,
        *,
        rows: int,
        seed: int,
        signal_set: SignalSet | None = None,
        extras: nn.Module | None = None,
        call: Callable[[Tensor], Any] | None = None,
    ) -> None:
        self.signal_set = signal_set or SignalSet()
        learned: Sequence[nn.Module] = [*self.signal_set.signals, *self.signal_set.auxiliary_losses]
        super().__init__(model, rows=rows, seed=seed, extras=nn.ModuleList(learned) if extras is None else extras)
        self.student = FeatureExtractor(model, self.signal_set.features, call=call)
        followers = {"teacher": self.signal_set.teacher, "average": self.signal_set.average}
        self.followers: dict[str, Any] = {name: x for name, x in followers.items() if hasattr(x, "update")}
        self.active = [signal for signal in signals_in(self.signal_set.signals) if signal.weight > 0]
        self.auxiliary_losses = [
            signal for signal in signals_in(self.signal_set.auxiliary_losses) if signal.weight > 0 or signal.always
        ]

    # ------------------------------------------------------------------------------------------------ of the task

    @abstractmethod
    def batch(self, rows: Tensor, progress: Progress) -> Batch:
        """Rows as the student sees them at a step, on the job's device."""

    @abstractmethod
    def task_terms(self, student_out: Outputs, batch: Batch, progress: Progress, share: float) -> Terms:
        """The task's own loss, by name; `share` is what the curriculum leaves of its weight."""

    def outputs(self, batch: Batch) -> Outputs:
        """What the student puts out, with the features that signals tap."""
        return self.student(batch.inputs)

    def teacher_batch(self, batch: Batch, progress: Progress) -> Batch:
        """What the teacher is shown: the very tensors of the student."""
        return batch

    # ------------------------------------------------------------------------------------------------ the loop's questions

    def terms(self, rows: Tensor, progress: Progress) -> Terms:
        """The task's own terms, every signal of non-zero weight, and what model and signals add to stay in bounds."""
        batch = self.batch(rows, progress)
        set_progress(self.model, progress.fraction)
        student_out = self.outputs(batch)
        curriculum = self.signal_set.curriculum
        shares = {"labels": 1.0, "signals": 1.0} if curriculum is None else curriculum.weights()
        terms = self.task_terms(student_out, batch, progress, shares["labels"])
        if self.active and shares["signals"] > 0:
            teacher = self.signal_set.teacher
            teacher_out = student_out if teacher is None else teacher(self.teacher_batch(batch, progress))
            terms |= self.compared(self.active, student_out, teacher_out, batch, progress, shares["signals"])
        if self.auxiliary_losses:
            average = self.signal_set.average
            target = student_out if average is None else average(batch)
            terms |= self.compared(self.auxiliary_losses, student_out, target, batch, progress, 1.0)
        return {**terms, **regularizers(self.model)}

    def compared(
        self,
        signals: Sequence[Signal],
        student_out: Outputs,
        teacher_out: Outputs,
        batch: Batch,
        progress: Progress,
        share: float,
    ) -> Terms:
        """One term a signal, and those by which it keeps itself in bounds; what compares samples sees those of all processes."""
        terms: Terms = {}
        mine = (student_out, teacher_out, batch)
        for signal in signals:
            seen = mine
            if signal.compares is not None and len(self.sizes) > 1:
                of_student, of_teacher = signal.compares
                seen = (
                    gather_outputs(student_out, of_student, self.sizes),
                    gather_outputs(teacher_out, of_teacher, self.sizes),
                    gathered_batch(batch, self.sizes),
                )
            value = (
                self.labelled_term(signal, *seen, progress) if signal.reads_labels else signal(*seen, progress).mean()
            )
            terms[signal.name] = (signal.weight * share, value)
            for name, term in signal.regularizers().items():
                terms[f"{signal.name}/{name}"] = term
        return terms

    def labelled_term(
        self, signal: Signal, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress
    ) -> Tensor:
        """A signal that reads labels, over the rows that have one, as a share of what a whole batch has of them."""
        there = batch.labels != MISSING
        if bool(there.all()):
            return signal(student_out, teacher_out, batch, progress).mean()
        if not bool(there.any()):
            return student_out.logits.sum() * 0.0
        seen = (rows_of(student_out, there), rows_of(teacher_out, there))
        soft = None if batch.soft_labels is None else batch.soft_labels[there]
        some = Batch(batch.inputs[there], batch.labels[there], batch.index[there.to(batch.index.device)], soft)
        return signal(*seen, some, progress).mean() * there.float().mean() / self.labelled

    def figures(self) -> dict[str, float]:
        """Numbers of the signals (a temperature, a gate) as `signal/figure`, and of the curriculum."""
        found = {
            f"{s.name}/{name}": value
            for s in (*self.active, *self.auxiliary_losses)
            for name, value in s.figures().items()
        }
        if self.signal_set.curriculum is not None:
            found |= {f"curriculum/{name}": value for name, value in self.signal_set.curriculum.figures().items()}
        return {name: float(value) for name, value in found.items()}

    def order(self, epoch: int) -> Tensor:
        """The rows of an epoch, as the curriculum has them."""
        curriculum = self.signal_set.curriculum
        return super().order(epoch) if curriculum is None else curriculum.order(epoch)

    @property
    def stage(self) -> tuple[int, int]:
        """The curriculum's."""
        curriculum = self.signal_set.curriculum
        return (0, 1) if curriculum is None else (curriculum.stage, curriculum.stages)

    def on_validation_end(self, validation: Validation, progress: Progress) -> None:
        """Let the curriculum see whether it is time for its next stage."""
        if self.signal_set.curriculum is not None:
            self.signal_set.curriculum.on_validation_end(validation.metrics, progress.fraction)

    def on_train_batch_end(self, step: int) -> None:
        """A teacher that follows the student (an average of its weights) moves with it."""
        for follower in self.followers.values():
            follower.update(self.model, step - 1)

    def close(self) -> None:
        """Take the taps off the student."""
        self.student.close()

    def state_dict(self) -> dict[str, Any]:
        """The weights of a teacher that follows the student, and where the curriculum stands."""
        return {name: part.state_dict() for name, part in self._stateful().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put them back."""
        for name, part in self._stateful().items():
            part.load_state_dict(state[name])

    def _stateful(self) -> dict[str, Any]:
        parts = {**self.followers, "curriculum": self.signal_set.curriculum}
        return {name: part for name, part in parts.items() if part is not None}


def rows_of(outputs: Outputs, rows: Tensor) -> Outputs:
    """Outputs for some rows (B) True or False."""
    features = {name: x[rows] for name, x in outputs.features.items()}
    return replace(
        outputs,
        logits=outputs.logits[rows],
        features=features,
        members=tuple(rows_of(member, rows) for member in outputs.members),
    )


def gather_outputs(outputs: Outputs, names: Sequence[str], sizes: Sequence[int]) -> Outputs:
    """Outputs for the rows of all processes, with the features of these names alone; gradients go back to where they belong."""
    features = {name: gather(outputs.features[name], sizes) for name in names if name in outputs.features}
    members = tuple(gather_outputs(member, tuple(member.features), sizes) for member in outputs.members)
    return replace(outputs, logits=gather(outputs.logits, sizes), features=features, members=members)


def gathered_batch(batch: Batch, sizes: Sequence[int]) -> Batch:
    """The labels and numbers of the rows of all processes; inputs stay where they are, as the shape of one."""
    soft = None if batch.soft_labels is None else gather(batch.soft_labels, sizes)
    index = gather(batch.index.to(batch.labels.device), sizes)
    inputs = batch.inputs[:1].expand(len(index), *batch.inputs.shape[1:])
    return Batch(inputs, gather(batch.labels, sizes), index, soft)


def networks_of(teacher: Any) -> list[nn.Module]:
    """The networks behind a teacher, however it is wrapped: itself, a teacher's, every member's."""
    if isinstance(teacher, nn.Module):
        return [teacher]
    inner = [getattr(teacher, name, None) for name in ("module", "network", "teacher", "teachers", "student")]
    found: list[nn.Module] = []
    for part in inner:
        for one in part if isinstance(part, (list, tuple)) else [part]:
            found += [] if one is None else [x for x in networks_of(one) if all(x is not y for y in found)]
    return found


def init_layers_from_teacher(student: nn.Module, teacher_module: nn.Module, pairs: Mapping[str, str]) -> list[str]:
    """Copy parameters and buffers of the teacher's sub-modules into the student's; the student learns on from there.

    Args:
        student: changed in place.
        teacher_module: only read; copies keep the student's device and precision.
        pairs: path in the student -> path in the teacher, as {"blocks.1": "blocks.2", "patch_embed": "patch_embed"}. A path may
            name a sub-module or a single parameter ("pos_embed"). Both must hold the same tensors in the same shapes.

    Returns:
        Names of the student's tensors that were copied, in the order of the pairs.

    Raises:
        InputError: a path that is not there, or tensors missing or of another shape. Nothing has been changed then.

    Example:
        >>> student, teacher = nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.ReLU(), nn.Linear(2, 2))
        >>> init_layers_from_teacher(student, teacher, {"0": "1"}), torch.equal(student[0].weight, teacher[1].weight)
        (['0.weight', '0.bias'], True)

    Source: Sanh et al. 2019, arXiv:1910.01108 (DistilBERT), section 3.
    """
    # not state_dict(): a part with hooks or views of its own may give copies, and copies cannot be written to
    ours, theirs = _tensors(student), _tensors(teacher_module)
    copies: dict[str, Tensor] = {}
    for to, source in pairs.items():
        mine, its = _under(ours, to, "student"), _under(theirs, source, "teacher")
        shapes = [{name: tuple(x.shape) for name, x in side.items()} for side in (mine, its)]
        wrong = sorted({name for name, _ in shapes[0].items() ^ shapes[1].items()})
        if wrong:
            shown = "; ".join(
                f"{to}{name} {shapes[0].get(name)} <- {source}{name} {shapes[1].get(name)}" for name in wrong
            )
            raise InputError(f"pair {to!r} <- {source!r}: expected the same tensors in the same shapes, got {shown}")
        copies |= {f"{to}{name}": x for name, x in its.items()}
    with torch.no_grad():
        for name, tensor in copies.items():
            ours[name].copy_(tensor)
    return list(copies)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Under all their names, a tied tensor under each."""
    parameters = dict(module.named_parameters(remove_duplicate=False))
    return {**parameters, **dict(module.named_buffers(remove_duplicate=False))}


def _under(tensors: Mapping[str, Tensor], path: str, who: str) -> dict[str, Tensor]:
    """Tensors at a path or below it, by the rest of their names."""
    found = {name.removeprefix(path): x for name, x in tensors.items() if name == path or name.startswith(f"{path}.")}
    if not found:
        places = {".".join(name.split(".")[:depth]) for name in tensors for depth in range(1, name.count(".") + 2)}
        raise InputError(f"{who} path {path!r}: expected a part with parameters, got none; {nearest(path, places)}")
    return found
