"""Students that learn classes and are no logic: networks of timm and spiking ones for images, transformers for texts. No torch."""

from typing import Annotated

from pydantic import Field

from stillhouse.classification.students.ordinary import TimmStudentConfig
from stillhouse.classification.students.spiking import SpikingStudentConfig
from stillhouse.classification.students.text import SpikingTextConfig, TextTransformerConfig

OrdinaryStudentConfig = Annotated[
    TimmStudentConfig | TextTransformerConfig | SpikingTextConfig | SpikingStudentConfig, Field(discriminator="kind")
]

__all__ = [
    "OrdinaryStudentConfig",
    "SpikingStudentConfig",
    "SpikingTextConfig",
    "TextTransformerConfig",
    "TimmStudentConfig",
]
