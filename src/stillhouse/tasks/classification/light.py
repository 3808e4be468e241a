"""Reports of students with classes and their packed forms in use, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillhouse.classification.light import ClassesLight

if TYPE_CHECKING:
    from stillhouse.core.folder import RunFolder
    from stillhouse.core.predict import Predictor
    from stillhouse.report.blocks import Block

MACHINES = ("flat-tm", "deep-tm")  # students that are clauses from the pixels to the class
NETWORKS = ("timm", "spiking", "text-transformer", "spiking-text")  # students without clauses


class Light(ClassesLight):
    """Labelled rows into classes, by students of any kind."""

    kind = "classification"
    title = "classes of images and texts"

    def blocks(self, run: RunFolder) -> Sequence[Block]:
        """Also the rules and the clauses that vote most, with pictures."""
        from stillhouse.tasks.classification.rules_report import clause_blocks, rule_blocks

        return [*super().blocks(run), *rule_blocks(run.path), *clause_blocks(run.path)]

    def forms(self, card: Mapping[str, Any]) -> Sequence[str]:
        """Rules only of students with clauses, and machines of those that are clauses from the pixels to the class."""
        student = card.get("student")
        kind = student.get("kind") if isinstance(student, Mapping) else None
        machines = ("packed", "c", "json", "numpy") if kind in MACHINES else ()
        return (*machines, *(() if kind in NETWORKS else ("rules",)), "onnx", "torch")

    def load_exported(self, place: Path) -> Predictor | None:
        """A machine of clauses as `export --to packed`, `json` or `numpy` wrote it, or an ONNX file."""
        from stillhouse.tasks.classification.machine_use import open_machine

        return open_machine(place) or super().load_exported(place)


LIGHT = Light()
