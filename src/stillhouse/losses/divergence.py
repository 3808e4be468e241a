"""Divergences between the softened class distributions of teacher and student, per sample.

Shapes: B batch, K classes. p = softmax(teacher / T), q = softmax(student / T). Every function works from log-softmax in
float32 (float64 stays), detaches the teacher, and multiplies by T^2 once, so that a gradient keeps its size as T changes.
NaN in, NaN out: nothing here hides one, and the training loop stops on it.
"""

from __future__ import annotations

import math
from numbers import Real

import torch
from torch import Tensor

from stillhouse.checks import InputError, same_shape
from stillhouse.losses.precision import wide

REVERSE_FLOOR = -50.0  # nats


def forward_kl(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float | Tensor = 1.0) -> Tensor:
    """T^2 KL(p || q): the classical distillation loss; 0 exactly where the student equals the teacher.

    Args:
        student_logits: (B, K).
        teacher_logits: (B, K); gets no gradient.
        temperature: a positive number, or (B,) one a sample.

    Returns:
        (B,) in nats times T^2; its gradient in the student's logits is T (q - p). A class that the teacher rules out
        (-inf) adds nothing; one that only the student rules out makes it infinite.

    Raises:
        InputError: shapes differ, or the temperature is not positive and finite, or not a number or (B,).

    Example:
        Teacher (3/4, 1/4), student (1/2, 1/2): 3/4 ln 3/2 + 1/4 ln 1/2 = 0.1308.

        >>> p, q = torch.tensor([[3.0, 1.0]]).log(), torch.tensor([[1.0, 1.0]]).log()
        >>> [round(x, 4) for x in forward_kl(q, p).tolist()]
        [0.1308]

    Relations:
        `reverse_kl` swaps the roles; `generalized_js` lies between and is bounded.

    Source: Hinton, Vinyals, Dean 2015, arXiv:1503.02531.
    """
    log_q, log_p, scale = _prepare(student_logits, teacher_logits, temperature)
    return _kl(log_p, log_q) * scale


def reverse_kl(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float | Tensor = 1.0) -> Tensor:
    """T^2 KL(q || p): punishes mass where the teacher has none; its gradient vanishes where the student has none.

    Args:
        student_logits: (B, K).
        teacher_logits: (B, K); gets no gradient.
        temperature: a positive number, or (B,).

    Returns:
        (B,) in nats times T^2. The teacher's log-probability is floored at -50 (p = 2e-22), so that a class that it rules
        out costs the student much, not infinity and a NaN gradient.

    Raises:
        InputError: as `forward_kl`.

    Example:
        Teacher (3/4, 1/4), student (1/2, 1/2): 1/2 ln 2/3 + 1/2 ln 2 = 0.1438.

        >>> p, q = torch.tensor([[3.0, 1.0]]).log(), torch.tensor([[1.0, 1.0]]).log()
        >>> [round(x, 4) for x in reverse_kl(q, p).tolist()]
        [0.1438]

    Relations:
        `forward_kl` with the roles swapped; `generalized_js` needs no floor, since its mixture is 0 only where both are.

    Source: Gu et al. 2023, arXiv:2306.08543 (MiniLLM); Wu et al. 2024, arXiv:2404.02657.
    """
    log_q, log_p, scale = _prepare(student_logits, teacher_logits, temperature)
    return _kl(log_q, log_p.clamp(min=REVERSE_FLOOR)) * scale


def generalized_js(
    student_logits: Tensor, teacher_logits: Tensor, *, beta: float = 0.5, temperature: float | Tensor = 1.0
) -> Tensor:
    """T^2 (beta KL(p || m) + (1 - beta) KL(q || m)), m = beta p + (1 - beta) q: bounded, symmetric at beta = 1/2.

    Args:
        student_logits: (B, K).
        teacher_logits: (B, K); gets no gradient.
        beta: weight of the teacher, strictly between 0 and 1 (at the ends the divergence is 0 and teaches nothing;
            divided by beta it tends to `forward_kl` for beta -> 0, by 1 - beta to `reverse_kl` for beta -> 1).
        temperature: a positive number, or (B,).

    Returns:
        (B,) in nats times T^2, at most T^2 (-beta ln beta - (1 - beta) ln(1 - beta)).

    Raises:
        InputError: beta outside (0, 1), or as `forward_kl`.

    Example:
        Distributions without overlap are ln 2 apart.

        >>> p, q = torch.tensor([[200.0, 0.0]]), torch.tensor([[0.0, 200.0]])
        >>> [round(x, 4) for x in generalized_js(q, p).tolist()]
        [0.6931]

    Relations:
        `forward_kl` and `reverse_kl` are its scaled limits; unlike them it stays bounded where one side is sure.

    Source: Lin 1991 (Divergence measures based on the Shannon entropy); Agarwal et al. 2024, arXiv:2306.13649 (GKD).
    """
    if not 0.0 < beta < 1.0:
        raise InputError(f"beta: expected a number strictly between 0 and 1, got {beta}")
    log_q, log_p, scale = _prepare(student_logits, teacher_logits, temperature)
    # logaddexp(-inf, -inf) has a NaN gradient, so a class that both rule out is taken out before it (_kl gives it 0)
    nobody = (log_p == -math.inf) & (log_q == -math.inf)
    weighted_p, weighted_q = log_p + math.log(beta), log_q + math.log1p(-beta)
    log_m = torch.logaddexp(weighted_p.masked_fill(nobody, 0.0), weighted_q.masked_fill(nobody, 0.0))
    return (beta * _kl(log_p, log_m) + (1 - beta) * _kl(log_q, log_m)) * scale


def _prepare(student: Tensor, teacher: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor, float | Tensor]:
    """log q, log p (B, K) and T^2."""
    same_shape("teacher logits", tuple(teacher.shape), tuple(student.shape))
    if student.ndim != 2:
        raise InputError(f"logits: expected (B, K), got {tuple(student.shape)}")
    temperature = _checked_temperature(temperature, student.shape[0])
    divisor = temperature.unsqueeze(1) if isinstance(temperature, Tensor) and temperature.ndim > 0 else temperature
    log_q = torch.log_softmax(wide(student) / divisor, dim=1)
    log_p = torch.log_softmax(wide(teacher.detach()) / divisor, dim=1)
    return log_q, log_p, temperature**2


def _checked_temperature(temperature: float | Tensor, batch: int) -> float | Tensor:
    """A number, or a wide tensor () or (B,) that keeps its gradient."""
    if isinstance(temperature, Tensor):
        if temperature.ndim > 0:
            same_shape("temperature (a number or one a sample)", tuple(temperature.shape), (batch,))
        temperature = wide(temperature)  # the square of a half above 255 is infinite
        fine = bool((torch.isfinite(temperature) & (temperature > 0)).all())
    elif isinstance(temperature, Real) and not isinstance(temperature, bool):
        temperature = float(temperature)
        fine = math.isfinite(temperature) and temperature > 0
    else:
        raise InputError(f"temperature: expected a number or a tensor (B,), got {temperature!r}")
    if not fine:
        raise InputError(f"temperature: expected positive and finite, got {temperature}")
    return temperature


def _kl(log_a: Tensor, log_b: Tensor) -> Tensor:
    """Sum of a (ln a - ln b) over classes; a class that a rules out (-inf) adds nothing."""
    possible = log_a > -math.inf
    gap = torch.where(possible, log_a, 0.0) - torch.where(possible, log_b, 0.0)
    return (log_a.exp() * gap).sum(dim=1)
