"""Clauses straight over pixels: the flat Tsetlin machine, several layers of it, and clauses over convolved features.

Shapes: B batch, C channels, H W pixels, F bits, J clauses, K classes.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.layers.straight_through import hard_step
from stillhouse.tasks.classification.data.boolean_features import boolean_features
from stillhouse.tasks.classification.students.clauses import ClauseModel
from stillhouse.tasks.classification.students.config import LEVELS, DeepTMConfig, FlatTMConfig, HybridTMConfig
from stillhouse.tasks.classification.students.core import Binarizer, ClauseOutput, ControlCore, DeepTM, make_core


class Thermometer(nn.Module):
    """Pixels to bits: bit l of a pixel is whether it is brighter than l / (levels + 1), l = 1 .. levels.

    With one level it is the half, and images that are bits already pass as they are.

    Args:
        levels: bits a pixel.

    Example:
        >>> Thermometer(3)(torch.tensor([0.1, 0.3, 0.9]).reshape(1, 1, 1, 3)).tolist()
        [[0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0]]
    """

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.edges: Tensor
        edges = torch.arange(1, levels + 1, dtype=torch.float32) / (levels + 1)
        self.register_buffer("edges", edges.reshape(-1, 1, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] to bits (B, levels C H W), level by level."""
        return (pixels.unsqueeze(1) > self.edges).to(pixels.dtype).flatten(1)


class FilterBits(nn.Module):
    """Pixels to bits of oriented filters (see `boolean_features`), those of a square of the image joined by OR.

    A joined bit asks whether an edge of its direction is anywhere in its square: a shift by a pixel or two changes few of
    them, and there are `square`^2 times fewer literals.

    Args:
        square: side in pixels of what is joined; 1 joins nothing.

    Example:
        >>> tuple(FilterBits(4)(torch.rand(2, 1, 28, 28)).shape), 76 * 7 * 7
        ((2, 3724), 3724)
    """

    def __init__(self, square: int) -> None:
        super().__init__()
        self.square = square

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] to bits (B, 76 C H' W'), feature by feature; H' W' count the squares, parts of one too."""
        return boolean_features(pixels, self.square).to(pixels.dtype).flatten(1)


class PixelTM(ClauseModel):
    """Bits of the whole image, and layers of clauses over them."""

    bits: nn.Module
    core: DeepTM | ControlCore

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, K) of raw pixels (B, C, H, W)."""
        self.advance_tau()
        voted: ClauseOutput = self.core(self.bits(self.checked(pixels)) - 0.5)
        return voted.votes


class FlatTM(PixelTM):
    """One layer of clauses over all of an image: its levels of brightness, or the bits of oriented filters.

    Example:
        >>> model = FlatTM(image_size=8, in_channels=1, clauses=20, num_classes=3)
        >>> tuple(model(torch.rand(4, 1, 8, 8)).shape)
        (4, 3)

    Source: Granmo 2018, arXiv:1804.01508; Hnilov 2025, arXiv:2508.08350 (fuzzy-pattern clauses).
    """

    config_class = FlatTMConfig

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        config: FlatTMConfig = self.config
        bits = config.bits
        if config.rule.literals is not None and config.rule.literals > 2 * bits:
            raise InputError(
                f"literals: expected at most the {2 * bits} literals of {bits} bits, got {config.rule.literals:g}"
            )
        self.bits = FilterBits(config.joined) if config.joined else Thermometer(config.levels or LEVELS)
        self.core = make_core(config.part, (bits, config.num_classes), config.clauses, config.rule)


class DeepTMClassifier(PixelTM):
    """Several layers of clauses over all pixels: the votes of a layer become the bits of the next.

    Example:
        >>> model = DeepTMClassifier(image_size=8, in_channels=1, hidden_dims=(16,), clauses=20, num_classes=3)
        >>> tuple(model(torch.rand(4, 1, 8, 8)).shape)
        (4, 3)
    """

    config_class = DeepTMConfig

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        config: DeepTMConfig = self.config
        channels, height, width = self.image_shape
        widths = (config.levels * channels * height * width, *config.hidden_dims, config.num_classes)
        self.bits = Thermometer(config.levels)
        self.core = make_core(config.part, widths, config.clauses, config.rule, dropout=config.dropout)


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
        depth = config.depth or max(2, (min(self.image_shape[1:]) - 1).bit_length() - 1)
        stages = list[nn.Module]()
        for before, after in pairwise((config.in_channels, 32, *[64] * (depth - 1))):
            stages += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
        self.features = nn.Sequential(*stages, nn.Conv2d(64, count, 1))
        self.binarize = Binarizer(count, spread=1.0)
        self.mlp = nn.Sequential(nn.Linear(count, config.hidden), nn.ReLU(), nn.Linear(config.hidden, count))
        self.center = Binarizer(count, learned=False)
        self.core = make_core(config.part, (count, config.num_classes), config.clauses, config.rule)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, K) of raw pixels (B, C, H, W)."""
        self.advance_tau()
        shares = hard_step(self.binarize(self.features(self.normalized(pixels)))).mean((2, 3))
        voted: ClauseOutput = self.core(self.center(self.mlp(shares)))
        return voted.votes
