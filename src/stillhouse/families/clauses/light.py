"""Reports of clause students and their packed forms in use, without torch."""

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


class ClausesLight(ClassesLight):
    """Networks that vote with fuzzy logic clauses."""

    kind = "clauses"
    title = "classes by clauses"

    def blocks(self, run: RunFolder) -> Sequence[Block]:
        """Also the rules and the clauses that vote most, with pictures."""
        from stillhouse.families.clauses.report import clause_blocks
        from stillhouse.families.clauses.rules_report import rule_blocks

        return [*super().blocks(run), *rule_blocks(run.path), *clause_blocks(run.path)]

    def forms(self, card: Mapping[str, Any]) -> Sequence[str]:
        """Machines only of students that are clauses from the pixels to the class."""
        student = card.get("student")
        whole = isinstance(student, Mapping) and student.get("kind") in MACHINES
        return (
            *(("packed", "c", "json", "numpy") if whole else ()),
            "rules",
            "onnx",
            "torch",
        )

    def opened(self, place: Path) -> Predictor | None:
        """A machine of clauses as `export --to packed`, `json` or `numpy` wrote it."""
        from stillhouse.families.clauses.machine_use import open_machine

        return open_machine(place)


LIGHT = ClausesLight()
