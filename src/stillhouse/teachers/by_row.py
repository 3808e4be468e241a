"""Teachers that answer by the number of a row: answers as they were given, or a classifier fitted to a few labelled rows.

Legend: N rows of the data, D numbers of a row, K classes, n labelled rows.
"""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs, OutputSpec
from stillhouse.teachers.teacher import Teacher

FLOOR = 1e-6  # of a probability: no class is ruled out
FOLDS = 5
CHOOSING = 2_000  # labelled rows that the strength of a head is chosen on
STRENGTHS = {False: np.logspace(-1, 4, 6), True: np.logspace(-4, 1, 6)}  # C of plain and of standardised vectors
UNEQUAL = 1.5  # times as many rows in the largest class as in the smallest: classes are weighed

Probabilities = NDArray[np.float64]
Choose = Callable[[Any, NDArray[np.int64], int], Any]  # rows, labels, classes -> an estimator that is not fitted


class RowTeacher(Teacher):
    """A teacher whose answer to each row is known beforehand.

    Args:
        name: shown in reports.
        probabilities: (N, K); NaN where it has no answer.
        seen: what it may know of labels that the student lacks, for reports; empty: nothing is known.

    Raises:
        InputError: not two axes, numbers that are infinite or below 0, or a row of zeros.

    Example:
        >>> teacher = RowTeacher("given", np.array([[3.0, 1.0], [0.0, 1.0]]))
        >>> batch = Batch(torch.zeros(1, 1), torch.zeros(1).long(), torch.zeros(1).long(), rows=torch.tensor([0]))
        >>> teacher(batch).logits.exp().tolist()
        [[0.75, 0.25]]
    """

    def __init__(self, name: str, probabilities: Any, *, seen: str = "") -> None:
        self.name, self.seen = name, seen
        self.answers = _log(np.asarray(probabilities, np.float64), name)
        self.spec = OutputSpec(self.answers.shape[1])

    def __call__(self, batch: Batch) -> Outputs:
        """Log-probabilities (B, K) of the rows of a batch.

        Raises:
            InputError: data that do not number their rows, or a row without an answer.
        """
        if batch.rows is None:
            raise InputError(f"teacher {self.name}: answers by the number of a row, and these data have none")
        if batch.soft_labels is not None:
            raise InputError(f"teacher {self.name}: knows rows, and a mixed image is none; leave training.mixing out")
        rows = batch.rows.cpu()
        found = self.answers.index_select(0, rows.clamp(max=len(self.answers) - 1))
        lacking = torch.isnan(found).any(1) | (rows >= len(self.answers))
        if lacking.any():
            raise InputError(
                f"teacher {self.name}: no answer for row {int(rows[lacking][0])} of the data (from 0); expected one for each of "
                "them, in the order of the file, those of a file of test rows after them"
            )
        return Outputs(found.to(batch.inputs.device))

    def covers(self, rows: Any) -> bool:
        """Whether each of some rows has an answer."""
        known = ~torch.isnan(self.answers).any(1)
        return int(rows.max()) < len(known) and bool(known[rows].all())

    def identity(self) -> str:
        """SHA-256 of its answers."""
        return _sha256(self.answers.numpy())


class FittedTeacher(RowTeacher):
    """A classifier of rows, fitted to those of them that have a label.

    A labelled row gets the answer of a classifier that was fitted without it (out of five folds), every other row that of the
    classifier of all labelled rows. A row that is alone in its class is never left out: nothing else knows that class.

    Args:
        name: shown in reports.
        inputs: N rows: (N, D) numbers, a frame or a list of texts; whatever `choose` takes.
        num_classes: K.
        choose: labelled rows, their labels and K -> an estimator of scikit-learn that is not fitted yet.
        digest: SHA-256 of inputs and of what decides `choose`.
        seen: as of `RowTeacher`.
    """

    def __init__(
        self, name: str, inputs: Any, num_classes: int, choose: Choose, digest: str, *, seen: str = ""
    ) -> None:
        self.name, self.inputs, self.choose, self.built_as, self.seen = name, inputs, choose, digest, seen
        self.spec = OutputSpec(num_classes)
        self.answers = torch.full((len(inputs), num_classes), float("nan"))
        self.about, self.balanced = "", False
        self._fitted = False

    @property
    def head_is_new(self) -> bool:
        """Whether it was fitted to no label yet."""
        return not self._fitted

    @property
    def head_was_fitted(self) -> bool:
        """Whether it was fitted to labels of these data."""
        return self._fitted

    def identity(self) -> str:
        """SHA-256 of its inputs, and of its answers once it has some."""
        return super().identity() if self._fitted else self.built_as

    def fitted(self, rows: Any, labels: Any) -> FittedTeacher:
        """The same teacher, fitted to other labels.

        Args:
            rows: (n) numbers of the labelled rows.
            labels: (n) classes from 0 to K - 1.

        Raises:
            InputError: labels of fewer than two classes, or inputs that the estimator refuses.
        """
        rows, labels = np.asarray(rows, np.int64), np.asarray(labels, np.int64)
        if len(np.unique(labels)) < 2:
            raise InputError(
                f"teacher {self.name}: expected labelled training rows of at least 2 classes, got {len(rows)} of "
                f"{len(np.unique(labels))}"
            )
        found = copy.copy(self)
        known = take(self.inputs, rows)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lbfgs that could go on, a fold without one of the classes
            try:
                estimator = self.choose(known, labels, self.spec.num_classes)
                held_out = out_of_fold(estimator, known, labels, self.spec.num_classes)
                whole = fit(estimator, known, labels)
                probabilities = answers(whole, self.inputs, self.spec.num_classes)
            except (ValueError, TypeError) as error:
                raise InputError(f"teacher {self.name}: {str(error).splitlines()[0]}") from None
        probabilities[rows] = held_out
        found.balanced = "class_weight='balanced'" in repr(estimator)
        found.answers, found.about, found._fitted = _log(probabilities, self.name), repr(estimator), True
        return found


def logistic_head(x: Any, labels: NDArray[np.int64], num_classes: int) -> Any:
    """Logistic regression on vectors, by cross-validation standardised or not and as strong as it should be.

    Args:
        x: (n, D).
        labels: (n).
        num_classes: K.

    Returns:
        An estimator that is not fitted: of twelve the one whose answers to rows that it has not seen are the likeliest.

    Source: Alain, Bengio 2016, arXiv:1610.01644 (linear probes).
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    some = np.random.default_rng(0).permutation(len(labels))[:CHOOSING]
    if len(np.unique(labels[some])) < 2:
        some = np.arange(len(labels))
    weight = "balanced" if is_unequal(labels) else None
    groups = []
    for scaled, strengths in STRENGTHS.items():
        heads = [LogisticRegression(C=float(c), max_iter=1000, class_weight=weight) for c in strengths]
        groups.append([make_pipeline(StandardScaler(), head) if scaled else head for head in heads])
    found = [
        select_best_estimator(group, x[some], labels[some], num_classes, balanced=weight is not None)
        for group in groups
    ]
    return min(found, key=lambda pair: pair[0])[1]


def select_best_estimator(
    candidates: Sequence[Any], x: Any, labels: NDArray[np.int64], num_classes: int, *, balanced: bool = False
) -> tuple[float, Any]:
    """Of some estimators the one whose answers to rows that it has not seen are the likeliest.

    Args:
        candidates: the weakest first; beyond the first that is worse than the one before, none is tried: stronger ones fit what
            they have seen alone.
        x: n rows.
        labels: (n).
        num_classes: K.
        balanced: all classes count alike.

    Returns:
        Mean negative log-likelihood, and the estimator, which is not fitted.
    """
    weights = 1.0 / np.bincount(labels)[labels] if balanced else np.ones(len(labels))
    tried: list[tuple[float, Any]] = []
    for estimator in candidates:
        found = out_of_fold(estimator, x, labels, num_classes)
        loss = -float(np.average(np.log(found[np.arange(len(labels)), labels]), weights=weights))
        tried.append((loss, estimator))
        if len(tried) > 1 and loss > tried[-2][0]:
            break
    return min(tried, key=lambda pair: pair[0])


def is_unequal(labels: NDArray[np.int64]) -> bool:
    """Whether one class has so many more rows than another that they should be weighed.

    Example:
        >>> is_unequal(np.array([0, 0, 0, 1, 1])), is_unequal(np.array([0, 0, 0, 0, 1]))
        (True, True)
        >>> is_unequal(np.array([0, 0, 1, 1]))
        False
    """
    counts = np.unique(labels, return_counts=True)[1]
    return bool(counts.max() >= UNEQUAL * counts.min())


def out_of_fold(estimator: Any, x: Any, labels: NDArray[np.int64], num_classes: int) -> Probabilities:
    """What an estimator says of each row that it was fitted without; of a row alone in its class what the whole fit says.

    Args:
        estimator: of scikit-learn; it is not changed.
        x: n rows.
        labels: (n).
        num_classes: K.

    Returns:
        (n, K) probabilities.

    Source: Wolpert 1992, Neural Networks 5(2) (stacked generalization).
    """
    from sklearn.model_selection import StratifiedKFold

    counts = np.bincount(labels, minlength=num_classes)
    alone, others = np.flatnonzero(counts[labels] == 1), np.flatnonzero(counts[labels] > 1)
    found = np.full((len(labels), num_classes), 1 / num_classes)
    if len(np.unique(labels[others])) and len(others) > 1:
        folds = StratifiedKFold(min(FOLDS, int(counts[labels].max())), shuffle=True, random_state=0)
        for learned, held in folds.split(others, labels[others]):
            rows = np.concatenate([others[learned], alone])
            if len(np.unique(labels[rows])) > 1:
                fitted = fit(estimator, take(x, rows), labels[rows])
                found[others[held]] = answers(fitted, take(x, others[held]), num_classes)
    if len(alone):
        found[alone] = answers(fit(estimator, x, labels), take(x, alone), num_classes)
    return found


def fit(estimator: Any, x: Any, labels: NDArray[np.int64]) -> Any:
    """A copy of an estimator, fitted."""
    from sklearn.base import clone

    return clone(estimator).fit(x, labels)


def answers(fitted: Any, x: Any, num_classes: int) -> Probabilities:
    """(N, K) probabilities of a fitted estimator; of one that names classes alone, those.

    Classes that it has not seen get next to nothing.
    """
    found = np.full((x.shape[0] if hasattr(x, "shape") else len(x), num_classes), FLOOR)
    classes = np.asarray(fitted.classes_, np.int64)
    if hasattr(fitted, "predict_proba"):
        found[:, classes] = np.maximum(fitted.predict_proba(x), FLOOR)
    else:
        found[np.arange(len(found)), np.asarray(fitted.predict(x), np.int64)] = 1.0
    whole: Probabilities = found / found.sum(1, keepdims=True)
    return whole


def take(x: Any, rows: NDArray[np.int64]) -> Any:
    """Some rows of an array, a frame or a list."""
    if hasattr(x, "iloc"):
        return x.iloc[rows]
    return [x[row] for row in rows] if isinstance(x, list) else x[rows]


def _log(probabilities: Probabilities, name: str) -> torch.Tensor:
    """(N, K) logarithms of probabilities of sum 1, none of them below the floor; NaN stays."""
    if probabilities.ndim != 2 or probabilities.shape[1] < 2:
        raise InputError(f"teacher {name}: expected answers (rows, classes), got shape {probabilities.shape}")
    known = ~np.isnan(probabilities).any(1)
    given = probabilities[known]
    bad = ~np.isfinite(given).all(1) | (given < 0).any(1) | (given.sum(1) <= 0)
    if bad.any():
        row = int(np.flatnonzero(known)[bad.argmax()])
        raise InputError(
            f"teacher {name}: expected probabilities, 0 or more, got {probabilities[row].round(4).tolist()[:4]} in row {row}; "
            "of logits take the softmax first"
        )
    found = np.full(probabilities.shape, np.nan, np.float32)
    share = np.maximum(given / given.sum(1, keepdims=True), FLOOR)
    found[known] = np.log(share / share.sum(1, keepdims=True))
    return torch.from_numpy(found)


def _sha256(array: NDArray[Any]) -> str:
    return hashlib.sha256(f"{array.dtype} {array.shape} ".encode() + np.ascontiguousarray(array).tobytes()).hexdigest()
