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
from stillhouse.families.lm.through_head import Head, through_heads
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
            return Wrapped(config, partial(through_heads, config, heads()))
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
    """The signal, built against the shapes of one token."""
    return PerToken(config.build(_one_token(student), _one_token(teacher)))


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
