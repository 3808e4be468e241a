"""The knobs of training that only a task with classes has. No torch."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from stillhouse.core.config import configclass
from stillhouse.core.types import Progress
from stillhouse.training.config import TrainingConfig

Ramp = Literal["constant", "linear", "cosine"]


@configclass
class MixingConfig:
    """Mixup and CutMix: images of a batch are blended or pasted in pairs, and so are their labels.

    If both are on, a fair coin decides for each batch. The teacher is shown the mixed image, so that its answer and the
    student's are about the same pixels. The ramps act on alpha: an epoch with alpha 0 is not mixed; the last has all of it.

    Source: Zhang et al. 2018, arXiv:1710.09412 (mixup); Yun et al. 2019, arXiv:1905.04899 (CutMix); Beyer et al. 2022,
        arXiv:2106.05237 (one view for teacher and student).
    """

    mixup_alpha: float = Field(
        default=0.0, ge=0, description="Beta(alpha, alpha) of the share of an image; 0: no mixup"
    )
    cutmix_alpha: float = Field(default=0.0, ge=0, description="the same for the area of a pasted box; 0: no CutMix")
    mixup_schedule: Ramp = Field(default="constant", description="alpha of mixup over the epochs: all of it, or a ramp")
    cutmix_schedule: Ramp = Field(default="constant", description="alpha of CutMix over the epochs")

    @property
    def on(self) -> bool:
        """Whether anything is mixed in any epoch."""
        return self.mixup_alpha > 0 or self.cutmix_alpha > 0

    def alphas(self, epoch: int, epochs: int) -> tuple[float, float]:
        """Alpha of mixup and of CutMix in an epoch, counted from 0.

        Example:
            >>> ramped = MixingConfig(mixup_alpha=0.8, mixup_schedule="cosine", cutmix_alpha=1.0, cutmix_schedule="linear")
            >>> [tuple(round(a, 3) for a in ramped.alphas(epoch, 3)) for epoch in range(3)]
            [(0.0, 0.0), (0.4, 0.5), (0.8, 1.0)]
        """
        x = 1.0 if epochs <= 1 else min(epoch, epochs - 1) / (epochs - 1)
        ramps = {"constant": 1.0, "linear": x, "cosine": (1 - math.cos(math.pi * x)) / 2}
        return self.mixup_alpha * ramps[self.mixup_schedule], self.cutmix_alpha * ramps[self.cutmix_schedule]

    def alphas_at(self, progress: Progress, epochs: int) -> tuple[float, float]:
        """The same, by the optimizer steps that are done."""
        return self.alphas(progress.step * epochs // max(1, progress.total_steps), epochs)


@configclass
class ClassificationTrainingConfig(TrainingConfig):
    """Knobs of the loop, the weight of the labels, mixed images, and what is recorded of the accuracy."""

    label_weight: float = Field(default=1.0, ge=0, description="weight of the cross-entropy with the labels")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="label smoothing of that cross-entropy")
    balanced: bool | None = Field(
        default=False,
        description="weigh the labels so that all classes count alike; null: where the largest class has 1.5 times the rows of the "
        "smallest, or more",
    )
    labelled_share: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="share of each batch that has a label at least, where training rows without one are many; every arm alike",
    )
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
