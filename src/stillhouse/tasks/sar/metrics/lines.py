"""How near a focused complex image is to its reference: error, coherence, phase.

Legend: B lines, L azimuth samples. NumPy arrays or torch tensors of any equal shape; everything is summed in complex128.
Prediction first, reference second. Give only the valid region: outside it no focuser has heard the whole aperture.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError, same_shape

Complex = NDArray[np.complex128]
Floats = NDArray[np.float64]


def nmse(prediction: Any, reference: Any) -> float:
    """Complex normalized mean squared error, sum |p - r|^2 / sum |r|^2: 0 is perfect, 1 is what silence scores.

    Args:
        prediction: complex, any shape.
        reference: the same shape, not all 0.

    Returns:
        A number from 0; amplitude and phase both count. NaN where the prediction holds NaN.

    Raises:
        InputError: shapes differ, not complex, empty, NaN in the reference, a reference of zeros.

    Example:
        A phase error of 60 degrees is as bad as silence: |e^{j pi/3} - 1| = 1.

        >>> round(nmse(np.exp(1j * np.pi / 3) * np.ones(4), np.ones(4, complex)), 6)
        1.0
    """
    p, r = _pair(prediction, reference)
    return float(np.sum(np.abs(p - r) ** 2) / _power(r))


def snr_db(prediction: Any, reference: Any) -> float:
    """-10 log10 of `nmse`, in dB; infinite where the two are equal.

    Example:
        >>> round(snr_db(np.full(4, 0.9 + 0j), np.ones(4, complex)), 6)
        20.0
    """
    error = nmse(prediction, reference)
    return float("inf") if error == 0 else float(-10 * np.log10(error))


def coherence(prediction: Any, reference: Any) -> float:
    """|sum r p*| / sqrt(sum |r|^2 sum |p|^2): in [0, 1], blind to a common complex factor.

    Returns:
        0 where the prediction is all 0.

    Raises:
        InputError: as `nmse`.

    Example:
        >>> round(coherence([1.0 + 0j, 0], [1.0 + 0j, 1]), 4)
        0.7071

    Source: Touzi et al. 1999, IEEE TGRS 37(1), Coherence estimation for SAR imagery.
    """
    p, r = _pair(prediction, reference)
    power = float(np.sum(np.abs(p) ** 2)) * _power(r)
    return 0.0 if power == 0 else float(min(1.0, np.abs(np.vdot(p, r)) / np.sqrt(power)))


def coherence_map(prediction: Any, reference: Any, *, window: int = 11) -> Floats:
    """Coherence in a window around every sample.

    Args:
        prediction: (..., L) complex.
        reference: the same shape.
        window: samples along the last axis, 2 or more.

    Returns:
        In [0, 1], of the same shape; windows shrink at the edges, 0 where either side is silent. Two independent speckle
        fields read about sqrt(pi / (4 n)) in a window of n samples, not 0: a small window flatters.

    Raises:
        InputError: as `nmse`.

    Example:
        >>> coherence_map(np.ones(5, complex), np.array([1, 1, 1, -1, -1.0]) + 0j, window=3).round(2).tolist()
        [1.0, 1.0, 0.33, 0.33, 1.0]
    """
    from scipy.ndimage import uniform_filter1d

    p, r = _pair(prediction, reference)

    def local(values: Floats) -> Floats:
        # zeros beyond the edge: numerator and both powers lack the same samples, so the ratio is that of a shrunken window
        return np.asarray(uniform_filter1d(values, window, mode="constant"))

    cross = r * np.conj(p)
    above = np.hypot(local(cross.real), local(cross.imag))
    below = np.sqrt(np.maximum(local(np.abs(p) ** 2), 0) * np.maximum(local(np.abs(r) ** 2), 0))
    floor = 1e-12 * float(np.sqrt(np.mean(np.abs(p) ** 2) * np.mean(np.abs(r) ** 2)))  # running sums leave dust
    return np.where(below > floor, np.minimum(above / np.where(below > 0, below, 1.0), 1.0), 0.0)


def phase_rmse(prediction: Any, reference: Any) -> float:
    """Root mean square of the wrapped phase difference in radians, every sample weighted by the reference's amplitude.

    Unweighted, the phase of dark pixels, which is noise, would decide it.

    Returns:
        From 0 to pi; pi / sqrt(3) = 1.81 for a phase that is unrelated. NaN where the prediction is silent everywhere the
        reference is not: it has no phase.

    Raises:
        InputError: as `nmse`.

    Example:
        >>> round(phase_rmse(np.exp(0.1j) * np.array([3.0, 1j]), np.array([3.0, 1j])), 6)
        0.1
    """
    p, r = _pair(prediction, reference)
    _power(r)
    weight = np.abs(r) * (p != 0)
    total = float(np.sum(weight))
    if total == 0:
        return float("nan")
    return float(np.sqrt(np.sum(weight * np.angle(p * np.conj(r)) ** 2) / total))


def as_complex(name: str, values: Any) -> Complex:
    """A NumPy complex128 array of an array or tensor, not empty.

    Raises:
        InputError: real numbers (a lost imaginary part is the commonest bug here), or nothing in it.
    """
    if hasattr(
        values, "detach"
    ):  # a torch tensor, without importing torch; complex conjugation is resolved by cpu().numpy()
        values = values.detach().cpu().resolve_conj().numpy()
    found = np.asarray(values)
    if found.dtype.kind != "c":
        raise InputError(f"{name}: expected complex numbers, got {found.dtype} of shape {found.shape}")
    if found.size == 0:
        raise InputError(f"{name}: expected at least one sample, got shape {found.shape}")
    return np.atleast_1d(found).astype(np.complex128)


def _pair(prediction: Any, reference: Any) -> tuple[Complex, Complex]:
    p, r = as_complex("prediction", prediction), as_complex("reference", reference)
    same_shape("prediction", p.shape, r.shape)
    if not np.isfinite(r).all():
        raise InputError(f"reference: expected finite numbers, got {int((~np.isfinite(r)).sum())} that are not")
    return p, r


def _power(reference: Complex) -> float:
    power = float(np.sum(np.abs(reference) ** 2))
    if power == 0:
        raise InputError("reference: expected a signal, got zeros only")
    return power
