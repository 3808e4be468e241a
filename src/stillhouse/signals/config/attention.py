"""How attention is matched: where each position looks, or how queries, keys and values relate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stillhouse.core.config import configclass
from stillhouse.core.types import OutputSpec

if TYPE_CHECKING:
    from stillhouse.signals.attention import AttentionSignal

PARTS = {"scores": "qk", "probabilities": "qk", "values": "v", "qkv-relations": "qkv"}  # what each reads
PATHS = "a path, as blocks.0.attn.qkv, that puts out q, k and v side by side; or those of q and k, or of q, k and v"


@configclass
class AttentionConfig:
    """Match attention, recomputed from tapped queries, keys and values, since fused attention never shows it.

    `probabilities` is KL(A_T || A_S) and `scores` the squared difference before the softmax: both want as many heads on both
    sides, and plain scaled dot products. Rotary positions, position biases and norms of q and k act after the tapped layers
    and are not seen: there take `values` or `qkv-relations`, which compare softmax(x x^T / sqrt(d)) of values, or of all
    three (their mean), in `relation_heads` parts, whatever the widths and heads. Lengths must be equal: leave out class tokens
    and registers by `student_skip` and `teacher_skip`. In large teachers an upper middle layer tells more than the last.

    Source: Wang et al. 2020, arXiv:2002.10957 (MiniLM); Wang et al. 2021, arXiv:2012.15828 (MiniLMv2); Jiao et al. 2020,
    arXiv:1909.10351 (TinyBERT, scores).
    """

    kind: Literal["attention"] = "attention"
    student: str | tuple[str, ...] = Field(description=f"student: {PATHS}")
    teacher: str | tuple[str, ...] = Field(description=f"teacher: {PATHS}")
    what: Literal["scores", "probabilities", "values", "qkv-relations"] = Field(
        default="qkv-relations", description="what is compared"
    )
    student_heads: int | None = Field(default=None, gt=0, description="attention heads of the student's layer")
    teacher_heads: int | None = Field(default=None, gt=0, description="attention heads of the teacher's layer")
    relation_heads: int | None = Field(
        default=None, gt=0, description="values, qkv-relations: parts of both widths [the heads, where they are equal]"
    )
    student_skip: int = Field(default=0, ge=0, description="leading tokens left out: class token, registers")
    teacher_skip: int = Field(default=0, ge=0, description="leading tokens left out: class token, registers")
    causal: bool = Field(default=False, description="each position sees those before it only, as in a language model")
    padding: int | None = Field(
        default=None, ge=0, description="texts: the token id that stands for nothing; left out as query and as key"
    )
    weight: float = Field(default=1.0, ge=0, description="factor in the total loss")

    def __post_init__(self) -> None:
        for side in ("student", "teacher"):
            paths = self.paths(side)
            if not 1 <= len(paths) <= 3 or not all(paths) or len(set(paths)) < len(paths):
                raise ValueError(f"{side}: expected one path, or two or three different ones, got {paths}")
            if len(paths) == 2 and "v" in PARTS[self.what]:
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

    def paths(self, side: str) -> tuple[str, ...]:
        """All paths of a side: one (q, k and v side by side), two or three."""
        given: str | tuple[str, ...] = getattr(self, side)
        return (given,) if isinstance(given, str) else given

    def read(self, side: str) -> dict[str, str]:
        """The path that each of the parts read (of q, k, v) is found at."""
        paths = self.paths(side)
        return {part: paths[0] if len(paths) == 1 else paths["qkv".index(part)] for part in PARTS[self.what]}

    def student_features(self) -> tuple[str, ...]:
        """Paths to tap in the student, those that are read."""
        return tuple(dict.fromkeys(self.read("student").values()))

    def teacher_features(self) -> tuple[str, ...]:
        """Paths to tap in the teacher, those that are read."""
        return tuple(dict.fromkeys(self.read("teacher").values()))

    def build(self, student: OutputSpec, teacher: OutputSpec) -> AttentionSignal:
        """The signal; names, widths and lengths are resolved here, before any training."""
        from stillhouse.signals.attention import AttentionSignal

        return AttentionSignal(self, student, teacher)
