"""What a teacher says of a whole split, asked once: with fixed images there is no reason to ask again each epoch."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from stillhouse.checks import InputError
from stillhouse.teachers.teacher import Teacher
from stillhouse.types import Batch, Outputs


class CachedTeacher:
    """A teacher's logits (N, K) by row, served by `batch.index`; equal to asking the teacher, as long as images are fixed.

    Args:
        teacher: without features.
        batches: all rows of the split, in any order.
        rows: N.

    Raises:
        InputError: features were asked for (they are not kept), or rows are missing.
    """

    def __init__(self, teacher: Teacher, batches: Iterable[Batch], rows: int) -> None:
        from rich.progress import Progress

        if teacher.spec.features:
            raise InputError(f"features ({', '.join(teacher.spec.features)}) are not cached; ask the teacher itself")
        self.spec, self.name = teacher.spec, teacher.name
        self.logits: Tensor = torch.full((rows, teacher.spec.num_classes), float("nan"))
        with Progress(transient=True) as bars:
            bar = bars.add_task("asking the teacher", total=rows)
            for batch in batches:
                self.logits[batch.index.cpu()] = teacher(batch).logits.float().cpu()
                bars.update(bar, advance=len(batch.index))
        if torch.isnan(self.logits).any():
            raise InputError(
                f"teacher {teacher.name}: no answer (or NaN) for {int(torch.isnan(self.logits).any(1).sum())} of {rows} rows"
            )

    def __call__(self, batch: Batch) -> Outputs:
        """The logits of the batch's rows."""
        return Outputs(self.logits[batch.index.cpu()].to(batch.inputs.device))
