"""What a model puts out for a whole split, scores of it against labels and a teacher, and of saved students what they cost.

Shapes: N rows, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stillhouse.core import ranks, records
from stillhouse.core.checks import InputError
from stillhouse.core.config import parse
from stillhouse.core.folder import check_test_data, settings_of, student_folder
from stillhouse.core.labels import MISSING
from stillhouse.core.manifest import run_above
from stillhouse.core.parts import Arm, Scores
from stillhouse.core.processes import gather, share
from stillhouse.core.task import RunContext
from stillhouse.core.types import Batch
from stillhouse.metrics import cost as costs
from stillhouse.tasks.classification.card import load_student, read_card
from stillhouse.tasks.classification.data.config import ClassesDataConfig
from stillhouse.tasks.classification.data.split import Split
from stillhouse.tasks.classification.plan import LINEAR, MOST_ROWS, ClassificationRunConfig
from stillhouse.tasks.classification.students import StudentConfig
from stillhouse.teachers.by_row import RowTeacher

CALIBRATION_BINS = 15
SUM_TOLERANCE = 1e-2  # a softmax that went through half precision still passes; logits do not


@torch.no_grad()
def predict(logits_of: Callable[[Batch], Tensor], split: Split, batch_size: int = 512) -> np.ndarray:
    """Class probabilities (N, K) float32 of every row of a split, in order.

    Args:
        logits_of: (B, K) logits of a batch; the caller puts the model in eval mode.
        split: N rows.
        batch_size: rows of a forward pass.
    """
    rows = [torch.softmax(logits_of(batch).float(), dim=1).cpu() for batch in split.batches(batch_size)]
    return torch.cat(rows).numpy()


def probabilities_of(model: nn.Module, split: Split, batch_size: int = 512) -> np.ndarray:
    """The same of a network that reads inputs, wherever it is."""
    device = next(model.parameters()).device
    return predict(lambda batch: model(batch.inputs.to(device)), split, batch_size)


@torch.no_grad()
def predict_together(logits_of: Callable[[Batch], Tensor], split: Split, batch_size: int = 512) -> np.ndarray:
    """`predict` by all processes of a run, each its part of every batch; all of them get the whole.

    A process without a row of a batch is given one with label -1, whose answer is dropped.
    """
    if ranks.count() == 1:
        return predict(logits_of, split, batch_size)
    found = []
    for rows in torch.arange(len(split)).split(batch_size):
        mine, sizes = share(rows)
        batch = split.batch(mine)
        if sizes[ranks.rank()] == 0:
            batch = replace(batch, labels=torch.full_like(batch.labels, -1))
        found.append(gather(torch.softmax(logits_of(batch).float(), dim=1), sizes).cpu())
    return torch.cat(found).numpy()


def evaluate(
    probabilities: np.ndarray, labels: np.ndarray, teacher_probabilities: np.ndarray | None
) -> dict[str, float | None]:
    """Accuracy, negative log-likelihood (nats), expected calibration error (15 bins) and agreement with the teacher.

    Args:
        probabilities: (N, K), rows that sum to 1.
        labels: (N,) class numbers.
        teacher_probabilities: (N, K), or None: agreement is then None.

    Returns:
        `accuracy`, `nll`, `ece`, `agreement` (share of equal top classes), plain floats.

    Raises:
        InputError: NaN, rows that are no probabilities, labels that are no classes.

    Example:
        >>> found = evaluate(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 1]), None)
        >>> found["accuracy"], round(found["nll"], 4), round(found["ece"], 4), found["agreement"]
        (0.5, 0.5108, 0.35, None)

    Source: Guo et al. 2017, arXiv:1706.04599 (calibration); Stanton et al. 2021, arXiv:2106.05945 (agreement).
    """
    from torchmetrics.functional.classification import multiclass_calibration_error

    check("predictions", probabilities)
    classes = probabilities.shape[1]
    if labels.shape != probabilities.shape[:1] or labels.min() < 0 or labels.max() >= classes:
        # numpy would read label -1 as the last class
        raise InputError(
            f"labels: expected whole numbers from 0 to {classes - 1} for each of {len(probabilities)} rows"
        )
    agreement = None
    if teacher_probabilities is not None:
        check("teacher's predictions", teacher_probabilities)  # argmax of NaN is class 0
        agreement = float((probabilities.argmax(1) == teacher_probabilities.argmax(1)).mean())
    # one entry of 1 + 1e-7 and torchmetrics takes the whole array for logits, and puts it through a softmax
    p, y = torch.as_tensor(probabilities.clip(0.0, 1.0)), torch.as_tensor(labels).long()
    return {
        "accuracy": float((probabilities.argmax(1) == labels).mean()),
        "nll": float(nll(probabilities.astype(np.float64), labels).mean()),
        "ece": float(multiclass_calibration_error(p, y, num_classes=classes, n_bins=CALIBRATION_BINS)),
        "agreement": agreement,
    }


def nll(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,) negative log-likelihood of the labels in nats: unlike accuracy it sees how sure a model is.

    At most 87.3: probabilities below the smallest normal float32 count as that, so that one sure mistake does not make the mean
    infinite.
    """
    picked = probabilities[np.arange(len(labels)), labels]
    found: np.ndarray = -np.log(np.maximum(picked, np.finfo(np.float32).tiny))
    return found


def check(name: str, rows: np.ndarray) -> None:
    """Raise unless rows are probabilities (N, K)."""
    if rows.ndim != 2 or rows.size == 0:
        raise InputError(f"{name}: expected (N, K) with at least one sample, got {rows.shape}")
    fit = (rows >= -SUM_TOLERANCE).all(1) & (abs(rows.sum(1, dtype=np.float64) - 1) <= SUM_TOLERANCE)  # NaN is neither
    if not fit.all():
        raise InputError(
            f"{name} of {int((~fit).sum())} of {len(rows)} samples are no probabilities of sum 1; logits need a softmax first"
        )


# ------------------------------------------------------------------------------------------------ of a run


def score(model: Any, arm: Arm | None, seed: int, context: RunContext[ClassificationRunConfig, Any]) -> Scores | None:
    """Accuracy and negative log-likelihood of each test row, calibration, and what the first seed costs."""
    if arm is None:
        return _score_teacher(model, context)
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


def _score_teacher(teacher: Any, context: RunContext[ClassificationRunConfig, Any]) -> Scores | None:
    """The same of the teacher that students are compared with; None where it was given no answers to test rows."""
    test = context.data.for_teachers.test
    if isinstance(teacher, RowTeacher) and not teacher.covers(test.numbers):
        return None
    found = predict(lambda batch: teacher(batch).logits, test, context.config.training.evaluation_batch_size)
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
        check_test_data(place, "test_sha256", data.test_sha256, "--data or --data-root")
    _, input_spec = read_card(place, StudentConfig)
    if (input_spec.num_classes, input_spec.shape) != (data.input_spec.num_classes, data.input_spec.shape):
        raise InputError(
            f"the student expects {input_spec.num_classes} classes of inputs {input_spec.shape}, "
            f"{data.name} has {data.input_spec.num_classes} of {data.input_spec.shape}"
        )
    found = evaluate(probabilities_of(load_student(place, StudentConfig), data.test), data.test.labels.numpy(), None)
    return {"data": data.name, "rows": len(data.test), **{k: v for k, v in found.items() if v is not None}}


def cost(folder: Path) -> dict[str, float]:
    """Weights, counted multiply-adds of one input, and its time."""
    _, input_spec = read_card(folder, StudentConfig)
    model = load_student(folder, StudentConfig)
    found = costs.count_cost(model, input_spec.example, folder / records.STUDENT)
    return {
        "params": float(found["params"]),
        "macs": found["flops"] / 2,
        "bytes": float(found["bytes_on_disk"]),
        "ms": costs.fastest_ms(model, input_spec.example),
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


def _figures(probabilities: np.ndarray, labels: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, float | None]]:
    """What each row adds to accuracy and negative log-likelihood, and the calibration of all."""
    items = {"accuracy": probabilities.argmax(1) == labels, "nll": nll(probabilities, labels).astype(np.float64)}
    return items, {"ece": evaluate(probabilities, labels, None)["ece"]}
