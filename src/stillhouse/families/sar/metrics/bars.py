"""What any linear focuser of a restricted kind can reach at best, from the chirp alone: the bars that training cannot pass.

The scene is white, so the raw data is the scene through the echo h, and the reference is the raw data through the matched filter.
Legend: K taps of the echo, odd, the middle one is lag 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stillhouse.core.checks import InputError
from stillhouse.families.sar.metrics.lines import as_complex

Complex = NDArray[np.complex128]


def kernel_bar(kernel: ArrayLike, *, real: bool = False, look_ahead: int | None = None) -> float:
    """NMSE of the best restricted copy of a filter on white input: the share of its energy that the restriction cuts off.

    Args:
        kernel: (K) the filter that should be applied, lag 0 in the middle.
        real: only a real kernel is allowed, as where real and imaginary parts go through the same real network.
        look_ahead: only lags from -`look_ahead` on: how many samples after now are known. 0 is causal, None is unrestricted.

    Returns:
        In [0, 1]. For a chirp of K samples and time-bandwidth product T: real only 1/2 - 1/(4 sqrt(T)) up to an edge ripple,
        causal exactly 1/2 - 1/(2 K), both near 3/4.

    Raises:
        InputError: not an odd number of complex taps, a negative look-ahead.

    Example:
        Three equal taps: without the one ahead a third is lost.

        >>> round(kernel_bar(np.ones(3, complex), look_ahead=0), 4)
        0.3333

    Relations:
        `linear_bar` also uses that the raw data is not white, which a trained model can.
    """
    taps = _odd(kernel)
    kept = taps[_lags(len(taps)) >= -_ahead(look_ahead, len(taps) // 2)]
    part = kept.real if real else kept
    return float(1 - np.sum(np.abs(part) ** 2) / np.sum(np.abs(taps) ** 2))


def linear_bar(
    echo: ArrayLike,
    *,
    real: bool = False,
    look_ahead: int | None = None,
    memory: int | None = None,
    noise: float = 0.0,
) -> float:
    """NMSE of the best (Wiener) linear filter of a restricted kind against the matched filter, on a white scene.

    Args:
        echo: (K) the response of a point, lag 0 in the middle.
        real: only real taps.
        look_ahead: samples after now that are known; all that matter where not given.
        memory: samples before now that are used; all that matter where not given.
        noise: power of white noise in the input over the power of the raw data (1 / SNR).

    Returns:
        In [0, 1]; against the noise-free matched filter. The normal equations are solved exactly (Toeplitz, a least-squares
        solution where they are singular).

    Raises:
        InputError: not an odd number of complex taps; negative look-ahead or memory; negative noise.

    Example:
        With all lags allowed the matched filter itself is one of them.

        >>> h = np.exp(-1j * np.pi * np.arange(-8, 9) ** 2 / 17)
        >>> round(linear_bar(h), 6), 0.3 < linear_bar(h, look_ahead=0) < 0.5
        (0.0, True)

    Source: Wiener 1949; normal equations as in Haykin, Adaptive Filter Theory, ch. 2.
    """
    response = _odd(echo)
    half = len(response) // 2
    if noise < 0:
        raise InputError(f"noise: expected 0 or more, got {noise:g}")
    if memory is not None and memory < 0:
        raise InputError(f"memory: expected 0 or more, got {memory}")
    filter_taps = np.conj(response[::-1])
    raw = np.correlate(response, response, "full")  # E[x_(m+l) x_m*] at l = index - (K - 1)
    cross = np.convolve(filter_taps, raw)  # E[y_(m+l) x_m*] at l = index - (K - 1) - half
    power = float(np.convolve(cross, np.conj(filter_taps[::-1]))[2 * half + len(response) - 1].real)
    lags = np.arange(-_ahead(look_ahead, 2 * half), (2 * half if memory is None else memory) + 1)
    steps = lags[:, None] - lags[None, :]
    matrix: Complex = _at(raw, steps + len(response) - 1) + noise * raw[len(response) - 1].real * np.eye(len(lags))
    wanted = _at(cross, lags + len(response) - 1 + half)
    # complex circular data: the best real taps solve the real parts of the same equations
    if real:
        matrix, wanted = _real(matrix), _real(wanted)
    taps = np.linalg.lstsq(matrix, wanted, rcond=1e-12)[0]
    return max(0.0, 1 - float(np.vdot(taps, wanted).real) / power)


def hankel_order(kernel: ArrayLike, energy: float = 0.99) -> int:
    """Complex modes that a linear state-space model needs to hold a share of a filter's Hankel energy.

    Args:
        kernel: (K) complex impulse response, first tap first (of a two-sided filter: after the delay that makes it causal).
        energy: share of the sum of squared Hankel singular values, in (0, 1].

    Returns:
        The order; about half the time-bandwidth product for a chirp, whatever the sampling.

    Raises:
        InputError: an energy outside (0, 1], a kernel that is not complex or is all 0.

    Example:
        A geometric impulse response is one mode.

        >>> hankel_order((0.9 * np.exp(0.3j)) ** np.arange(200), 0.999)
        1

    Source: Glover 1984, Int. J. Control 39(6) (Hankel-norm reduction).
    """
    from scipy.linalg import hankel, svdvals

    taps = as_complex("kernel", kernel)
    if not 0 < energy <= 1:
        raise InputError(f"energy: expected a share above 0 and up to 1, got {energy:g}")
    if taps.ndim != 1 or not np.abs(taps).any():
        raise InputError(f"kernel: expected one impulse response that is not 0, got shape {taps.shape}")
    held = np.cumsum(svdvals(hankel(taps)) ** 2)
    return int(np.searchsorted(held / held[-1], energy * (1 - 1e-12))) + 1


def _odd(kernel: ArrayLike) -> Complex:
    taps = as_complex("kernel", kernel)
    if taps.ndim != 1 or len(taps) % 2 == 0 or not np.abs(taps).any():
        raise InputError(f"kernel: expected an odd number of taps, not all 0, got shape {taps.shape}")
    return taps


def _lags(taps: int) -> NDArray[np.int64]:
    return np.arange(taps) - taps // 2


def _real(values: Complex) -> Complex:
    return values.real.astype(np.complex128)


def _ahead(look_ahead: int | None, most: int) -> int:
    if look_ahead is not None and look_ahead < 0:
        raise InputError(f"look_ahead: expected 0 or more samples, got {look_ahead}")
    return most if look_ahead is None else look_ahead


def _at(values: Complex, index: NDArray[np.int64]) -> Complex:
    inside = (index >= 0) & (index < len(values))
    return np.where(inside, values[np.clip(index, 0, len(values) - 1)], 0)
