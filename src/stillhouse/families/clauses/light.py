"""Reports of clause students and their packed forms in use, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stillhouse.classification.light import ClassesLight

if TYPE_CHECKING:
    from stillhouse.core.folder import RunFolder
    from stillhouse.core.predict import Predictor
    from stillhouse.report.blocks import Block


class ClausesLight(ClassesLight):
    """Networks that vote with fuzzy logic clauses."""

    kind = "clauses"
    title = "classes by clauses"

    def blocks(self, run: RunFolder) -> Sequence[Block]:
        """Also the rules and the clauses that vote most, with pictures, and what clauses cost as logic."""
        from stillhouse.families.clauses.cost_report import cost_blocks
        from stillhouse.families.clauses.report import clause_blocks
        from stillhouse.families.clauses.rules_report import rule_blocks

        return [*super().blocks(run), *rule_blocks(run.path), *clause_blocks(run.path), *cost_blocks(run.path)]

    def opened(self, place: Path) -> Predictor | None:
        """A machine of clauses as `export --to packed`, `json` or `numpy` wrote it."""
        from stillhouse.families.clauses.machine_use import open_machine

        return open_machine(place)


LIGHT = ClausesLight()
