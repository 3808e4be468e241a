"""Scores of class probabilities against labels and against a teacher; torchmetrics does the sums.

Shapes: N samples, K classes.
"""

from __future__ import annotations

import numpy as np
import torch

from stillhouse.checks import InputError, same_shape

CALIBRATION_BINS = 15


def evaluate(
    probabilities: np.ndarray, labels: np.ndarray, teacher_probabilities: np.ndarray | None
) -> dict[str, float | None]:
    """Accuracy, negative log-likelihood (nats), expected calibration error (15 bins) and agreement with the teacher.

    Args:
        probabilities: (N, K).
        labels: (N,) class numbers.
        teacher_probabilities: (N, K), or None: agreement is then None.

    Returns:
        `accuracy`, `nll`, `ece`, `agreement` (share of equal top classes).

    Raises:
        InputError: NaN, or shapes that do not fit.

    Example:
        Half right; confidence is 0.9 where right and 0.6 where wrong: ECE (0.1 + 0.6) / 2.

        >>> found = evaluate(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 1]), None)
        >>> found["accuracy"], round(found["nll"], 4), round(found["ece"], 4), found["agreement"]
        (0.5, 0.5108, 0.35, None)

    Source: Guo et al. 2017, arXiv:1706.04599 (ECE).
    """
    from torchmetrics.functional.classification import multiclass_calibration_error

    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise InputError(f"expected probabilities (N, K) and labels (N,), got {probabilities.shape} and {labels.shape}")
    if not np.isfinite(probabilities).all():
        rows = int((~np.isfinite(probabilities)).any(1).sum())
        raise InputError(f"predictions of {rows} of {len(labels)} samples are NaN or infinite")
    p, y, classes = torch.as_tensor(probabilities), torch.as_tensor(labels).long(), probabilities.shape[1]
    ece = multiclass_calibration_error(p, y, num_classes=classes, n_bins=CALIBRATION_BINS)
    picked = probabilities[np.arange(len(labels)), labels]
    agreement = None
    if teacher_probabilities is not None:
        same_shape("teacher probabilities", teacher_probabilities.shape, probabilities.shape)
        agreement = float((probabilities.argmax(1) == teacher_probabilities.argmax(1)).mean())
    return {
        "accuracy": float((probabilities.argmax(1) == labels).mean()),
        "nll": float(-np.log(np.maximum(picked, np.finfo(np.float32).tiny)).mean()),
        "ece": float(ece),
        "agreement": agreement,
    }
