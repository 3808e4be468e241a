"""Rules and scorecards on a page: what decides, how often it is right, and messages in which its words are marked. No torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup, escape

from stillhouse.report.blocks import Block, Facts, Figure, Table
from stillhouse.report.read import attempt
from stillhouse.tasks.classification.readable_text import FILE, Screen, read_screen, said


def screen_blocks(folder: Path) -> list[Block]:
    """The rules of a run folder; empty where it has none."""
    faults: list[str] = []
    found = attempt(folder / FILE, read_screen, faults)
    if found is None:
        return [Facts("Left out", [("rules", line) for line in faults])] if faults else []
    return blocks_of(found[1])


def blocks_of(found: Screen) -> list[Block]:
    """The first rules with their examples, the words of each class, and what both keep alone."""
    drawings = [
        (_examples(f"{line.words} → {line.class_name}", line.examples, line.asked), said(line, found.unit))
        for line in found.lines
    ]
    blocks: list[Block] = [Figure("What decides", drawings, f"{found.kept()} Marked: the words that a rule asks for.")]
    if found.classes:
        rows = [[name, words] for name, words in found.classes]
        blocks.append(Table("What adds to each class", ["class", "rules and their points"], rows, prose=True))
    return blocks


def _examples(rule: str, texts: Sequence[str], asked: Sequence[str]) -> Markup:
    return Markup("<p><strong>{}</strong></p><ul>{}</ul>").format(
        rule, Markup("").join(Markup("<li>{}</li>").format(marked(one, asked)) for one in texts)
    )


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
