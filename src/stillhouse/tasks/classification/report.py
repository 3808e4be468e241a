"""What a run with classes adds to the report: numbers at a glance, agreement with the teacher, calibration. No torch.

Axes: N test rows, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from stillhouse.core import records
from stillhouse.core.checks import InputError
from stillhouse.core.folder import RunFolder
from stillhouse.report.blocks import Block, Cell, Facts, Figure, Table, Tiles
from stillhouse.report.read import Array, attempt, mapping, number
from stillhouse.report.words import GAP, percent, plain, size
from stillhouse.tasks.classification.reliability import FEW, Predictions, reliability
from stillhouse.tasks.classification.taught import FILE, taught_blocks

MOST_CLASSES = 30
PALE, DEEP = np.array([255, 255, 255]), np.array([240, 156, 92])


@dataclass(frozen=True)
class Answers:
    """Predictions of a run: the teacher's (None without one), and every arm's by seed."""

    teacher: Predictions | None
    arms: dict[str, list[Predictions]]
    class_names: list[str]


def blocks(run: RunFolder) -> list[Block]:
    """Tiles, agreement by class, reliability diagrams; what cannot be read is left out and named."""
    faults: list[str] = []
    answers = read_answers(run.path, faults)
    summary = mapping(attempt(run.path / records.SUMMARY, records.read_json, faults))
    kept = mapping(attempt(run.path / FILE, records.read_json, faults)) if (run.path / FILE).is_file() else {}
    found: list[Block] = _tiles(summary)
    found += taught_blocks(answers.arms, answers.teacher, answers.class_names, summary, kept)
    found += [*_agreement(answers), *_calibration(answers, summary)]
    return [*([Facts("Left out", [("file", line) for line in faults])] if faults else []), *found]


def read_answers(path: Path, faults: list[str]) -> Answers:
    """All predictions of a run folder, finished or not."""
    about = mapping(attempt(path / records.RUN, records.read_json, []))
    order = [str(arm) for arm in mapping(about.get("config")).get("arms") or ()]
    folders = [folder for folder in (path / "arms").glob("*") if folder.is_dir()]
    folders.sort(key=lambda folder: (order.index(folder.name) if folder.name in order else len(order), folder.name))
    arms = {}
    for folder in folders:
        files = sorted(folder.glob(f"seed-*/{records.PREDICTIONS}"), key=lambda file: (len(file.parts), str(file)))
        read = [one for file in files if (one := attempt(file, _predictions, faults)) is not None]
        if read:
            arms[folder.name] = read
    probabilities_of_teacher = attempt(path / records.TEACHER_PREDICTIONS, _probabilities, faults)
    labels = next((runs[0].labels for runs in arms.values()), None)
    teacher = None
    if probabilities_of_teacher is not None and labels is not None and len(labels) == len(probabilities_of_teacher):
        teacher = Predictions(labels, probabilities_of_teacher)
    names = mapping(about.get("data")).get("class_names")
    if not isinstance(names, list) or not names:
        names = list(range(next((runs[0].probabilities.shape[1] for runs in arms.values()), 0)))
    return Answers(teacher, arms, [str(name) for name in names])


def _tiles(summary: Any) -> list[Block]:
    """The few numbers that a reader looks for first."""
    shipped = str(mapping(summary.get("shipped")).get("arm", ""))
    estimate = mapping(mapping(mapping(summary.get("arms")).get(shipped)).get("accuracy"))
    student, teacher = mapping(summary.get("student")), mapping(summary.get("teacher"))
    found = []
    count = len(summary.get("seeds") or ())
    mean = f"mean of {count} seeds" if count > 1 else ""
    tested = number(mapping(mapping(summary.get("data")).get("sizes")).get("test"))
    rows = "test rows" if tested is None else f"all {plain(tested, 7)} test rows"
    if number(estimate.get("mean")) is not None:
        found.append((percent(estimate["mean"]), f"of {rows} right: the student ({shipped})", mean))
    if number(teacher.get("test_score")) is not None:
        found.append((percent(teacher["test_score"]), f"the teacher ({teacher.get('name', 'unnamed')}) on them", ""))
    own, other = number(student.get("params")), number(teacher.get("params"))
    if own:
        beside = f"{plain(other / own, 2)} times fewer than the teacher" if other and other > own else ""
        found.append((_large(own), "parameters in the student", beside))
    if number(student.get("bytes_on_disk")):
        found.append((size(student["bytes_on_disk"]), "the student on disk", ""))
    if number(student.get("ms_batch_1")):
        found.append((f"{plain(student['ms_batch_1'])}{GAP}ms", "for one row, one thread", ""))
    return [Tiles(found)] if found else []


def _agreement(answers: Answers) -> list[Block]:
    """Share of test rows of each class on which an arm answers as the teacher does, mean over seeds."""
    teacher, names = answers.teacher, answers.class_names
    if teacher is None:
        return []
    labels = teacher.labels
    arms = {
        arm: np.mean([one.choices == teacher.choices for one in runs], axis=0)
        for arm, runs in answers.arms.items()
        if all(one.labels.shape == labels.shape for one in runs)
    }
    held = [k for k in range(len(names)) if (labels == k).any()]
    shares = {k: [float(same[labels == k].mean()) for same in arms.values()] for k in held}
    if not held or not arms:
        return []
    floor = min(min(row) for row in shares.values())
    caption = (
        "Share of the test rows of a class on which the arm gives the teacher's answer, right or wrong; mean over seeds. The "
        "deeper the orange, the more they differ."
    )
    if len(held) > MOST_CLASSES:
        held = sorted(sorted(held, key=lambda k: float(np.mean(shares[k])))[:MOST_CLASSES])
        caption += f" Shown are the {MOST_CLASSES} of {len(shares)} classes with the lowest agreement."
    right = teacher.choices == labels
    rows: list[list[str | Cell]] = [
        [names[k], *_of_class(labels == k, right), *(Cell(percent(v), "", _shade(v, floor)) for v in shares[k])]
        for k in held
    ]
    everything = np.ones(len(labels), dtype=bool)
    rows.append(["all", *_of_class(everything, right), *(percent(float(same.mean())) for same in arms.values())])
    return [
        Table(
            "Agreement with the teacher, class by class", ["class", "test rows", "teacher right", *arms], rows, caption
        )
    ]


def _calibration(answers: Answers, summary: Any) -> list[Block]:
    """One reliability diagram an arm, its seeds together, the teacher's curve dashed."""
    order = list(dict.fromkeys([*mapping(summary.get("arms")), *answers.arms]))
    drawn: list[tuple[Markup, str]] = []
    for arm, runs in answers.arms.items():
        ece = percent(mapping(mapping(mapping(summary.get("arms")).get(arm)).get("ece")).get("mean"))
        label = f"Reliability diagram of {arm}, calibration error {ece}; the teacher's curve is dashed."
        drawn.append((reliability(runs, order.index(arm), answers.teacher, label), f"{arm}: ECE {ece}"))
    dashed = f" Dashed: the teacher, where it has {FEW} answers or more." if answers.teacher else ""
    caption = (
        "How often an arm is right (all seeds together) when it is so confident: on the diagonal, its confidence is its "
        f"accuracy; below it, the arm is too sure.{dashed} Hollow: fewer than {FEW} answers. Bars: how many answers, on a "
        "logarithmic scale."
    )
    return [Figure("Calibration", drawn, caption)] if drawn else []


def _large(count: Any) -> str:
    """A large count in millions or billions.

    Example:
        >>> _large(2_345_678), _large(950)
        ('2.35 million', '950')
    """
    found = number(count)
    for unit, name in ((1e9, "billion"), (1e6, "million")):
        if found is not None and found >= unit:
            return f"{plain(found / unit)} {name}"
    return plain(count, 6)


def _of_class(chosen: Array, right: Array) -> Sequence[str]:
    return plain(int(chosen.sum())), percent(float(right[chosen].mean()))


def _shade(share: float, floor: float) -> str:
    """White where all agree, the deeper the orange the more an arm answers differently."""
    depth = (1 - share) / max(1 - floor, 0.02)
    return "#" + "".join(f"{round(v):02x}" for v in PALE + (DEEP - PALE) * depth)


def _probabilities(path: Path) -> Array:
    found = records.read_arrays(path, ["probabilities"])["probabilities"]
    if found.ndim != 2 or 0 in found.shape:
        raise InputError(f"probabilities: expected two axes, got shape {found.shape}")
    if not np.isfinite(found).all():
        raise InputError("probabilities: expected finite numbers")
    return found


def _predictions(path: Path) -> Predictions:
    probabilities = _probabilities(path)
    labels = records.read_arrays(path, ["labels"])["labels"]
    if labels.shape != probabilities.shape[:1]:
        raise InputError(f"labels: expected shape {probabilities.shape[:1]}, got {labels.shape}")
    return Predictions(labels, probabilities)
