"""Rules of a trained student: into its run folder, onto the screen, and into other programs, each checked on the test split.

Legend: N rows, F features, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.core.exports import ExportChoices, compare_answers
from stillhouse.core.folder import run_above
from stillhouse.core.records import read_json
from stillhouse.core.types import FeatureSpec
from stillhouse.report.page import write_blocks
from stillhouse.tasks.classification import evaluation, exports
from stillhouse.tasks.classification.data.split import Part
from stillhouse.tasks.classification.exports import ROUNDING, is_of, logits_of
from stillhouse.tasks.classification.readable import ReadableModel, Rule
from stillhouse.tasks.classification.readable_exports import FORMS, answers_of, text_of
from stillhouse.tasks.classification.readable_text import FILE, SCREEN, Screen, read_screen, screen, write_screen
from stillhouse.tasks.classification.report import readable_blocks


def is_readable(network: Any) -> bool:
    """Whether a network is rules, or points for words that are there."""
    return hasattr(network, "readable") or hasattr(network, "points")


def readable_of(network: Any, input_spec: FeatureSpec) -> ReadableModel:
    """The model that people read.

    Args:
        network: with `readable()`; or a scorecard in eval mode: `points()` (K, F) times what is there, plus `bias` (K).
        input_spec: names of its features and classes.

    Raises:
        InputError: a network that is neither.
    """
    if not is_readable(network):
        raise InputError(f"rules: expected a student of rules or a scorecard, got {type(network).__name__}")
    if hasattr(network, "readable"):
        found: ReadableModel = network.readable()
        return found
    weight, bias = (x.detach().double().cpu().numpy() for x in (network.points(), network.bias))
    used = np.flatnonzero((weight != 0).any(0))
    rules = tuple(Rule(((input_spec.names[place], True),), tuple(weight[:, place].tolist())) for place in used)
    return ReadableModel(
        input_spec.class_names, dict(input_spec.reading), input_spec.names, rules, tuple(bias.tolist())
    )


def screen_of(model: ReadableModel, data: Any, lines: int = SCREEN) -> Screen:
    """What is shown of a model, counted on validation and test rows."""
    held = [_counted(split) for split in (data.validation, data.test)]
    counts, labels = (np.concatenate([one[place] for one in held]) for place in (0, 1))
    raw = [row for one in held for row in one[2]]
    return screen(model, _counted(data.train)[0], counts, labels, raw, lines=lines)


def _counted(split: Any) -> tuple[NDArray[Any], NDArray[Any], Sequence[Any]]:
    """Counts (N, F), labels (N) and raw rows of a split, or of a part of one."""
    whole, rows = (split.split, split.rows.numpy()) if isinstance(split, Part) else (split, np.arange(len(split)))
    return whole.ids.numpy()[rows], split.labels.numpy(), [whole.raw[row] for row in rows]


def write_shipped(task: Any, context: Any, summary: dict[str, Any]) -> None:
    """Rules of the shipped student into the run folder, and what a screen of them keeps into the summary."""
    shipped = summary["shipped"]
    model = readable_of(task.load(context.place(shipped["arm"], shipped["seed"])), context.data.input_spec)
    found = screen_of(model, task.of_seed(context, shipped["seed"]).data)
    write_screen(context.folder.path, model, found, student=dict(shipped))
    summary["rules"] = {"shown": found.shown, "full": found.full, "rows": found.rows, "count": found.rules}


def rules_of_folder(folder: Path, network: Any, input_spec: FeatureSpec, lines: int | None = None) -> str:
    """What `rules()` of a loaded student gives: what its run found, or found now on its run's data.

    Args:
        folder: of the student.
        network: of the student.
        input_spec: of the student.
        lines: at most so many; None: what its run found, where it is the student that the run ships.
    """
    model, run = readable_of(network, input_spec), run_above(folder)
    if run is None:
        raise InputError(f"{folder}: rules are counted on the test rows of a run, and this student lies in none")
    if lines is None and (run / FILE).is_file() and is_of(folder, run, read_json(run / FILE)):
        return read_screen(run / FILE)[1].text()
    return screen_of(model, evaluation.data_of(folder), lines or SCREEN).text()


def write(form: str, load: Callable[[Path], Any], folder: Path, out: Path, choices: ExportChoices) -> Sequence[str]:
    """Write the student of a folder in a form; lines that say what was checked.

    Raises:
        InputError: a form that the student has not, or other answers than the student's.
    """
    model, data = load(folder), evaluation.data_of(folder, choices.data, choices.data_root)
    if form in ("rules", *FORMS) and is_readable(model):
        return export(form, model, data, out)
    if form in ("python", "sql"):
        raise InputError(f"--to {form}: expected a student of rules or a scorecard, got {type(model).__name__}")
    if form == "rules":
        return exports.export_rules(model, data, folder, out)
    if form == "onnx":
        return [exports.write_onnx(model, data.test, out, data.input_spec)]
    if form == "torch":
        return [exports.write_program(model, data.test, out)]
    return exports.export_machine(form, model, data, out)


def export(form: str, network: Any, data: Any, out: Path) -> Sequence[str]:
    """Write a student in a form (python, sql, json, c, rules), and run what was written on every test row.

    Raises:
        InputError: other answers than the student's.
    """
    model = readable_of(network, data.input_spec)
    if form == "rules":
        out.mkdir()
        found = screen_of(model, data)
        write_screen(out, model, found)
        head = {"title": "Rules", "kicker": "stillhouse rules", "headline": "What decides", "lead": found.kept()}
        write_blocks(out / "rules.html", readable_blocks(found), **head)
        return [found.kept()]
    model = model.compact()
    out.write_text(text_of(model, form), encoding="utf-8")
    expected = logits_of(network, data.test).astype(np.float64)
    bound = ROUNDING * max(1.0, float(np.abs(expected).max()))
    return [compare_answers(expected, answers_of(form, out, model, data.test.raw), out.name, bound=bound)]
