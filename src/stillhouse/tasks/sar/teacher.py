"""A trained focusing network as a teacher: called with a batch, it gives focused and hidden lines in the units of these data.

Shapes: B lines, L azimuth samples, C input channels, H width of a hidden layer.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stillhouse.core.types import Batch, Outputs, OutputSpec
from stillhouse.layers.hooks import FeatureExtractor
from stillhouse.tasks.sar.data.sequences import SarData, SarScale, SarSplit
from stillhouse.tasks.sar.students.network import focus
from stillhouse.teachers.teacher import Teacher, weights_sha256

PIECE = 32  # lines that a teacher is asked about at once


@dataclass(frozen=True, eq=False)
class LineTeacher(Teacher):
    """A network in eval mode; a plain object, so that training a student cannot flip its modes or move its weights.

    Attributes:
        module: (B, L, C) -> (B, L, 1).
        input_factor: from the units of these raw data to those that it learned from (ratio of the two RMS).
        output_factor: from its units of focused data to those of these data.
        frozen: False lets its weights learn.
        features: module paths of the hidden lines that are asked for.
        spec: their shapes; a line has no classes.
        name: as reports show it.
    """

    module: Any
    input_factor: float = 1.0
    output_factor: float = 1.0
    frozen: bool = True
    features: tuple[str, ...] = ()
    spec: OutputSpec = field(default_factory=lambda: OutputSpec(0))
    name: str = "teacher"

    def __post_init__(self) -> None:
        self.module.eval()
        for parameter in self.module.parameters():
            parameter.requires_grad_(not self.frozen)

    @property
    def params(self) -> int:
        """Of the network."""
        return sum(p.numel() for p in self.module.parameters())

    @property
    def fingerprint(self) -> str:
        """SHA-256 of its weights."""
        return weights_sha256(self.module)

    def identity(self) -> str:
        """SHA-256 of its weights, and the units that it takes and gives."""
        return f"{weights_sha256(self.module)}:{self.input_factor:.9g}:{self.output_factor:.9g}"

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Outputs:
        """Focused lines (B, L, 1) and hidden lines (B, L, H) by path; no gradient."""
        return self.focus(batch.inputs)

    def focus(self, inputs: Tensor) -> Outputs:
        """The same, with a gradient to the weights of a teacher that learns."""
        self.module.to(inputs.device)
        outputs = extractor(self.module, self.scaled(inputs), self.features)
        return Outputs(outputs.logits * self.output_factor, outputs.features)

    def scaled(self, inputs: Tensor) -> Tensor:
        """Lines in its own units; the position code is not in units of power."""
        signal = self.module.config.signal_channels
        return torch.cat([inputs[..., :signal] * self.input_factor, inputs[..., signal:]], -1)

    def with_features(self, features: tuple[str, ...], example: Tensor) -> LineTeacher:
        """The same network, asked for these hidden lines too.

        Raises:
            InputError: a path that it does not have, with the near one.
        """
        features = tuple(dict.fromkeys(features))
        return replace(self, features=features, spec=line_spec(self.module.to(example.device), features, example))


def extractor(module: nn.Module, inputs: Tensor, features: tuple[str, ...]) -> Outputs:
    """Output (B, L, 1) and hidden lines; hooks are put on and off, so that an average of a model can be run too."""
    if not features:
        return Outputs(module(inputs))
    hooks = FeatureExtractor(module, features)
    try:
        return hooks(inputs)
    finally:
        hooks.close()


@torch.no_grad()
def line_spec(module: nn.Module, features: tuple[str, ...], example: Tensor) -> OutputSpec:
    """Shapes of a network's hidden lines, without the batch axis."""
    training = module.training
    outputs = extractor(module.eval(), example, features)
    module.train(training)
    return OutputSpec(0, {name: tuple(x.shape[1:]) for name, x in outputs.features.items()})


def in_units(
    module: Any, scale: SarScale | None, data: SarData, *, frozen: bool = True, name: str = "teacher"
) -> LineTeacher:
    """A network that learned at one scale (None: that of these data), for lines of these data."""
    scale = scale or data.scale
    return LineTeacher(
        module,
        input_factor=data.scale.input_rms / scale.input_rms,
        output_factor=scale.target_rms / data.scale.target_rms,
        frozen=frozen,
        name=name,
    )


def focus_lines(network: LineTeacher, inputs: Tensor) -> NDArray[np.complex64]:
    """(N, L) focused lines of lines (N, L, C) in the units of the data."""
    return np.asarray(focus(network.module, network.scaled(inputs)) * network.output_factor, np.complex64)


def batch_of(split: SarSplit, rows: Tensor, device: torch.device) -> Batch:
    """Lines of a split with their focus in the place of labels."""
    inputs, targets = split.batch(rows)
    return Batch(inputs.to(device), targets.to(device), rows)
