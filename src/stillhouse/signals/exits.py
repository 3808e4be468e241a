"""The signal of a student that teaches itself: exits at shallow places, the last layer as their teacher.

Shapes: B batch, D width, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses import forward_kl, label_cross_entropy, mse
from stillhouse.signals.config.exits import ExitsConfig
from stillhouse.signals.pooled import Pooled


class Exit(nn.Module):
    """A classifier at one place: mean over positions, standardized channels, a linear map.

    LayerNorm, not BatchNorm: an exit that is read in training and left out at export must not keep statistics of its own.
    """

    def __init__(self, read: Pooled, classes: int, hint_width: int | None) -> None:
        super().__init__()
        self.read = read
        self.norm = nn.LayerNorm(read.width)
        self.head = nn.Linear(read.width, classes)
        self.adapter = None if hint_width is None else nn.Linear(read.width, hint_width)

    def forward(self, said: Outputs) -> tuple[Tensor, Tensor | None]:
        """Logits (B, K), and the pooled feature in the width of the deepest one, if it is wanted."""
        feature = self.norm(self.read(said.features))
        return self.head(feature), None if self.adapter is None else self.adapter(feature)


class ExitSignal(nn.Module):
    """Loss of all exits, summed; (B,) unweighted. `told` is not read and may be None.

    Raises:
        InputError: a path that is not among the student's outputs, or axes that cannot be read.
    """

    def __init__(self, config: ExitsConfig, student: OutputSpec) -> None:
        super().__init__()
        self.name, self.weight, self.config = "exits", config.weight, config
        self.deepest = None if config.deepest is None else Pooled.of(config.deepest, student, config.layout)
        width = None if self.deepest is None else self.deepest.width
        reads = [Pooled.of(path, student, config.layout) for path in config.exits]
        self.exits = nn.ModuleList(Exit(read, student.num_classes, width) for read in reads)
        self._last: tuple[dict[str, Tensor], Tensor] | None = None

    def forward(self, said: Outputs, told: Outputs | None, batch: Batch, progress: Progress) -> Tensor:
        """(B,) loss of each sample."""
        config, teacher = self.config, said.logits.detach()
        total = torch.zeros(len(teacher), device=teacher.device)
        answers: dict[str, Tensor] = {}
        for path, stop in zip(config.exits, self.exits):
            logits, hint = stop(said)
            answers[path] = logits.detach()
            total = total + (1 - config.alpha) * label_cross_entropy(logits, batch.targets)
            if config.alpha > 0:
                total = total + config.alpha * forward_kl(logits, teacher, temperature=config.temperature)
            if self.deepest is not None:
                target = nn.functional.layer_norm(self.deepest(said.features).detach(), (self.deepest.width,))
                total = total + config.hint_weight * mse(hint, target)
        self._last = (answers, batch.labels.detach())
        return total

    def exit_logits(self, said: Outputs) -> dict[str, Tensor]:
        """Logits (B, K) of every exit by path, for early exits: `said` needs the tapped features."""
        return {path: stop(said)[0] for path, stop in zip(self.config.exits, self.exits)}

    def figures(self) -> dict[str, float]:
        """Accuracy of each exit on the last batch."""
        if self._last is None:
            return {}
        answers, labels = self._last
        return {f"accuracy_{path}": float((x.argmax(1) == labels).float().mean()) for path, x in answers.items()}
