"""A student that teaches itself: exits at shallow places, the last layer as their teacher.

Shapes: B batch, D width, K classes.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from stillhouse.core.config import configclass
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses import forward_kl, label_cross_entropy, mse
from stillhouse.signals.base import Signal, SignalBase
from stillhouse.signals.bridges import Layout, Side


@configclass
class ExitsConfig(SignalBase):
    """Be your own teacher: classifiers at intermediate places learn from the labels and from the student's own last scores.

    Sum over exits i of (1 - alpha) CE(labels, exit i) + alpha T^2 KL(last || exit i) + hint_weight MSE(feature i, last
    feature). The last scores and the last feature are held fixed in it; they learn from the labels as ever. Needs no teacher.

    As published, alpha is 0.1 and T is 3. Two things differ: the distillation term is a KL (same gradient as the published
    cross-entropy, but 0 at its best), and the hint is a mean over the width of pooled features where the published code
    sums the squares over all elements of the maps (and only where an activation is positive) with a factor of 1e-6:
    a mean keeps its size when the width changes, so its factor is of the order of 0.1.

    Source: Zhang et al. 2019, arXiv:1905.08094 (Be Your Own Teacher).
    """

    needs_teacher: ClassVar[bool] = False

    kind: Literal["exits"] = "exits"
    exits: tuple[str, ...] = Field(min_length=1, description="paths of the student's sub-modules that get a classifier")
    layout: Layout = Field(default="auto", description="axes of their outputs; auto: by their number")
    alpha: float = Field(default=0.1, ge=0, le=1, description="share of the last scores against the labels")
    temperature: float = Field(default=3.0, gt=0, description="softens both sides; the loss is multiplied by T^2")
    deepest: str | None = Field(default=None, description="path of the sub-module whose output the hint aims at")
    hint_weight: float = Field(default=0.0, ge=0, description="factor of the distance to the deepest feature")

    def __post_init__(self) -> None:
        if len(set(self.exits)) < len(self.exits):
            raise ValueError(f"exits: expected each path once, got {', '.join(self.exits)}")
        if (self.deepest is None) != (self.hint_weight == 0):
            raise ValueError(
                "deepest and hint_weight: expected both (a path, and a factor above 0) or neither, got "
                f"{self.deepest!r} and {self.hint_weight}"
            )

    @property
    def student_paths(self) -> tuple[str, ...]:
        """Paths to tap in the student."""
        return self.exits if self.deepest is None else (*self.exits, self.deepest)


class Exit(nn.Module):
    """A classifier at one place: mean over positions, standardized channels, a linear map.

    LayerNorm, not BatchNorm: an exit that is read in training and left out at export must not keep statistics of its own.
    """

    def __init__(self, read: Side, classes: int, hint_width: int | None) -> None:
        super().__init__()
        self.read = read
        self.norm = nn.LayerNorm(read.width)
        self.head = nn.Linear(read.width, classes)
        self.adapter = None if hint_width is None else nn.Linear(read.width, hint_width)

    def forward(self, student_out: Outputs) -> tuple[Tensor, Tensor | None]:
        """Logits (B, K), and the pooled feature in the width of the deepest one, if it is wanted."""
        feature = self.norm(self.read.pooled(student_out.features))
        return self.head(feature), None if self.adapter is None else self.adapter(feature)


class ExitSignal(Signal, of=ExitsConfig):
    """Loss of all exits, summed; (B,) unweighted. What a teacher puts out is not read.

    Raises:
        InputError: a path that is not among the student's outputs, or axes that cannot be read.
    """

    def __init__(self, config: ExitsConfig, student: OutputSpec, teacher: OutputSpec | None = None) -> None:
        super().__init__(config.name or "exits", config.weight)
        self.config = config
        self.deepest = None if config.deepest is None else Side.of("student", config.deepest, student, config.layout)
        width = None if self.deepest is None else self.deepest.width
        reads = [Side.of("student", path, student, config.layout) for path in config.exits]
        self.exits = nn.ModuleList(Exit(read, student.num_classes, width) for read in reads)
        self._last: tuple[dict[str, Tensor], Tensor] | None = None

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) loss of each sample."""
        config, teacher = self.config, student_out.logits.detach()
        total = torch.zeros(len(teacher), device=teacher.device)
        answers: dict[str, Tensor] = {}
        for path, stop in zip(config.exits, self.exits):
            logits, hint = stop(student_out)
            answers[path] = logits.detach()
            total = total + (1 - config.alpha) * label_cross_entropy(logits, batch.targets)
            if config.alpha > 0:
                total = total + config.alpha * forward_kl(logits, teacher, temperature=config.temperature)
            if self.deepest is not None:
                target = nn.functional.layer_norm(
                    self.deepest.pooled(student_out.features).detach(), (self.deepest.width,)
                )
                total = total + config.hint_weight * mse(hint, target)
        self._last = (answers, batch.labels.detach())
        return total

    def exit_logits(self, student_out: Outputs) -> dict[str, Tensor]:
        """Logits (B, K) of every exit by path, for early exits: `student_out` needs the tapped features."""
        return {path: stop(student_out)[0] for path, stop in zip(self.config.exits, self.exits)}

    def figures(self) -> dict[str, float]:
        """Accuracy of each exit on the last batch."""
        if self._last is None:
            return {}
        answers, labels = self._last
        return {f"accuracy_{path}": float((x.argmax(1) == labels).float().mean()) for path, x in answers.items()}
