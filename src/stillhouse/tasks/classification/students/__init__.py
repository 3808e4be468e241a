"""The students that learn classes: clause networks, networks of timm, spiking ones, those of texts. No torch until one is built."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Tag

from stillhouse.tasks.classification.students.config import (
    DeepTMConfig,
    FlatTMConfig,
    HybridTMConfig,
    PatchTMConfig,
    PyramidTMConfig,
    ResNetTMConfig,
)
from stillhouse.tasks.classification.students.networks import (
    RulesConfig,
    ScorecardConfig,
    SpikingStudentConfig,
    SpikingTextConfig,
    TextTransformerConfig,
    TfidfConfig,
    TimmStudentConfig,
    TreeConfig,
)
from stillhouse.tasks.classification.students.transformer_config import SwinTMConfig, TsetlinViTConfig, UnifiedTMConfig


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
    | Annotated[HybridTMConfig, Tag("hybrid-tm")]
    | Annotated[PatchTMConfig, Tag("patch-tm")]
    | Annotated[RulesConfig, Tag("rules")]
    | Annotated[TimmStudentConfig, Tag("timm")]
    | Annotated[SpikingStudentConfig, Tag("spiking")]
    | Annotated[TextTransformerConfig, Tag("text-transformer")]
    | Annotated[SpikingTextConfig, Tag("spiking-text")]
    | Annotated[TfidfConfig, Tag("tf-idf")]
    | Annotated[ScorecardConfig, Tag("scorecard")]
    | Annotated[TreeConfig, Tag("tree")],
    Discriminator(_kind),
]


def has_clauses(student: Any) -> bool:
    """Whether a student's configuration is of a network with clauses, of which there are controls without them."""
    return hasattr(student, "without_special_part")
