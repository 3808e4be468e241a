"""What a teacher puts out for a whole split, asked once: with fixed images there is no reason to ask again each epoch."""

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
    """A teacher's logits (N, K) and features by row, served by `batch.index`; equal to asking it, as long as inputs are fixed.

    Args:
        teacher: who is asked.
        batches: all rows of the split, in any order.
        rows: N.

    Raises:
        InputError: rows are missing or NaN, or the features would not fit (see `fits`).
    """

    def __init__(self, teacher: Teacher, batches: Iterable[Batch], rows: int) -> None:
        from rich.progress import Progress

        if not self.fits(teacher.spec, rows):
            raise InputError(
                f"teacher {teacher.name}: features of {rows} rows need more than {MOST_BYTES:,} bytes; ask the teacher itself"
            )
        self.spec: OutputSpec = teacher.spec
        self.name: str = teacher.name
        self._params, self._identity = teacher.params, teacher.identity()
        self.logits: Tensor = torch.full((rows, teacher.spec.num_classes), float("nan"))
        self.features: dict[str, Tensor] = {}
        with Progress(transient=True) as bars:
            bar = bars.add_task("asking the teacher", total=rows)
            for batch in batches:
                out, index = teacher(batch), batch.index.cpu()
                self.logits[index] = out.logits.float().cpu()
                for name, x in out.features.items():
                    kept = self.features.setdefault(name, torch.empty(rows, *x.shape[1:], dtype=x.dtype))
                    kept[index] = x.cpu()
                bars.update(bar, advance=len(index))
        if torch.isnan(self.logits).any():
            raise InputError(
                f"teacher {teacher.name}: no answer (or NaN) for {int(torch.isnan(self.logits).any(1).sum())} of {rows} rows"
            )

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
        """What is kept of the batch's rows."""
        index, device = batch.index.cpu(), batch.inputs.device
        features = {name: x[index].to(device) for name, x in self.features.items()}
        return Outputs(self.logits[index].to(device), features)
