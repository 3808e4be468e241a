"""Language models as teachers: any causal one of transformers, or a small one trained here. The configuration needs no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stillhouse.core.config import configclass


@configclass
class LanguageTeacherConfig:
    """Where a causal language model comes from."""

    source: str = Field(
        min_length=1,
        description="folder of transformers (`train-teacher` writes one) or of a student, GGUF file, hub:NAME, or cache:FOLDER",
    )
    precision: Literal["float32", "bfloat16"] = Field(default="float32", description="of its weights")
    tokens: Literal["same", "byte-marginals"] = Field(
        default="same",
        description="same: the student's tokenizer; byte-marginals: of another one its next byte, for students of bytes",
    )


@configclass
class SmallTransformerConfig:
    """A decoder of Llama's kind, small enough to be trained here; a teacher for quick runs."""

    width: int = Field(default=256, gt=0, description="channels")
    layers: int = Field(default=4, gt=0, description="blocks")
    heads: int = Field(default=4, gt=0, description="attention heads, a divisor of the width")
    context: int = Field(default=512, gt=1, description="longest text in tokens")

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise ValueError(
                f"heads: expected width {self.width} to be a multiple of 2 heads (rotary pairs), got {self.heads} heads"
            )
