"""Signals that compare class scores: each token is a row, its next token the label.

Shapes: B windows, L tokens of a window, N = B L tokens, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.signals import build_signals
from stillhouse.signals.base import Signal
from stillhouse.tasks.lm.through_head import POSITIONS, Head, through_heads

BY_TOKEN = frozenset({"logits", "dual-head", "ensemble", "exits", "probes", "contrastive", "ofa", "taid"})


def by_token(config: Any) -> bool:
    """Whether a signal compares tokens; all others compare sequences (B, L, D) of hidden states."""
    return config.kind in BY_TOKEN


def build_token_signals(
    configs: Sequence[Any], student: OutputSpec, teacher: OutputSpec, *, heads: Callable[[], tuple[Head, Head]]
) -> nn.ModuleList:
    """`signals.build_signals`, each signal given the rows that it compares.

    Args:
        configs: of the signals.
        student: shapes of its outputs.
        teacher: the same.
        heads: gives what makes scores of hidden states, of both, where a signal compares scores of inner layers.
    """

    def wrapped(config: Any) -> Any:
        if config.kind == "dynamics" and config.space == "logits":
            return Wrapped(config, partial(_of_heads, config, heads()))
        return Wrapped(config, partial(_of_tokens, config)) if by_token(config) else config

    return build_signals([wrapped(config) for config in configs], student, teacher)


@dataclass(frozen=True)
class Wrapped:
    """A configuration whose signal is built in another way; whatever else is asked of it is its own."""

    config: Any
    build: Callable[[OutputSpec, OutputSpec], Signal]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.config, name)


def _of_tokens(config: Any, student: OutputSpec, teacher: OutputSpec) -> Signal:
    """The signal between tokens: scores (N, V), features (N, D), labels (N,)."""
    return Rewritten(config.build(_one_token(student), _one_token(teacher)), (flat, flat), flat_batch)


def _of_heads(config: Any, heads: tuple[Head, Head], student: OutputSpec, teacher: OutputSpec) -> Signal:
    """The signal between scores that both networks' heads make of their inner layers, at positions spread over the window."""
    length = next(iter(student.features.values()))[0]
    classes = min(student.num_classes, teacher.num_classes)
    paths = tuple(config.student_paths), tuple(config.teacher_paths)
    shapes = (OutputSpec(classes, dict.fromkeys(side, (min(POSITIONS, length), classes))) for side in paths)
    sides = (
        partial(through_heads, head=heads[0], paths=paths[0]),
        partial(through_heads, head=heads[1], paths=paths[1]),
    )
    return Rewritten(config.build(*shapes), sides)


class Rewritten(Signal):
    """A signal that is given the outputs of student and teacher in another form; for one of tokens the batch too."""

    def __init__(
        self,
        signal: Signal,
        sides: tuple[Callable[[Outputs], Outputs], Callable[[Outputs], Outputs]],
        batch: Callable[[Batch], Batch] | None = None,
    ) -> None:
        super().__init__(signal.name, signal.weight)
        self.signal, self._sides, self._batch = signal, sides, batch
        self.by_token = batch is not None
        self.always = signal.always  # type: ignore[misc]  # read-outs learn at weight 0 too
        self.figures, self.regularizers = signal.figures, signal.regularizers  # type: ignore[method-assign]

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(N,) of tokens, (B,) of windows, or a scalar where whole batches are compared."""
        of_student, of_teacher = self._sides
        shown = batch if self._batch is None else self._batch(batch)
        found: Tensor = self.signal(of_student(student_out), of_teacher(teacher_out), shown, progress)
        return found


def flat(outputs: Outputs) -> Outputs:
    """Outputs of windows as those of tokens."""
    features = {name: x.flatten(0, 1) for name, x in outputs.features.items()}
    kept = None if outputs.kept is None else outputs.kept.flat()
    return Outputs(outputs.logits.flatten(0, 1), features, tuple(map(flat, outputs.members)), kept)


def flat_batch(batch: Batch) -> Batch:
    """A batch of windows as one of tokens; the index stays that of the window."""
    length = batch.inputs.shape[1]
    return Batch(batch.inputs.flatten(), batch.labels.flatten(), batch.index.repeat_interleave(length))


def _one_token(spec: OutputSpec) -> OutputSpec:
    features = {name: shape[1:] for name, shape in spec.features.items()}
    return OutputSpec(spec.num_classes, features, tuple(map(_one_token, spec.members)), spec.kept)
