"""Attention: where each position looks, and how queries, keys and values relate.

Shapes: B batch, L positions, D width of queries, keys or values, H heads.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses.attention import attention_kl, attention_score_mse, attention_scores, relation_kl
from stillhouse.signals.base import Signal, SignalBase, feature_shape

PARTS = {"scores": "qk", "probabilities": "qk", "values": "v", "qkv-relations": "qkv"}  # what each reads
SKIP_HELP = "leading tokens left out: class token, registers"
PATHS = "{}: a path, as blocks.0.attn.qkv, that puts out q, k and v side by side; or those of q and k, or of q, k and v"


@configclass
class AttentionConfig(SignalBase):
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
        for side in (self.student, self.teacher):
            if len(_paths(side)) > 1 and set(places(side, self.what)) != set(PARTS[self.what]):
                raise ValueError(f"expected the paths of {', '.join(PARTS[self.what])}, got {side}")

    @property
    def heads(self) -> int:
        """Heads into which both sides are split."""
        return self.relation_heads or self.student_heads or 1

    @property
    def between(self) -> str:
        """Both sides in short, for the name of the signal."""
        return "->".join("+".join(_paths(side)) for side in (self.student, self.teacher))

    @property
    def student_paths(self) -> tuple[str, ...]:
        """Paths to tap in the student, those that are read."""
        return tuple(dict.fromkeys(path for path, _ in places(self.student, self.what).values()))

    @property
    def teacher_paths(self) -> tuple[str, ...]:
        """Paths to tap in the teacher, those that are read."""
        return tuple(dict.fromkeys(path for path, _ in places(self.teacher, self.what).values()))


def _paths(side: str | tuple[str, ...]) -> tuple[str, ...]:
    return (side,) if isinstance(side, str) else side


def places(side: str | tuple[str, ...], what: str) -> dict[str, tuple[str, int | None]]:
    """Where each part that is read comes from: a path, and which third of it where q, k and v stand side by side.

    Example:
        >>> places("attn.qkv", "values"), places(("q", "k", "v"), "scores")
        ({'v': ('attn.qkv', 2)}, {'q': ('q', None), 'k': ('k', None)})
    """
    paths, parts = _paths(side), PARTS[what]
    if len(paths) == 1:
        return {part: (paths[0], "qkv".index(part)) for part in parts}
    return {part: (path, None) for part, path in zip("qkv", paths) if part in parts}


class AttentionSignal(Signal, of=AttentionConfig):
    """Attention, or relations of queries, keys and values, of one layer against another's; (B,) unweighted.

    Raises:
        InputError: a path that is not there, tensors that are not (B, L, D) or not three widths side by side, heads that do not
            divide a width, or lengths that differ.
    """

    def __init__(self, config: AttentionConfig, student: OutputSpec, teacher: OutputSpec) -> None:
        super().__init__(config.name or f"attention:{config.what}:{config.between}", config.weight)
        self.config = config
        self.student = places(config.student, config.what), config.student_skip
        self.teacher = places(config.teacher, config.what), config.teacher_skip
        self.length = self._length("student", student)
        if (theirs := self._length("teacher", teacher)) != self.length:
            raise InputError(
                f"attention {config.between}: expected as many tokens on both sides, got {self.length} and {theirs} after "
                f"student_skip {config.student_skip} and teacher_skip {config.teacher_skip}"
            )

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) of each sample."""
        student, teacher = _read(student_out, *self.student), _read(teacher_out, *self.teacher)
        heads, mask, causal = self.config.heads, self._mask(batch), self.config.causal
        if "v" in PARTS[self.config.what]:
            found = [
                relation_kl(x, teacher[part], heads=heads, mask=mask, causal=causal) for part, x in student.items()
            ]
            return torch.stack(found).mean(dim=0)
        scores = [attention_scores(side["q"], side["k"], heads=heads) for side in (student, teacher)]
        compare = attention_kl if self.config.what == "probabilities" else attention_score_mse
        return compare(scores[0], scores[1].detach(), mask=mask, causal=causal)

    def _length(self, side: str, spec: OutputSpec) -> int:
        """Tokens of a side that are left."""
        found, skip = getattr(self, side)
        thirds = [3 if third is not None else 1 for _, third in found.values()]
        shapes = [feature_shape(side, path, spec) for path, _ in found.values()]
        if any(len(shape) != 2 or shape[1] % parts for shape, parts in zip(shapes, thirds)):
            raise InputError(
                f"{side}: expected (L, D) of each of {', '.join(found)}, or (L, 3 D) of q, k, v, got {shapes}"
            )
        widths, lengths = [shape[1] // parts for shape, parts in zip(shapes, thirds)], {shape[0] for shape in shapes}
        if any(width % self.config.heads for width in widths):
            raise InputError(f"{side}: expected heads that divide the widths {widths}, got {self.config.heads}")
        if len(lengths) > 1 or (PARTS[self.config.what] == "qk" and len(set(widths)) > 1):
            raise InputError(f"{side}: expected queries and keys of one length and one width, got {shapes}")
        if (left := lengths.pop() - skip) < 2:
            raise InputError(f"{side}: expected at least 2 tokens after {side}_skip {skip}, got {left}")
        return left

    def _mask(self, batch: Batch) -> Tensor | None:
        """(B, L), true where there is a token; None where no padding is named."""
        if self.config.padding is None:
            return None
        there = batch.inputs != self.config.padding
        if there.ndim != 2:
            raise InputError(f"padding: expected token ids (B, L) as inputs, got {tuple(there.shape)}")
        return there if there.shape[1] == self.length else there[:, self.config.student_skip :]


def _read(outputs: Outputs, found: dict[str, tuple[str, int | None]], skip: int) -> dict[str, Tensor]:
    """(B, L, D) of each part, without the leading tokens."""
    parts = {}
    for part, (path, third) in found.items():
        x = outputs.features[path]
        parts[part] = (x if third is None else x.chunk(3, dim=2)[third])[:, skip:]
    return parts
