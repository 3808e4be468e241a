"""Pseudo targets of clauses: each clause learns to fire where a teacher's activations lie on one side of a plane of its own.

Shapes: B batch, N positions, C clauses, D width of the teacher, L tokens of its attention.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses.attention import activation_energy, attention_scores
from stillhouse.signals.base import Signal, SignalBase, feature_shape
from stillhouse.signals.bridges import LAYOUT_HELP, Bridge, Layout, Side, without_class_token


@configclass
class ClauseTargetsConfig(SignalBase):
    """Teach clauses themselves: a teacher's activations become one true-or-false target a clause and place.

    Activations are standardized over the batch and its places, and clause c is to fire where their product with a fixed direction
    u_c, drawn once, is above 0: half of all places. A fixed direction cannot collapse, as a learned one could. The squared
    difference from the clause's strength is averaged over places by the teacher's attention, so that clauses are taught where
    the teacher looks: by the class token's attention, or without one by what each place receives, and without `attention` by
    how active the layer is there. Clauses have to be read as (N, C): a bank inside a transformer, as
    `blocks.0.feed_forward.core.layers.0.bank`.

    Source: Chiu et al. 2022, arXiv:2202.01855 (targets by a random projection); Zagoruyko, Komodakis 2017, arXiv:1612.03928
    (where a layer is active as attention).
    """

    kind: Literal["clause-targets"] = "clause-targets"
    student: str = Field(min_length=1, description="path of a bank, as blocks.0.feed_forward.core.layers.0.bank")
    teacher: str = Field(min_length=1, description="path of the teacher's layer, as blocks.5 or layer3")
    attention: str | None = Field(
        default=None, description="path of the teacher's q, k and v side by side, as blocks.5.attn.qkv [its activity]"
    )
    attention_heads: int | None = Field(default=None, gt=0, description="heads of that attention")
    teacher_layout: Layout = Field(default="auto", description=LAYOUT_HELP.format("teacher"))

    def __post_init__(self) -> None:
        if (self.attention is None) != (self.attention_heads is None):
            raise ValueError("attention, attention_heads: expected both or neither")

    @property
    def teacher_paths(self) -> tuple[str, ...]:
        """Paths to tap in the teacher."""
        return (self.teacher, *(() if self.attention is None else (self.attention,)))

    @property
    def compares_samples(self) -> bool:
        """Activations are standardized over the batch."""
        return True


class ClauseTargetSignal(Signal, of=ClauseTargetsConfig):
    """Mean squared difference of clause strengths from their targets, by the teacher's attention; (B,) unweighted.

    Raises:
        InputError: a name that is not there or puts out no clauses, places that cannot be joined, or attention over other places.
    """

    directions: Tensor

    def __init__(self, config: ClauseTargetsConfig, student: OutputSpec, teacher: OutputSpec) -> None:
        super().__init__(config.name or f"clause-targets:{config.student}->{config.teacher}", config.weight)
        self.config = config
        _check_bank(config.student, student)
        self.bridge = Bridge.between(
            without_class_token(Side.of("student", config.student, student, "auto")),
            without_class_token(Side.of("teacher", config.teacher, teacher, config.teacher_layout)),
            pool="none",
        )
        self.leading = self._leading(teacher)
        drawn = torch.Generator().manual_seed(0)
        clauses, width = self.bridge.student_side.width, self.bridge.teacher_side.width
        self.register_buffer("directions", torch.randn(width, clauses, generator=drawn), persistent=False)

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) of each sample."""
        strength = self.bridge.student(student_out.features)  # (B, N, C)
        target = self.targets(self.bridge.teacher(teacher_out.features))
        looked = self._attention(teacher_out).to(strength.dtype)
        return ((strength - target).square().mean(2) * looked).sum(1)

    def targets(self, tokens: Tensor) -> Tensor:
        """(B, N, D) activations to (B, N, C) of 0 and 1."""
        mean, std = tokens.mean((0, 1)), tokens.std((0, 1), correction=0).clamp(min=1e-6)
        return ((tokens - mean) / std @ self.directions.to(tokens.dtype) > 0).to(tokens.dtype)

    def _attention(self, teacher_out: Outputs) -> Tensor:
        """(B, N) where the teacher looks; rows sum to 1."""
        side = self.bridge.teacher_side
        if self.config.attention is None:
            looked = activation_energy(side.tokens(teacher_out.features[side.path].detach()))
        else:
            q, k, _ = teacher_out.features[self.config.attention].detach().float().chunk(3, dim=2)
            weights = attention_scores(q, k, heads=self.config.attention_heads or 1).softmax(-1).mean(1)  # (B, L, L)
            received = weights[:, 0] if self.leading else weights.mean(1)  # of the class token, or by everyone
            looked = received[:, self.leading :]
        fitted = self.bridge.fitted(looked.unsqueeze(2), side).squeeze(2)
        return fitted / fitted.sum(1, keepdim=True).clamp(min=1e-12)

    def _leading(self, teacher: OutputSpec) -> int:
        """Tokens of the attention ahead of the places."""
        path, side = self.config.attention, self.bridge.teacher_side
        if path is None:
            return 0
        shape = feature_shape("teacher", path, teacher)
        if len(shape) != 2 or shape[1] % (3 * (self.config.attention_heads or 1)) or shape[0] < side.positions:
            raise InputError(
                f"teacher feature {path!r}: expected (L, 3 D), queries, keys and values of {self.config.attention_heads} heads "
                f"side by side at {side.positions} places or more, got {shape}"
            )
        return shape[0] - side.positions


def _check_bank(path: str, student: OutputSpec) -> None:
    """Refuse another layer of the student: its numbers have the shape of clauses, and learning them teaches no clause."""
    if student.clauses is not None and path in student.features and path not in student.clauses:
        banks = ", ".join(student.clauses) or "it has none"
        raise InputError(
            f"student: expected the path of a bank of clauses, got {path!r}; banks of this student: {banks}"
        )
