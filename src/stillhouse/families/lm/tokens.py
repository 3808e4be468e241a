"""Signals that compare class scores: each token is a row, its next token the label.

Shapes: B windows, L tokens of a window, N = B L tokens, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.families.lm.through_head import Head, ThroughHeadConfig
from stillhouse.signals import build_signals
from stillhouse.signals.base import Signal

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
            return ThroughHeadConfig(config, *heads())
        return _PerToken(config) if by_token(config) else config

    return build_signals([wrapped(config) for config in configs], student, teacher)


@dataclass(frozen=True)
class _PerToken:
    """A configuration that builds its signal for tokens."""

    config: Any

    def build(self, student: OutputSpec, teacher: OutputSpec) -> PerToken:
        """The signal, built against the shapes of one token."""
        return PerToken(self.config.build(_one_token(student), _one_token(teacher)))

    @property
    def compares_samples(self) -> bool:
        """As the signal."""
        return bool(self.config.compares_samples)

    @property
    def student_paths(self) -> tuple[str, ...]:
        """As the signal."""
        return tuple(self.config.student_paths)

    @property
    def teacher_paths(self) -> tuple[str, ...]:
        """As the signal."""
        return tuple(self.config.teacher_paths)


class PerToken(Signal):
    """A signal that is given (N, V) scores, (N, D) features and (N,) labels of (B, L) windows."""

    def __init__(self, signal: Signal) -> None:
        super().__init__(signal.name, signal.weight)
        self.signal = signal
        self.always = signal.always  # type: ignore[misc]  # read-outs learn at weight 0 too

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(N,), or a scalar where whole batches are compared."""
        found: Tensor = self.signal(flat(student_out), flat(teacher_out), flat_batch(batch), progress)
        return found

    def figures(self) -> dict[str, float]:
        """Those of the signal."""
        return self.signal.figures()

    def bounds(self) -> dict[str, tuple[float, float]]:
        """Those of the signal."""
        return self.signal.bounds()

    def regularizers(self) -> dict[str, tuple[float, Tensor]]:
        """Those of the signal."""
        return self.signal.regularizers()


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
