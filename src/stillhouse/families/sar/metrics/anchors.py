"""What a learned focuser must be better than, or as good as: silence, doing nothing, short filters, the matched filter.

Legend: B lines, L samples, K taps; lag 0 is the middle tap, so K is odd.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError, same_shape
from stillhouse.families.sar.metrics.lines import as_complex

Complex = NDArray[np.complex128]


def zero(inputs: Any) -> Complex:
    """(B, L) of zeros: NMSE 1, coherence 0."""
    return np.zeros_like(as_complex("inputs", inputs))


def identity(inputs: Any) -> Complex:
    """(B, L) the raw data itself, unfocused: coherence near 0."""
    return as_complex("inputs", inputs)


def apply_filter(inputs: Any, kernel: Any) -> Complex:
    """Linear convolution along the last axis, same length, zeros outside the line.

    Args:
        inputs: (B, L) complex.
        kernel: (K) for all lines, or (B, K), one a line; K odd.

    Returns:
        (B, L).

    Raises:
        InputError: an even number of taps, another number of kernels than lines.

    Example:
        >>> apply_filter(np.array([[1, 2, 3.0]]) + 0j, np.array([1, 0, 0j])).real.tolist()
        [[2.0, 3.0, 0.0]]
    """
    signal, taps = as_complex("inputs", inputs), as_complex("kernel", kernel)
    width = taps.shape[-1]
    if width % 2 == 0:
        raise InputError(f"kernel: expected an odd number of taps, got {width}")
    if taps.ndim > 1:
        same_shape("kernel", taps.shape, (*signal.shape[:-1], width))
    length = signal.shape[-1]
    size = length + width - 1
    found = np.fft.ifft(np.fft.fft(signal, size) * np.fft.fft(taps, size))
    return found[..., width // 2 : width // 2 + length]


def matched(inputs: Any, kernel: Any) -> Complex:
    """The matched filter of each line, (B, L): the analytic teacher. `kernel` (K) or (B, K) as the data set gives it."""
    return apply_filter(inputs, kernel)


def truncated(kernel: Any, taps: int) -> Complex:
    """The middle `taps` of a filter: the cheapest short focuser; it keeps taps / K of a chirp's energy and as much resolution.

    Args:
        kernel: (K) or (B, K).
        taps: odd, at most K.

    Returns:
        (taps) or (B, taps).

    Raises:
        InputError: an even number, or more than there are.

    Example:
        >>> truncated(np.arange(5) + 0j, 3).real.tolist()
        [1.0, 2.0, 3.0]
    """
    whole = as_complex("kernel", kernel)
    width = whole.shape[-1]
    if taps % 2 == 0 or not 1 <= taps <= width:
        raise InputError(f"taps: expected an odd number from 1 to {width}, got {taps}")
    first = (width - taps) // 2
    return whole[..., first : first + taps]


def fit_fir(
    inputs: Any,
    targets: Any,
    taps: int,
    *,
    valid: slice = slice(None),
    real: bool = False,
    look_ahead: int | None = None,
    ridge: float = 1e-9,
) -> Complex:
    """The filter of `taps` taps with the least squared error on training lines: the best short linear focuser.

    Args:
        inputs: (B, L) complex, raw.
        targets: (B, L) complex, focused.
        taps: odd; lags from -(taps - 1) / 2 to (taps - 1) / 2.
        valid: samples of the targets that count.
        real: only real taps (what separate real and imaginary streams can do).
        look_ahead: only lags from -`look_ahead` on; 0 is causal.
        ridge: share of the mean power put on the diagonal; raw data is oversampled, its covariance nearly singular.

    Returns:
        (taps), lag 0 in the middle, for `apply_filter`; taps that are not allowed are 0.

    Raises:
        InputError: shapes differ, an even number of taps, a negative look-ahead, fewer samples than taps, no signal.

    Example:
        A delay by one sample is found exactly.

        >>> x = np.random.default_rng(0).standard_normal((4, 64)) + 0j
        >>> fit_fir(x, apply_filter(x, np.array([0, 0, 1 + 0j])), 3).real.round(6).tolist()
        [0.0, 0.0, 1.0]
    """
    x, y = as_complex("inputs", inputs), as_complex("targets", targets)
    same_shape("targets", y.shape, x.shape)
    if x.ndim != 2:
        raise InputError(f"inputs: expected (B, L), got shape {x.shape}")
    if taps % 2 == 0 or taps < 1:
        raise InputError(f"taps: expected an odd number, got {taps}")
    half = taps // 2
    if look_ahead is not None and look_ahead < 0:
        raise InputError(f"look_ahead: expected 0 or more samples, got {look_ahead}")
    lags = np.arange(-(half if look_ahead is None else min(look_ahead, half)), half + 1)
    start, stop, _ = valid.indices(x.shape[1])
    if (count := max(0, stop - start) * len(x)) < len(lags):
        raise InputError(f"inputs: expected {len(lags)} valid samples or more for as many taps, got {count}")
    matrix, wanted = _normal_equations(x, y, lags, start, stop)
    scale = float(np.trace(matrix).real) / len(lags)
    if not scale > 0:
        raise InputError("inputs: expected a signal, got zeros only or NaN")
    if real:
        matrix, wanted = matrix.real.astype(np.complex128), wanted.real.astype(np.complex128)
    found = np.zeros(taps, np.complex128)
    found[lags + half] = np.linalg.solve(matrix + ridge * scale * np.eye(len(lags)), wanted)
    return found


def _normal_equations(x: Complex, y: Complex, lags: NDArray[Any], start: int, stop: int) -> tuple[Complex, Complex]:
    """(K, K) sum of conj(x[t - l]) x[t - m] over lines and samples `start` to `stop`, and (K) that of conj(x[t - l]) y[t].

    An entry one down and to the right is the same sum one sample earlier: the first column by correlation, the rest by what
    enters at one end and leaves at the other. That takes B L K + K^2 products where all shifted lines would take B L K^2.
    """
    taps, most = len(lags), int(lags[-1])
    edge = max(most, -int(lags[0])) + 1
    padded = np.pad(x, ((0, 0), (edge, edge)))
    seen = padded[:, start + edge - most : stop + edge - int(lags[0])]  # from the largest lag on

    def correlated(lines: Complex) -> Complex:
        found = sum(np.correlate(one, line, "valid") for one, line in zip(seen, lines))
        return np.asarray(found).conj()[::-1]

    entering, leaving = (padded[:, end - 1 + edge - lags] for end in (start, stop))
    change = entering.conj().T @ entering - leaving.conj().T @ leaving
    matrix: Complex = np.zeros((taps, taps), np.complex128)
    matrix[:, 0] = correlated(seen[:, taps - 1 :])
    for row in range(1, taps):
        matrix[row, 1 : row + 1] = matrix[row - 1, :row] + change[row - 1, :row]
    return matrix + np.tril(matrix, -1).conj().T, correlated(y[:, start:stop])
