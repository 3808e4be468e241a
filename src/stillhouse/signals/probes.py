"""The signal of linear read-outs. Shapes: B batch, D width, K classes, P places."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses import label_cross_entropy
from stillhouse.signals.config.probes import ProbesConfig
from stillhouse.signals.pooled import Pooled


class ProbeSignal(nn.Module):
    """Mean cross-entropy of the places' read-outs; (B,) unweighted, named `aux_loss`. `told` is not read.

    The value reaches the student and not the read-outs; these learn from the regularizer `probes`, on detached features.

    Raises:
        InputError: a path that is not among the student's outputs, or axes that cannot be read.
    """

    always = True  # read-outs learn, and are scored, at weight 0 too

    def __init__(self, config: ProbesConfig, student: OutputSpec) -> None:
        super().__init__()
        self.name, self.weight, self.config = "aux_loss", config.weight, config
        self.reads = {path: Pooled.of(path, student, config.layout) for path in config.places}
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(read.width, elementwise_affine=False), nn.Linear(read.width, student.num_classes)
            )
            for read in self.reads.values()
        )
        self._own_loss: Tensor | None = None

    def forward(self, said: Outputs, told: Outputs | None, batch: Batch, progress: Progress) -> Tensor:
        """(B,) mean over the places, for the student alone."""
        pooled = {path: read(said.features) for path, read in self.reads.items()}
        self._own_loss = self._loss({path: x.detach() for path, x in pooled.items()}, batch, frozen=False).mean()
        with torch.set_grad_enabled(self.weight > 0 and torch.is_grad_enabled()):
            return self._loss(pooled, batch, frozen=True)

    def regularizers(self) -> dict[str, tuple[float, Tensor]]:
        """What the read-outs themselves learn from; no gradient of it reaches the student."""
        return {} if self._own_loss is None else {"probes": (1.0, self._own_loss)}

    def exit_logits(self, said: Outputs) -> dict[str, Tensor]:
        """Logits (B, K) at every place by path."""
        return {path: head(read(said.features)) for (path, read), head in zip(self.reads.items(), self.heads)}

    def _loss(self, pooled: Mapping[str, Tensor], batch: Batch, *, frozen: bool) -> Tensor:
        total = torch.zeros(len(batch.labels), device=batch.labels.device)
        for x, head in zip(pooled.values(), self.heads):
            fixed = {name: p.detach() for name, p in head.named_parameters()}
            logits = functional_call(head, fixed, (x,)) if frozen else head(x)
            total = total + label_cross_entropy(logits, batch.targets, smoothing=self.config.smoothing)
        return total / len(self.heads)
