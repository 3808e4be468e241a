"""Rules on a page: drawn literals, example patches, and how much accuracy the rules alone keep. No torch.

Shapes: C channels, H W pixels, R rules.
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
from stillhouse.report import figures
from stillhouse.report.blocks import Block, Cell, Facts, Figure, Table
from stillhouse.report.read import Array, attempt
from stillhouse.report.words import percent, plain
from stillhouse.tasks.classification.rules_file import (
    RULES,
    SavedRules,
    decided,
    decides,
    heading,
    judged,
    left_out_words,
    read_rules,
)

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
        (_clause_pictures(clause, name), _clause_caption(clause, name))
        for name, own in found[:OPEN_CLASSES]
        for clause in own
    ]
    if drawings:
        blocks.append(Figure(TITLE, drawings, caption))
    later = found[OPEN_CLASSES:]
    if later:
        rows: list[list[str | Cell]] = [
            [name, _clause_pictures(clause, name), _clause_caption(clause, name)]
            for name, own in later
            for clause in own
        ]
        blocks.append(Table(f"{TITLE}: {len(later)} more classes", ["class", "clause", ""], rows, folded=True))
    return blocks


def _clause_pictures(clause: Clause, name: str) -> Markup:
    text = f"of class {name}, with the votes of clause {clause.number} of block {clause.block + 1} laid over it"
    images = [
        f'<img src="{address}" alt="Image {number} {escape(text)}">'
        for number, address in enumerate(picture_addresses(clause.pictures), 1)
    ]
    return Markup(f'<div class="pictures">{"".join(images)}</div>')


def _clause_caption(clause: Clause, name: str) -> str:
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


OPEN_CLASSES, OPEN_RULES, MOST_WORDS = 10, 3, 6
BRIGHT, DARK, BOTH = np.array([255.0, 176.0, 32.0]), np.array([10.0, 60.0, 190.0]), np.array([190.0, 90.0, 190.0])
LARGEST = 400  # pixels of a picture's side in the page


def rule_blocks(folder: Path) -> list[Block]:
    """The rules of a run folder; empty where it has none."""
    faults: list[str] = []
    found = attempt(folder / RULES, read_rules, faults)
    if found is None:
        return [Facts("Left out", [("rules", line) for line in faults])] if faults else []
    return [*blocks_of(found)]


def blocks_of(found: SavedRules) -> list[Block]:
    """What the rules keep alone, their pictures, and all of them in words."""
    index = found.index
    rules = list(enumerate(index["rules"]))
    names = [str(name) for name in index["class_names"]]
    by_class = {name: [entry for entry in rules if entry[1]["class_name"] == name] for name in names}
    shown = [name for name in names if by_class[name]][:OPEN_CLASSES]
    drawings = [
        (_pictures(found, number, rule, names.index(name)), _caption(rule))
        for name in shown
        for number, rule in sorted(by_class[name], key=lambda entry: not entry[1]["literals"])[:OPEN_RULES]
        if decides(index)
    ]
    blocks: list[Block] = [Facts("What the clauses decide", _decided(index)), _growth(index)]
    if drawings:
        blocks.append(Figure(heading(index), drawings, _legend(found)))
    rows: list[list[str | Cell]] = [
        [
            str(rule["class_name"]),
            f"{rule['place']}, {rule['clause']}",
            f"{rule['adds']:+.3g}",
            f"{percent(rule['holds'], 0)} / {percent(rule['elsewhere'], 0)}",
            f"{len(rule['literals'])} of {rule['count']}",
            str(rule["allowed"]),
            Cell(_words(rule)),
        ]
        for _, rule in rules
    ]
    head = ["class", "clause", "adds", "fulfilled: own / others", "literals kept", "may fail", "asks for"]
    if rows:
        title = (
            f"All {len(rows)} rules in words" if decides(index) else f"{len(rows)} clauses in words that decide little"
        )
        blocks.append(Table(title, head, rows, folded=True))
    return blocks


def _decided(index: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Accuracy with all, with none and with the rules, in a sentence; why rules are not drawn, how many clauses are left out."""
    left = index.get("left_out")  # files of earlier versions have none
    return [
        ("Clauses", decided(index)),
        *([] if decides(index) and index["rules"] else [("Rules", f"None is drawn. {heading(index)}.")]),
        *([] if left is None else [("Left out", left_out_words(int(left)) + ".")]),
    ]


def _growth(index: Mapping[str, Any]) -> Figure:
    """How much accuracy so many rules a class keep, without any other clause."""
    points = [(int(count), float(value)) for count, value in index["growth"]]
    svg = figures.ablation_curve(
        points,
        float(index["full"]),
        "; ".join(f"{count} rules a class: {percent(value)}" for count, value in points)
        + f"; all clauses: {percent(index['full'])}.",
        x="clauses a class",
        y="accuracy (%)",
    )
    count, kept = len(index["rules"]), sum(len(rule["literals"]) for rule in index["rules"])
    before = sum(int(rule["count"]) for rule in index["rules"])
    caption = (
        f"Share of right answers on {judged(index)} when only the clauses that add most to a class speak "
        f"and every other clause always puts out its mean. 0: no clause at all, what the rest of the network knows. Dashed: "
        f"the whole network, {percent(index['full'])}."
    )
    exactly = (
        "every literal was tried"
        if index.get("exact")
        else "literals were tried in groups, and what was not decided is kept"
    )
    below = (
        f"The {plain(count)} rules below alone, cut as they are: {percent(index['shown'])}. Of their {plain(before, 7)} literals "
        f"{plain(kept, 7)} are kept: without the others, all at once, the whole network gives the same answers on "
        f"{plain(index['cut_on'], 7)} validation images ({exactly})."
    )
    return Figure("What the rules alone keep", [(svg, caption)], below)


def _pictures(found: SavedRules, number: int, rule: Mapping[str, Any], k: int) -> Markup:
    """A rule over the mean of its class, and where it speaks most."""
    shown: list[tuple[Array, str]] = []
    mean, about = found.arrays.get(f"mean_{k}"), f"of class {rule['class_name']}"
    wanted, unwanted = (found.arrays.get(f"{name}_{number}") for name in ("wanted", "unwanted"))
    if wanted is not None and unwanted is not None:
        under = None if mean is None or mean.shape[1:] != wanted.shape else mean
        shown.append((rule_picture(wanted, unwanted, under), f"literals of clause {rule['clause']} {about}"))
    if mean is not None and wanted is not None and mean.shape[1:] == wanted.shape:
        shown.append((_colors(mean), f"mean {about}"))
    for place, example in enumerate(found.arrays.get(f"examples_{number}", [])[:6], 1):
        shown.append((_colors(example), f"example {place} {about}: where clause {rule['clause']} adds most"))
    images = [f'<img src="{data_address(_enlarged(x))}" alt="{escape(text)}">' for x, text in shown]
    return Markup(f'<div class="pictures rule">{"".join(images)}</div>')


def rule_picture(wanted: Array, unwanted: Array, mean: Array | None) -> Array:
    """(H, W, 3) uint8: wanted places bright, unwanted dark blue, both purple, over a pale gray mean image.

    Args:
        wanted: (H, W) uint8, how bright a pixel must be; 0 is ignored.
        unwanted: (H, W) uint8, how dark.
        mean: (C, H, W) uint8 of the class; None for plain gray.

    Example:
        >>> rule_picture(np.array([[255, 0, 0]], np.uint8), np.array([[0, 255, 0]], np.uint8), None).tolist()
        [[[255, 176, 32], [10, 60, 190], [120, 120, 120]]]
    """
    gray = np.full(wanted.shape, 120.0) if mean is None else 60 + 0.55 * mean.astype(np.float64).mean(0)
    picture = np.repeat(gray[..., None], 3, axis=2)
    for color, asked in ((BRIGHT, wanted), (DARK, unwanted), (BOTH, np.minimum(wanted, unwanted))):
        share = np.where(asked > 0, 0.35 + 0.65 * asked / 255.0, 0.0)[..., None]
        picture = (1 - share) * picture + share * color
    return np.asarray(picture.round().astype(np.uint8))


def _colors(image: Array) -> Array:
    """(H, W, 3) of (C, H, W): three channels as they are, else their mean in gray."""
    if image.shape[0] == 3:
        return np.asarray(image.transpose(1, 2, 0))
    return np.asarray(np.repeat(image.mean(0).round().astype(np.uint8)[..., None], 3, axis=2))


def _enlarged(picture: Array) -> Array:
    """Small pictures as they are (the page enlarges them); those of photos made smaller by whole steps."""
    step = max(1, max(picture.shape[:2]) // LARGEST)
    return picture[::step, ::step]


def _caption(rule: Mapping[str, Any]) -> str:
    kept = len(rule["literals"])
    where = f"{str(rule['place']).replace('_', ' ')}, clause {rule['clause']}"
    head = f"{rule['class_name']}: {where}: adds {rule['adds']:+.3g}"
    if not kept:
        return f"{head}; no answer needs any of its {rule['count']} literals"
    fail = f", {rule['allowed']} may fail" if rule["allowed"] else ", all must hold"
    return (
        f"{head}; {kept} of {rule['count']} literals kept{fail}; fulfilled to {percent(rule['holds'], 0)} on "
        f"{rule['class_name']}, {percent(rule['elsewhere'], 0)} on others{_looser(rule)}"
    )


def _looser(rule: Mapping[str, Any]) -> str:
    """How many images fulfil a rule as it is cut, and how many the whole clause; files of earlier versions do not say."""
    if "speaks" not in rule or len(rule["literals"]) == rule["count"]:
        return ""
    (own, others), (now, besides), (was, before) = rule["images"], rule["speaks"], rule["spoke"]
    if (now, besides) == (
        own,
        others,
    ):  # asked at many places, it speaks somewhere in every image: the degree says how often
        return ""
    words = (
        f". Images that fulfil it: {now} of {own} of {rule['class_name']} and {besides} of {others} others; the whole clause: "
        f"{was} and {before}"
    )
    if besides > before:
        words += ". Cut like this it lets in more of the others than the clause did"
    return words


def _legend(found: SavedRules) -> str:
    """What the pictures of this run show."""
    drawn = any(name.startswith("wanted_") for name in found.arrays)
    patches = any(name.startswith("examples_") for name in found.arrays)
    words = [
        "Three clauses a class that add to its score and are fulfilled most on its own validation images against on others."
    ]
    if drawn:
        words.append(
            "Orange: must be bright; blue: must be dark; purple: both (between two levels); gray: ignored, with the mean image of "
            "the class under it. A stronger colour asks for a higher or a lower level."
        )
    words.append(
        "A rule is cut to the literals that change an answer of the whole network; a clause that would then hold on all classes "
        "alike stays whole. A cut rule may be fulfilled by more images than the whole clause, of other classes too: how many "
        "stands beside it."
    )
    if patches:
        words.append(
            "Images: where the clause adds most; of a clause that is asked at patches the patch itself bright and what is around "
            "it darker."
        )
    return " ".join(words)


def _words(rule: Mapping[str, Any]) -> str:
    words: Sequence[str] = [str(word) for word in rule["words"]]
    if not words:
        return f"{len(rule['literals'])} bits inside the network"
    more = f" and {len(words) - MOST_WORDS} more" if len(words) > MOST_WORDS else ""
    return ", ".join(words[:MOST_WORDS]) + more
