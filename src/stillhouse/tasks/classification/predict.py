"""What a model puts out for a whole split, and scores of it against labels and against a teacher.

Shapes: N rows, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from stillhouse.core import ranks
from stillhouse.core.checks import InputError
from stillhouse.core.processes import gather, share
from stillhouse.core.types import Batch
from stillhouse.tasks.classification.data.split import Split

CALIBRATION_BINS = 15
SUM_TOLERANCE = 1e-2  # a softmax that went through half precision still passes; logits do not


@torch.no_grad()
def predict(logits_of: Callable[[Batch], Tensor], split: Split, batch_size: int = 512) -> np.ndarray:
    """Class probabilities (N, K) float32 of every row of a split, in order.

    Args:
        logits_of: (B, K) logits of a batch; the caller puts the model in eval mode.
        split: N rows.
        batch_size: rows of a forward pass.
    """
    rows = [torch.softmax(logits_of(batch).float(), dim=1).cpu() for batch in split.batches(batch_size)]
    return torch.cat(rows).numpy()


def probabilities_of(model: nn.Module, split: Split, batch_size: int = 512) -> np.ndarray:
    """The same of a network that reads inputs, wherever it is."""
    device = next(model.parameters()).device
    return predict(lambda batch: model(batch.inputs.to(device)), split, batch_size)


@torch.no_grad()
def predict_together(logits_of: Callable[[Batch], Tensor], split: Split, batch_size: int = 512) -> np.ndarray:
    """`predict` by all processes of a run, each its part of every batch; all of them get the whole.

    A process without a row of a batch is given one with label -1, whose answer is dropped.
    """
    if ranks.count() == 1:
        return predict(logits_of, split, batch_size)
    found = []
    for rows in torch.arange(len(split)).split(batch_size):
        mine, sizes = share(rows)
        batch = split.batch(mine)
        if sizes[ranks.rank()] == 0:
            batch = replace(batch, labels=torch.full_like(batch.labels, -1))
        found.append(gather(torch.softmax(logits_of(batch).float(), dim=1), sizes).cpu())
    return torch.cat(found).numpy()


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
        InputError: NaN, rows that are no probabilities, labels that are no classes.

    Example:
        >>> found = evaluate(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 1]), None)
        >>> found["accuracy"], round(found["nll"], 4), round(found["ece"], 4), found["agreement"]
        (0.5, 0.5108, 0.35, None)

    Source: Guo et al. 2017, arXiv:1706.04599 (calibration); Stanton et al. 2021, arXiv:2106.05945 (agreement).
    """
    from torchmetrics.functional.classification import multiclass_calibration_error

    check("predictions", probabilities)
    classes = probabilities.shape[1]
    if labels.shape != probabilities.shape[:1] or labels.min() < 0 or labels.max() >= classes:
        # numpy would read label -1 as the last class
        raise InputError(
            f"labels: expected whole numbers from 0 to {classes - 1} for each of {len(probabilities)} rows"
        )
    agreement = None
    if teacher_probabilities is not None:
        check("teacher's predictions", teacher_probabilities)  # argmax of NaN is class 0
        agreement = float((probabilities.argmax(1) == teacher_probabilities.argmax(1)).mean())
    # one entry of 1 + 1e-7 and torchmetrics takes the whole array for logits, and puts it through a softmax
    p, y = torch.as_tensor(probabilities.clip(0.0, 1.0)), torch.as_tensor(labels).long()
    return {
        "accuracy": float((probabilities.argmax(1) == labels).mean()),
        "nll": float(nll(probabilities, labels).mean()),
        "ece": float(multiclass_calibration_error(p, y, num_classes=classes, n_bins=CALIBRATION_BINS)),
        "agreement": agreement,
    }


def nll(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,) negative log-likelihood of the labels in nats: unlike accuracy it sees how sure a model is.

    At most 87.3: probabilities below the smallest normal float32 count as that, so that one sure mistake does not make the mean
    infinite.
    """
    picked = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    found: np.ndarray = -np.log(np.maximum(picked, np.finfo(np.float32).tiny))
    return found


def check(name: str, rows: np.ndarray) -> None:
    """Raise unless rows are probabilities (N, K)."""
    if rows.ndim != 2 or rows.size == 0:
        raise InputError(f"{name}: expected (N, K) with at least one sample, got {rows.shape}")
    broken = int((~np.isfinite(rows)).any(1).sum())
    if broken:
        raise InputError(f"{name} of {broken} of {len(rows)} samples are NaN or infinite")
    odd = (rows < -SUM_TOLERANCE).any(1) | (abs(rows.sum(1, dtype=np.float64) - 1) > SUM_TOLERANCE)
    if odd.any():
        first = rows[odd][0]
        raise InputError(
            f"{name}: expected probabilities that sum to 1, got a row from {first.min():.4g} to {first.max():.4g} with "
            f"sum {first.sum():.4g}; logits need a softmax first"
        )
