"""The signal of supervised contrast. Shapes: B batch, N positions, D width, K classes."""

from __future__ import annotations

from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses.contrastive import supervised_contrastive
from stillhouse.losses.precision import wide
from stillhouse.signals.config.contrastive import ContrastiveConfig
from stillhouse.signals.pooled import Pooled


class ContrastiveSignal(nn.Module):
    """`supervised_contrastive` of one feature of the student with the batch's labels, mixed or not; (B,) unweighted.

    A batch of one has nobody to compare with: its loss is 0.

    Raises:
        InputError: a path that is not among the student's outputs, or axes that cannot be read.
    """

    def __init__(self, config: ContrastiveConfig, student: OutputSpec) -> None:
        super().__init__()
        self.name, self.weight, self.config = "contrastive_loss", config.weight, config
        self.read = Pooled.of(config.place, student, config.layout)
        if config.pool == "first" and self.read.layout != "tokens":
            raise InputError(
                f"pool: 'first' takes the first token, but {config.place!r} puts out {student.features[config.place]}"
            )

    def forward(self, said: Outputs, told: Outputs | None, batch: Batch, progress: Progress) -> Tensor:
        """(B,) loss of each sample."""
        first = self.config.pool == "first"
        feature = wide(said.features[self.config.place])[:, 0] if first else self.read(said.features)
        if len(feature) < 2:
            return feature.sum(1) * 0.0
        return supervised_contrastive(feature, batch.targets, temperature=self.config.temperature)
