"""A readable student behind scikit-learn's interface: `fit` with -1 where a row has no label, `predict`, `predict_proba`.

Shapes: N rows, D numbers of a row, K classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data

from stillhouse.core.checks import InputError
from stillhouse.core.labels import missing_labels
from stillhouse.core.parts import TeacherAtChance


class RulesClassifier(ClassifierMixin, BaseEstimator):
    """Rules of words or thresholds, taught by a teacher over the rows without a label.

    `fit` is `stillhouse.distill` with one training and no control; whether the teacher helped is what `distill` says. As for
    other classifiers of scikit-learn that take rows without a label, -1 is no class. A teacher at chance is a warning here.

    Args:
        teacher: as of `distill`; None learns from the labels alone.
        student: a kind, or a mapping with one and its settings.
        settings: of the run, as `{"training.epochs": 20}`.
        random_state: draws the validation rows.

    Attributes:
        classes_: labels, in the order of `predict_proba`.
        student_: the trained student; `student_.rules()` prints it.
        n_features_in_: D, of numbers alone.

    Example:
        model = RulesClassifier("encoder:all-MiniLM-L6-v2").fit(texts, labels)
        print(model.rules())
    """

    def __init__(
        self,
        teacher: Any = None,
        *,
        student: Any = "rules",
        settings: Mapping[str, Any] | None = None,
        random_state: int = 0,
    ) -> None:
        self.teacher = teacher
        self.student = student
        self.settings = settings
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> RulesClassifier:
        """Learn from texts, rows of numbers, a frame or images; -1 or None in y: no label.

        Raises:
            InputError: fewer than two classes, or what `distill` refuses.
            ValueError: what scikit-learn refuses of numbers: NaN, sparse matrices, another shape, labels that are no classes.
        """
        from stillhouse.api import distill

        if y is None:
            raise InputError("RulesClassifier requires y to be passed, but the target y is None")
        if _are_numbers(X):
            X = validate_data(self, X, dtype=np.float64)
            y = column_or_1d(y, warn=True)
            check_consistent_length(X, y)
        labels = y.tolist() if hasattr(y, "tolist") else list(y)
        there = np.flatnonzero(~missing_labels(labels))
        if _are_numbers(X):
            check_classification_targets([labels[row] for row in there])
        if len({str(labels[row]) for row in there}) < 2:
            raise InputError(f"y: expected labels of at least 2 classes, got {len(there)} labels of 1 class")
        # every label is needed for learning: the run is tested on these rows too, and no figure of that test is kept
        known = [X.iloc[row] if hasattr(X, "iloc") else X[row] for row in there]
        if hasattr(X, "iloc"):
            known = X.iloc[there]
        elif hasattr(X, "ndim"):
            known = X[there]
        arm = "no-kd" if self.teacher is None else "kd"
        more: dict[str, Any] = {
            "arms": [arm],
            "data.split_seed": self.random_state,
            "quiet": True,
            **(self.settings or {}),
        }
        run = partial(
            distill,
            self.teacher,
            self.student,
            (X, labels),
            test=(known, [labels[row] for row in there]),
            seeds=1,
            **more,
        )
        with redirect_stdout(StringIO()):  # an estimator prints nothing
            try:
                self._result = run()
            except TeacherAtChance as error:
                warnings.warn(str(error).splitlines()[0], UserWarning, stacklevel=2)
                self._result = run(force=True)
        self.student_ = self._result.student
        self.classes_ = np.array(self.student_.classes)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """(N) labels."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(1)]

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """(N, K) probabilities, in the order of `classes_`."""
        check_is_fitted(self)
        if hasattr(self, "n_features_in_"):
            X = validate_data(self, X, dtype=np.float64, reset=False)
        return self.student_.predict_proba(X)

    def rules(self, lines: int | None = None) -> str:
        """What it decides by; see `Student.rules`."""
        check_is_fitted(self)
        return self.student_.rules(lines)


def _are_numbers(X: Any) -> bool:
    """Whether inputs are rows of numbers, which scikit-learn checks: no texts, frame, images."""
    if hasattr(X, "iloc"):
        return False
    if issparse(X):
        return True
    array = np.asarray(X)
    texts = array.dtype.kind in "US" or (array.dtype.kind == "O" and array.size > 0 and isinstance(array.flat[0], str))
    return array.ndim <= 2 and not texts
