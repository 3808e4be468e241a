"""How much each of several teachers counts, by fixed rules; `learned_weights` has the learned ones.

Shapes: B batch, K classes, n teachers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from stillhouse.core.types import Outputs
from stillhouse.losses import label_cross_entropy
from stillhouse.losses.values import wide

WeightsFn = Callable[[Outputs, Sequence[Outputs], Tensor], Tensor]
"""(outputs of the student, of each teacher, labels (B,)) -> weights (B, n) whose rows sum to 1."""


def uniform_weights(student_out: Outputs, members: Sequence[Outputs], labels: Tensor) -> Tensor:
    """1/n for every teacher and sample.

    Example:
        >>> members = [Outputs(torch.zeros(1, 2))] * 4
        >>> uniform_weights(members[0], members, torch.tensor([0])).tolist()
        [[0.25, 0.25, 0.25, 0.25]]
    """
    logits = wide(members[0].logits)
    return logits.new_full((logits.shape[0], len(members)), 1 / len(members))


def confidence_weights(student_out: Outputs, members: Sequence[Outputs], labels: Tensor) -> Tensor:
    """(1 - softmax over teachers of their cross-entropy) / (n - 1): for each sample, less to a teacher that is wrong.

    No teacher gets more than 1/(n - 1): with two one can rule alone, with many all count.

    Args:
        student_out: of the student; not used.
        members: logits (B, K) of each teacher.
        labels: (B,) int64.

    Returns:
        (B, n); 1 for a single teacher.

    Example:
        Cross-entropies 0 and 50: the sure and right one gets everything, and half if it is one of three.

        >>> good, bad = Outputs(torch.tensor([[50.0, 0.0]])), Outputs(torch.tensor([[0.0, 50.0]]))
        >>> confidence_weights(good, [good, bad], torch.tensor([0])).tolist()
        [[1.0, 0.0]]
        >>> confidence_weights(good, [good, bad, good], torch.tensor([0])).tolist()
        [[0.5, 0.0, 0.5]]

    Source: Zhang, Chen, Wang 2022, arXiv:2201.00007 (CA-MKD).
    """
    n = len(members)
    if n == 1:
        return uniform_weights(student_out, members, labels)
    errors = torch.stack([label_cross_entropy(member.logits.detach(), labels) for member in members], dim=1)
    return (1 - torch.softmax(errors, dim=1)) / (n - 1)


def gradient_weights(
    student_out: Outputs,
    members: Sequence[Outputs],
    labels: Tensor,
    *,
    temperature: float = 1.0,
    temperatures: Sequence[float] = (),
    upper: float = 1.0,
) -> Tensor:
    """The weights, equal for all samples of the batch, whose summed gradient is the shortest: where teachers disagree it gives way.

    With these weights no teacher's loss rises to first order in the student's logits (unless `upper` forbids it). The
    gradients need no backward pass: for T^2 KL that of teacher t in the student's logits is T (q - p_t). They are compared
    over all logits of the batch; the released code compares their means over the batch, which samples can cancel.

    Args:
        student_out: logits (B, K) of the student; get no gradient.
        members: logits (B, K) of each teacher.
        labels: (B,); not used.
        temperature: T of the student's side, and of a teacher without one of its own.
        temperatures: one a teacher, or none.
        upper: largest weight of one teacher; below 1/n it is taken as 1/n, which leaves equal weights.

    Returns:
        (B, n), all rows equal.

    Example:
        The student lies between two teachers, three times nearer to the first in probability (5/8 of 3/4 .. 1/4): gradients
        -1/8 and 3/8 cancel at weights 3/4 and 1/4.

        >>> p, r, q = (Outputs(torch.tensor([[x, 1 - x]]).log()) for x in (0.75, 0.25, 0.625))
        >>> [round(x, 4) for x in gradient_weights(q, [p, r], torch.tensor([0]))[0].tolist()]
        [0.75, 0.25]

    Source: Du et al. 2020 (Agree to Disagree: Adaptive Ensemble Knowledge Distillation in Gradient Space, NeurIPS).
    """
    sides = tuple(temperatures) or (temperature,) * len(members)
    with torch.no_grad():
        q = torch.softmax(wide(student_out.logits) / temperature, dim=1)
        gaps = [temperature * (q - torch.softmax(wide(member.logits) / t, dim=1)) for member, t in zip(members, sides)]
        flat = torch.stack(gaps).flatten(1).double()
        weights = min_norm_weights((flat @ flat.T).cpu().numpy(), upper=upper)
    row = torch.as_tensor(weights, dtype=q.dtype, device=q.device)
    return row.expand(q.shape[0], -1)


def min_norm_weights(gram: np.ndarray, *, upper: float = 1.0, steps: int = 2000) -> np.ndarray:
    """argmin over w of w' G w, with w in [0, upper] that sum to 1: the shortest vector in a hull of vectors.

    Frank-Wolfe's pairwise form: mass goes from the vector that raises the norm most to the one that raises it least, by an
    exact line search. The plain form crawls where the answer lies on a face, as it does with one bad teacher.

    Args:
        gram: (n, n) inner products.
        upper: bound on each weight; below 1/n it is taken as 1/n.
        steps: at most so many moves; it stops where no move helps by more than a 1e-12th of the largest entry.

    Returns:
        (n,), NaN where an entry is not finite.

    Example:
        Orthogonal vectors of squared length 1 and 3: weights go with the inverse.

        >>> min_norm_weights(np.diag([1.0, 3.0])).tolist()
        [0.75, 0.25]
        >>> min_norm_weights(np.diag([1.0, 3.0]), upper=0.6).tolist()
        [0.6, 0.4]

    Source: Desideri 2012 (multiple-gradient descent); Lacoste-Julien, Jaggi 2015, arXiv:1511.05932 (pairwise steps).
    """
    n = len(gram)
    if not np.isfinite(gram).all():
        return np.full(n, np.nan)
    bound, w = max(upper, 1 / n), np.full(n, 1 / n)
    for _ in range(steps):
        slope = gram @ w
        to = int(np.argmin(np.where(w < bound, slope, np.inf)))
        take = int(np.argmax(np.where(w > 0, slope, -np.inf)))
        gain = slope[take] - slope[to]
        if not w[to] < bound or gain <= 1e-12 * np.abs(gram).max():
            break
        bend = gram[to, to] + gram[take, take] - 2 * gram[to, take]
        room = min(bound - w[to], w[take])
        move = room if bend <= 0 else min(gain / bend, room)
        w[to], w[take] = w[to] + move, w[take] - move
    return w
