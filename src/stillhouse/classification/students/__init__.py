"""Ordinary students that learn classes: networks of timm for images, a small transformer for texts. No torch."""

from typing import Annotated

from pydantic import Field

from stillhouse.classification.students.ordinary import TimmStudentConfig
from stillhouse.classification.students.text import TextTransformerConfig

OrdinaryStudentConfig = Annotated[TimmStudentConfig | TextTransformerConfig, Field(discriminator="kind")]

__all__ = ["OrdinaryStudentConfig", "TextTransformerConfig", "TimmStudentConfig"]
