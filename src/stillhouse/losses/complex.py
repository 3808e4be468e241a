"""Distances between complex sequences (focused radar lines, complex features), per sample; amplitude and phase both count.

Shapes: B lines, ... positions and channels (azimuth is axis 1). The student first, the teacher (or the target) second; the teacher
gets no gradient. Every function is finite with a finite gradient where the student is 0, and NaN in is NaN out. A global phase on
*both* sides changes nothing; what a global phase of the student alone does stands at each function.

There is no softmax here, so a temperature in the sense of class probabilities would do nothing: `robust_nmse` is where one means
something.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stillhouse.core.checks import InputError, same_shape

FLOOR = 1e-4  # of the mean power 1 that scaled data have: -40 dB


def complex_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean |s - t|^2: the plain squared error of both parts together.

    Args:
        student: (B, ...) complex.
        teacher: (B, ...) complex.

    Returns:
        (B,) in squared units of the data. A bright line weighs more than a dark one; `complex_nmse` weighs all alike.

    Raises:
        InputError: shapes differ, real numbers, nothing in it.

    Example:
        |3 + 4j|^2 = 25 and 0, on average 12.5.

        >>> complex_mse(torch.tensor([[3 + 4j, 0]]), torch.zeros(1, 2, dtype=torch.complex64)).item()
        12.5
    """
    s, t = _pair(student, teacher)
    return _power(s - t).mean(1)


def complex_nmse(student: Tensor, teacher: Tensor, *, floor: float = FLOOR) -> Tensor:
    """sum |s - t|^2 / sum |t|^2 of each line: 0 is perfect, 1 is what silence scores.

    Args:
        student: (B, ...) complex.
        teacher: (B, ...) complex.
        floor: mean power below which a line counts as this strong, so that a silent line does not divide by 0.

    Returns:
        (B,) from 0. A phase error phi costs 2 (1 - cos phi), whatever the amplitude.

    Raises:
        InputError: as `complex_mse`.

    Example:
        A phase error of 60 degrees is as bad as silence.

        >>> t = torch.tensor([[1 + 0j, 2j]])
        >>> [round(x, 4) for x in (complex_nmse(t * (0.5 + 0.75**0.5 * 1j), t).item(), complex_nmse(0 * t, t).item())]
        [1.0, 1.0]

    Relations:
        `robust_nmse` is this with a bounded pull of the worst samples; `coherence_loss` forgives a factor.
    """
    s, t = _pair(student, teacher)
    return _power(s - t).mean(1) / _level(t, floor)


def robust_nmse(student: Tensor, teacher: Tensor, *, temperature: float, floor: float = FLOOR) -> Tensor:
    """`complex_nmse` for small errors, linear in |s - t| beyond `temperature` times the teacher's RMS.

    What a temperature means in a regression: how far the student may be from the teacher before the difference stops counting as
    a square. A low one listens to the many weak samples, a high one to the few bright points. (A softmax temperature would need
    class scores; on a sequence of one channel that softmax is 1 and its divergence 0.)

    Args:
        student: (B, ...) complex.
        teacher: (B, ...) complex.
        temperature: T, above 0; for T -> infinity it is `complex_nmse`.
        floor: as `complex_nmse`.

    Returns:
        (B,): the mean of 2 T^2 (sqrt(1 + x / T^2) - 1) over samples, x = |s - t|^2 over the line's mean power. Its gradient in one
        sample is at most that of an error of T RMS.

    Raises:
        InputError: as `complex_nmse`.

    Example:
        x = 8 at T = 1: 2 (sqrt(9) - 1) = 4, where the square gives 8.

        >>> t, s = torch.ones(1, 1) + 0j, torch.ones(1, 1) + 8**0.5 + 0j
        >>> [round(robust_nmse(s, t, temperature=T).item(), 4) for T in (1.0, 1e4)]
        [4.0, 8.0]

    Source: Charbonnier et al. 1997, IEEE Trans. Image Processing 6(2) (the function); Barron 2019, arXiv:1701.03077 (its scale).
    """
    s, t = _pair(student, teacher)
    x = _power(s - t) / _level(t, floor).unsqueeze(1)
    # 2 T^2 (sqrt(1 + x/T^2) - 1) without the difference of two numbers that are nearly equal
    return (2 * x / (1 + (1 + x / temperature**2).sqrt())).mean(1)


def coherence_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - |<s, t>| / (|s| |t|): blind to a complex factor of the whole line.

    Args:
        student: (B, ...) complex.
        teacher: (B, ...) complex.

    Returns:
        (B,) in [0, 1]; 1 where either side is silent. It ignores amplitude, so it never stands alone.

    Raises:
        InputError: as `complex_mse`.

    Example:
        >>> t = torch.tensor([[1 + 0j, 1j]])
        >>> abs(round(coherence_loss(5j * t, t).item(), 5)), round(coherence_loss(torch.tensor([[1 + 0j, 0]]), t).item(), 4)
        (0.0, 0.2929)
    """
    s, t = _pair(student, teacher)
    product = (s * t.conj()).sum(1)
    power = _power(s).sum(1) * _power(t).sum(1)
    tiny = torch.finfo(power.dtype).tiny
    return 1 - product.abs() / power.clamp(min=tiny).sqrt()


def _pair(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both sides as (B, N), complex64 at least, the teacher without gradient."""
    same_shape("teacher", tuple(teacher.shape), tuple(student.shape))
    for which, side in (("student", student), ("teacher", teacher)):
        if not side.is_complex():
            raise InputError(f"{which}: expected complex numbers, got {side.dtype}; use torch.complex(re, im)")
    if student.ndim < 2 or student.numel() == 0:
        raise InputError(f"student: expected (B, ...) with at least one sample, got {tuple(student.shape)}")
    wide = torch.promote_types(student.dtype, torch.complex64)
    return student.to(wide).flatten(1), teacher.detach().to(wide).flatten(1)


def _power(x: Tensor) -> Tensor:
    """|x|^2 by its parts: the gradient is finite at 0, where that of |x| is not."""
    return x.real.square() + x.imag.square()


def _level(teacher: Tensor, floor: float) -> Tensor:
    return _power(teacher).mean(1).clamp(min=floor)
