"""The clause networks that a run can train, and whom it may take as assistants. No torch."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Tag

from stillhouse.classification.students import SpikingStudentConfig, TextTransformerConfig, TimmStudentConfig
from stillhouse.families.clauses.students import TsetlinViTConfig, UnifiedTMConfig
from stillhouse.families.clauses.students.model_configs import (
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


_Clauses = (
    Annotated[TsetlinViTConfig, Tag("tsetlin-vit")]
    | Annotated[UnifiedTMConfig, Tag("unified-tm")]
    | Annotated[FlatTMConfig, Tag("flat-tm")]
    | Annotated[DeepTMConfig, Tag("deep-tm")]
    | Annotated[ResNetTMConfig, Tag("resnet-tm")]
    | Annotated[SwinTMConfig, Tag("swin-tm")]
    | Annotated[PyramidTMConfig, Tag("pyramid-tm")]
    | Annotated[HybridTMConfig, Tag("hybrid-tm")]
)
ClauseStudentConfig = Annotated[_Clauses, Discriminator(_kind)]
AssistantConfig = Annotated[
    _Clauses
    | Annotated[TimmStudentConfig, Tag("timm")]
    | Annotated[TextTransformerConfig, Tag("text-transformer")]
    | Annotated[SpikingStudentConfig, Tag("spiking")],
    Discriminator(_kind),
]
