"""Distances between complex sequences (focused radar lines, complex features), per sample; amplitude and phase both count.

Shapes: B lines, ... positions and channels (azimuth is axis 1). The student first, the teacher (or the target) second; the teacher
gets no gradient. Every function is finite with a finite gradient where the student is 0, and NaN in is NaN out. A global phase on
*both* sides changes nothing; what a global phase of the student alone does stands at each function.

There is no softmax here, so a temperature in the sense of class probabilities would do nothing: `robust_nmse` is where one means
something.
"""

from __future__ import annotations

import math

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
        InputError: as `complex_mse`; a floor that is not above 0.

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
        InputError: as `complex_nmse`; a temperature that is not a finite number above 0.

    Example:
        x = 8 at T = 1: 2 (sqrt(9) - 1) = 4, where the square gives 8.

        >>> t, s = torch.ones(1, 1) + 0j, torch.ones(1, 1) + 8**0.5 + 0j
        >>> [round(robust_nmse(s, t, temperature=T).item(), 4) for T in (1.0, 1e4)]
        [4.0, 8.0]

    Source: Charbonnier et al. 1997, IEEE Trans. Image Processing 6(2) (the function); Barron 2019, arXiv:1701.03077 (its scale).
    """
    check_temperature(temperature)
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


def log_intensity_mse(student: Tensor, teacher: Tensor, *, looks: int = 4, floor: float = 1e-2) -> Tensor:
    """Mean squared difference of the log of multilooked intensities: dark regions count as much as bright ones.

    Args:
        student: (B, L, ...) complex.
        teacher: (B, L, ...) complex.
        looks: neighbors along azimuth whose intensities are averaged first: of a single look the log is mostly speckle.
        floor: share of the line's mean intensity that is added to both, so that the log and its slope are bounded at 0.

    Returns:
        (B,) in squared nepers of intensity (4.34 dB each). Blind to every phase, so it never stands alone.

    Raises:
        InputError: as `complex_mse`; fewer samples than looks; a floor that is not above 0.

    Example:
        Amplitude e^(1/2) everywhere is one neper of intensity.

        >>> t = torch.ones(1, 8) + 0j
        >>> round(log_intensity_mse(math.exp(0.5) * t, t, floor=1e-6).item(), 3)
        1.0
    """
    same = _pair(student, teacher)
    _above_zero("floor", floor)
    length = student.shape[1]
    if not 1 <= looks <= length:
        raise InputError(f"looks: expected 1 to {length} (the samples of a line), got {looks}")
    s, t = (_power(x).reshape(len(x), length, -1) for x in same)
    offset = (floor * t.mean((1, 2), keepdim=True)).clamp(min=FLOOR * floor)
    logs = [(torch.nn.functional.avg_pool1d(x.mT, looks) + offset).log() for x in (s, t)]
    return (logs[0] - logs[1]).square().mean((1, 2))


def doppler_loss(student: Tensor, teacher: Tensor, *, band: float = 1.0, floor: float = FLOOR) -> Tensor:
    """sum (|S| - |T|)^2 / sum |T|^2 over the Doppler band: is the power at the right azimuth frequencies?

    Args:
        student: (B, L, ...) complex.
        teacher: (B, L, ...) complex.
        band: share of the pulse rate around zero Doppler that counts, in (0, 1]: the processed bandwidth over it.
        floor: as `complex_nmse`.

    Returns:
        (B,) from 0; 1 for silence. Blind to shifts and to the phase of every frequency, so it never stands alone.

    Raises:
        InputError: as `complex_mse`; a band outside (0, 1].

    Example:
        A line moved by one sample has the same spectrum in magnitude.

        >>> t = torch.tensor([[1 + 0j, 0, 0, 2j]])
        >>> round(doppler_loss(t.roll(1, 1), t).item(), 5)
        0.0
    """
    s, t = _pair(student, teacher)
    if not 0 < band <= 1:
        raise InputError(f"band: expected a share above 0 and up to 1, got {band:g}")
    length = student.shape[1]
    kept = torch.fft.fftfreq(length, device=student.device).abs() <= band / 2
    student_spectrum, teacher_spectrum = (
        torch.fft.fft(x.reshape(len(x), length, -1), dim=1, norm="ortho")[:, kept].abs() for x in (s, t)
    )
    wanted = teacher_spectrum.square().sum((1, 2)).clamp(min=_positive(floor) * t.shape[1])
    return (student_spectrum - teacher_spectrum).square().sum((1, 2)) / wanted


def phase_loss(student: Tensor, teacher: Tensor, *, floor: float = 1e-3) -> Tensor:
    """Mean of 1 - cos(phase difference), each sample weighted by the teacher's amplitude.

    The phase of a dark sample is noise and weighs nothing; nothing wraps, nothing jumps at pi.

    Args:
        student: (B, ...) complex.
        teacher: (B, ...) complex.
        floor: share of the teacher's RMS below which the student's phase fades out (an amplitude of 0 has none and scores 1).

    Returns:
        (B,) in [0, 2]; blind to the student's amplitude, so it never stands alone. 1 where the teacher is silent.

    Raises:
        InputError: as `complex_mse`; a floor that is not above 0.

    Example:
        A quarter turn on a sample three times as bright as the other: 3 / 4.

        >>> round(phase_loss(torch.tensor([[3j, 1]]), torch.tensor([[3 + 0j, 1]])).item(), 4)
        0.75
    """
    s, t = _pair(student, teacher)
    weight = t.abs()
    least = (_positive(floor) * _power(t).mean(1, keepdim=True).sqrt()).clamp(min=floor * math.sqrt(FLOOR))
    cosine = (s * t.conj()).real / torch.maximum(s.abs(), least)  # times |t|
    least_weight = torch.finfo(weight.dtype).tiny ** 0.5  # not tiny itself: its inverse times 1 / least overflows
    return 1 - cosine.sum(1) / weight.sum(1).clamp(min=least_weight)


def check_temperature(temperature: float) -> None:
    """Raise `InputError` unless it is a finite number above 0.

    Example:
        >>> check_temperature(0.0)
        Traceback (most recent call last):
        ...
        stillhouse.core.checks.InputError: temperature: expected a finite number above 0, got 0.0
    """
    number = isinstance(temperature, (int, float)) and not isinstance(temperature, bool)
    if not number or not 0 < temperature < math.inf:
        raise InputError(f"temperature: expected a finite number above 0, got {temperature!r}")


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
    return _power(teacher).mean(1).clamp(min=_positive(floor))


def _positive(floor: float) -> float:
    _above_zero("floor", floor)
    return floor


def _above_zero(name: str, value: float) -> None:
    if not value > 0:
        raise InputError(f"{name}: expected a number above 0, got {value:g}")
