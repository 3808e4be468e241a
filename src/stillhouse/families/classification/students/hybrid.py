"""A small convolutional network whose features become bits for one clause layer.

Shapes: B batch, T thresholded channels, H W positions, K classes.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from stillhouse.families.classification.students.base import ClauseModel
from stillhouse.families.classification.students.binarize import Binarizer
from stillhouse.families.classification.students.core import make_core
from stillhouse.families.classification.students.diagnostics import Diagnostics
from stillhouse.families.classification.students.model_configs import HybridTMConfig
from stillhouse.layers.straight_through import hard_step


class HybridTM(ClauseModel):
    """Convolutions, learned thresholds, shares of positions above each threshold, an MLP, clauses.

    Thresholds are hard in training too (straight through), so that training and use see the same bits.

    Example:
        >>> model = HybridTM(image_size=8, in_channels=1, clauses=16, num_classes=3)
        >>> import torch; tuple(model(torch.rand(2, 1, 8, 8)).shape)
        (2, 3)
    """

    config_class = HybridTMConfig

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        config: HybridTMConfig = self.config
        count = config.thresholds
        self.features = nn.Sequential(
            nn.Conv2d(config.in_channels, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Conv2d(64, count, 1),
        )
        self.binarize = Binarizer(count, spread=1.0)
        self.mlp = nn.Sequential(nn.Linear(count, config.hidden), nn.ReLU(), nn.Linear(config.hidden, count))
        self.center = Binarizer(count, learned=False)
        self.core = make_core(config.part, count, config.clauses, config.num_classes, config.rule)

    def forward(self, pixels: Tensor, collect_diagnostics: bool = False) -> Any:
        """Logits (B, K), and a `Diagnostics` if it is asked for."""
        self.advance_tau()
        shares = hard_step(self.binarize(self.features(self.normalized(pixels)))).mean((2, 3))
        logits, strength = self.core(self.center(self.mlp(shares)))
        if not collect_diagnostics:
            return logits
        means = {"clauses": strength.detach().mean(0)}
        return logits, Diagnostics(logits={"final_decision": logits}, clause_mean=means)
