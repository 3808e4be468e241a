"""Rules on a page: drawn literals, example patches, and how much accuracy the rules alone keep. No torch.

Shapes: C channels, H W pixels, R rules.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from matplotlib.image import imsave

from stillhouse.report.blocks import Block, Cell, Facts, Figure, Table
from stillhouse.report.read import Array, attempt
from stillhouse.report.words import percent
from stillhouse.tasks.classification.rules_file import (
    RULES,
    Rules,
    decided,
    decides,
    heading,
    judged,
    line_of,
    read_rules,
)

OPEN_CLASSES, OPEN_RULES, MOST_WORDS = 10, 3, 6
BRIGHT, DARK, BOTH = np.array([255.0, 176.0, 32.0]), np.array([10.0, 60.0, 190.0]), np.array([190.0, 90.0, 190.0])
LARGEST = 400  # pixels of a picture's side in the page
LEGEND = (
    "Three clauses a class that add to its score and are fulfilled most on its own validation images against on others, cut to the "
    "literals that change an answer of the whole network. Over the mean image of the class, orange: must be bright; blue: must be "
    "dark; purple: both (between two levels). A clause that is asked inside the network is shown by the images or patches at which "
    "it adds most."
)


def rule_blocks(folder: Path) -> list[Block]:
    """The rules of a run folder; empty where it has none."""
    faults: list[str] = []
    found = attempt(folder / RULES, read_rules, faults)
    if found is None:
        return [Facts("Left out", [("rules", line) for line in faults])] if faults else []
    return blocks_of(found)


def blocks_of(found: Rules) -> list[Block]:
    """What the rules keep alone, their pictures, and all of them in words."""
    index = found.index
    names, drawings = [str(name) for name in index["class_names"]], list[tuple[Markup, str]]()
    for k, name in enumerate(names[:OPEN_CLASSES] if decides(index) else []):
        own = [(number, rule) for number, rule in enumerate(index["rules"]) if rule["class_name"] == name]
        own.sort(key=lambda entry: not entry[1]["literals"])
        drawings += [(_pictures(found, n, rule, k), line_of(rule, MOST_WORDS)) for n, rule in own[:OPEN_RULES]]
    facts = [("Clauses", decided(index)), ("Left out", f"{index['left_out']} clauses that hold on others as often")]
    if not drawings:
        facts.append(("Rules", f"None is drawn. {heading(index)}."))
    blocks: list[Block] = [Facts("What the clauses decide", facts), _growth(index)]
    if drawings:
        blocks.append(Figure(heading(index), drawings, LEGEND))
    return blocks


def _growth(index: Mapping[str, Any]) -> Table:
    """How much accuracy so many rules a class keep, without any other clause."""
    kept, before = sum(len(r["literals"]) for r in index["rules"]), sum(r["count"] for r in index["rules"])
    rows: list[list[str | Cell]] = [
        [f"{count} clauses a class that add most to it", percent(value)] for count, value in index["growth"]
    ]
    rows += [
        [f"{len(index['rules'])} rules (rules.txt), {kept:,} of their {before:,} literals", percent(index["shown"])],
        ["all clauses", percent(index["full"])],
    ]
    return Table(
        "What the rules alone keep", [f"every other clause puts out its mean; {judged(index)}", "accuracy"], rows
    )


def _pictures(found: Rules, number: int, rule: Mapping[str, Any], k: int) -> Markup:
    """A rule over the mean of its class, and where it speaks most."""
    shown: list[tuple[Array, str]] = []
    mean, about = found.arrays.get(f"mean_{k}"), f"of class {rule['class_name']}"
    wanted, unwanted = (found.arrays.get(f"{name}_{number}") for name in ("wanted", "unwanted"))
    if mean is not None and wanted is not None and unwanted is not None:
        shown.append((rule_picture(wanted, unwanted, mean), f"literals of clause {rule['clause']} {about}"))
        shown.append((_colors(mean), f"mean {about}"))
    for place, example in enumerate(found.arrays.get(f"examples_{number}", [])[:6], 1):
        shown.append((_colors(example), f"example {place} {about}: where clause {rule['clause']} adds most"))
    images = [f'<img src="{data_address(x)}" alt="{escape(text)}">' for x, text in shown]
    return Markup(f'<div class="pictures rule">{"".join(images)}</div>')


def data_address(picture: Array) -> str:
    """A picture (H, W, 3) uint8 as a PNG inside the page, which enlarges small ones; those of photos are made smaller."""
    step = max(1, max(picture.shape[:2]) // LARGEST)
    buffer = io.BytesIO()
    imsave(buffer, np.ascontiguousarray(picture[::step, ::step]), format="png", metadata={"Software": ""})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def rule_picture(wanted: Array, unwanted: Array, mean: Array) -> Array:
    """(H, W, 3) uint8: wanted places bright, unwanted dark blue, both purple, over a pale gray mean image.

    Args:
        wanted: (H, W) uint8, how bright a pixel must be; 0 is ignored.
        unwanted: (H, W) uint8, how dark.
        mean: (C, H, W) uint8 of the class.

    Example:
        >>> black = np.zeros((1, 1, 3), np.uint8)
        >>> rule_picture(np.array([[255, 0, 0]], np.uint8), np.array([[0, 255, 0]], np.uint8), black).tolist()
        [[[255, 176, 32], [10, 60, 190], [60, 60, 60]]]
    """
    picture = np.repeat((60 + 0.55 * mean.astype(np.float64).mean(0))[..., None], 3, axis=2)
    for color, asked in ((BRIGHT, wanted), (DARK, unwanted), (BOTH, np.minimum(wanted, unwanted))):
        share = np.where(asked > 0, 0.35 + 0.65 * asked / 255.0, 0.0)[..., None]
        picture = (1 - share) * picture + share * color
    return np.asarray(picture.round().astype(np.uint8))


def _colors(image: Array) -> Array:
    """(H, W, 3) of (C, H, W): three channels as they are, else their mean in gray."""
    if image.shape[0] == 3:
        return np.asarray(image.transpose(1, 2, 0))
    return np.asarray(np.repeat(image.mean(0).round().astype(np.uint8)[..., None], 3, axis=2))
