"""Clause layers on the image at several sizes, and a fusion that looks at scales and at clauses.

Shapes: B batch, S scales, J clauses of all scales, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.tasks.classification.students.base import ClauseModel, Diagnostics
from stillhouse.tasks.classification.students.base_config import ClauseOptions
from stillhouse.tasks.classification.students.core import Binarizer, DeepTM, make_core
from stillhouse.tasks.classification.students.model_configs import PyramidTMConfig


class Scale(nn.Module):
    """The image pooled to one size, projected to bits, judged by clauses: (B, C, H, W) to votes (B, K)."""

    def __init__(
        self,
        side: int,
        channels: int,
        width: int,
        clauses: int,
        dropout: float,
        config: PyramidTMConfig,
        rule: ClauseOptions,
    ) -> None:
        super().__init__()
        count = channels * side * side
        self.pool = nn.AdaptiveAvgPool2d(side)
        self.project = nn.Sequential(
            nn.Linear(count, width), nn.LayerNorm(width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width)
        )
        self.binarize = Binarizer(width)
        self.core = make_core(config.part, width, clauses, config.num_classes, rule)
        factors = {"sqrt": clauses**-0.5, "mean": 1 / clauses, "none": 1.0}
        self.factor = factors[config.scale_logits]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Votes (B, K) and strengths (B, clauses)."""
        votes, strength = self.core(self.binarize(self.project(self.pool(x).flatten(1))))
        return votes * self.factor, strength

    def cast(self, strength: Tensor) -> Tensor:
        """(B, clauses, K): the votes of each clause times its strength."""
        weight = self.core.last.vote_weight() if isinstance(self.core, DeepTM) else self.core.outer.weight
        return strength.unsqueeze(-1) * weight.T


class Fusion(nn.Module):
    """A learned mean A of the scales' votes; with attention, `g O + (1 - g) A` where O has looked at scales and at clauses.

    O: the scales attend to each other, then to the clauses, each a token of its votes (width K, no projection).

    Args:
        scales: S.
        classes: K.
        attention: whether there is an O.
    """

    def __init__(self, scales: int, classes: int, *, attention: bool) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(scales))
        self.gate = nn.Parameter(torch.tensor(0.0)) if attention else None
        heads = 2 if classes % 2 == 0 else 1
        self.between = nn.MultiheadAttention(classes, heads, batch_first=True) if attention else None
        self.to_clauses = nn.MultiheadAttention(classes, heads, batch_first=True) if attention else None
        self.norm = nn.LayerNorm(classes) if attention else None

    def forward(self, votes: Tensor, strengths_seen: Tensor | None) -> Tensor:
        """Votes (B, S, K) and votes of the clauses (B, J, K) to logits (B, K)."""
        share = self.weights.softmax(0)
        plain = (share[:, None] * votes).sum(1)
        if self.between is None or self.to_clauses is None or self.norm is None or self.gate is None:
            return plain
        x = votes + self.between(votes, votes, votes, need_weights=False)[0]
        x = self.norm(x + self.to_clauses(x, strengths_seen, strengths_seen, need_weights=False)[0])
        g = torch.sigmoid(self.gate)
        return g * (share[:, None] * x).sum(1) + (1 - g) * plain

    def entropy(self) -> Tensor:
        """0-d: minus the entropy of the weights of the scales; least where all scales count alike."""
        share = self.weights.softmax(0)
        return (share * share.clamp(min=1e-12).log()).sum()


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
        sides = config.sides()
        taus = config.taus or (config.rule.tau,) * len(sides)
        self.scales = nn.ModuleList(
            Scale(side, config.in_channels, width, clauses, dropout, config, replace(config.rule, tau=tau))
            for side, width, clauses, dropout, tau in zip(sides, config.widths, config.clauses, config.dropout, taus)
        )
        self.fusion = Fusion(len(sides), config.num_classes, attention=config.fusion == "attention")

    def _scales(self) -> Iterator[Scale]:
        for scale in self.scales:
            assert isinstance(scale, Scale)
            yield scale

    def forward(self, pixels: Tensor, collect_diagnostics: bool = False) -> Any:
        """Logits (B, K), and a `Diagnostics` (votes of each scale, clause means) if it is asked for."""
        self.advance_tau()
        x = self.normalized(pixels)
        votes, strengths = zip(*(scale(x) for scale in self._scales()))
        strengths_seen = None
        if self.fusion.between is not None:
            strengths_seen = torch.cat([scale.cast(s) for scale, s in zip(self._scales(), strengths)], dim=1)
        logits = self.fusion(torch.stack(votes, dim=1), strengths_seen)
        if not collect_diagnostics:
            return logits
        notes = Diagnostics(logits={f"scale_{i}": v for i, v in enumerate(votes, start=1)})
        notes.logits["final_decision"] = logits
        notes.clause_mean = {f"scale_{i}": s.detach().mean(0) for i, s in enumerate(strengths, start=1)}
        return logits, notes

    def regularizers(self) -> dict[str, tuple[float, Tensor]]:
        """The small term that keeps all scales in use."""
        return {"scale_entropy": (0.01, self.fusion.entropy())}
