"""What is reported: scores of predictions, and what a network costs."""

from stillhouse.metrics.classification import accuracy, agreement, evaluate, expected_calibration_error, nll
from stillhouse.metrics.cost import measure_cost

__all__ = ["accuracy", "agreement", "evaluate", "expected_calibration_error", "measure_cost", "nll"]
