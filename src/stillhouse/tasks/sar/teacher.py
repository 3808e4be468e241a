"""A trained focusing network as a teacher: called with a batch, it gives focused and hidden lines in the units of these data.

Shapes: B lines, L azimuth samples, C input channels, H width of a hidden layer.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stillhouse.cache.array_file import sha256_of_arrays
from stillhouse.cache.content import Content
from stillhouse.cache.queries import Part, TeacherQueries
from stillhouse.cache.stored import StoredTeacher
from stillhouse.core.types import Batch, Outputs, OutputSpec
from stillhouse.layers.hooks import FeatureExtractor
from stillhouse.tasks.sar.data.sequences import SarData, SarScale, SarSplit
from stillhouse.tasks.sar.score import Complex, focus
from stillhouse.teachers.cached import MOST_BYTES, CachedTeacher
from stillhouse.teachers.identity import weights_sha256
from stillhouse.teachers.stage_teacher import StageTeacher
from stillhouse.teachers.teacher import Teacher

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
        row_bytes: what its outputs for one line take in memory.
        name: as reports show it.
    """

    module: Any
    input_factor: float = 1.0
    output_factor: float = 1.0
    frozen: bool = True
    features: tuple[str, ...] = ()
    spec: OutputSpec = field(default_factory=lambda: OutputSpec(0))
    row_bytes: int = 0
    name: str = "teacher"

    def __post_init__(self) -> None:
        self.module.eval()
        for parameter in self.module.parameters():
            parameter.requires_grad_(not self.frozen)

    def identity(self) -> str:
        """SHA-256 of its weights, and the units that it takes and gives."""
        return f"{weights_sha256(self.module)}:{self.input_factor:.9g}:{self.output_factor:.9g}"

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Outputs:
        """Focused lines (B, L, 1) and hidden lines (B, L, H) by path; no gradient."""
        return self.focus(batch.inputs)

    def focus(self, inputs: Tensor) -> Outputs:
        """The same, with a gradient to the weights of a teacher that learns."""
        if next(self.module.parameters()).device != inputs.device:
            self.module.to(inputs.device)
        outputs = extractor(self.module, self.scaled(inputs), self.features)
        return Outputs(outputs.logits * self.output_factor, outputs.features)

    def scaled(self, inputs: Tensor) -> Tensor:
        """Lines in its own units; the position code is not in units of power."""
        if self.input_factor == 1.0:
            return inputs
        signal = self.module.config.signal_channels
        return torch.cat([inputs[..., :signal] * self.input_factor, inputs[..., signal:]], -1)

    def with_features(self, features: tuple[str, ...], example: Tensor) -> LineTeacher:
        """The same network, asked for these hidden lines too.

        Raises:
            InputError: a path that it does not have, with the near one.
        """
        features = tuple(dict.fromkeys(features))
        outputs = replace(self, features=features)(Batch(example, example, torch.arange(len(example))))
        spec = OutputSpec(0, {name: tuple(x.shape[1:]) for name, x in outputs.features.items()})
        tensors = (outputs.logits, *outputs.features.values())
        size = sum(x[0].numel() * x.element_size() for x in tensors)
        return replace(self, features=features, spec=spec, row_bytes=size)

    def copied(self) -> LineTeacher:
        """One with weights of its own."""
        return replace(self, module=copy.deepcopy(self.module))


class StoredLines(StoredTeacher):
    """The cache of a focusing network in its place: focused and hidden lines of the splits that it was asked about.

    Args:
        folder: of a finished cache.
        features: hidden lines that are wanted; None: all that it holds.
        live: the network itself, where it is here.
    """

    frozen = True

    def with_features(self, features: tuple[str, ...], example: Tensor) -> StoredLines:
        """The same cache, read for these hidden lines too.

        Raises:
            InputError: lines that it does not hold.
        """
        return StoredLines(self.folder, features=tuple(dict.fromkeys(features)), live=self.live)


def teacher_queries_of(teacher: LineTeacher, data: SarData, config: Any, features: tuple[str, ...]) -> TeacherQueries:
    """All lines of all splits as rows that a focusing network is asked about.

    Args:
        teacher: the network.
        data: lines; `config` is how they were made.
        config: plain data, kept beside.
        features: hidden lines that are wanted.
    """
    signal_set = teacher.with_features(features, data.train.inputs[:2])
    parts = {
        name: Part(len(split), partial(batch_of, split, device=torch.device("cpu")), whole=name != "train")
        for name, split in data.splits.items()
    }
    targets = (torch.view_as_real(split.targets).numpy() for split in data.splits.values())
    return TeacherQueries(
        signal_set,
        teacher.name,
        parts,
        0,
        teacher.identity(),
        f"units of power: {teacher.input_factor:.9g} in, {teacher.output_factor:.9g} out",
        data.sha256,
        sha256_of_arrays(targets),
        batch=PIECE,
        params=sum(p.numel() for p in teacher.module.parameters()),
        about={"data": data.name, "sizes": dict(data.sizes), "data_config": config},
        content=Content(features=signal_set.features),
    )


def extractor(module: nn.Module, inputs: Tensor, features: tuple[str, ...]) -> Outputs:
    """Output (B, L, 1) and hidden lines; taps are put on and off, so that an average of a model can be run too."""
    if not features:
        return Outputs(module(inputs))
    taps = FeatureExtractor(module, features)
    try:
        return taps(inputs)
    finally:
        taps.close()


@torch.no_grad()
def line_spec(module: nn.Module, features: tuple[str, ...], example: Tensor) -> OutputSpec:
    """Shapes of a network's hidden lines, without the batch axis."""
    training = module.training
    module.eval()
    try:
        outputs = extractor(module, example, features)
    finally:
        module.train(training)
    return OutputSpec(0, {name: tuple(x.shape[1:]) for name, x in outputs.features.items()})


def in_units(
    module: Any, scale: SarScale | None, data: SarData, *, frozen: bool = True, name: str = "teacher"
) -> LineTeacher:
    """A network that learned at one scale (None: that of these data), for lines of these data."""
    if scale is None:
        return LineTeacher(module, frozen=frozen, name=name)
    return LineTeacher(
        module,
        input_factor=data.scale.input_rms / scale.input_rms,
        output_factor=scale.target_rms / data.scale.target_rms,
        frozen=frozen,
        name=name,
    )


def focused(network: LineTeacher | StoredLines, inputs: Tensor) -> Complex:
    """(N, L) focused lines of lines (N, L, C) in the units of the data; a cache has those of whole splits, in their order."""
    if isinstance(network, StoredLines):
        rows = torch.arange(len(inputs)).split(PIECE)
        parts = [network(Batch(inputs[some], inputs[some], some)).logits[..., 0] for some in rows]
        return np.asarray(torch.cat(parts).numpy(), np.complex64)
    return np.asarray(focus(network.module, network.scaled(inputs)) * network.output_factor, np.complex64)


def stage_teacher_of(teacher: LineTeacher | StoredLines, data: SarData, device: torch.device) -> StageTeacher:
    """A teacher as training asks it: a frozen one from its cache, where its lines fit in memory.

    `facts` are its outputs on the validation lines, asked in the same way.
    """
    if isinstance(teacher, StoredLines):
        return StageTeacher(teacher, teacher.spec, teacher, teacher)
    if not teacher.frozen:
        return StageTeacher(teacher, teacher.spec)
    train, validation = (_cached(teacher, split, device) for split in (data.train, data.validation))
    return StageTeacher(teacher, teacher.spec, train, validation)


def batch_of(split: SarSplit, rows: Tensor, device: torch.device) -> Batch:
    """Lines of a split with their focus in the place of labels."""
    inputs, targets = split.batch(rows)
    return Batch(inputs.to(device), targets.to(device), rows)


def _cached(teacher: LineTeacher, split: SarSplit, device: torch.device) -> CachedTeacher | None:
    if len(split) * teacher.row_bytes > MOST_BYTES:
        return None
    pieces = torch.arange(len(split)).split(PIECE)
    return CachedTeacher(teacher, (batch_of(split, rows, device) for rows in pieces), len(split))
