"""Signals between language models: class scores token by token, and inner layers through each network's own readout.

Shapes: B windows, L tokens of a window, P of them, N = B L tokens, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.signals import build_signals
from stillhouse.signals.base import Signal

# they compare tokens, each a row with the next token as its label; all others compare sequences (B, L, D) of hidden states
BY_TOKEN = frozenset({"logits", "dual-head", "ensemble", "exits", "probes", "contrastive", "ofa"})
POSITIONS = 16  # of a window: all of them would be (layers x tokens x vocabulary) scores
NORMS = ("norm", "ln_f", "final_layer_norm", "final_layernorm")
Head = Callable[[Tensor], Tensor]


def build_language_signals(
    configs: Sequence[Any], student: OutputSpec, teacher: OutputSpec, *, networks: tuple[Any, Any]
) -> nn.ModuleList:
    """`signals.build_signals`, each signal given the rows that it compares.

    Args:
        configs: of the signals.
        student: shapes of its outputs.
        teacher: the same.
        networks: both, where a signal compares scores of inner layers.
    """

    def built(config: Any) -> Any:
        if config.kind == "dynamics" and config.space == "logits":
            return Wrapped(config, partial(_of_heads, config, networks))
        return Wrapped(config, partial(_of_tokens, config)) if config.kind in BY_TOKEN else config

    return build_signals([built(config) for config in configs], student, teacher)


@dataclass(frozen=True)
class Wrapped:
    """A configuration whose signal is built in another way; whatever else is asked of it is its own."""

    config: Any
    build: Callable[[OutputSpec, OutputSpec], Signal]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.config, name)


class Rewritten(Signal):
    """A signal that is given the outputs of student and teacher, and perhaps the batch, in another form."""

    def __init__(
        self,
        signal: Signal,
        sides: tuple[Callable[[Outputs], Outputs], Callable[[Outputs], Outputs]],
        batch: Callable[[Batch], Batch] = lambda batch: batch,
    ) -> None:
        super().__init__(signal.name, signal.weight)
        self.signal, self._sides, self._batch = signal, sides, batch
        self.always = signal.always  # type: ignore[misc]  # read-outs learn at weight 0 too
        self.figures, self.regularizers = signal.figures, signal.regularizers  # type: ignore[method-assign]

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(N,) of tokens, (B,) of windows, or a scalar where whole batches are compared."""
        of_student, of_teacher = self._sides
        found: Tensor = self.signal(of_student(student_out), of_teacher(teacher_out), self._batch(batch), progress)
        return found


def _of_tokens(config: Any, student: OutputSpec, teacher: OutputSpec) -> Signal:
    """The signal between tokens: scores (N, V), features (N, D), labels (N,)."""
    return Rewritten(config.build(_one_token(student), _one_token(teacher)), (flat, flat), flat_batch)


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


def _of_heads(config: Any, networks: tuple[Any, Any], student: OutputSpec, teacher: OutputSpec) -> Signal:
    """The signal between scores that both networks' heads make of their inner layers, at positions spread over the window."""
    positions = min(POSITIONS, next(iter(student.features.values()))[0])
    classes = min(student.num_classes, teacher.num_classes)
    heads = student_head(networks[0]), teacher_head(networks[1], teacher.num_classes)
    paths = tuple(config.student_paths), tuple(config.teacher_paths)
    shapes = (OutputSpec(classes, dict.fromkeys(side, (positions, classes))) for side in paths)
    ours, theirs = (partial(through_head, head=head, paths=side) for head, side in zip(heads, paths))
    return Rewritten(config.build(*shapes), (ours, theirs))


def student_head(student: Any) -> Head:
    """(..., V) of hidden states (..., D): what the student would say if the layers after them did nothing.

    Norm, `lower` and readout get no gradient: they serve the last layer, not the inner ones.
    """

    def head(hidden: Tensor) -> Tensor:
        fixed = {name: value.detach() for name, value in student.norm.named_parameters()}
        x = torch.func.functional_call(student.norm, fixed, (hidden,))
        x = x if student.lower is None else nn.functional.linear(x, student.lower.weight.detach())
        return nn.functional.linear(x, student.embedding.weight.detach())

    return head


def teacher_head(network: Any, vocab_size: int) -> Head:
    """The same of a network of transformers.

    Raises:
        InputError: several teachers, a cache, or a network whose last norm is not known.
    """
    base = getattr(network, "base_model", network)
    norm = next((getattr(base, name) for name in NORMS if isinstance(getattr(base, name, None), nn.Module)), None)
    if norm is None or not hasattr(network, "get_output_embeddings"):
        raise InputError(
            f"dynamics, space logits: expected one live teacher of transformers with a last norm called {', '.join(NORMS)}, got "
            f"{type(base).__name__}"
        )

    @torch.no_grad()
    def head(hidden: Tensor) -> Tensor:
        found: Tensor = network.get_output_embeddings()(norm(hidden))
        return found[..., :vocab_size].float()

    return head


def through_head(outputs: Outputs, head: Head, paths: Sequence[str]) -> Outputs:
    """Scores (B, P, V) that a head makes of inner layers, in the place of hidden states (B, L, D)."""
    return Outputs(outputs.logits, {path: head(select_equidistant_positions(outputs.features[path])) for path in paths})


def select_equidistant_positions(x: Tensor, count: int = POSITIONS) -> Tensor:
    """(B, P, D) of (B, L, D): P positions at equal distances, the last of the window among them.

    Example:
        >>> select_equidistant_positions(torch.arange(6.0).reshape(1, 6, 1), 3).flatten().tolist()
        [1.0, 3.0, 5.0]
    """
    length = x.shape[1]
    parts = min(count, length)
    return x[:, torch.arange(1, parts + 1, device=x.device) * length // parts - 1]
