"""How tokens are mixed: a student's effective matrix, of whatever layer, against a teacher's attention.

Shapes: B batch, L positions, D width of queries and keys, H heads.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses.attention import attention_scores
from stillhouse.losses.maps import mixing_distance
from stillhouse.signals.base import Signal, feature_shape
from stillhouse.signals.queries import QueriesConfig

PATHS = (
    "a path that puts out the matrix (H, L, L), as blocks.0.mixer.mixing, or q, k, v side by side; or those of q and k"
)


@configclass
class MixingConfig(QueriesConfig):
    """Match the matrix by which a layer of the student mixes its tokens to the teacher's attention (MOHAWK's first stage).

    Attention, a linear recurrence and a state-space filter all put out M x: M is softmax(q k^T / sqrt(d)) computed again from
    tapped queries and keys, or what the part `mixing` of our recurrent mixers and state-space layers puts out while it is
    tapped (a Toeplitz matrix a channel for S4D). Heads are compared one by one where there are as many on both sides, else
    their means; lengths must be equal. Rotary positions and biases act after queries and keys, and are not seen. `rows:
    unit-length` is for a recurrence whose output is normalized. Published as the first of three stages, before hidden states
    and scores: `stages` does that.

    Source: Bick et al. 2024, arXiv:2408.10189 (MOHAWK), section 4.1.
    """

    kind: Literal["mixing"] = "mixing"
    student: str | tuple[str, ...] = Field(description=f"student: {PATHS}")
    teacher: str | tuple[str, ...] = Field(description=f"teacher: {PATHS}")
    rows: Literal["as-they-are", "unit-length"] = Field(
        default="as-they-are", description="whether the size of a row counts, or its direction alone"
    )

    def __post_init__(self) -> None:
        self.check_paths(2)


class MixingSignal(Signal, of=MixingConfig):
    """Distance of two mixing matrices; (B,) unweighted.

    Raises:
        InputError: a path that is not there, tensors that are neither a matrix nor queries and keys, heads that do not divide a
            width or are missing, or lengths that differ.
    """

    def __init__(self, config: MixingConfig, student: OutputSpec, teacher: OutputSpec) -> None:
        super().__init__(config.name or f"mixing:{config.between}", config.weight)
        self.config = config
        self.student_heads, ours = self._sizes("student", student)
        self.teacher_heads, theirs = self._sizes("teacher", teacher)
        config.check_lengths(ours, theirs)

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) of each sample."""
        student = self._matrix("student", student_out, batch)
        teacher = self._matrix("teacher", teacher_out, batch).detach()
        if student.shape[1] != teacher.shape[1]:
            student, teacher = student.mean(dim=1, keepdim=True), teacher.mean(dim=1, keepdim=True)
        there = self.config.tokens(batch)
        asked = None if there is None else there[:, self.config.student_skip :]
        return mixing_distance(student, teacher.to(student.device), rows=self.config.rows, asked=asked)

    def _sizes(self, side: str, spec: OutputSpec) -> tuple[int, int]:
        """Heads and tokens of a side; what is wrong with its shapes is refused here."""
        paths, heads = self.config.paths(side), getattr(self.config, f"{side}_heads")
        shapes = [feature_shape(side, path, spec) for path in paths]
        skip = self.config.skip(side)
        if len(paths) == 1 and len(shapes[0]) == 3:
            found, length, other = shapes[0]
            if length != other:
                raise InputError(f"{side} feature {paths[0]!r}: expected a matrix (H, L, L), got {shapes[0]}")
            if heads not in (None, found):
                raise InputError(f"{side}_heads: the matrix of {paths[0]!r} has {found}, got {heads}; leave it out")
            return self._left(side, found, length, skip)
        packed = 3 if len(paths) == 1 else 1
        if any(len(shape) != 2 or shape[1] % packed or shape != shapes[0] for shape in shapes):
            form = "(H, L, L), or (L, 3 D), queries, keys and values side by side" if packed == 3 else "(L, D) of both"
            raise InputError(f"{side} feature {' and '.join(paths)}: expected {form}, got {shapes}")
        length, width = shapes[0][0], shapes[0][1] // packed
        if heads is None or width % heads:
            raise InputError(f"{side}_heads: expected a number that divides the width {width} of q and k, got {heads}")
        return self._left(side, heads, length, skip)

    @staticmethod
    def _left(side: str, heads: int, length: int, skip: int) -> tuple[int, int]:
        if length - skip < 2:
            raise InputError(f"{side}: expected at least 2 tokens after {side}_skip {skip}, got {length - skip}")
        return heads, length - skip

    def _matrix(self, side: str, outputs: Outputs, batch: Batch) -> Tensor:
        """(B, H, L, L) of a side, without the leading tokens left out."""
        skip = self.config.skip(side)
        matrix = outputs.features[self.config.paths(side)[0]]
        if matrix.ndim == 4:
            return matrix[:, :, skip:, skip:]
        read = self.config.read(side, "qk", outputs.features)
        scores = attention_scores(read["q"], read["k"], heads=getattr(self, f"{side}_heads"))
        length = scores.shape[2]
        allowed = torch.ones(length, length, dtype=torch.bool, device=scores.device)
        allowed = (allowed.tril() if self.config.causal else allowed)[None, None]
        there = self.config.tokens(batch)
        if there is not None and there.shape[1] == length:
            # a row without any token to look at counts nothing later; its own place keeps the softmax finite
            own = torch.eye(length, dtype=torch.bool, device=scores.device)
            allowed = (allowed & there.to(scores.device)[:, None, None, :]) | own
        return scores.masked_fill(~allowed, -math.inf).softmax(dim=3)[:, :, skip:, skip:]
