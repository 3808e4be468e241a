"""Students: networks of another kind than their teacher. One sub-package per family; `StudentConfig` is the list."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Tag

from stillhouse.classification.students.ordinary import TimmStudentConfig
from stillhouse.classification.students.text import TextTransformerConfig
from stillhouse.families.clauses.students import TsetlinViTConfig, UnifiedTMConfig
from stillhouse.families.clauses.students.model_configs import (
    ConvTMConfig,
    DeepTMConfig,
    FlatTMConfig,
    HybridTMConfig,
    PyramidTMConfig,
    ResNetTMConfig,
    SwinTMConfig,
)


def _kind(value: Any) -> Any:
    """The clause transformer where no kind is named."""
    return value.get("kind", "tsetlin-vit") if isinstance(value, Mapping) else getattr(value, "kind", None)


StudentConfig = Annotated[
    Annotated[TsetlinViTConfig, Tag("tsetlin-vit")]
    | Annotated[UnifiedTMConfig, Tag("unified-tm")]
    | Annotated[FlatTMConfig, Tag("flat-tm")]
    | Annotated[DeepTMConfig, Tag("deep-tm")]
    | Annotated[ResNetTMConfig, Tag("resnet-tm")]
    | Annotated[SwinTMConfig, Tag("swin-tm")]
    | Annotated[PyramidTMConfig, Tag("pyramid-tm")]
    | Annotated[ConvTMConfig, Tag("conv-tm")]
    | Annotated[HybridTMConfig, Tag("hybrid-tm")]
    | Annotated[TimmStudentConfig, Tag("timm")]
    | Annotated[TextTransformerConfig, Tag("text-transformer")],
    Discriminator(_kind),
]

__all__ = ["StudentConfig", "TextTransformerConfig", "TimmStudentConfig", "TsetlinViTConfig", "UnifiedTMConfig"]
