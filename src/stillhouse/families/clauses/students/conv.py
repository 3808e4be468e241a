"""Clauses over patches: a convolution whose kernels are clauses, and a network of them.

Shapes: B batch, I input channels, H W positions, J clauses, O outputs, R side of a patch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.families.clauses.students.base import ClauseModel
from stillhouse.families.clauses.students.binarize import Binarizer
from stillhouse.families.clauses.students.core import TMLayer, Voted, make_core
from stillhouse.families.clauses.students.diagnostics import Diagnostics
from stillhouse.families.clauses.students.model_configs import ConvTMConfig
from stillhouse.families.clauses.students.options import ClauseOptions
from stillhouse.layers.convolution import convolution
from stillhouse.layers.straight_through import hard_step, revivable_relu


class ConvClauses(nn.Module):
    """One shared clause layer on every patch of a map of bits: (B, I, H, W) to votes (B, O, H', W').

    All clauses of all patches are one convolution, with kernel m - n. Beyond the border nothing is known, so literals there
    are satisfied: padding neither misses nor matches.

    Args:
        channels: I.
        outputs: O.
        clauses: J, even.
        side: R; the map keeps its size at stride 1.
        stride: step between patches.
        options: the rule of the clauses.
        dropout: on whole channels of the votes.

    Source: Granmo et al. 2019, arXiv:1905.09688 (convolutional Tsetlin machine).
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        clauses: int,
        side: int,
        stride: int,
        options: ClauseOptions,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if clauses < 2 or clauses % 2:
            raise InputError(f"clauses: expected an even number of at least 2, got {clauses}")
        self.channels, self.side, self.stride = channels, side, stride
        self.layer = TMLayer(channels * side * side, clauses, outputs, options)
        self.drop = nn.Dropout2d(dropout)

    def strengths(self, bits: Tensor) -> Tensor:
        """(B, J, H', W') strength of every clause at every patch of bits (B, I, H, W)."""
        bank = self.layer.bank
        positive, negated = (mask.reshape(-1, self.channels, self.side, self.side) for mask in bank.masks())
        step, around = self.stride, self.side // 2
        if self.side == 1:  # see `layers.convolution`
            bits, step = bits[:, :, ::step, ::step], 1
        inside = torch.ones(1, 1, *bits.shape[2:], dtype=bits.dtype, device=bits.device)
        # a positive literal misses where the map is known and the bit is 0; a negated one where the bit is 1
        wanted = nn.functional.conv2d(inside, positive.sum(1, keepdim=True), None, step, around)
        hits = nn.functional.conv2d(bits, positive - negated, None, step, around)
        misses = wanted - hits
        if bank.operator == "product":
            return torch.exp(-misses.clamp(min=0) * (4 / bank.failures))
        capacity = bank.capacity(positive.flatten(1), negated.flatten(1))[:, None, None]
        return revivable_relu(capacity - misses, bank.leak) / bank.failures

    def forward(self, numbers: Tensor) -> Voted:
        """Numbers (B, I, H, W), of which the positive ones are bits 1, to votes (B, O, H', W') and strengths."""
        strength = self.strengths(hard_step(numbers))
        votes = self.layer.tally(self.layer.drop(strength).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return Voted(self.drop(votes), strength)


class OrdinaryConv(nn.Module):
    """The control of `ConvClauses`: a convolution to as many channels as clauses, GELU, 1 x 1; or one convolution."""

    def __init__(self, channels: int, outputs: int, hidden: int, side: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.inner = convolution(channels, hidden or outputs, side, stride)
        self.outer = nn.Conv2d(hidden, outputs, 1) if hidden else None
        self.drop = nn.Dropout2d(dropout)

    def forward(self, numbers: Tensor) -> Voted:
        """(B, I, H, W) to (B, O, H', W')."""
        strength = self.inner(numbers)
        votes = strength if self.outer is None else self.outer(nn.functional.gelu(strength))
        return Voted(self.drop(votes), strength)


class ConvBlock(nn.Module):
    """`BatchNorm(clauses(1[x > 0]) + P x)`, an optional residual mixing, average pooling.

    As in `DeepTM` the residual runs through the numbers before the threshold.
    """

    def __init__(self, inputs: int, place: int, config: ConvTMConfig) -> None:
        super().__init__()
        outputs, clauses = config.channels[place], config.clauses[place]
        side, stride = config.kernels[place], config.strides[place]
        self.clauses: ConvClauses | OrdinaryConv
        if config.part == "clauses":
            self.clauses = ConvClauses(inputs, outputs, clauses, side, stride, config.rule, config.dropout)
        else:
            hidden = clauses if config.part == "mlp" else 0
            self.clauses = OrdinaryConv(inputs, outputs, hidden, side, stride, config.dropout)
        self.path = convolution(inputs, outputs, 1, stride, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        mixes: list[nn.Module] = []
        if "depthwise" in config.mix:
            mixes.append(nn.Conv2d(outputs, outputs, 3, padding=1, groups=outputs))
        if "linear" in config.mix:
            mixes.append(nn.Conv2d(outputs, outputs, 1))
        self.mix = nn.Sequential(*mixes) if mixes else None
        self.pool = nn.AvgPool2d(config.pools[place])

    def forward(self, x: Tensor) -> Voted:
        """(B, I, H, W) numbers to the next map of numbers, and the clause strengths (B, J, H', W')."""
        votes, strength = self.clauses(x)
        path = self.path(x)[:, :, : votes.shape[2], : votes.shape[3]]
        x = self.norm(votes[:, :, : path.shape[2], : path.shape[3]] + path)
        if self.mix is not None:
            x = x + self.mix(x)
        return Voted(self.pool(x), strength)


class ConvTM(ClauseModel):
    """Blocks of convolutional clauses, pooled, and a clause layer that votes.

    Example:
        >>> model = ConvTM(image_size=8, in_channels=1, channels=(4, 8), kernels=(3, 3), strides=(1, 1), pools=(2, 2),
        ...                clauses=(8, 8), head_clauses=8, num_classes=3)
        >>> tuple(model(torch.rand(2, 1, 8, 8)).shape)
        (2, 3)
    """

    config_class = ConvTMConfig

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        config: ConvTMConfig = self.config
        inputs, self.stem = config.in_channels, nn.Sequential()
        if config.stem_channels:
            for _ in range(2):
                layer = nn.Conv2d(inputs, config.stem_channels, 3, padding=1, bias=False)
                self.stem.extend([layer, nn.BatchNorm2d(config.stem_channels), nn.GELU()])
                inputs = config.stem_channels
        self.thresholds = Binarizer(inputs)
        self.blocks = nn.ModuleList()
        for place, outputs in enumerate(config.channels):
            self.blocks.append(ConvBlock(inputs, place, config))
            inputs = outputs
        self.center = Binarizer(inputs)
        self.head = make_core(config.part, inputs, config.head_clauses, config.num_classes, config.rule)

    def forward(self, pixels: Tensor, collect_diagnostics: bool = False) -> Any:
        """Logits (B, K), and a `Diagnostics` if it is asked for."""
        self.advance_tau()
        notes = Diagnostics()
        x = self.thresholds(self.stem(self.normalized(pixels)))
        for number, block in enumerate(self.blocks, start=1):
            x, strength = block(x)
            if collect_diagnostics:
                notes.clause_mean[f"block_{number}"] = strength.detach().mean((0, 2, 3))
        logits, strength = self.head(self.center(x.mean((2, 3))))
        notes.logits["final_decision"] = logits
        notes.clause_mean["head_tm"] = strength.detach().mean(0)
        return (logits, notes) if collect_diagnostics else logits
