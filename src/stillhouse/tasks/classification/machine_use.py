"""A machine of clauses in use: as `export --to packed`, `json` or `numpy` wrote it. No torch.

Legend: B images, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.logic.machine import PackedModel
from stillhouse.tasks.classification.numpy_machine import FILE, ClauseMachine
from stillhouse.tasks.classification.photos import PhotoClasses, softmax


class MachineClasses(PhotoClasses):
    """Images into classes by clauses.

    Args:
        place: the file or folder.
        machine: what was read there.
    """

    def __init__(self, place: Path, machine: PackedModel | ClauseMachine) -> None:
        super().__init__(place, machine.class_names, machine.image_shape)
        self.machine = machine

    def probabilities(self, rows: Sequence[Any]) -> Sequence[Sequence[float]]:
        """Of whole-numbered scores, by the scale that makes them the network's logits."""
        found: list[list[float]] = softmax(self.machine.scores(np.stack(rows)) / self.machine.scale).tolist()
        return found


def open_machine(place: Path) -> MachineClasses | None:
    """The machine of a file or folder; None where it is none.

    Raises:
        InputError: it is one, and was changed since it was written.
    """
    if (place / FILE).is_file():
        try:
            return MachineClasses(place, ClauseMachine(place))
        except ValueError as error:
            raise InputError(str(error)) from None
    if place.suffix == ".safetensors" and place.is_file():
        from stillhouse.logic.packed import load_packed

        return MachineClasses(place, load_packed(place))
    if place.suffix == ".json" and place.is_file():
        from stillhouse.logic.packed import load_json

        return MachineClasses(place, load_json(place))
    return None
