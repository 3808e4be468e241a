"""Students that learn classes and are no logic: networks of timm and spiking ones for images, a transformer for texts. No torch."""

from typing import Annotated

from pydantic import Field

from stillhouse.classification.students.ordinary import TimmStudentConfig
from stillhouse.classification.students.spiking import SpikingStudentConfig
from stillhouse.classification.students.text import TextTransformerConfig

OrdinaryStudentConfig = Annotated[
    TimmStudentConfig | TextTransformerConfig | SpikingStudentConfig, Field(discriminator="kind")
]

__all__ = ["OrdinaryStudentConfig", "SpikingStudentConfig", "TextTransformerConfig", "TimmStudentConfig"]
