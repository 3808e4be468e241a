"""What a run with classes adds to the report: numbers at a glance, what was taught, and rules to read. No torch.

Axes: N test rows, K classes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from stillhouse.core import records
from stillhouse.core.folder import RunFolder
from stillhouse.report.blocks import Block, Facts, Figure, Table, Tiles
from stillhouse.report.read import Array, attempt, mapping, number
from stillhouse.report.words import percent, plain
from stillhouse.tasks.classification import readable_text
from stillhouse.tasks.classification.readable_text import Screen, describe_rule_accuracy, read_screen
from stillhouse.tasks.classification.taught import FILE, Predictions, read_predictions, taught_blocks


def blocks(run: RunFolder) -> list[Block]:
    """Tiles, what was taught; what cannot be read is left out and named."""
    faults: list[str] = []
    about = mapping(attempt(run.path / records.RUN, records.read_json, []))
    summary = mapping(attempt(run.path / records.SUMMARY, records.read_json, faults))
    kept = mapping(attempt(run.path / FILE, records.read_json, faults)) if (run.path / FILE).is_file() else {}
    arms = read_answers(run.path, [str(arm) for arm in mapping(about.get("config")).get("arms") or ()], faults)
    given = attempt(run.path / records.TEACHER_PREDICTIONS, _probabilities, faults)
    first = next((runs[0] for runs in arms.values()), None)
    teacher = None
    if given is not None and first is not None and given.shape == first.probabilities.shape:
        teacher = Predictions(first.labels, given)
    names = [str(name) for name in mapping(about.get("data")).get("class_names") or ()]
    if first is not None and len(names) < first.probabilities.shape[1]:
        names = list(map(str, range(first.probabilities.shape[1])))
    left_out = [Facts("Left out", [("file", line) for line in faults])] if faults else []
    taught = taught_blocks(arms, teacher, names, summary, kept)
    return [*left_out, *_tiles(summary), *taught]


def read_answers(path: Path, order: Sequence[str], faults: list[str]) -> dict[str, list[Predictions]]:
    """Predictions of a run folder, finished or not, by arm in some order, and by seed."""
    folders = sorted(folder for folder in (path / "arms").glob("*") if folder.is_dir())
    folders.sort(key=lambda folder: order.index(folder.name) if folder.name in order else len(order))
    arms = {}
    for folder in folders:
        files = sorted(folder.glob(f"seed-*/{records.PREDICTIONS}"))
        read = [one for file in files if (one := attempt(file, read_predictions, faults)) is not None]
        if read:
            arms[folder.name] = read
    return arms


def _probabilities(path: Path) -> Array:
    return records.read_arrays(path, ["probabilities"])["probabilities"]


def _tiles(summary: Any) -> list[Block]:
    """The few numbers that a reader looks for first."""
    shipped = str(mapping(summary.get("shipped")).get("arm", ""))
    estimate = mapping(mapping(mapping(summary.get("arms")).get(shipped)).get("accuracy"))
    teacher = mapping(summary.get("teacher"))
    found = []
    count = len(summary.get("seeds") or ())
    tested = number(mapping(mapping(summary.get("data")).get("sizes")).get("test"))
    rows = "test rows" if tested is None else f"all {plain(tested, 7)} test rows"
    if number(estimate.get("mean")) is not None:
        mean = f"mean of {count} seeds" if count > 1 else ""
        found.append((percent(estimate["mean"]), f"of {rows} right: the student ({shipped})", mean))
    if number(teacher.get("test_score")) is not None:
        found.append((percent(teacher["test_score"]), f"the teacher ({teacher.get('name', 'unnamed')}) on them", ""))
    return [Tiles(found)] if found else []


# ------------------------------------------------------------------------------------------------ rules and scorecards


def screen_blocks(folder: Path) -> list[Block]:
    """The rules of a run folder; empty where it has none."""
    faults: list[str] = []
    found = attempt(folder / readable_text.FILE, read_screen, faults)
    if found is None:
        return [Facts("Left out", [("rules", line) for line in faults])] if faults else []
    return readable_blocks(found[1])


def readable_blocks(found: Screen) -> list[Block]:
    """The first rules with their examples, the words of each class, and what both keep alone."""
    drawings = []
    for line in found.lines:
        texts = Markup("").join(Markup("<li>{}</li>").format(marked(one, line.asked)) for one in line.examples)
        head = Markup("<p><strong>{} → {}</strong></p><ul>{}</ul>").format(line.words, line.class_name, texts)
        drawings.append((head, describe_rule_accuracy(line, found.unit)))
    blocks: list[Block] = [Figure("What decides", drawings, f"{found.kept()} Marked: the words that a rule asks for.")]
    if found.classes:
        rows = [[name, words] for name, words in found.classes]
        blocks.append(Table("What adds to each class", ["class", "rules and their points"], rows, prose=True))
    return blocks


def marked(text: str, words: Sequence[str]) -> Markup:
    """A text with words marked, everything in it escaped.

    Args:
        text: of a person, which may hold anything.
        words: of features: words, or runs of words between which the text may have other signs.

    Example:
        >>> str(marked("<b> My PIN-code", ["pin", "my pin"]))
        '&lt;b&gt; <mark>My PIN</mark>-code'
    """
    runs = [r"\W+(?:\w\W+)*".join(map(re.escape, word.split())) for word in sorted(words, key=len, reverse=True)]
    if not runs:
        return escape(text)
    parts = re.split(rf"(?<!\w)({'|'.join(runs)})(?!\w)", text, flags=re.IGNORECASE)
    return Markup("").join(
        Markup("<mark>{}</mark>").format(part) if place % 2 else escape(part) for place, part in enumerate(parts)
    )
