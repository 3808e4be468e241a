"""What a run with classes adds to the report: numbers at a glance, what was taught, calibration, and rules to read. No torch.

Axes: N test rows, K classes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.figure import Figure as Canvas

from stillhouse.core import records
from stillhouse.core.folder import RunFolder
from stillhouse.report import figures
from stillhouse.report.blocks import Block, Facts, Figure, Table, Tiles
from stillhouse.report.read import Array, attempt, mapping, number
from stillhouse.report.words import percent, plain
from stillhouse.tasks.classification import readable_text
from stillhouse.tasks.classification.readable_text import Screen, read_screen, said
from stillhouse.tasks.classification.taught import FILE, Predictions, read_predictions, taught_blocks

BINS = 10
FEW = 10  # answers in a bin, below which its point is hollow


def blocks(run: RunFolder) -> list[Block]:
    """Tiles, what was taught, reliability diagrams; what cannot be read is left out and named."""
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
    return [*left_out, *_tiles(summary), *taught, *_calibration(arms, teacher, summary)]


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


# ------------------------------------------------------------------------------------------------ calibration


def _calibration(arms: dict[str, list[Predictions]], teacher: Predictions | None, summary: Any) -> list[Block]:
    """One reliability diagram an arm, its seeds together, the teacher's curve dashed."""
    order = list(dict.fromkeys([*mapping(summary.get("arms")), *arms]))
    drawn: list[tuple[Markup, str]] = []
    for arm, runs in arms.items():
        ece = percent(mapping(mapping(mapping(summary.get("arms")).get(arm)).get("ece")).get("mean"))
        label = f"Reliability diagram of {arm}, calibration error {ece}; the teacher's curve is dashed."
        drawn.append((reliability(runs, order.index(arm), teacher, label), f"{arm}: ECE {ece}"))
    caption = (
        "How often an arm is right (all seeds together) when it is so confident: on the diagonal, its confidence is its "
        f"accuracy; below it, the arm is too sure. Dashed: the teacher. Hollow: fewer than {FEW} answers."
    )
    return [Figure("Calibration", drawn, caption)] if drawn else []


def reliability(arm: Sequence[Predictions], place: int, teacher: Predictions | None, label: str) -> Markup:
    """How often an arm is right when it is so sure (seeds pooled), the teacher's curve dashed.

    Source: DeGroot and Fienberg (1983).
    """
    with rc_context(figures.STYLE | {"font.size": 9}):
        figure = Canvas(figsize=(3.1, 2.8), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 100], [0, 100], color="#a9b0b7", linewidth=1)
        if teacher is not None:
            counts, sure, right = bins([teacher])
            many = counts[counts > 0] >= FEW
            axes.plot(sure[many], right[many], color=figures.INK, linewidth=1.2, linestyle=(0, (4, 3)))
        counts, sure, right = bins(arm)
        style = figures.look(place)
        axes.plot(sure, right, color=style["color"], linewidth=1.8)
        many = counts[counts > 0] >= FEW
        axes.plot(sure[many], right[many], linestyle="", markersize=6, **style)
        axes.plot(sure[~many], right[~many], linestyle="", markersize=6, markerfacecolor="white", **style)
        axes.set(xlim=(0, 101), ylim=(0, 103), ylabel="right (%)", xlabel="confidence in the answer (%)")
        return figures._svg(figure, f"reliability-{place}", label)


def bins(pooled: Sequence[Predictions]) -> tuple[Array, Array, Array]:
    """Counts of all `BINS` equal bins of confidence, then mean confidence and share right (%) of those that hold any.

    Example:
        >>> one = Predictions(np.array([0, 1]), np.array([[0.95, 0.05], [0.6, 0.4]]))
        >>> counts, sure, right = bins([one])
        >>> counts.tolist(), sure.round(1).tolist(), right.tolist()
        ([0, 0, 0, 0, 0, 0, 1, 0, 0, 1], [60.0, 95.0], [0.0, 100.0])
    """
    sure = np.concatenate([one.probabilities.max(axis=1) for one in pooled]).astype(float)
    right = np.concatenate([one.choices == one.labels for one in pooled])
    place = np.clip((sure * BINS + 1e-9).astype(int), 0, BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    held = counts > 0
    sums = (np.bincount(place, weights=weights, minlength=BINS)[held] for weights in (sure, right))
    mean_sure, mean_right = (100 * total / counts[held] for total in sums)
    return counts, mean_sure, mean_right


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
        drawings.append((head, said(line, found.unit)))
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
