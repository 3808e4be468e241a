"""Attention: where each position looks, or how queries, keys and values relate.

Shapes: B batch, L positions, D width of queries, keys or values, H heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses.attention import attention_kl, attention_score_mse, attention_scores, relation_kl
from stillhouse.signals.base import Signal, feature_shape
from stillhouse.signals.queries import QueriesConfig

PARTS = {"scores": "qk", "probabilities": "qk", "values": "v", "qkv-relations": "qkv"}  # what each reads
PATHS = "a path, as blocks.0.attn.qkv, that puts out q, k and v side by side; or those of q and k, or of q, k and v"


@configclass
class AttentionConfig(QueriesConfig):
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
    student: str | tuple[str, ...] = Field(description=f"student: {PATHS}")
    teacher: str | tuple[str, ...] = Field(description=f"teacher: {PATHS}")
    what: Literal["scores", "probabilities", "values", "qkv-relations"] = Field(
        default="qkv-relations", description="what is compared"
    )
    relation_heads: int | None = Field(
        default=None, gt=0, description="values, qkv-relations: parts of both widths [the heads, where they are equal]"
    )

    def __post_init__(self) -> None:
        self.check_paths(3)
        for side in ("student", "teacher"):
            if len(paths := self.paths(side)) == 2 and "v" in PARTS[self.what]:
                raise ValueError(f"{side}: expected the paths of q, k and v for what {self.what!r}, got two: {paths}")
        heads = (self.student_heads, self.teacher_heads)
        if PARTS[self.what] == "qk":
            if None in heads:
                raise ValueError(
                    f"student_heads and teacher_heads: expected both for what {self.what!r}, got {heads[0]} and {heads[1]}"
                )
            if heads[0] != heads[1]:
                raise ValueError(
                    f"student_heads and teacher_heads: expected the same for what {self.what!r}, got {heads[0]} and "
                    f"{heads[1]}; take what: qkv-relations with relation_heads"
                )
            if self.relation_heads is not None:
                raise ValueError(f"relation_heads: does nothing under what {self.what!r}; leave it out")
        elif self.relation_heads is None and (heads[0] is None or heads[0] != heads[1]):
            raise ValueError(
                "relation_heads: expected a number that divides both widths, or equal student_heads and teacher_heads, got "
                f"{heads[0]} and {heads[1]}"
            )

    @property
    def heads(self) -> int:
        """Heads into which both sides are split."""
        return self.relation_heads or self.student_heads or 1

    def used(self, side: str) -> dict[str, str]:
        """The path that each of the parts read (of q, k, v) is found at."""
        paths = self.paths(side)
        return {part: paths[0] if len(paths) == 1 else paths["qkv".index(part)] for part in PARTS[self.what]}

    @property
    def student_paths(self) -> tuple[str, ...]:
        """Paths to tap in the student, those that are read."""
        return tuple(dict.fromkeys(self.used("student").values()))

    @property
    def teacher_paths(self) -> tuple[str, ...]:
        """Paths to tap in the teacher, those that are read."""
        return tuple(dict.fromkeys(self.used("teacher").values()))


class AttentionSignal(Signal, of=AttentionConfig):
    """Attention, or relations of queries, keys and values, of one layer against another's; (B,) unweighted.

    Raises:
        InputError: a path that is not there, tensors that are not (B, L, D) or not three widths side by side, heads that do not
            divide a width, or lengths that differ.
    """

    def __init__(self, config: AttentionConfig, student: OutputSpec, teacher: OutputSpec) -> None:
        super().__init__(config.name or f"attention:{config.what}:{config.between}", config.weight)
        self.config = config
        config.check_lengths(self._length("student", student), self._length("teacher", teacher))

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) of each sample."""
        student = self._parts("student", student_out.features)
        teacher = {part: x.detach() for part, x in self._parts("teacher", teacher_out.features).items()}
        heads, causal = self.config.heads, self.config.causal
        mask = self._mask(batch, next(iter(student.values())).shape[1])
        if self.config.what in ("values", "qkv-relations"):
            found = [
                relation_kl(student[part], teacher[part], heads=heads, mask=mask, causal=causal) for part in student
            ]
            return torch.stack(found).mean(dim=0)
        scores = [attention_scores(side["q"], side["k"], heads=heads) for side in (student, teacher)]
        compare = attention_kl if self.config.what == "probabilities" else attention_score_mse
        return compare(*scores, mask=mask, causal=causal)

    def _length(self, side: str, spec: OutputSpec) -> int:
        """Tokens left of a side; everything about its shapes that can be wrong is refused here."""
        skip = self.config.skip(side)
        packed = len(self.config.paths(side)) == 1
        widths, lengths = {}, {}
        for part, path in self.config.used(side).items():
            shape = feature_shape(side, path, spec)
            if len(shape) != 2 or (packed and shape[1] % 3):
                form = "(L, 3 D), queries, keys and values side by side" if packed else "(L, D)"
                raise InputError(f"{side} feature {path!r}: expected {form}, got {shape}")
            lengths[part], widths[part] = shape[0] - skip, shape[1] // 3 if packed else shape[1]
            if widths[part] % self.config.heads:
                raise InputError(
                    f"{side} feature {path!r}: expected heads that divide the width {widths[part]} of each of q, k and v, got "
                    f"{self.config.heads}"
                )
        if len(set(lengths.values())) > 1:
            raise InputError(f"{side}: expected queries, keys and values of one length, got {lengths}")
        if PARTS[self.config.what] == "qk" and widths["q"] != widths["k"]:
            raise InputError(
                f"{side}: expected queries and keys of one width, got {widths['q']} and {widths['k']}; keys that several query "
                "heads share are for what: qkv-relations"
            )
        length = next(iter(lengths.values()))
        if length < 1:
            raise InputError(f"{side}_skip: expected less than its {length + skip} tokens, got {skip}")
        if length < 2 and self.config.what != "scores":
            raise InputError(
                f"{side}: expected at least 2 tokens, got {length} after {side}_skip {skip}: a softmax over one is always 1"
            )
        return length

    def _parts(self, side: str, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """q, k, v (B, L, D), as far as they are read, without the leading tokens left out."""
        skip = self.config.skip(side)
        return {part: x[:, skip:] for part, x in self.config.read(side, PARTS[self.config.what], features).items()}

    def _mask(self, batch: Batch, length: int) -> Tensor | None:
        """(B, L), true where there is a token; None where no padding is named."""
        there = self.config.tokens(batch)
        return there if there is None or there.shape[1] == length else there[:, self.config.student_skip :]
