"""What losses start from: softened log-probabilities of both sides, precision, checks of numbers. Shapes: B batch, K classes."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import torch
from torch import Tensor

from stillhouse.core.checks import InputError, same_shape

P = ParamSpec("P")
RULED_OUT = -1e4  # nats: no score is so low by itself, but masks do, as -inf or as the lowest number of a format
FLOOR = -50.0  # nats, p = 2e-22
NEAR = 0.5  # nats between two log-probabilities: beyond it their difference loses nothing


def softened(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float | Tensor
) -> tuple[Tensor, Tensor, float | Tensor]:
    """log q and log p of the softened student and teacher, and the factor T^2.

    Args:
        student_logits: (B, K).
        teacher_logits: (B, K); detached here.
        temperature: a positive number, or a tensor () or (B,), which keeps its gradient.

    Returns:
        log q (B, K) and log p (B, K) in float32 at least; T^2 as a number or a tensor () or (B,).

    Raises:
        InputError: shapes differ or are not (B, K), or the temperature is not positive and finite, or not a number or (B,).

    Example:
        Scores (0, ln 9) at T = 2 are (0, ln 3): probabilities 1/4 and 3/4.

        >>> z = torch.tensor([[1.0, 9.0]]).log()
        >>> log_q, log_p, factor = softened(z, z, 2.0)
        >>> [round(x, 4) for x in log_p[0].exp().tolist()], factor
        ([0.25, 0.75], 4.0)
    """
    same_shape("teacher logits", tuple(teacher_logits.shape), tuple(student_logits.shape))
    if student_logits.ndim != 2 or student_logits.shape[1] == 0:
        raise InputError(f"logits: expected (B, K), got {tuple(student_logits.shape)}")
    temperature = checked_temperature(temperature, student_logits.shape[0])
    divisor = temperature.unsqueeze(1) if isinstance(temperature, Tensor) and temperature.ndim > 0 else temperature
    log_q = log_softmax_over(wide(student_logits), divisor)
    log_p = log_softmax_over(wide(teacher_logits.detach()), divisor)
    return log_q, log_p, temperature**2


def log_softmax_over(logits: Tensor, divisor: float | Tensor) -> Tensor:
    """log softmax(z / T) over classes, for T a number, () or (B, 1); a class at -inf stays there.

    Example:
        >>> hot = torch.tensor(2.0, requires_grad=True)
        >>> log_p = log_softmax_over(torch.tensor([[0.0, 1.0, -math.inf]]), hot)
        >>> log_p[0, 0].backward(); round(hot.grad.item(), 4)  # p_1 (z_1 - z_0) / T^2, with p_1 = 1 / (1 + e^(-1/2))
        0.1556
    """
    if not isinstance(divisor, Tensor):
        return torch.log_softmax(logits / divisor, dim=1)
    # the derivative of z / T in T is -z / T^2: at -inf it would make a NaN of the 0 that arrives there
    ruled_out = logits == -math.inf
    softened = (logits.masked_fill(ruled_out, 0.0) / divisor).masked_fill(ruled_out, -math.inf)
    return torch.log_softmax(softened, dim=1)


def clamp_log_probabilities(log_p: Tensor) -> Tensor:
    """A finite number for classes (B, K) that are ruled out: -50, or that of the rarest other class if this is less.

    Classes that are possible keep theirs, however small: a floor for them would bend the gradient of a reverse KL.

    Example:
        >>> clamp_log_probabilities(torch.tensor([[0.0, -80.0, -math.inf], [0.0, -1.0, -math.inf]])).tolist()
        [[0.0, -80.0, -80.0], [0.0, -1.0, -50.0]]
    """
    ruled_out = log_p < RULED_OUT
    floor = log_p.detach().masked_fill(ruled_out, FLOOR).amin(dim=1, keepdim=True)
    return torch.where(ruled_out, floor, log_p)


def checked_temperature(temperature: float | Tensor, batch: int) -> float | Tensor:
    """A number, or a wide tensor () or (B,) that keeps its gradient.

    Raises:
        InputError: not positive and finite, or neither a number nor (B,).
    """
    if isinstance(temperature, Tensor):
        if temperature.ndim > 0:
            same_shape("temperature (a number or one a sample)", tuple(temperature.shape), (batch,))
        temperature = wide(temperature)  # the square of a half above 255 is infinite
        fine = bool((torch.isfinite(temperature) & (temperature > 0)).all())
    else:
        fine = math.isfinite(temperature) and temperature > 0
    if not fine:
        raise InputError(f"temperature: expected positive and finite, got {temperature}")
    return temperature


def kl_of_logs(log_a: Tensor, log_b: Tensor) -> Tensor:
    """KL(a || b) of distributions (B, K) that each sum to 1, (B,); 0 where a rules out (-inf) every class.

    Summed as a (b/a - 1 - ln(b/a)), which is a (ln a - ln b) plus b - a, whose sum is 0. Every summand is above 0 and of second
    order in the difference: plain summands are of first order and cancel, and where a and b are near (a high temperature) what is
    left of float32 is their rounding.

    Example:
        >>> a, b = torch.tensor([[1.0, 0.0]]).log(), torch.tensor([[0.5, 0.5]]).log()
        >>> round(kl_of_logs(a, b).item(), 4)  # ln 2
        0.6931

        A thousandth of the scores' difference d = (1, -1): KL is d^2 / 2 / 1000^2 = 5e-7, and its rounding as large.

        >>> hot = torch.log_softmax(torch.tensor([[0.0, 0.0], [0.001, -0.001]]), 1)
        >>> round(kl_of_logs(hot[:1], hot[1:]).item() * 1e7, 2)
        5.0
    """
    possible = log_a > -math.inf
    a, b = log_a.exp(), log_b.exp()
    gap = torch.where(possible, log_b, 0.0) - torch.where(possible, log_a, 0.0)
    near = possible & (gap.abs() < NEAR)
    small = gap.masked_fill(~near, 0.0)
    found = torch.where(near, a * (torch.expm1(small) - small), b - a - a * gap).sum(dim=1)
    return found.masked_fill(~possible.any(dim=1) & ~found.isnan(), 0.0)


def log_mixture(log_a: Tensor, log_b: Tensor, weight: float) -> Tensor:
    """ln(weight a + (1 - weight) b), for a weight strictly between 0 and 1.

    A class that both rule out gets -inf without a gradient: that of `logaddexp(-inf, -inf)` is NaN.

    Example:
        >>> a, b = torch.tensor([[1.0, 0.0]]).log(), torch.tensor([[0.0, 1.0]]).log()
        >>> [round(x, 2) for x in log_mixture(a, b, 0.25).exp()[0].tolist()]
        [0.25, 0.75]
    """
    nobody = (log_a == -math.inf) & (log_b == -math.inf)
    weighted_a, weighted_b = log_a + math.log(weight), log_b + math.log1p(-weight)
    mixed = torch.logaddexp(weighted_a.masked_fill(nobody, 0.0), weighted_b.masked_fill(nobody, 0.0))
    return mixed.masked_fill(nobody, -math.inf)


def standardize_logits(logits: Tensor) -> Tensor:
    """Subtract each row's mean and divide by its standard deviation over classes: (z - mean) / std.

    A softmax does not see the mean, but it sees the spread: a small student is asked to be as loud as its teacher, which
    carries nothing on classes. Apply it to both sides before any divergence; the temperature then alone sets how soft targets are.

    Args:
        logits: (B, K); a class at -inf stays there and counts neither in the mean nor in the spread.

    Returns:
        (B, K) in float32 at least, rows of mean 0 and standard deviation 1 (divided by K, not K - 1). A row of equal logits
        has no pattern: it gives zeros.

    Example:
        Mean 2, standard deviation 2.

        >>> standardize_logits(torch.tensor([[0.0, 4.0, 0.0, 4.0]])).tolist()
        [[-1.0, 1.0, -1.0, 1.0]]

    Relations:
        `mse_logits` of standardized logits is twice the `pearson_distance` of the logits.

    Source: Sun et al. 2024, arXiv:2403.01427 (base temperature 2 there, with 9 as weight of the loss).
    """
    z = wide(logits)
    ruled_out = z == -math.inf
    count = (~ruled_out).sum(dim=1, keepdim=True).clamp(min=1)
    centered = (z - z.masked_fill(ruled_out, 0.0).sum(dim=1, keepdim=True) / count).masked_fill(ruled_out, 0.0)
    variance = centered.square().sum(dim=1, keepdim=True) / count
    # the mean of equal numbers is off by a rounding error, which must not be blown up to a spread of 1
    largest = z.detach().masked_fill(ruled_out, 0.0).abs().amax(dim=1, keepdim=True)
    flat = variance <= (4 * torch.finfo(z.dtype).eps * largest).square()
    standard = centered / torch.where(flat, 1.0, variance).sqrt()
    return torch.where(flat, centered - centered.detach(), standard).masked_fill(ruled_out, -math.inf)


def without_autocast(loss: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Run a loss outside mixed precision: a Gram matrix in bf16 has two digits, and distances are differences of its entries."""

    @wraps(loss)
    def exact(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        device = next((x.device.type for x in (*args, *kwargs.values()) if isinstance(x, Tensor)), "cpu")
        if not torch.is_autocast_enabled(device):  # torch.export traces no context of it
            return loss(*args, **kwargs)
        with torch.autocast(device_type=device, enabled=False):
            return loss(*args, **kwargs)

    return exact


def compared_rows(student: Tensor, teacher: Tensor, what: str, least: int) -> tuple[Tensor, Tensor]:
    """Both sides of a loss that compares the rows of a batch, the teacher's without gradient.

    Raises:
        InputError: not two matrices (B, D) of as many rows, or too few of them.
    """
    for side, x in (("student", student), ("teacher", teacher)):
        if x.ndim != 2 or x.shape[1] == 0:
            raise InputError(f"{what}, {side}: expected (B, D), got {tuple(x.shape)}")
    if len(student) != len(teacher):
        raise InputError(f"{what}: expected as many rows on both sides, got {len(student)} and {len(teacher)}")
    if len(student) < least:
        raise InputError(
            f"{what}: expected a batch of at least {least} samples, got {len(student)}; take a larger batch (a last one that is "
            "too small may be dropped)"
        )
    return student, teacher.detach()


def check_labels(labels: Tensor, batch: int, classes: int) -> None:
    """Refuse labels (B,) that are not class numbers from 0 to K - 1, and scores of a single class.

    Raises:
        InputError: what was expected, and what came.
    """
    if classes < 2:
        raise InputError(f"logits: expected at least 2 classes to take apart, got {classes}")
    same_shape("labels", tuple(labels.shape), (batch,))
    if labels.is_floating_point() or labels.is_complex():
        raise InputError(f"labels: expected int64 class numbers, got {labels.dtype}")
    if not bool(((labels >= 0) & (labels < classes)).all()):
        raise InputError(
            f"labels: expected class numbers from 0 to {classes - 1}, got {labels.min().item()} to {labels.max().item()}"
        )


def wide(x: Tensor) -> Tensor:
    """float32, or float64 as it is: bf16 and fp16 carry three digits, a softmax or a Gram matrix needs more."""
    return x if x.dtype == torch.float64 else x.float()
