"""What is reported: scores of predictions, and what a network costs."""

from stillhouse.metrics.classification import evaluate
from stillhouse.metrics.cost import measure_cost

__all__ = ["evaluate", "measure_cost"]
