"""Small transformers that classify texts, one of them of spikes. The configuration is here; torch is loaded when one is built."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass
from stillhouse.core.types import ImageSpec, InputSpec, TextSpec

if TYPE_CHECKING:
    from stillhouse.tasks.classification.students.text.spiking import SpikingTextTransformer
    from stillhouse.tasks.classification.students.text.transformer import TextTransformer


@configclass
class TextTransformerConfig:
    """A small transformer encoder over token ids, mean-pooled over the tokens that are there."""

    reads: ClassVar[str] = "texts"
    kind: Literal["text-transformer"] = "text-transformer"
    width: int = Field(default=64, gt=0, description="width of a token, a multiple of heads")
    depth: int = Field(default=2, gt=0, description="number of blocks")
    heads: int = Field(default=2, gt=0, description="attention heads")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="dropout on embeddings and branches")

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width: expected a multiple of heads ({self.heads}), got {self.width}")

    def build(self, input_spec: InputSpec) -> TextTransformer:
        """The network, with weights from torch's global generator.

        Raises:
            InputError: the task is one of images.
        """
        from stillhouse.tasks.classification.students.text.transformer import TextTransformer

        if not isinstance(input_spec, TextSpec):
            raise InputError(f"student 'text-transformer': expected labelled texts, got images of {input_spec.shape}")
        return TextTransformer(input_spec, width=self.width, depth=self.depth, heads=self.heads, dropout=self.dropout)


@configclass
class SpikingTextConfig:
    """A transformer of spiking neurons over token ids; `head` puts out class scores at every time step."""

    reads: ClassVar[str] = "texts"
    kind: Literal["spiking-text"] = "spiking-text"
    width: int = Field(default=64, gt=0, description="width of a token, a multiple of heads")
    depth: int = Field(default=2, gt=0, description="number of blocks")
    heads: int = Field(default=2, gt=0, description="attention heads")
    steps: int = Field(default=4, gt=0, description="T, time steps that a text is shown; the answer is their mean")
    decay: float = Field(
        default=0.5, ge=0, lt=1, description="share of a neuron's charge that is left after a time step"
    )

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width: expected a multiple of heads ({self.heads}), got {self.width}")

    def build(self, input_spec: InputSpec) -> SpikingTextTransformer:
        """The network, with weights from torch's global generator.

        Raises:
            InputError: the task is one of images.
        """
        from stillhouse.tasks.classification.students.text.spiking import SpikingTextTransformer

        if not isinstance(input_spec, TextSpec):
            raise InputError(f"student 'spiking-text': expected labelled texts, got images of {input_spec.shape}")
        return SpikingTextTransformer(
            input_spec, width=self.width, depth=self.depth, heads=self.heads, steps=self.steps, decay=self.decay
        )


__all__ = ["SpikingTextConfig", "TextTransformerConfig"]
