"""What a teacher is likely to add, said before anything is trained; and at the end of a run what it taught.

A student learns from rows without a label what the teacher knows of them. So what it can gain is how far the teacher is above
a model of the labels alone: logistic regression on what students of these data read, both asked out of fold about labelled rows.

Axes: S seeds, N test rows, K classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from stillhouse.core.labels import MISSING
from stillhouse.core.records import PREDICTIONS, write_json
from stillhouse.core.types import FeatureSpec
from stillhouse.core.verdict import verdict_of
from stillhouse.report.read import mapping, number
from stillhouse.tasks.classification.data.split import labelled_rows
from stillhouse.tasks.classification.plain import chosen_by_themselves, numbers_of, reads_texts, scaled
from stillhouse.tasks.classification.plan import LINEAR
from stillhouse.tasks.classification.predict import predict
from stillhouse.tasks.classification.rules_file import colors, data_address
from stillhouse.tasks.classification.taught import FILE, Predictions, advice, changed, read_predictions, reasons
from stillhouse.teachers.by_row import RowTeacher, out_of_fold

EXAMPLES = 6
TRAINING_ROWS = 500
MOST, FEWEST = 300, 20  # labelled rows that a forecast asks about


def forecast(teacher: Any, data: Any, batch_size: int) -> str:
    """The gain that is to be expected of a teacher, in words; empty where too few rows have a label.

    Args:
        teacher: ready.
        data: of the run, as teachers see it.
        batch_size: rows at once.
    """
    if float((data.train.labels != MISSING).float().mean()) > 0.5:
        return "0 to 2 points: most rows have a label, and the student learns from it"
    rows = labelled_rows(data.train).sample(MOST)
    if len(rows) < FEWEST:
        return ""
    if isinstance(teacher, RowTeacher) and not teacher.covers(rows.batch(torch.arange(len(rows))).rows):
        return ""
    truth = rows.labels.numpy()
    found = predict(lambda batch: teacher(batch).logits, rows, batch_size).argmax(1) == truth
    gain, error = expected(found, alone(rows, data.input_spec) == truth)
    low, high = 100 * (gain - 2 * error), 100 * (gain + 2 * error)
    words = "a gain is likely" if gain > error else "so few labels cannot tell"
    if gain < -error:
        words = "the teacher is below logistic regression on the labelled rows"
    return f"{100 * gain:+.0f} points ({low:.0f} to {high:.0f}): {words}"


def expected(teacher: Any, plain: Any) -> tuple[float, float]:
    """Mean and standard error of the difference between two (n) arrays of right answers to the same rows.

    Example:
        >>> expected(np.array([True, True, True, False]), np.array([True, False, True, False]))
        (0.25, 0.25)
    """
    difference = np.asarray(teacher, np.float64) - np.asarray(plain, np.float64)
    return float(difference.mean()), float(difference.std(ddof=1) / len(difference) ** 0.5)


def alone(rows: Any, input_spec: Any) -> Any:
    """(n) out-of-fold answers of logistic regression on the labels of some rows."""
    x, labels = numbers_of(rows, input_spec)
    x = scaled(reads_texts(input_spec), centred=not isinstance(input_spec, FeatureSpec)).fit_transform(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fold without one of the classes
        head = chosen_by_themselves(x, labels, input_spec.num_classes)
        return out_of_fold(head, x, labels, input_spec.num_classes).argmax(1)


# ------------------------------------------------------------------------------------------------ at the end of a run


def write_taught(context: Any, summary: dict[str, Any]) -> None:
    """Examples, or reasons, into the run folder; the change with the best odds among the hints of the summary."""
    rows = summary["comparisons"]
    row = rows[0] if rows and rows[0]["name"] == "teacher" else {}
    word = verdict_of(row)[0] if row else ""
    if word == "no difference shown":
        found = reasons(row, {**_compared(summary, row), **_on_training_rows(context)})
        kept: dict[str, Any] = {"reasons": [asdict(one) for one in found]}
        summary["hints"] = [*summary["hints"], *filter(None, [advice(found)])]
    elif word in ("helps", "hurts"):
        taught, control = (
            [read_predictions(context.place(arm, seed) / PREDICTIONS) for seed in range(row["seeds"])]
            for arm in (row["arm"], row["control"])
        )
        kept = {"examples": examples(taught, control, context.data.test, context.data.input_spec.class_names)}
    else:
        return
    write_json(context.folder.path / FILE, kept)


def examples(
    taught: Sequence[Predictions], control: Sequence[Predictions], split: Any, names: Sequence[str]
) -> list[dict[str, Any]]:
    """Test rows that the teacher put right under most seeds, with what people see of them.

    Args:
        taught: predictions of the taught arm, one a seed.
        control: of its control.
        split: N test rows.
        names: (K) of classes.
    """
    gained, _ = changed(taught, control)
    found = []
    for place in [int(row) for row in np.argsort(-gained, kind="stable")[:EXAMPLES] if gained[row] > 0]:
        before = np.bincount([one.choices[place] for one in control], minlength=len(names)).argmax()
        known = {"row": place, "class": names[int(taught[0].labels[place])], "without": names[int(before)]}
        found.append({**known, "seeds": round(float(gained[place]) * len(taught)), **_seen(split, place)})
    return found


def _seen(split: Any, row: int) -> dict[str, str]:
    """A text, the cells of a row, or a picture; nothing of other data."""
    if hasattr(split, "raw"):
        raw = split.raw[row]
        text = raw if isinstance(raw, str) else ", ".join(f"{key} {value}" for key, value in dict(raw).items())
        return {"text": text[:200]}
    pixels = (split.batch(torch.tensor([row])).inputs[0] * 255).round().to(torch.uint8).numpy()
    return {"png": data_address(colors(pixels))} if len(pixels) in (1, 3) else {}


def _compared(summary: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, float | None]:
    """Test figures of teacher, control and taught arm."""

    def mean(arm: str, name: str) -> float | None:
        return number(mapping(mapping(summary["arms"].get(arm)).get(name)).get("mean"))

    return {
        "teacher": number(mapping(summary.get("teacher")).get("test_score")),
        "taught": mean(row["arm"], "accuracy"),
        "control": mean(row["control"], "accuracy"),
        "linear": mean(LINEAR, "accuracy"),
        "agreement": mean(row["arm"], "agreement"),
        "control_agreement": mean(row["control"], "agreement"),
    }


def _on_training_rows(context: Any) -> dict[str, float | None]:
    """How the teacher answers to labelled training rows that it was not fitted to."""
    if context.teacher is None:
        return {}
    train = context.data.for_teachers.train
    rows = labelled_rows(train).sample(TRAINING_ROWS)
    found, labels = predict(lambda batch: context.teacher(batch).logits, rows), rows.labels.numpy()
    right, sure = found.argmax(1) == labels, found.max(1)
    return {
        "known": float(right.mean()),
        "confidence": float(sure.mean()),
        "contradicts": float((~right & (sure >= 0.9)).mean()),
        "labelled": float((train.labels != MISSING).float().mean()),
    }
