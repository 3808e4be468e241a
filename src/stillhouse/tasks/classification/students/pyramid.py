"""Clause layers on the image at several sizes, and a fusion that looks at scales and at clauses.

Shapes: B batch, S scales, J clauses of all scales, K classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.tasks.classification.students.clauses import ClauseModel
from stillhouse.tasks.classification.students.config import PyramidTMConfig
from stillhouse.tasks.classification.students.core import Binarizer, make_core


class Scale(nn.Module):
    """The image pooled to one size, projected to bits, judged by clauses: (B, C, H, W) to votes (B, K).

    Args:
        number: which of the sizes.
        config: of the model.
    """

    def __init__(self, number: int, config: PyramidTMConfig) -> None:
        super().__init__()
        side, width, clauses = config.sides()[number], config.widths[number], config.clauses[number]
        self.pool = nn.AdaptiveAvgPool2d(side)
        self.project = nn.Sequential(
            nn.Linear(config.in_channels * side * side, width),
            nn.LayerNorm(width),
            nn.GELU(),
            nn.Dropout(config.dropout[number]),
            nn.Linear(width, width),
        )
        self.binarize = Binarizer(width)
        self.core = make_core(config.part, (width, config.num_classes), clauses, config.rule)
        self.factor = clauses**-0.5

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Votes (B, K), and those of each clause (B, clauses, K)."""
        votes, strength = self.core(self.binarize(self.project(self.pool(x).flatten(1))))
        return votes * self.factor, strength.unsqueeze(-1) * self.core.vote_weight().T


class Fusion(nn.Module):
    """`g O + (1 - g) A` of a learned mean A of the scales' votes and of O, which has looked at scales and at clauses.

    O: the scales attend to each other, then to the clauses, each a token of its votes (width K, no projection).

    Args:
        scales: S.
        classes: K.
    """

    def __init__(self, scales: int, classes: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(scales))
        heads = 2 if classes % 2 == 0 else 1
        self.gate = nn.Parameter(torch.tensor(0.0))
        self.between = nn.MultiheadAttention(classes, heads, batch_first=True)
        self.to_clauses = nn.MultiheadAttention(classes, heads, batch_first=True)
        self.norm = nn.LayerNorm(classes)

    def forward(self, votes: Tensor, of_clauses: Tensor) -> Tensor:
        """Votes (B, S, K) and votes of the clauses (B, J, K) to logits (B, K)."""
        share = self.weights.softmax(0)
        plain = (share[:, None] * votes).sum(1)
        x = votes + self.between(votes, votes, votes, need_weights=False)[0]
        x = self.norm(x + self.to_clauses(x, of_clauses, of_clauses, need_weights=False)[0])
        g = torch.sigmoid(self.gate)
        return g * (share[:, None] * x).sum(1) + (1 - g) * plain


class PyramidTM(ClauseModel):
    """Clause layers on the image pooled to several sizes, fused by learned weights and attention.

    Example:
        >>> model = PyramidTM(image_size=8, in_channels=1, widths=(16,) * 4, clauses=(8,) * 4, num_classes=4)
        >>> tuple(model(torch.rand(2, 1, 8, 8)).shape)
        (2, 4)
    """

    config_class = PyramidTMConfig

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        config: PyramidTMConfig = self.config
        count = len(config.sides())
        self.scales = nn.ModuleList(Scale(number, config) for number in range(count))
        self.fusion = Fusion(count, config.num_classes)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, K) of raw pixels (B, C, H, W)."""
        self.advance_tau()
        x = self.normalized(pixels)
        votes, of_clauses = zip(*(scale(x) for scale in self.scales))
        logits: Tensor = self.fusion(torch.stack(votes, dim=1), torch.cat(of_clauses, dim=1))
        return logits

    def regularizers(self) -> dict[str, tuple[float, Tensor]]:
        """The small term that keeps all scales in use: minus the entropy of their weights."""
        share = self.fusion.weights.softmax(0)
        return {"scale_entropy": (0.01, (share * share.clamp(min=1e-12).log()).sum())}
