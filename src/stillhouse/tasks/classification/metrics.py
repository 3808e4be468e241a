"""Scores of class probabilities against labels and against a teacher.

Shapes: N samples, K classes. Every function refuses what would score wrongly without a word: NaN, logits in the place of
probabilities, labels outside [0, K), no samples at all.
"""

from __future__ import annotations

import numpy as np
import torch

from stillhouse.core.checks import InputError, same_shape

CALIBRATION_BINS = 15
SUM_TOLERANCE = 1e-2  # a softmax that went through half precision still passes; logits do not


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Share of samples whose top class is the label, in [0, 1]; ties go to the lower class number.

    Args:
        probabilities: (N, K).
        labels: (N,) class numbers.

    Raises:
        InputError: as `evaluate`.

    Example:
        >>> accuracy(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 1]))
        0.5

    Relations:
        `agreement` asks the same of a teacher in place of the labels.
    """
    _check(probabilities, labels)
    return float((probabilities.argmax(1) == labels).mean())


def nll(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log-likelihood of the labels in nats: unlike accuracy it sees how sure a model is.

    Args:
        probabilities: (N, K).
        labels: (N,) class numbers.

    Returns:
        At most 87.3 a sample: probabilities below the smallest normal float32 count as that, so that one sure mistake
        does not make the whole mean infinite.

    Raises:
        InputError: as `evaluate`.

    Example:
        (-ln 0.9 - ln 0.4) / 2 = 0.5108.

        >>> round(nll(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 1])), 4)
        0.5108
    """
    _check(probabilities, labels)
    picked = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(picked, np.finfo(np.float32).tiny)).mean())


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = CALIBRATION_BINS) -> float:
    """Mean gap between confidence and accuracy over equally wide bins of confidence, in [0, 1]; torchmetrics' sums.

    Args:
        probabilities: (N, K).
        labels: (N,) class numbers.
        bins: number of bins in [0, 1].

    Raises:
        InputError: as `evaluate`.

    Example:
        Confidence is 0.9 where right and 0.6 where wrong: (0.1 + 0.6) / 2.

        >>> round(expected_calibration_error(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 1])), 4)
        0.35

    Source: Guo et al. 2017, arXiv:1706.04599.
    """
    from torchmetrics.functional.classification import multiclass_calibration_error

    _check(probabilities, labels)
    # one entry of 1 + 1e-7 and torchmetrics takes the whole array for logits, and puts it through a softmax
    p, y = torch.as_tensor(probabilities.clip(0.0, 1.0)), torch.as_tensor(labels).long()
    return float(multiclass_calibration_error(p, y, num_classes=probabilities.shape[1], n_bins=bins))


def agreement(probabilities: np.ndarray, teacher_probabilities: np.ndarray) -> float:
    """Share of samples where student and teacher have the same top class, right or wrong: fidelity, in [0, 1].

    Args:
        probabilities: (N, K), the student's.
        teacher_probabilities: (N, K).

    Raises:
        InputError: shapes differ, or as `evaluate`.

    Example:
        >>> agreement(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([[0.7, 0.3], [0.2, 0.8]]))
        0.5

    Source: Stanton et al. 2021, arXiv:2106.05945.
    """
    same_shape("teacher probabilities", teacher_probabilities.shape, probabilities.shape)
    _check_probabilities("predictions", probabilities)
    # argmax of NaN is class 0: a broken teacher would agree with whoever names 0
    _check_probabilities("teacher's predictions", teacher_probabilities)
    return float((probabilities.argmax(1) == teacher_probabilities.argmax(1)).mean())


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
        InputError: NaN, rows that are no probabilities, labels that are no classes, shapes that do not fit, no samples.

    Example:
        >>> found = evaluate(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 1]), None)
        >>> found["accuracy"], round(found["nll"], 4), round(found["ece"], 4), found["agreement"]
        (0.5, 0.5108, 0.35, None)
    """
    return {
        "accuracy": accuracy(probabilities, labels),
        "nll": nll(probabilities, labels),
        "ece": expected_calibration_error(probabilities, labels),
        "agreement": None if teacher_probabilities is None else agreement(probabilities, teacher_probabilities),
    }


def _check(probabilities: np.ndarray, labels: np.ndarray) -> None:
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise InputError(f"expected probabilities (N, K) and labels (N,), got {probabilities.shape} and {labels.shape}")
    _check_probabilities("predictions", probabilities)
    classes = probabilities.shape[1]
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= classes:
        # numpy would read label -1 as the last class
        shown = f"{labels.dtype}, {labels.min()} to {labels.max()}"
        raise InputError(f"labels: expected whole numbers from 0 to {classes - 1}, got {shown}")


def _check_probabilities(name: str, rows: np.ndarray) -> None:
    if rows.ndim != 2 or rows.size == 0:
        raise InputError(f"{name}: expected (N, K) with at least one sample, got {rows.shape}")
    broken = int((~np.isfinite(rows)).any(1).sum())
    if broken:
        raise InputError(f"{name} of {broken} of {len(rows)} samples are NaN or infinite")
    sums = rows.sum(1, dtype=np.float64)
    odd = (rows < -SUM_TOLERANCE).any(1) | (abs(sums - 1) > SUM_TOLERANCE)
    if odd.any():
        first = rows[odd][0]
        raise InputError(
            f"{name}: expected probabilities that sum to 1, got a row from {first.min():.4g} to {first.max():.4g} with "
            f"sum {first.sum():.4g}; logits need a softmax first"
        )
