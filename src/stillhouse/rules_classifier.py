"""A readable student behind scikit-learn's interface: `fit` with -1 where a row has no label, `predict`, `predict_proba`.

Shapes: N rows, D numbers of a row, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from stillhouse.core.checks import InputError
from stillhouse.core.labels import missing_labels


class RulesClassifier(ClassifierMixin, BaseEstimator):
    """Rules of words or thresholds, taught by a teacher over the rows without a label.

    `fit` is `stillhouse.distill` with one training and no control; whether the teacher helped is what `distill` says. As for
    other classifiers of scikit-learn that take rows without a label, -1 is no class, and `check_estimator`, which uses it as one
    and gives rows of one class or too few to validate on, is not for it.

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
        """
        from stillhouse.api import distill

        labels = y.tolist() if hasattr(y, "tolist") else list(y)
        there = np.flatnonzero(~missing_labels(labels))
        if len({str(labels[row]) for row in there}) < 2:
            raise InputError(f"y: expected labels of at least 2 classes, got {len(there)} labels of one")
        # every label is needed for learning: the run is tested on these rows too, and no figure of that test is kept
        known = [X.iloc[row] if hasattr(X, "iloc") else X[row] for row in there]
        if hasattr(X, "iloc"):
            known = X.iloc[there]
        elif hasattr(X, "ndim"):
            known = X[there]
        arm = "no-kd" if self.teacher is None else "kd"
        more: dict[str, Any] = {"arms": [arm], "data.split_seed": self.random_state, **(self.settings or {})}
        self._result = distill(
            self.teacher,
            self.student,
            (X, labels),
            test=(known, [labels[row] for row in there]),
            seeds=1,
            **more,
        )
        self.student_ = self._result.student
        self.classes_ = np.array(self.student_.classes)
        if getattr(X, "ndim", 0) == 2:
            self.n_features_in_ = int(X.shape[1])
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """(N) labels."""
        check_is_fitted(self)
        return self.student_.predict(X)

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """(N, K) probabilities, in the order of `classes_`."""
        check_is_fitted(self)
        return self.student_.predict_proba(X)

    def rules(self, lines: int | None = None) -> str:
        """What it decides by; see `Student.rules`."""
        check_is_fitted(self)
        return self.student_.rules(lines)
