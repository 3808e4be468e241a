"""The clauses that vote most for each class, with pictures: what a run of clause students adds to the report. No torch.

Axes: M clause pictures.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from matplotlib.image import imsave

from stillhouse.core import records
from stillhouse.core.checks import InputError
from stillhouse.families.classification.rules_file import RULES, decides, read_rules
from stillhouse.report.blocks import Block, Cell, Facts, Figure, Table
from stillhouse.report.read import Array, attempt
from stillhouse.report.words import percent

FOR, AGAINST = (0xFF, 0x8C, 0x1A), (0x2E, 0x86, 0xFF)  # orange and blue: a diverging pair that all eyes can distinguish
COVER = 0.72
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


def overlay(image: Array, votes: Array, scale: float) -> Array:
    """(H, W, 3) uint8: the image in gray; where votes are, orange covers it for the class and blue against it.

    Args:
        image: (H, W) in [0, 1].
        votes: (H, W) signed.
        scale: the vote that gets the full colour.

    Example:
        >>> overlay(np.zeros((1, 2)), np.array([[0.0, 2.0]]), scale=2.0).tolist()
        [[[46, 46, 46], [196, 114, 32]]]
    """
    gray = 255 * (0.18 + 0.74 * image[..., None])
    strength = np.clip(np.abs(votes) / scale, 0, 1)[..., None] * COVER if scale > 0 else np.zeros((*votes.shape, 1))
    color = np.where(votes[..., None] >= 0, FOR, AGAINST)
    return ((1 - strength) * gray + strength * color).round().astype(np.uint8)


def picture_addresses(pictures: Sequence[tuple[Array, Array]]) -> list[str]:
    """One `data:` address a picture (image, votes); the pictures of a clause share one scale of votes."""
    scale = max((float(np.abs(votes).max()) for _, votes in pictures), default=0.0)
    return [data_address(overlay(image, votes, scale)) for image, votes in pictures]


def data_address(pixels: Array) -> str:
    """A picture (H, W, 3) uint8 as a PNG inside the page."""
    buffer = io.BytesIO()
    imsave(buffer, pixels, format="png", metadata={"Software": ""})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
