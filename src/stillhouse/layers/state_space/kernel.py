"""Diagonal dynamics in discrete time: poles, their powers, and the kernel, in bounded memory; complex numbers as real pairs.

Shapes: H channels, M complex modes, L length, Q some of it, B batch. All powers are taken of the *rounded* poles, the ones that
the recurrence multiplies with, in double precision: pole^l by repeated multiplication and exp(l log pole) then agree to
rounding. Powers of the unrounded ones would drift from the recurrence by l half-ulps, 1e-4 at 2048 samples.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stillhouse.core.checks import InputError

MOST_DECAY = 20.0  # nats a sample; beyond it a float32 pole underflows and its logarithm is -inf


def discretize(log_decay: Tensor, frequency: Tensor, log_dt: Tensor) -> tuple[Tensor, Tensor]:
    """Zero-order hold of w = -exp(log_decay) + j frequency: the poles, and the factor that turns C into its discrete form.

    Args:
        log_decay: (1, M) or (H, M), log of nats per unit time.
        frequency: (1, M) or (H, M), radians per unit time.
        log_dt: (H), log of the unit time of one sample.

    Returns:
        Poles exp(dt w) and factors (exp(dt w) - 1) / w, both (H, M) complex, in the precision of the parameters.

    Example:
        w = -ln 2 at dt = 1: pole 1/2, factor (1/2 - 1) / -ln 2 = 0.7213.

        >>> pole, factor = discretize(torch.tensor([[math.log(math.log(2))]]), torch.zeros(1, 1), torch.zeros(1))
        >>> round(pole.real.item(), 4), round(factor.real.item(), 4)
        (0.5, 0.7213)

    Source: Gu, Gupta, Goel, Re 2022, arXiv:2206.11893 (S4D), section 3.
    """
    dt = log_dt.double().exp().unsqueeze(-1)
    decay = (log_decay.double().exp() * dt).clamp(max=MOST_DECAY) / dt
    w = torch.complex(-decay, frequency.double().expand_as(decay))
    pole = torch.exp(dt * w)
    kind = torch.complex128 if log_decay.dtype == torch.float64 else torch.complex64
    return pole.to(kind), ((pole - 1) / w).to(kind)


def powers(poles: Tensor, exponents: Tensor) -> Tensor:
    """poles^exponents, (..., H, M, Q) in the precision of the poles; exponents (Q) are whole numbers from 0.

    Example:
        >>> powers(torch.tensor([[0.5j]]), torch.arange(3)).flatten().real.round(decimals=6).tolist()
        [1.0, 0.0, -0.25]
    """
    logs = torch.log(poles.to(torch.complex128)).unsqueeze(-1)
    return torch.exp(logs * exponents.double()).to(poles.dtype)


def one_sided_kernel(weights: Tensor, poles: Tensor, length: int) -> Tensor:
    """K[h, l] = sum_n weights[h, n] poles[h, n]^l for l < length: complex, without the conjugate half of a real kernel.

    A Vandermonde product needs H M L numbers; here l = qQ + r splits it into two factors of H M sqrt(L), one matrix product.

    Args:
        weights: (..., H, M) complex.
        poles: (..., H, M) complex.
        length: L.

    Returns:
        (..., H, L) complex.

    Example:
        One mode of pole j/2: 1, j/2, -1/4.

        >>> one_sided_kernel(torch.tensor([[1.0 + 0j]]), torch.tensor([[0.5j]]), 3).imag.round(decimals=6).tolist()
        [[0.0, 0.5, 0.0]]
    """
    fine = max(1, math.isqrt(length - 1) + 1)
    coarse = -(-length // fine)
    steps = torch.arange(max(fine, coarse), device=poles.device)
    starts = weights.unsqueeze(-1) * powers(poles, steps[:coarse] * fine)
    kernel = torch.matmul(starts.transpose(-2, -1), powers(poles, steps[:fine]))
    return kernel.flatten(-2)[..., :length]


def convolve(inputs: Tensor, kernel: Tensor, *, earlier: Tensor | None = None, ahead: int = 0) -> Tensor:
    """Linear convolution of (B, H, L) with one-sided kernels, by FFT, cut to the L samples of the inputs.

    Args:
        inputs: (B, H, L) complex.
        kernel: (H, L + ahead) complex; entry l is the weight of the sample `l - ahead` before the output.
        earlier: (H, L) complex or None; entry l is the weight of the sample l + 1 *after* the output.
        ahead: samples by which the output looks ahead.

    Returns:
        (B, H, L) complex.

    Example:
        >>> u, k = torch.tensor([[[1.0, 2.0, 4.0]]]) + 0j, torch.tensor([[1.0, 10.0, 0.0]]) + 0j
        >>> convolve(u, k).real.round(decimals=4).tolist()
        [[[1.0, 12.0, 24.0]]]
    """
    length = inputs.shape[-1]
    size = _fast(2 * length + ahead)
    spectrum = torch.fft.fft(kernel, n=size)
    if ahead:
        turn = torch.arange(size, device=kernel.device, dtype=torch.float64) * (ahead % size) % size
        spectrum = spectrum * torch.polar(torch.ones_like(turn), 2 * math.pi / size * turn).to(spectrum.dtype)
    if earlier is not None:
        back = torch.nn.functional.pad(earlier[..., : length - 1].flip(-1), (size - length + 1, 0))
        spectrum = spectrum + torch.fft.fft(back)
    return torch.fft.ifft(torch.fft.fft(inputs, n=size) * spectrum)[..., :length]


def _fast(size: int) -> int:
    from scipy.fft import next_fast_len

    return int(next_fast_len(size))


# ---------------------------------------------------------------------------------------------- pairs


def real_pairs_to_complex(pairs: Tensor) -> Tensor:
    """The complex tensor (...) of real pairs (..., 2); gradients flow, nothing is copied.

    Example:
        >>> real_pairs_to_complex(torch.tensor([[3.0, 4.0]])).abs().tolist()
        [5.0]
    """
    return torch.view_as_complex(pairs.contiguous())


def complex_sequence(name: str, x: Tensor, channels: int) -> None:
    """Raise `InputError` unless `x` is a complex sequence (B, L, channels) with at least one sample.

    Example:
        >>> complex_sequence("lines", torch.zeros(1, 4, 2), 2)
        Traceback (most recent call last):
        ...
        stillhouse.core.checks.InputError: lines: expected complex numbers, got torch.float32; use torch.complex(re, im)
    """
    if not x.is_complex():
        raise InputError(f"{name}: expected complex numbers, got {x.dtype}; use torch.complex(re, im)")
    if x.ndim != 3 or x.shape[-1] != channels or 0 in x.shape:
        raise InputError(f"{name}: expected shape (batch, length, {channels}) without empty axes, got {tuple(x.shape)}")
