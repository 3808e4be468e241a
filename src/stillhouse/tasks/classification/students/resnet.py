"""A ResNet whose blocks end in a clause layer, and whose stages vote.

Shapes: B batch, D channels, H W positions, K classes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.layers.convolution import convolution
from stillhouse.tasks.classification.students.base import ClauseModel, Diagnostics
from stillhouse.tasks.classification.students.base_config import ClauseOptions
from stillhouse.tasks.classification.students.core import StageVote, make_core
from stillhouse.tasks.classification.students.model_configs import ResNetTMConfig

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


def conv(inputs: int, outputs: int, side: int, stride: int = 1) -> nn.Sequential:
    """A convolution without bias and its BatchNorm."""
    layer = convolution(inputs, outputs, side, stride, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))


class PixelClauses(nn.Module):
    """A clause layer at every position: linear map to bits, clauses, votes, linear map; (B, D, H, W) to itself.

    Args:
        width: D.
        config: of the model.
        rule: of the clauses, with the tau of the stage.
    """

    def __init__(self, width: int, config: ResNetTMConfig, rule: ClauseOptions) -> None:
        super().__init__()
        self.project = nn.Linear(width, config.tm_hidden)
        self.core = make_core(config.part, config.tm_hidden, config.clauses, width, rule)
        self.mix = nn.Linear(width, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The map (B, D, H, W) and the strengths (B, H, W, clauses)."""
        votes, strength = self.core(self.project(x.permute(0, 2, 3, 1)))
        return self.mix(votes).permute(0, 3, 1, 2), strength


class ResidualBlock(nn.Module):
    """Convolutions (basic or bottleneck), clauses at every position, and the shortcut.

    The documents end the clause branch in a sigmoid, which adds a constant half in every block; here it is signed.
    """

    def __init__(
        self, inputs: int, width: int, stride: int, config: ResNetTMConfig, rule: ClauseOptions, bottleneck: bool
    ) -> None:
        super().__init__()
        outputs = width * 4 if bottleneck else width
        if bottleneck:
            parts = [
                conv(inputs, width, 1),
                nn.ReLU(),
                conv(width, width, 3, stride),
                nn.ReLU(),
                conv(width, outputs, 1),
            ]
        else:
            parts = [conv(inputs, width, 3, stride), nn.ReLU(), conv(width, width, 3)]
        self.convolutions = nn.Sequential(*parts)
        self.clauses = PixelClauses(outputs, config, rule)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else conv(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D, H, W) to the next map, and the strengths (B, H, W, clauses)."""
        voted, strength = self.clauses(self.convolutions(x))
        return torch.relu(voted + self.shortcut(x)), strength


class ResNetTM(ClauseModel):
    """ResNet-18, 34, 50 or 101 with clauses in every block; every stage votes, and the last one twice.

    The logits are the final clause layer's votes plus the mean of the stages' votes, so that every read-out learns.

    Example:
        >>> model = ResNetTM(image_size=16, in_channels=1, width=4, tm_hidden=16, clauses=8, num_classes=3)
        >>> tuple(model(torch.rand(2, 1, 16, 16)).shape)
        (2, 3)

    Source: He et al. 2015, arXiv:1512.03385 (ResNet).
    """

    config_class = ResNetTMConfig

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        config: ResNetTMConfig = self.config
        channels = config.in_channels
        norms: dict[str, Any] = {
            "none": nn.Identity,
            "batchnorm": lambda: nn.BatchNorm2d(channels),
            "layernorm": lambda: nn.GroupNorm(1, channels),
            "instancenorm": lambda: nn.InstanceNorm2d(channels, affine=True),
        }
        self.input_norm: nn.Module = norms[config.input_norm]()
        if config.stem == "imagenet":
            self.stem = nn.Sequential(conv(channels, config.width, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        else:
            self.stem = nn.Sequential(conv(channels, config.width, 3), nn.ReLU())
        taus = config.taus or (config.rule.tau,) * 4
        bottleneck, inputs = config.layers >= 50, config.width
        self.stages, self.heads = nn.ModuleList(), nn.ModuleList()
        for place, (depth, tau) in enumerate(zip(DEPTHS[config.layers], taus)):
            rule, blocks = replace(config.rule, tau=tau), nn.ModuleList()
            narrow = config.width * 2**place
            for number in range(depth):
                stride = 2 if place and not number else 1
                blocks.append(ResidualBlock(inputs, narrow, stride, config, rule, bottleneck))
                inputs = narrow * 4 if bottleneck else narrow
            self.stages.append(blocks)
            self.heads.append(
                StageVote(inputs, config.tm_hidden, config.clauses, config.num_classes, rule, config.part)
            )
        self.final = StageVote(inputs, config.tm_hidden, config.clauses, config.num_classes, config.rule, config.part)

    def forward(self, pixels: Tensor, collect_diagnostics: bool = False) -> Any:
        """Logits (B, K), and a `Diagnostics` (stage votes, clause means) if it is asked for."""
        self.advance_tau()
        notes = Diagnostics()
        x = self.stem(self.input_norm(self.normalized(pixels)))
        votes = []
        for place, (blocks, head) in enumerate(zip(self.stages, self.heads), start=1):
            for number, block in enumerate(blocks, start=1):  # type: ignore[arg-type, var-annotated]
                x, strength = block(x)
                if collect_diagnostics:
                    notes.clause_mean[f"stage{place}_block{number}"] = strength.detach().flatten(0, -2).mean(0)
            logits_of_stage, strength = head(x.mean((2, 3)))
            votes.append(logits_of_stage)
            notes.logits[f"stage{place}_out"] = logits_of_stage
            notes.clause_mean[f"stage{place}_out"] = strength.detach().mean(0)
        final, strength = self.final(x.mean((2, 3)))
        notes.clause_mean["final"] = strength.detach().mean(0)
        logits = final + torch.stack(votes).mean(0)
        notes.logits["final_decision"] = logits
        return (logits, notes) if collect_diagnostics else logits
