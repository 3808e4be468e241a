"""A teacher's outputs for a whole split, computed once: with fixed inputs there is no reason to ask again each epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs, OutputSpec
from stillhouse.teachers.teacher import Teacher

MOST_BYTES = 2**31


class CachedTeacher(Teacher):
    """A teacher's logits and features by row, served by `batch.index`; equal to asking it, as long as inputs are fixed.

    Logits are class scores (N, K), or whatever a task has in their place: complex lines (N, L, 1) stay complex.

    Args:
        teacher: who is asked.
        batches: all rows of the split, in any order.
        rows: N.

    Raises:
        InputError: rows are missing or NaN, or the features would not fit (see `fits`).
    """

    def __init__(self, teacher: Teacher, batches: Iterable[Batch], rows: int) -> None:
        if not self.fits(teacher.spec, rows):
            raise InputError(
                f"teacher {teacher.name}: features of {rows} rows need more than {MOST_BYTES:,} bytes; ask the teacher itself"
            )
        self.spec: OutputSpec = teacher.spec
        self.name: str = teacher.name
        self._params, self._identity = teacher.params, teacher.identity()
        self.features: dict[str, Tensor] = {}
        logits: Tensor | None = None
        for batch in batches:
            outputs, index = teacher(batch), batch.index.cpu()
            values = (outputs.logits if outputs.logits.is_complex() else outputs.logits.float()).cpu()
            if logits is None:
                logits = torch.full((rows, *values.shape[1:]), float("nan"), dtype=values.dtype)
            logits[index] = values
            for name, x in outputs.features.items():
                kept = self.features.setdefault(name, torch.empty(rows, *x.shape[1:], dtype=x.dtype))
                kept[index] = x.cpu()
        self.logits: Tensor = torch.full((rows, 1), float("nan")) if logits is None else logits
        missing = int(torch.isnan(self.logits).flatten(1).any(1).sum())
        if missing:
            raise InputError(f"teacher {teacher.name}: no answer (or NaN) for {missing} of {rows} rows")

    @property
    def params(self) -> int:
        """Those of the teacher that was asked."""
        return self._params

    def identity(self) -> str:
        """That of the teacher that was asked."""
        return self._identity

    @staticmethod
    def fits(spec: OutputSpec, rows: int) -> bool:
        """Whether the features of so many rows stay below two gibibytes of float32.

        Example:
            >>> CachedTeacher.fits(OutputSpec(10, {"layer3": (256, 7, 7)}), rows=54_000)
            False
        """
        return 4 * rows * sum(math.prod(shape) for shape in spec.features.values()) <= MOST_BYTES

    def __call__(self, batch: Batch) -> Outputs:
        """The teacher's outputs for the batch's rows."""
        index, device = batch.index.cpu(), batch.inputs.device
        features = {name: x[index].to(device) for name, x in self.features.items()}
        return Outputs(self.logits[index].to(device), features)
