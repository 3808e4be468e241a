"""Signals in a training loop that is not ours: hooks listen to a student, one call a step gives the loss term.

Shapes: B batch, K classes, L positions, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.config import parse
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.layers.hooks import FeatureExtractor, evaluating
from stillhouse.signals import SignalConfig, build_signals, signals_in, student_features, teacher_features
from stillhouse.signals.base import SignalBase

Signal = SignalBase | Mapping[str, Any] | str
Signals = Signal | Sequence[Signal]
SINGLE = "logits"  # the kind of signal that compares each position by itself, and so takes maps and sequences of scores


class Attached(nn.Module):
    """What `attach` gives: call it after the student, add what it returns to your loss.

    A module that holds what the signals learn (projectors, temperatures), and neither the student nor the teacher: give its
    `parameters()` to your optimizer, and save its `state_dict()` where you save yours.

    Attributes:
        signals: the modules, in the order of the configurations.
        terms: unweighted value of each signal in the last call, by name, detached; for your log.
    """

    step: Tensor

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        configs: Sequence[SignalBase],
        example: Any,
        total_steps: int | None,
        ignore_index: int,
    ) -> None:
        super().__init__()
        if _unwrap_compiled(student) is _unwrap_compiled(teacher):
            raise InputError("attach: expected two networks, student and teacher are one; copy.deepcopy makes two")
        if total_steps is None and any(config.schedule is not None for config in configs):
            raise InputError("attach: a schedule needs total_steps, the number of calls of the whole training")
        recorders = _Recorder(student, student_features(configs)), _Recorder(teacher, teacher_features(configs))
        self._recorders = recorders  # in tuples: no sub-modules, so that .train() and .parameters() do not reach them
        self._teacher = (_unwrap_compiled(teacher),)
        self._total, self._ignore = total_steps or 1, ignore_index
        self._labelled = [config.name or config.kind for config in configs if config.reads_labels]
        try:
            specs = [recorder.spec(example) for recorder in self._recorders]
            if specs[0][1] > 2 and any(config.kind != SINGLE and config.reads_labels for config in configs):
                raise InputError(
                    f"attach: expected scores (B, K) for signals that read one label a sample, got {specs[0][1]} axes; of maps "
                    "and sequences take kind: logits, or features without labels"
                )
            self.signals = build_signals(configs, specs[0][0], specs[1][0])
        except BaseException:
            self.close()
            raise
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.terms: dict[str, float | Tensor] = {}

    def forward(self, inputs: Any, labels: Tensor | None = None, *, teacher_inputs: Any = None) -> Tensor:
        """The sum of all signals for the student's last forward pass, each times its weight; 0-d.

        Args:
            inputs: what the student was called with: a tensor, or a mapping of keyword arguments.
            labels: (B), (B, L) or (B, H, W) classes; where they are `ignore_index` nothing is compared. Needed by signals that
                read labels, and by none else.
            teacher_inputs: what the teacher sees instead [the same].

        Raises:
            InputError: the student was not called since the last time.
        """
        if labels is None and self._labelled:
            raise InputError(
                f"signal {self._labelled[0]!r} reads labels: expected them as the second argument, got none"
            )
        student_out = self._recorders[0].take()
        for part in (self, *self._teacher):  # a trainer may have moved the student
            if next(part.parameters(), student_out.logits).device != student_out.logits.device:
                part.to(student_out.logits.device)
        with torch.no_grad():
            self._teacher[0].eval()  # whoever holds it may have called .train() on it
            _call(self._teacher[0], inputs if teacher_inputs is None else teacher_inputs)
            teacher_out = self._recorders[1].take()
        student, teacher, labels = _rows(student_out.logits, teacher_out.logits, labels, self._ignore)
        batch = Batch(student, labels, torch.arange(len(labels), device=labels.device))
        progress = Progress(min(int(self.step), self._total) if self._total > 1 else 0, self._total)
        both = replace(student_out, logits=student), replace(teacher_out, logits=teacher)
        total, self.terms = student.new_zeros((), dtype=torch.float32), {}
        for signal in signals_in(self.signals):
            if signal.weight == 0 and not signal.always:
                continue
            value = signal(*both, batch, progress)
            value = value.mean() if value.numel() else student.sum() * 0.0  # no position counts: a graph, and no NaN
            self.terms[signal.name] = value.detach()
            total = total + signal.weight * value
            for weight, term in signal.regularizers().values():
                total = total + weight * term
        if self.training:
            self.step += 1
        return total

    def close(self) -> None:
        """Take the hooks off student and teacher; what was attached cannot be called after that."""
        for recorder in self._recorders:
            recorder.close()


def attach(
    student: nn.Module,
    teacher: nn.Module,
    signals: Signals = SINGLE,
    *,
    example: Any,
    total_steps: int | None = None,
    ignore_index: int = -100,
) -> Attached:
    """Listen to a student in a loop of your own: one line before it, one term in the loss.

    Hooks on the student keep what it puts out; calling the result asks the teacher (in eval mode, without a gradient) and
    compares. Attach before the student is wrapped (DDP, FSDP) and before the first call of what `torch.compile` made of it.
    Call it inside autocast, where the student is called. With several processes each compares the samples of its own batch.

    Args:
        student: gives class scores: (B, K), (B, L, K) or (B, K, H, W), a tuple that begins with them, a mapping with `logits`,
            or anything with `.logits` or `.out`.
        teacher: the same, as many classes; sees the same inputs, on the same device. Maps of another size are resized.
        signals: a kind (`"logits"`), one as in YAML (`{"kind": "features", "student": "layer3", "teacher": "blocks.5"}`), or a
            list of them.
        example: inputs of one small batch, two samples or more, to find out shapes with.
        total_steps: number of calls of the whole training; only schedules read it.
        ignore_index: labels of positions that are not compared.

    Returns:
        A module: `loss = yours + it(inputs, labels)`.

    Raises:
        StillhouseError: a signal or a path that does not fit; all are resolved here.

    Example:
        Teacher (3/4, 1/4), student (1/2, 1/2), T = 1: KL = 3/4 log 3/2 + 1/4 log 1/2 = 0.1308.

        >>> student, teacher = nn.Linear(1, 2, bias=False), nn.Linear(1, 2, bias=False)
        >>> student.weight.data, teacher.weight.data = torch.zeros(2, 1), torch.tensor([[3.0], [1.0]]).log()
        >>> distillation = attach(student, teacher, [{"kind": "logits", "temperature": 1.0}], example=torch.ones(2, 1))
        >>> scores = student(torch.ones(8, 1))
        >>> print(f"{distillation(torch.ones(8, 1)).item():.4f}")
        0.1308
    """
    several = [signals] if isinstance(signals, (str, Mapping, SignalBase)) else signals
    union: Any = SignalConfig
    configs = [
        one if isinstance(one, SignalBase) else parse(union, {"kind": one} if isinstance(one, str) else one)
        for one in several
    ]
    return Attached(student, teacher, configs, example, total_steps, ignore_index)


class _Recorder:
    """Hooks on a network: its scores, and what the named sub-modules put out."""

    def __init__(self, network: nn.Module, paths: Sequence[str]) -> None:
        self.network = _unwrap_compiled(network)
        self.taps = FeatureExtractor(self.network, paths)
        self.scores: Tensor | None = None
        self.called = False  # whether there was a call since the last `take`
        self.hook = self.network.register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, args: object, output: Any) -> None:
        self.scores, self.called = _scores(output), True

    def take(self) -> Outputs:
        """What the last call put out; once, so that no step hears an old one."""
        name = type(self.network).__name__
        if not self.called:
            raise InputError(
                f"attach: {name} was not called since the last time, or this is closed; call the student first in every step"
            )
        if self.scores is None:
            raise InputError(
                f"attach: {name} put out no class scores; expected a tensor, a tuple that begins with one, or .logits"
            )
        found = Outputs(self.scores, self.taps.take())
        self.scores, self.called = None, False
        return found

    def close(self) -> None:
        self.hook.remove()
        self.taps.close()

    def spec(self, example: Any) -> tuple[OutputSpec, int]:
        """Shapes without the batch axis, and the number of axes of the scores."""
        with evaluating(self.network):
            _call(self.network, example)
        found = self.take()
        axis = _class_axis(found.logits)
        shapes = {name: tuple(x.shape[1:]) for name, x in found.features.items()}
        return OutputSpec(found.logits.shape[axis], shapes), found.logits.ndim


def _unwrap_compiled(network: nn.Module) -> nn.Module:
    """The network that `torch.compile` wrapped."""
    inner = getattr(network, "_orig_mod", network)
    return inner if isinstance(inner, nn.Module) else network


def _call(network: Callable[..., Any], inputs: Any) -> Any:
    return network(**inputs) if isinstance(inputs, Mapping) else network(inputs)


def _scores(output: Any) -> Tensor | None:
    """Class scores of whatever a network puts out; None where it has none (a fused loss in TRL's evaluation)."""
    if isinstance(output, Mapping):  # of transformers, torchvision's segmentation networks
        output = next((output[name] for name in ("logits", "out") if name in output), output)
    elif isinstance(output, (tuple, list)) and output:
        output = output[0]
    found = getattr(output, "logits", output)
    return found if isinstance(found, Tensor) else None


def _class_axis(scores: Tensor) -> int:
    """Classes are the second axis of maps (B, K, H, W), else the last one."""
    if scores.ndim not in (2, 3, 4):
        raise InputError(f"scores: expected (B, K), (B, L, K) or (B, K, H, W), got {tuple(scores.shape)}")
    return 1 if scores.ndim == 4 else scores.ndim - 1


def _rows(student: Tensor, teacher: Tensor, labels: Tensor | None, ignored: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scores (N, K) of both and labels (N), of every position that counts."""
    if teacher.ndim == student.ndim == 4 and teacher.shape[-2:] != student.shape[-2:]:
        teacher = nn.functional.interpolate(
            teacher.float(), tuple(student.shape[-2:]), mode="bilinear", align_corners=False
        )
    if teacher.shape != student.shape:
        raise InputError(f"attached: expected scores {tuple(student.shape)} of the teacher, got {tuple(teacher.shape)}")
    axis = _class_axis(student)
    flat_student, flat_teacher = (x.movedim(axis, -1).flatten(0, -2) for x in (student, teacher))
    if labels is None:
        return flat_student, flat_teacher, flat_student.new_zeros(len(flat_student), dtype=torch.int64)
    if labels.numel() != len(flat_student):
        raise InputError(
            f"labels: expected one for each of the {len(flat_student)} positions of scores {tuple(student.shape)}, "
            f"got {tuple(labels.shape)}"
        )
    labels = labels.flatten()
    if student.ndim == 2:
        return flat_student, flat_teacher, labels
    counts = labels != ignored
    return flat_student[counts], flat_teacher[counts], labels[counts]
