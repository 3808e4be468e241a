"""Language models as teachers: any causal one of transformers, a small one trained here, their answers kept on disk.

The configuration needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stillhouse.core.config import configclass

if TYPE_CHECKING:
    from stillhouse.tasks.lm.teachers.small import CausalLM
    from stillhouse.tasks.lm.teachers.teacher import LanguageTeacher


@configclass
class LanguageTeacherConfig:
    """Where a causal language model comes from."""

    source: str = Field(
        min_length=1,
        description="folder of transformers, GGUF file, or hub:NAME (which is fetched); `lm train-teacher` writes such a folder",
    )
    precision: Literal["float32", "bfloat16"] = Field(default="float32", description="of its weights")
    tokens: Literal["same", "byte-marginals", "uld"] = Field(
        default="same",
        description="same: the student's tokenizer; of another one: byte-marginals (its next byte, for students of bytes) or uld"
        " (probabilities by size, a control)",
    )

    def build(self, *, vocab_size: int | None = None) -> LanguageTeacher:
        """The frozen teacher.

        Args:
            vocab_size: tokens of the tokenizer; logits beyond them (padding of the table) are cut off. None: all.

        Raises:
            InputError: nothing there that transformers reads, or fewer logits than tokens.
        """
        from stillhouse.tasks.lm.teachers.teacher import load_language_teacher

        return load_language_teacher(self, vocab_size=vocab_size)


@configclass
class SmallTransformerConfig:
    """A decoder of Llama's kind, small enough to be trained here; a teacher for quick runs."""

    width: int = Field(default=256, gt=0, description="channels")
    layers: int = Field(default=4, gt=0, description="blocks")
    heads: int = Field(default=4, gt=0, description="attention heads, a divisor of the width")
    hidden: int | None = Field(default=None, gt=0, description="width of the gated feed-forward layers [8/3 widths]")
    context: int = Field(default=512, gt=1, description="longest text in tokens")

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise ValueError(
                f"heads: expected width {self.width} to be a multiple of 2 heads (rotary pairs), got {self.heads} heads"
            )

    def build(self, vocab_size: int) -> CausalLM:
        """The network, with weights from torch's global generator."""
        from stillhouse.tasks.lm.teachers.small import build_small

        return build_small(self, vocab_size)
