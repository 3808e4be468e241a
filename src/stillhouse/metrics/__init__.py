"""What is reported: scores of predictions, and what a network costs."""

from stillhouse.metrics.anchors import ANCHORS, fit_anchor
from stillhouse.metrics.classification import accuracy, agreement, evaluate, expected_calibration_error, nll
from stillhouse.metrics.cost import measure_cost
from stillhouse.metrics.neighbourhood import judge, knn_overlap
from stillhouse.metrics.similarity import sts_spearman

__all__ = [
    "ANCHORS",
    "accuracy",
    "agreement",
    "evaluate",
    "expected_calibration_error",
    "fit_anchor",
    "judge",
    "knn_overlap",
    "measure_cost",
    "nll",
    "sts_spearman",
]
