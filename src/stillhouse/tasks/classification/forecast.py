"""What a teacher is likely to add, said before anything is trained.

Its student learns from rows without a label what the teacher knows of them. So what it can gain is how far the teacher is above
a model of the labels alone: logistic regression on what students of these data read, both asked out of fold about labelled rows.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from stillhouse.core.labels import MISSING
from stillhouse.core.types import FeatureSpec, TextSpec
from stillhouse.tasks.classification.data.split import labelled_rows
from stillhouse.tasks.classification.plain import chosen_by_themselves, numbers_of, scaled
from stillhouse.tasks.classification.predict import predict
from stillhouse.teachers.by_row import RowTeacher, out_of_fold

MOST = 300  # labelled rows that are asked
FEWEST = 20


def forecast(teacher: Any, data: Any, batch_size: int) -> str:
    """The gain that is to be expected of a teacher, in words; empty where too few rows have a label.

    Args:
        teacher: ready.
        data: of the run, as teachers see it.
        batch_size: rows at once.
    """
    labels = data.train.labels
    if float((labels != MISSING).float().mean()) > 0.5:
        return "0 to 2 points: most rows have a label, and the student learns from it"
    rows = labelled_rows(data.train).sample(MOST)
    if len(rows) < FEWEST or (isinstance(teacher, RowTeacher) and not teacher.covers(_numbers(data.train, rows))):
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
    texts = isinstance(input_spec, TextSpec) or (
        isinstance(input_spec, FeatureSpec) and input_spec.reading["kind"] == "words"
    )
    x = scaled(texts, centred=not isinstance(input_spec, FeatureSpec)).fit_transform(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fold without one of the classes
        head = chosen_by_themselves(x, labels, input_spec.num_classes)
        return out_of_fold(head, x, labels, input_spec.num_classes).argmax(1)


def _numbers(train: Any, rows: Any) -> Any:
    """Numbers of some rows of the training split in the file."""
    import torch

    found = [batch.rows for batch in rows.batches(MOST) if batch.rows is not None]
    return torch.cat(found) if found else torch.arange(len(train))
