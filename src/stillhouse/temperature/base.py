"""What every temperature is: a part that is called with both sides' logits."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from stillhouse.core.types import Progress
from stillhouse.layers.part import TrainedPart


class Temperature(TrainedPart, ABC):
    """What every `TemperatureConfig.build(student, teacher)` gives.

    `figures` has `temperature` (its mean), and `lambda` where there is an adversary; `groups` holds what is learned, with its
    own learning rate and no weight decay.
    """

    @abstractmethod
    def forward(self, student_logits: Tensor, teacher_logits: Tensor, progress: Progress) -> float | Tensor:
        """A positive number, a tensor () with a gradient, or (B,) one a sample, for logits (B, K)."""
