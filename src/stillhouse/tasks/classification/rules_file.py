"""The rules of clauses in a run: on disk, in words, and on a page with pictures. No torch.

`rules.json` is for programs, `rules.npz` has what is drawn, `rules.txt` is for reading.

rules.json: {"rules": [{"class_name", "place", "clause", "adds", "holds", "elsewhere", "literals", "words", "count", "allowed"}],
"growth": [[rules a class, accuracy alone]], "full", "shown", "exact", "chosen_on", "cut_on", "judged_on", "judged_of",
"left_out", "class_names", "student": arm and seed}. Of a rule: `adds` to the class's score on the class's images, above what it
adds on others; how far it `holds` on the class's images (its mean strength over all places, of its full one), and elsewhere;
`literals` kept, f for bit f and F + f for its negation, and in `words` where bits have names; `count` before it was cut; `allowed`
misses with which it still speaks.

rules.npz: `mean_K` (C, H, W) uint8 a class; `wanted_R`, `unwanted_R` (h, w) uint8 of rules over pixels; `examples_R` (E, C, h, w)
uint8: where others speak most.

Shapes: C channels, H W pixels, R rules.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from matplotlib.image import imsave

from stillhouse.core.checks import InputError
from stillhouse.core.records import read_arrays, read_json, write_arrays, write_atomically, write_json
from stillhouse.report.blocks import Block, Cell, Facts, Figure, Table
from stillhouse.report.read import Array, attempt
from stillhouse.report.words import percent

RULES, ARRAYS, TEXT = "rules.json", "rules.npz", "rules.txt"
LEAST = 0.1  # of what the network knows above chance, that its clauses must decide for rules to explain anything
OPEN_CLASSES, OPEN_RULES, MOST_WORDS = 10, 3, 6
BRIGHT, DARK, BOTH = np.array([255.0, 176.0, 32.0]), np.array([10.0, 60.0, 190.0]), np.array([190.0, 90.0, 190.0])
LARGEST = 400  # pixels of a picture's side in the page
LEGEND = (
    "Three clauses a class that add to its score and are fulfilled most on its own validation images against on others, cut to the "
    "literals that change an answer of the whole network. Over the mean image of the class, orange: must be bright; blue: must be "
    "dark; purple: both (between two levels). A clause that is asked inside the network is shown by the images or patches at which "
    "it adds most."
)


@dataclass(frozen=True, eq=False)
class Rules:
    """What is found of a network, and what the files hold; see the head of the module."""

    index: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]

    def text(self) -> str:
        """One line a rule, class by class."""
        index, rules = self.index, self.index["rules"]
        lines = [
            decided(index),
            f"{heading(index)}, chosen on {index['chosen_on']} validation images, drawn by class. A pixel is (row, column).",
            f"{_kept(rules)} literals are kept: without the others the whole network gives the same answers on "
            f"{index['cut_on']} images. {index['left_out']} clauses are left out, which hold on others nearly as often.",
            *(line_of(rule) for rule in rules),
        ]
        return "\n".join(lines) + "\n"


def _kept(rules: list[Any]) -> str:
    return f"{sum(len(rule['literals']) for rule in rules):,} of {sum(rule['count'] for rule in rules):,}"


def line_of(rule: Mapping[str, Any], most: int | None = None) -> str:
    """A rule in a line, with so many of its words at most."""
    kept, words = len(rule["literals"]), rule["words"][:most]
    asked = ", ".join(words) + ", ..." * (len(words) < len(rule["words"])) or "bits inside the network"
    if not kept:
        asked = "no literal that an answer needs"
    return (
        f"{rule['class_name']}: {rule['adds']:+.3f} where at most {rule['allowed']} of {kept} fail: {asked} ({rule['place']}, "
        f"clause {rule['clause']}; {kept} of {rule['count']} literals kept; fulfilled to {rule['holds']:.0%} on "
        f"{rule['class_name']}, {rule['elsewhere']:.0%} on others)"
    )


def write_rules(folder: Path, rules: Rules) -> None:
    """Write the three files into a run or an export, the index last."""
    write_arrays(folder / ARRAYS, **rules.arrays)
    text = rules.text().encode()
    write_atomically(folder / TEXT, lambda file: file.write(text))
    write_json(folder / RULES, dict(rules.index))


def read_rules(path: Path) -> Rules:
    """Read them again from `rules.json` and what is beside it.

    Raises:
        InputError: entries are missing, or a file cannot be read.
    """
    index = read_json(path)
    wanted = {"rules", "growth", "full", "shown", "class_names"}
    if not isinstance(index, Mapping) or not wanted <= set(index):
        raise InputError(f"{path.name}: expected the entries {', '.join(sorted(wanted))}")
    return Rules(index, read_arrays(path.with_name(ARRAYS)))


def decides(index: Mapping[str, Any]) -> bool:
    """Whether clauses decide a tenth of what the network knows above chance: less, and rules explain nothing.

    Example:
        >>> [decides({"full": 0.5, "growth": [[0, none]], "class_names": "abcd"}) for none in (0.5, 0.25)]
        [False, True]
    """
    known = index["full"] - 1 / len(index["class_names"])
    return bool(known > 0 and index["full"] - index["growth"][0][1] >= LEAST * known)


def decided(index: Mapping[str, Any]) -> str:
    """Accuracy with all clauses, with none and with the rules, whose and on which images."""
    student = index.get("student")
    whose = f" of {student['arm']}, seed {student['seed']}," if student else ""
    return (
        f"Accuracy{whose} on {images_text(index)}: {index['full']:.1%} with all clauses, "
        f"{index['growth'][0][1]:.1%} with none (each always puts out its mean), "
        f"{index['shown']:.1%} with these {len(index['rules'])} rules alone."
    )


def images_text(index: Mapping[str, Any]) -> str:
    """The images that accuracies are of.

    Example:
        >>> images_text({"judged_on": 2000, "judged_of": 10000}), images_text({"judged_on": 480, "judged_of": 480})
        ('2,000 of the 10,000 test images, drawn by class', 'all 480 test images')
    """
    count, of = index["judged_on"], index["judged_of"]
    return f"all {count:,} test images" if count == of else f"{count:,} of the {of:,} test images, drawn by class"


def heading(index: Mapping[str, Any]) -> str:
    """What a list of these rules is called: where clauses decide nothing, they explain nothing."""
    if decides(index):
        return "What tells each class from the others"
    return "What goes with each class, in clauses that decide nothing of note, so that they explain no answer"


# ------------------------------------------------------------------------------------------------ on a page


def rule_blocks(folder: Path) -> list[Block]:
    """The rules of a run folder; empty where it has none."""
    faults: list[str] = []
    found = attempt(folder / RULES, read_rules, faults)
    if found is None:
        return [Facts("Left out", [("rules", line) for line in faults])] if faults else []
    return blocks_of(found)


def blocks_of(found: Rules) -> list[Block]:
    """What the rules keep alone, and their pictures."""
    index, drawings = found.index, list[tuple[Markup, str]]()
    for k, name in enumerate(index["class_names"][:OPEN_CLASSES] if decides(index) else []):
        own = [(number, rule) for number, rule in enumerate(index["rules"]) if rule["class_name"] == str(name)]
        own.sort(key=lambda entry: not entry[1]["literals"])
        drawings += [(_pictures(found, n, rule, k), line_of(rule, MOST_WORDS)) for n, rule in own[:OPEN_RULES]]
    facts = [("Clauses", decided(index)), ("Left out", f"{index['left_out']} clauses that hold on others as often")]
    if not drawings:
        facts.append(("Rules", f"None is drawn. {heading(index)}."))
    rows: list[list[str | Cell]] = [
        [f"{count} clauses a class that add most to it", percent(value)] for count, value in index["growth"]
    ]
    rows += [
        [f"{len(index['rules'])} rules (rules.txt), {_kept(index['rules'])} literals", percent(index["shown"])],
        ["all clauses", percent(index["full"])],
    ]
    head = [f"every other clause puts out its mean; {images_text(index)}", "accuracy"]
    blocks: list[Block] = [Facts("What the clauses decide", facts), Table("What the rules alone keep", head, rows)]
    return [*blocks, Figure(heading(index), drawings, LEGEND)] if drawings else blocks


def _pictures(found: Rules, number: int, rule: Mapping[str, Any], k: int) -> Markup:
    """A rule over the mean of its class, and where it speaks most."""
    shown: list[tuple[Array, str]] = []
    mean, about = found.arrays.get(f"mean_{k}"), f"of class {rule['class_name']}"
    wanted, unwanted = (found.arrays.get(f"{name}_{number}") for name in ("wanted", "unwanted"))
    if mean is not None and wanted is not None and unwanted is not None:
        shown.append((rule_picture(wanted, unwanted, mean), f"literals of clause {rule['clause']} {about}"))
        shown.append((colors(mean), f"mean {about}"))
    for place, example in enumerate(found.arrays.get(f"examples_{number}", [])[:6], 1):
        shown.append((colors(example), f"example {place} {about}: where clause {rule['clause']} adds most"))
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


def colors(image: Array) -> Array:
    """(H, W, 3) of (C, H, W): three channels as they are, else their mean in gray."""
    if image.shape[0] == 3:
        return np.asarray(image.transpose(1, 2, 0))
    return np.asarray(np.repeat(image.mean(0).round().astype(np.uint8)[..., None], 3, axis=2))
