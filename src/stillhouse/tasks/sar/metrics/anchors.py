"""Short filters that a learned focuser must be better than: the matched filter cut off, and the best of a few taps.

Legend: B lines, L samples, K taps; lag 0 is the middle tap, so K is odd.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError, same_shape

Complex = NDArray[np.complex128]
RIDGE = 1e-9  # share of the mean power put on the diagonal: raw data is oversampled, its covariance nearly singular


def truncated(kernel: Complex, taps: int) -> Complex:
    """The middle `taps` (odd, at most K) of a filter (..., K); it keeps taps / K of a chirp's energy and as much resolution.

    Example:
        >>> truncated(np.arange(5) + 0j, 3).real.tolist()
        [1.0, 2.0, 3.0]
    """
    first = (kernel.shape[-1] - taps) // 2
    return kernel[..., first : first + taps]


def fit_fir(inputs: Any, targets: Any, taps: int, *, valid: slice = slice(None)) -> Complex:
    """The filter of `taps` taps with the least squared error on training lines: the best short linear focuser.

    Args:
        inputs: (B, L) complex, raw.
        targets: (B, L) complex, focused.
        taps: odd; lags from -(taps - 1) / 2 to (taps - 1) / 2.
        valid: samples of the targets that count.

    Returns:
        (taps), lag 0 in the middle, for `data.matched_filter.filtered`.

    Raises:
        InputError: shapes differ, an even number of taps, fewer samples than taps, no signal.

    Example:
        A delay by one sample is found exactly.

        >>> from stillhouse.tasks.sar.data.matched_filter import filtered
        >>> x = np.random.default_rng(0).standard_normal((4, 64)) + 0j
        >>> fit_fir(x, filtered(x, np.array([0, 0, 1 + 0j])), 3).real.round(6).tolist()
        [0.0, 0.0, 1.0]
    """
    x, y = (np.asarray(values, np.complex128) for values in (inputs, targets))
    same_shape("targets", y.shape, x.shape)
    if taps % 2 == 0 or taps < 1:
        raise InputError(f"taps: expected an odd number, got {taps}")
    start, stop, _ = valid.indices(x.shape[1])
    if (count := max(0, stop - start) * len(x)) < taps:
        raise InputError(f"inputs: expected {taps} valid samples or more for as many taps, got {count}")
    matrix, wanted = _normal_equations(x, y, taps, start, stop)
    scale = float(np.trace(matrix).real) / taps
    if not scale > 0:
        raise InputError("inputs: expected a signal, got zeros only or NaN")
    return np.asarray(np.linalg.solve(matrix + RIDGE * scale * np.eye(taps), wanted), np.complex128)


def _normal_equations(x: Complex, y: Complex, taps: int, start: int, stop: int) -> tuple[Complex, Complex]:
    """(K, K) sum of conj(x[t - l]) x[t - m] over lines and samples `start` to `stop`, and (K) that of conj(x[t - l]) y[t].

    An entry one down and to the right is the same sum one sample earlier: the first column by correlation, the rest by what
    enters at one end and leaves at the other. That takes B L K + K^2 products where all shifted lines would take B L K^2.
    """
    most = taps // 2
    lags = np.arange(-most, most + 1)
    edge = most + 1
    padded = np.pad(x, ((0, 0), (edge, edge)))
    seen = padded[:, start + edge - most : stop + edge + most]  # from the largest lag on

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
