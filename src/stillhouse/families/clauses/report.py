"""The clauses that vote most for each class, with pictures: what a run of clause students adds to the report. No torch.

Axes: M clause pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from stillhouse.core import records
from stillhouse.core.checks import InputError
from stillhouse.families.clauses.pictures import picture_addresses
from stillhouse.families.clauses.rule_words import decides
from stillhouse.families.clauses.rules_file import RULES, read_rules
from stillhouse.report.blocks import Block, Cell, Facts, Figure, Table
from stillhouse.report.read import Array, attempt
from stillhouse.report.words import percent

OPEN_CLASSES = 10
LEAST = 0.0005  # share of the votes below which a clause is not shown: it would read 0.0 %
TITLE = "The clauses that vote most"
LITTLE = (
    "All clauses together decide nothing of note here (see what the clauses decide): these votes explain no answer."
)
CAPTION = (
    "A clause is a conjunction of literals (this and not that) that looks at one patch and votes for or against classes. Its "
    "share: what it adds to the score of the class (activation times gradient), of all that clauses add to it. Orange: votes "
    "for the class, blue: against it, gray: none; every clause has its own scale."
)


@dataclass(frozen=True)
class Clause:
    """A clause that votes for a class, with pictures: pairs of an image (H, W) in [0, 1] and its vote map (H, W)."""

    block: int
    number: int
    share: float
    positive: int
    negated: int
    pictures: list[tuple[Array, Array]]


def clause_blocks(folder: Path) -> list[Block]:
    """Pictures of the clauses of each class; of many classes the later ones are folded."""
    faults: list[str] = []
    found = attempt(folder / records.CLAUSES, _read_clauses, faults) or []
    rules = attempt(folder / RULES, read_rules, [])
    caption = CAPTION if rules is None or decides(rules.index) else f"{LITTLE} {CAPTION}"
    blocks: list[Block] = [Facts("Left out", [("clauses", line) for line in faults])] if faults else []
    drawings = [
        (_pictures(clause, name), _caption(clause, name)) for name, own in found[:OPEN_CLASSES] for clause in own
    ]
    if drawings:
        blocks.append(Figure(TITLE, drawings, caption))
    later = found[OPEN_CLASSES:]
    if later:
        rows: list[list[str | Cell]] = [
            [name, _pictures(clause, name), _caption(clause, name)] for name, own in later for clause in own
        ]
        blocks.append(Table(f"{TITLE}: {len(later)} more classes", ["class", "clause", ""], rows, folded=True))
    return blocks


def _pictures(clause: Clause, name: str) -> Markup:
    text = f"of class {name}, with the votes of clause {clause.number} of block {clause.block + 1} laid over it"
    images = [
        f'<img src="{address}" alt="Image {number} {escape(text)}">'
        for number, address in enumerate(picture_addresses(clause.pictures), 1)
    ]
    return Markup(f'<div class="pictures">{"".join(images)}</div>')


def _caption(clause: Clause, name: str) -> str:
    literals = f"{clause.positive + clause.negated} literals ({clause.positive} positive, {clause.negated} negated)"
    share = percent(clause.share, 0 if clause.share >= 0.0095 else 1)
    return f"{name}: block {clause.block + 1}, clause {clause.number}: {literals}, {share} of the votes"


def _read_clauses(path: Path) -> list[tuple[str, list[Clause]]]:
    arrays = records.read_arrays(path.with_name(records.CLAUSE_IMAGES), ["images", "maps"])
    images, maps = arrays["images"], arrays["maps"]
    if images.ndim != 4 or maps.shape != (len(images), *images.shape[2:]):
        raise InputError(f"maps: expected shape (M, H, W) of images {images.shape}, got {maps.shape}")
    gray, maps = images.mean(axis=1) / 255.0, np.nan_to_num(maps)
    return [
        (str(entry["class"]), [_clause(clause, gray, maps) for clause in entry["clauses"] if clause["share"] >= LEAST])
        for entry in records.read_json(path)["classes"]
    ]


def _clause(entry: Mapping[str, Any], gray: Array, maps: Array) -> Clause:
    return Clause(
        block=int(entry["block"]),
        number=int(entry["clause"]),
        share=float(entry["share"]),
        positive=int(entry["positive_literals"]),
        negated=int(entry["negated_literals"]),
        pictures=[(gray[row], maps[row]) for row in entry["images"]],
    )
