"""The knobs of training that only a task with classes has. No torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stillhouse.classification.mixing_config import MixingConfig
from stillhouse.core.config import configclass
from stillhouse.training.config import TrainingConfig


@configclass
class ClassificationTrainingConfig(TrainingConfig):
    """Knobs of the loop, the weight of the labels, mixed images, and what is recorded of the accuracy."""

    label_weight: float = Field(default=1.0, ge=0, description="weight of the cross-entropy with the labels")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="label smoothing of that cross-entropy")
    mixing: MixingConfig = Field(default_factory=MixingConfig, description="mixup and CutMix of training images")
    teacher_view: Literal["same", "independent", "clean"] = Field(
        default="same",
        description="what the teacher sees under augmentation: the student's very images, a draw of its own, or none of it",
    )
    report_train: bool = Field(
        default=False, description="record accuracy on the training batches as they were seen, per epoch"
    )
    report_test: bool = Field(
        default=False, description="record accuracy on the test split after each epoch; nothing is ever chosen by it"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mixing.on and self.batch_size // self.accumulate < 2:
            raise ValueError(
                f"mixing: mixup and CutMix need at least 2 images to mix, and a micro-batch has "
                f"{self.batch_size // self.accumulate}; raise batch_size or lower accumulate"
            )
        if self.mixing.on and self.teacher_view != "same":
            raise ValueError(
                f"teacher_view: {self.teacher_view!r} would show the teacher unmixed images, whose classes are others; "
                "under mixing take 'same'"
            )
