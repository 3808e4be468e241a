"""Attention: where each position looks, how queries, keys and values relate, and how tokens are mixed by whatever layer.

Shapes: B batch, L positions, D width of queries, keys or values, H heads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses import attention_kl, attention_score_mse, mixing_distance, relation_kl
from stillhouse.losses.attention import attention_scores
from stillhouse.signals.base import Signal, SignalBase, feature_shape

PARTS = {"scores": "qk", "probabilities": "qk", "values": "v", "qkv-relations": "qkv"}  # what each reads
SKIP_HELP = "leading tokens left out: class token, registers"
PATHS = "{}: a path, as blocks.0.attn.qkv, that puts out q, k and v side by side; or those of q and k, or of q, k and v"
MATRIX = "{}: a path that puts out the matrix (H, L, L), as blocks.0.mixer.mixing, or q, k, v side by side; or those of q and k"


@configclass
class _QueriesConfig(SignalBase):
    """A layer of each side by the paths of its queries, keys and values."""

    student: str | tuple[str, ...] = Field(min_length=1, description=PATHS.format("student"))
    teacher: str | tuple[str, ...] = Field(min_length=1, description=PATHS.format("teacher"))
    student_heads: int | None = Field(default=None, gt=0, description="attention heads of the student's layer")
    teacher_heads: int | None = Field(default=None, gt=0, description="attention heads of the teacher's layer")
    student_skip: int = Field(default=0, ge=0, description=SKIP_HELP)
    teacher_skip: int = Field(default=0, ge=0, description=SKIP_HELP)
    causal: bool = Field(default=False, description="each position sees those before it only, as in a language model")
    padding: int | None = Field(
        default=None, ge=0, description="texts: the token id that stands for nothing; left out as query and as key"
    )

    @property
    def between(self) -> str:
        """Both sides in short, for the name of the signal."""
        return "->".join(side if isinstance(side, str) else "+".join(side) for side in (self.student, self.teacher))

    def tokens(self, batch: Batch) -> Tensor | None:
        """(B, L) bool, where there is a token; None where no padding is named."""
        if self.padding is None:
            return None
        ids = batch.inputs
        if ids.ndim != 2 or ids.is_floating_point():
            raise InputError(f"padding: expected token ids (B, L) as inputs, got {tuple(ids.shape)} of {ids.dtype}")
        return ids != self.padding


@dataclass(frozen=True)
class _Reader:
    """Queries, keys and values of one side.

    Attributes:
        paths: one (q, k and v side by side), or one for each of them.
        parts: which of `qkv` are read.
        skip: leading tokens left out.
        length: tokens that are left.
        width: of each part.
    """

    paths: tuple[str, ...]
    parts: str
    skip: int
    length: int
    width: int

    @classmethod
    def of(cls, config: Any, side: str, parts: str, heads: int | None, spec: OutputSpec) -> _Reader:
        """The reader of a side; everything about its shapes that can be wrong is refused here.

        Raises:
            InputError: with the paths and their shapes.
        """
        given, skip = getattr(config, side), getattr(config, f"{side}_skip")
        paths = (given,) if isinstance(given, str) else given
        if len(paths) > 1 and len(paths) <= max(map("qkv".index, parts)):
            raise InputError(f"{side}: expected the paths of q, k and v, got {paths}")
        used = paths if len(paths) == 1 else [paths["qkv".index(part)] for part in parts]
        packed = 3 if len(paths) == 1 else 1
        shapes = [feature_shape(side, path, spec) for path in used]
        if any(len(shape) != 2 or shape[1] % packed for shape in shapes):
            form = "(L, 3 D), queries, keys and values side by side" if packed == 3 else "(L, D) of each"
            raise InputError(f"{side} feature {' and '.join(used)}: expected {form}, got {shapes}")
        widths, length = {shape[1] // packed for shape in shapes}, shapes[0][0] - skip
        if heads is None or any(width % heads for width in widths):
            raise InputError(
                f"{side} feature {' and '.join(used)}: expected heads that divide the width {sorted(widths)} of each of q, k "
                f"and v, got {heads}"
            )
        if (parts == "qk" and len(widths) > 1) or len({shape[0] for shape in shapes}) > 1:
            raise InputError(f"{side}: expected queries and keys of one length and one width, got {shapes}")
        return cls(paths, parts, skip, _left(side, length, skip), min(widths))

    def read(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """(B, L, D) of each part, all tokens."""
        if len(self.paths) == 1:
            packed = features[self.paths[0]].chunk(3, dim=2)
            return {part: packed["qkv".index(part)] for part in self.parts}
        return {part: features[self.paths["qkv".index(part)]] for part in self.parts}


def _left(side: str, length: int, skip: int) -> int:
    if length < 2:
        raise InputError(f"{side}: expected at least 2 tokens after {side}_skip {skip}, got {length}")
    return length


def _check_lengths(config: _QueriesConfig, student: int, teacher: int) -> None:
    if student != teacher:
        raise InputError(
            f"{config.kind} {config.between}: expected as many tokens on both sides, got {student} and {teacher} after "
            f"student_skip {config.student_skip} and teacher_skip {config.teacher_skip}"
        )


@configclass
class AttentionConfig(_QueriesConfig):
    """Match attention, recomputed from tapped queries, keys and values, since fused attention never shows it.

    `probabilities` is KL(A_T || A_S) and `scores` the squared difference before the softmax: both want as many heads on both
    sides, and plain scaled dot products. Rotary positions, position biases and norms of q and k act after the tapped layers
    and are not seen: there take `values` or `qkv-relations`, which compare softmax(x x^T / sqrt(d)) of values, or of all
    three (their mean), in `relation_heads` parts, whatever the widths and heads. Lengths must be equal: leave out class tokens
    and registers by `student_skip` and `teacher_skip`. In large teachers an upper middle layer is worth more than the last.

    Source: Wang et al. 2020, arXiv:2002.10957 (MiniLM); Wang et al. 2021, arXiv:2012.15828 (MiniLMv2); Jiao et al. 2020,
    arXiv:1909.10351 (TinyBERT, scores).
    """

    kind: Literal["attention"] = "attention"
    what: Literal["scores", "probabilities", "values", "qkv-relations"] = Field(
        default="qkv-relations", description="what is compared"
    )
    relation_heads: int | None = Field(
        default=None, gt=0, description="values, qkv-relations: parts of both widths [the heads, where they are equal]"
    )

    def __post_init__(self) -> None:
        ours, theirs = self.student_heads, self.teacher_heads
        if PARTS[self.what] == "qk" and self.relation_heads is not None:
            raise ValueError(f"relation_heads: does nothing under what {self.what!r}; leave it out")
        if self.relation_heads is None and (ours is None or ours != theirs):
            raise ValueError(
                f"student_heads and teacher_heads: expected both and the same, got {ours} and {theirs}; or take what: "
                "qkv-relations with relation_heads that divide both widths"
            )

    @property
    def heads(self) -> int:
        """Heads into which both sides are split."""
        return self.relation_heads or self.student_heads or 1

    @property
    def student_paths(self) -> tuple[str, ...]:
        """Paths to tap in the student, those that are read."""
        return _used(self.student, PARTS[self.what])

    @property
    def teacher_paths(self) -> tuple[str, ...]:
        """Paths to tap in the teacher, those that are read."""
        return _used(self.teacher, PARTS[self.what])


def _used(given: str | tuple[str, ...], parts: str) -> tuple[str, ...]:
    paths = (given,) if isinstance(given, str) else given
    return paths if len(paths) == 1 else tuple(path for part, path in zip("qkv", paths) if part in parts)


class AttentionSignal(Signal, of=AttentionConfig):
    """Attention, or relations of queries, keys and values, of one layer against another's; (B,) unweighted.

    Raises:
        InputError: a path that is not there, tensors that are not (B, L, D) or not three widths side by side, heads that do not
            divide a width, or lengths that differ.
    """

    def __init__(self, config: AttentionConfig, student: OutputSpec, teacher: OutputSpec) -> None:
        super().__init__(config.name or f"attention:{config.what}:{config.between}", config.weight)
        self.config, parts = config, PARTS[config.what]
        self.student = _Reader.of(config, "student", parts, config.heads, student)
        self.teacher = _Reader.of(config, "teacher", parts, config.heads, teacher)
        _check_lengths(config, self.student.length, self.teacher.length)

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) of each sample."""
        student, teacher = (
            {part: x[:, reader.skip :] for part, x in reader.read(outputs.features).items()}
            for reader, outputs in ((self.student, student_out), (self.teacher, teacher_out))
        )
        heads, mask, causal = self.config.heads, self._mask(batch), self.config.causal
        if "v" in PARTS[self.config.what]:
            found = [
                relation_kl(x, teacher[part], heads=heads, mask=mask, causal=causal) for part, x in student.items()
            ]
            return torch.stack(found).mean(dim=0)
        scores = [attention_scores(side["q"], side["k"], heads=heads) for side in (student, teacher)]
        compare = attention_kl if self.config.what == "probabilities" else attention_score_mse
        return compare(scores[0], scores[1].detach(), mask=mask, causal=causal)

    def _mask(self, batch: Batch) -> Tensor | None:
        """(B, L), true where there is a token; None where no padding is named."""
        there = self.config.tokens(batch)
        return there if there is None or there.shape[1] == self.student.length else there[:, self.student.skip :]


@configclass
class MixingConfig(_QueriesConfig):
    """Match the matrix by which a layer of the student mixes its tokens to the teacher's attention (MOHAWK's first stage).

    Attention, a linear recurrence and a state-space filter all put out M x: M is softmax(q k^T / sqrt(d)) computed again from
    tapped queries and keys, or what the part `mixing` of our recurrent mixers and state-space layers puts out while it is
    tapped (a Toeplitz matrix a channel for S4D). Heads are compared one by one where there are as many on both sides, else
    their means; lengths must be equal. Rotary positions and biases act after queries and keys, and are not seen. Published as
    the first of three stages, before hidden states and scores: `stages` does that.

    Source: Bick et al. 2024, arXiv:2408.10189 (MOHAWK), section 4.1.
    """

    kind: Literal["mixing"] = "mixing"
    student: str | tuple[str, ...] = Field(min_length=1, description=MATRIX.format("student"))
    teacher: str | tuple[str, ...] = Field(min_length=1, description=MATRIX.format("teacher"))


class MixingSignal(Signal, of=MixingConfig):
    """Distance of two mixing matrices; (B,) unweighted.

    Raises:
        InputError: a path that is not there, tensors that are neither a matrix nor queries and keys, heads that do not divide a
            width or are missing, or lengths that differ.
    """

    def __init__(self, config: MixingConfig, student: OutputSpec, teacher: OutputSpec) -> None:
        super().__init__(config.name or f"mixing:{config.between}", config.weight)
        self.config = config
        self.readers = {"student": self._reader("student", student), "teacher": self._reader("teacher", teacher)}

        def length(side: str, spec: OutputSpec) -> int:
            reader = self.readers[side]
            if reader is not None:
                return reader.length
            skip = int(getattr(config, f"{side}_skip"))
            return _left(side, spec.features[getattr(config, f"{side}_paths")[0]][1] - skip, skip)

        _check_lengths(config, length("student", student), length("teacher", teacher))

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) of each sample."""
        student = self._matrix("student", student_out, batch)
        teacher = self._matrix("teacher", teacher_out, batch).detach()
        if student.shape[1] != teacher.shape[1]:
            student, teacher = student.mean(dim=1, keepdim=True), teacher.mean(dim=1, keepdim=True)
        there = self.config.tokens(batch)
        asked = None if there is None else there[:, self.config.student_skip :]
        return mixing_distance(student, teacher.to(student.device), asked=asked)

    def _reader(self, side: str, spec: OutputSpec) -> _Reader | None:
        """Of queries and keys; None where the matrix itself is put out."""
        paths = getattr(self.config, f"{side}_paths")
        shape = feature_shape(side, paths[0], spec)
        if len(paths) == 1 and len(shape) == 3:
            if shape[1] != shape[2]:
                raise InputError(f"{side} feature {paths[0]!r}: expected a matrix (H, L, L), got {shape}")
            return None
        return _Reader.of(self.config, side, "qk", getattr(self.config, f"{side}_heads"), spec)

    def _matrix(self, side: str, outputs: Outputs, batch: Batch) -> Tensor:
        """(B, H, L, L) of a side, without the leading tokens left out."""
        reader, skip = self.readers[side], int(getattr(self.config, f"{side}_skip"))
        if reader is None:
            return outputs.features[getattr(self.config, f"{side}_paths")[0]][:, :, skip:, skip:]
        read = reader.read(outputs.features)
        scores = attention_scores(read["q"], read["k"], heads=getattr(self.config, f"{side}_heads"))
        length = scores.shape[2]
        allowed = torch.ones(length, length, dtype=torch.bool, device=scores.device)
        allowed = (allowed.tril() if self.config.causal else allowed)[None, None]
        there = self.config.tokens(batch)
        if there is not None and there.shape[1] == length:
            # a row without any token to look at counts nothing later; its own place keeps the softmax finite
            own = torch.eye(length, dtype=torch.bool, device=scores.device)
            allowed = (allowed & there.to(scores.device)[:, None, None, :]) | own
        return scores.masked_fill(~allowed, -math.inf).softmax(dim=3)[:, :, skip:, skip:]
