"""Ordinary students that learn classes: networks of timm for images, small transformers for texts. No torch."""

from typing import Annotated

from pydantic import Field

from stillhouse.classification.students.ordinary import TimmStudentConfig
from stillhouse.classification.students.text import SpikingTextConfig, TextTransformerConfig

OrdinaryStudentConfig = Annotated[
    TimmStudentConfig | TextTransformerConfig | SpikingTextConfig, Field(discriminator="kind")
]

__all__ = ["OrdinaryStudentConfig", "SpikingTextConfig", "TextTransformerConfig", "TimmStudentConfig"]
