"""Hidden states of inner layers as scores of the next token, through the network's own last norm and readout.

Shapes: B windows, L tokens, P of them, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.types import Outputs
from stillhouse.tasks.lm.teachers.group import TeacherGroup

POSITIONS = 16  # of a window: all of them would be (layers x tokens x vocabulary) scores
NORMS = ("norm", "ln_f", "final_layer_norm", "final_layernorm")
Head = Callable[[Tensor], Tensor]


def student_head(student: Any) -> Head:
    """(..., V) of hidden states (..., D): what the student would say if the layers after them did nothing.

    Norm, `lower` and readout get no gradient: they serve the last layer, not the inner ones.
    """

    def head(hidden: Tensor) -> Tensor:
        fixed = {name: value.detach() for name, value in student.norm.named_parameters()}
        x = torch.func.functional_call(student.norm, fixed, (hidden,))
        x = x if student.lower is None else nn.functional.linear(x, student.lower.weight.detach())
        if student.readout_spike is not None:
            rate = student.readout_spike.rate  # of the pass itself: the density penalty is about that one
            x = student.readout_spike(x)
            student.readout_spike.rate = rate
        return nn.functional.linear(x, student.readout.weight.detach())

    return head


def teacher_head(teacher: Any) -> Head:
    """The same of a language teacher.

    Raises:
        InputError: several teachers, a cache, or a network whose last norm is not known.
    """
    if isinstance(teacher, TeacherGroup) or not hasattr(teacher, "network"):
        raise InputError("dynamics, space logits: expected one live teacher, whose norm and readout can be asked for")
    base = getattr(teacher.network, "base_model", teacher.network)
    norm = next((getattr(base, name) for name in NORMS if isinstance(getattr(base, name, None), nn.Module)), None)
    if norm is None:
        raise InputError(
            f"dynamics, space logits: expected a last norm called {', '.join(NORMS)}, found none in {type(base).__name__}"
        )

    @torch.no_grad()
    def head(hidden: Tensor) -> Tensor:
        found: Tensor = teacher.logits(norm(hidden))
        return found

    return head


def through_heads(outputs: Outputs, head: Head, paths: Sequence[str]) -> Outputs:
    """Scores (B, P, V) that a head makes of inner layers, in the place of hidden states (B, L, D)."""
    return Outputs(outputs.logits, {path: head(spread(outputs.features[path])) for path in paths})


def spread(x: Tensor, count: int = POSITIONS) -> Tensor:
    """(B, P, D) of (B, L, D): P positions at equal distances, the last of the window among them.

    Example:
        >>> spread(torch.arange(6.0).reshape(1, 6, 1), 3).flatten().tolist()
        [1.0, 3.0, 5.0]
    """
    length = x.shape[1]
    parts = min(count, length)
    return x[:, torch.arange(1, parts + 1, device=x.device) * length // parts - 1]
