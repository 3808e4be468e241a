"""A ResNet of torchvision's blocks which end in a clause layer each, and whose stages vote.

Shapes: B batch, D channels, H W positions, K classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, conv1x1

from stillhouse.tasks.classification.students.clauses import ClauseModel
from stillhouse.tasks.classification.students.config import ResNetTMConfig
from stillhouse.tasks.classification.students.core import StageVote, make_core

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


class PixelClauses(nn.Module):
    """A clause layer at every position: linear map to bits, clauses, votes, linear map; (B, D, H, W) to itself.

    The documents end this branch in a sigmoid, which adds a constant half in every block; here it is signed.

    Args:
        width: D.
        config: of the model.
    """

    def __init__(self, width: int, config: ResNetTMConfig) -> None:
        super().__init__()
        self.project = nn.Linear(width, config.tm_hidden)
        self.core = make_core(config.part, (config.tm_hidden, width), config.clauses, config.rule)
        self.mix = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """The map (B, D, H, W)."""
        votes: Tensor = self.mix(self.core(self.project(x.permute(0, 2, 3, 1))).votes)
        return votes.permute(0, 3, 1, 2)


def residual_block(inputs: int, width: int, stride: int, config: ResNetTMConfig) -> BasicBlock | Bottleneck:
    """Convolutions (basic or bottleneck), clauses at every position, and the shortcut."""
    kind = Bottleneck if config.layers >= 50 else BasicBlock
    outputs, shortcut = width * kind.expansion, None
    if inputs != outputs or stride > 1:
        shortcut = nn.Sequential(conv1x1(inputs, outputs, stride), nn.BatchNorm2d(outputs))
    block = kind(inputs, width, stride, shortcut)
    last = "bn3" if kind is Bottleneck else "bn2"
    setattr(block, last, nn.Sequential(getattr(block, last), PixelClauses(outputs, config)))
    return block


class ResNetTM(ClauseModel):
    """ResNet-18, 34, 50 or 101 with clauses in every block; every stage votes, and the last one twice.

    The logits are the final clause layer's votes plus the mean of the stages' votes, so that every read-out learns.

    Example:
        >>> model = ResNetTM(image_size=16, in_channels=1, width=8, tm_hidden=16, clauses=8, num_classes=3)
        >>> tuple(model(torch.rand(2, 1, 16, 16)).shape)
        (2, 3)

    Source: He et al. 2015, arXiv:1512.03385 (ResNet).
    """

    config_class = ResNetTMConfig

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        config: ResNetTMConfig = self.config
        small = config.stem == "small"
        side, stride = (3, 1) if small else (7, 2)
        self.stem = nn.Sequential(
            nn.Conv2d(config.in_channels, config.width, side, stride, side // 2, bias=False),
            nn.BatchNorm2d(config.width),
            nn.ReLU(),
            nn.Identity() if small else nn.MaxPool2d(3, 2, 1),
        )
        inputs = config.width
        self.stages, self.heads = nn.ModuleList(), nn.ModuleList()
        for place, depth in enumerate(DEPTHS[config.layers]):
            blocks = nn.Sequential()
            for number in range(depth):
                block = residual_block(inputs, config.width * 2**place, 2 if place and not number else 1, config)
                inputs = config.width * 2**place * block.expansion
                blocks.append(block)
            self.stages.append(blocks)
            self.heads.append(StageVote(inputs, config, config.clauses))
        self.final = StageVote(inputs, config, config.clauses)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, K) of raw pixels (B, C, H, W)."""
        self.advance_tau()
        x = self.stem(self.normalized(pixels))
        votes = []
        for stage, head in zip(self.stages, self.heads):
            x = stage(x)
            votes.append(head(x.mean((2, 3))))
        final: Tensor = self.final(x.mean((2, 3)))
        return final + torch.stack(votes).mean(0)
