"""Scores of trained and saved students and of teachers on the test split, and what a student costs.

Shapes: N test rows, K classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.core import records, summary
from stillhouse.core.checks import InputError
from stillhouse.core.config import parse
from stillhouse.core.context import RunContext
from stillhouse.core.folder import check_test_data, run_above, settings_of, student_folder
from stillhouse.core.labels import MISSING
from stillhouse.core.task import Arm, Scores
from stillhouse.metrics import cost as costs
from stillhouse.tasks.classification.card import load_student, read_card
from stillhouse.tasks.classification.data import ClassesDataConfig
from stillhouse.tasks.classification.data.split import fingerprint
from stillhouse.tasks.classification.light import LINEAR, MOST_ROWS
from stillhouse.tasks.classification.plan import ClassificationRunConfig
from stillhouse.tasks.classification.predict import evaluate, nll, predict, probabilities_of
from stillhouse.tasks.classification.students import StudentConfig
from stillhouse.teachers.by_row import RowTeacher


def score(model: Any, arm: Arm, seed: int, context: RunContext[ClassificationRunConfig, Any]) -> Scores:
    """Accuracy and negative log-likelihood of each test row, calibration, and what the first seed costs."""
    size, labels = context.config.training.evaluation_batch_size, context.data.test.labels.numpy()
    if arm.plain:
        labelled = int((context.data.train.labels != MISSING).sum())
        rows = min(labelled, MOST_ROWS) if arm.name == LINEAR else labelled
        return Scores(
            *_figures(predict(model, context.data.for_teachers.test, size), labels), facts={"fitted_on": rows}
        )
    probabilities = probabilities_of(model, context.data.test, size)
    weights = context.place(arm.name, seed) / records.STUDENT
    facts = {"cost": costs.measure_cost(model.cpu(), context.data.input_spec.example, weights)} if seed == 0 else {}
    arrays = {records.PREDICTIONS: {"labels": labels, "probabilities": probabilities}}
    return Scores(*_figures(probabilities, labels), arrays, facts)


def score_teacher(context: RunContext[ClassificationRunConfig, Any]) -> Scores | None:
    """The same of the teacher that students are compared with; None where it was given no answers to test rows."""
    test = context.data.for_teachers.test
    if isinstance(context.teacher, RowTeacher) and not context.teacher.covers(test.numbers):
        return None
    found = predict(lambda batch: context.teacher(batch).logits, test, context.config.training.evaluation_batch_size)
    items, scalars = _figures(found, test.labels.numpy())
    facts = {"test_score": float(np.mean(items["accuracy"])), "test_ece": scalars["ece"]}
    return Scores(items, scalars, {records.TEACHER_PREDICTIONS: {"probabilities": found}}, facts)


def evaluate_saved(folder: Path, **choices: Any) -> dict[str, Any]:
    """Score a saved student on the test split of its run's data, or of other data.

    Args:
        folder: of a student, or of a run: its shipped student.
        choices: `data`, the name of another data set, and `data_root`, where it lies.
    """
    place = student_folder(folder)
    data = data_of(place, **choices)
    if not choices:
        check_test_data(place, "test_sha256", test_fingerprint(data), "--data or --data-root")
    _, input_spec = read_card(place, StudentConfig)
    if (input_spec.num_classes, input_spec.shape) != (data.input_spec.num_classes, data.input_spec.shape):
        raise InputError(
            f"the student expects {input_spec.num_classes} classes of inputs {input_spec.shape}, "
            f"{data.name} has {data.input_spec.num_classes} of {data.input_spec.shape}"
        )
    found = evaluate(probabilities_of(load_student(place, StudentConfig), data.test), data.test.labels.numpy(), None)
    return {"data": data.name, "images": len(data.test), **{k: v for k, v in found.items() if v is not None}}


def cost(folder: Path) -> dict[str, float]:
    """Weights, counted multiply-adds of one input, and its time: that of the run's report, else measured now."""
    _, input_spec = read_card(folder, StudentConfig)
    model = load_student(folder, StudentConfig)
    found = costs.count_cost(model, input_spec.example, folder / records.STUDENT)
    stored = summary.stored_time(folder)
    return {
        "params": float(found["params"]),
        "macs": found["flops"] / 2,
        "bytes": float(found["bytes_on_disk"]),
        "ms": costs.fastest_ms(model, input_spec.example) if stored is None else stored,
    }


def data_of(place: Path, data: str | None = None, data_root: str | None = None) -> Any:
    """The data of a student's run, or those of a name."""
    run = run_above(place)
    settings = settings_of(run, "data") if run is not None and data is None else {"name": data}
    if settings.get("name") is None:
        raise InputError("which data? name it with --data")
    if data_root is not None:
        if settings["name"] == "digits":
            raise InputError(
                "--data-root: digits are in the package, and lie nowhere else; name other data with --data"
            )
        settings["root"] = data_root
    return parse(ClassesDataConfig, settings).build()  # type: ignore[arg-type]


def test_fingerprint(data: Any) -> str:
    """Of the rows that are tested, with their labels."""
    return fingerprint([("test", data.test.held, data.test.labels)])


def _figures(probabilities: np.ndarray, labels: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, float | None]]:
    """What each row adds to accuracy and negative log-likelihood, and the calibration of all."""
    items = {"accuracy": probabilities.argmax(1) == labels, "nll": nll(probabilities, labels)}
    return items, {"ece": evaluate(probabilities, labels, None)["ece"]}
