"""The networks that `--models` names, and how a run's settings become the student of each. No torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, get_args

from pydantic import Field

from stillhouse.core.config import configclass
from stillhouse.tasks.classification.students.config import UnifiedTMConfig
from stillhouse.tasks.classification.students.model_configs import (
    DeepTMConfig,
    FlatTMConfig,
    HybridTMConfig,
    PyramidTMConfig,
    ResNetTMConfig,
    SwinTMConfig,
)

ModelName = Literal["transformer", "tm", "deep_tm", "hybrid", "resnet_tm", "swin_tm", "pyramid_tm"]
MODELS: tuple[ModelName, ...] = get_args(ModelName)
VIT_DEPTH = 2  # of the command line; the class itself has 4


@configclass
class ModelsConfig:
    """Settings of every model; only those of the models that are trained are read."""

    transformer: UnifiedTMConfig = Field(default_factory=lambda: UnifiedTMConfig(tm_clauses=192, drop_path_rate=0.0))
    tm: FlatTMConfig = Field(default_factory=lambda: FlatTMConfig(levels=1))
    deep_tm: DeepTMConfig = Field(default_factory=DeepTMConfig)
    hybrid: HybridTMConfig = Field(default_factory=HybridTMConfig)
    resnet_tm: ResNetTMConfig = Field(default_factory=ResNetTMConfig)
    swin_tm: SwinTMConfig = Field(default_factory=SwinTMConfig)
    pyramid_tm: PyramidTMConfig = Field(default_factory=PyramidTMConfig)


def student_of(models: ModelsConfig, name: ModelName) -> Any:
    """The student's configuration of a model."""
    student = getattr(models, name)
    if isinstance(student, UnifiedTMConfig) and student.depths is None and student.architecture == "vit":
        return replace(student, depths=VIT_DEPTH)
    return student
