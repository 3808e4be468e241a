"""A re-made head fitted on frozen features: without it, a "pretrained" teacher speaks through random weights.

Shapes: N rows, D width of the features, K classes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch
from stillhouse.teachers.by_row import STRENGTHS, select_best_estimator
from stillhouse.teachers.networks import final_linear
from stillhouse.teachers.teacher import NetworkTeacher

HEAD_ROWS = 20_000  # enough for a linear layer
FEW_ROWS = 1_000  # up to here its strength is chosen by cross-validation; beyond it matters little, and takes minutes


def fit_head(teacher: NetworkTeacher, batches: Iterable[Batch]) -> None:
    """Fit the teacher's last linear layer by logistic regression on what enters it; changes that layer in place.

    Args:
        teacher: its `head_is_new` is cleared.
        batches: of the training split, or of a sample of it (`HEAD_ROWS`); all of them are used.

    Raises:
        InputError: features that are not numbers, or a head that is not applied once to (B, D).

    Source: Alain, Bengio 2016, arXiv:1610.01644 (linear probes).
    """
    from rich.progress import Progress, TextColumn
    from sklearn.linear_model import LogisticRegression

    head = teacher.module.get_submodule(final_linear(teacher.module, teacher.name))
    assert isinstance(head, nn.Linear)
    seen: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach().float().cpu()))
    labels: list[Tensor] = []
    try:
        column = TextColumn("fitting the teacher's new head on {task.completed} rows")
        with Progress(column, transient=True, disable=not sys.stdout.isatty()) as bars:
            bar = bars.add_task("rows", total=None)
            for batch in batches:
                teacher(batch)
                labels.append(batch.labels.cpu())
                bars.update(bar, advance=len(batch.labels))
    finally:
        hook.remove()
    y = torch.cat(labels).numpy()
    if any(x.ndim != 2 for x in seen) or sum(map(len, seen)) != len(y):
        raise InputError(f"teacher {teacher.name}: expected its last layer to be applied once to (B, D) features")
    x = torch.cat(seen).numpy().astype(np.float64)
    if not np.isfinite(x).all():
        raise InputError(f"teacher {teacher.name}: its features are NaN or infinite")
    mean, std = x.mean(0), x.std(0) + 1e-6
    z, probe = (x - mean) / std, LogisticRegression(max_iter=300, C=0.1)
    if len(np.unique(y)) < len(y) <= FEW_ROWS:
        strengths = [LogisticRegression(max_iter=300, C=float(strength)) for strength in STRENGTHS[True]]
        probe = select_best_estimator(strengths, z, y, head.out_features)[1]
    probe = probe.fit(z, y)
    weight, bias = _all_classes(probe.coef_, probe.intercept_, probe.classes_, head.out_features)
    weight = weight / std
    with torch.no_grad():
        head.weight.copy_(torch.as_tensor(weight))
        head.bias.copy_(torch.as_tensor(bias - weight @ mean))
    teacher.head_is_new = False
    teacher.head_was_fitted = True


def _all_classes(coef: np.ndarray, intercept: np.ndarray, classes: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(K, D) and (K): two classes give one row in scikit-learn; a class without rows keeps a low score."""
    if len(classes) == 2:
        coef, intercept = np.stack([-coef[0] / 2, coef[0] / 2]), np.array([-intercept[0] / 2, intercept[0] / 2])
    weight, bias = np.zeros((k, coef.shape[1])), np.full(k, intercept.min() - 10.0)
    weight[classes], bias[classes] = coef, intercept
    return weight, bias
