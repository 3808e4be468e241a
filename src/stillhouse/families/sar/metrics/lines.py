"""How near a focused complex image is to its reference: error, coherence, phase, radiometry, statistics, Doppler spectrum.

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

    Relations:
        `scale_invariant_nmse` forgives a common factor; `snr_db` is this in decibels.
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


def scale_invariant_nmse(prediction: Any, reference: Any) -> float:
    """`nmse` after the best complex factor on the prediction: 1 - coherence^2.

    Returns:
        In [0, 1]; 1 where the prediction is all 0.

    Example:
        >>> r = np.array([1.0, 1j, -1.0])
        >>> round(scale_invariant_nmse(5j * r, r), 6)
        0.0
    """
    return 1.0 - coherence(prediction, reference) ** 2


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


def coherence_map(prediction: Any, reference: Any, *, window: int | tuple[int, ...] = 11) -> Floats:
    """Coherence in a window around every sample.

    Args:
        prediction: (..., L) or an image, complex.
        reference: the same shape.
        window: samples; a number for the last axis, or (rows, columns) for the last two.

    Returns:
        In [0, 1], of the same shape; windows shrink at the edges, 0 where either side is silent. Two independent speckle
        fields read about sqrt(pi / (4 n)) in a window of n samples, not 0: a small window flatters.

    Raises:
        InputError: as `nmse`; a window below 2 samples.

    Example:
        >>> coherence_map(np.ones(5, complex), np.array([1, 1, 1, -1, -1.0]) + 0j, window=3).round(2).tolist()
        [1.0, 1.0, 0.33, 0.33, 1.0]
    """
    from scipy.ndimage import uniform_filter

    p, r = _pair(prediction, reference)
    sizes = (window,) if isinstance(window, int) else tuple(window)
    if min(sizes) < 1 or int(np.prod(sizes)) < 2 or len(sizes) > p.ndim:
        raise InputError(
            f"window: expected 2 samples or more on at most {p.ndim} axes, got {window} for shape {p.shape}"
        )
    size = (1,) * (p.ndim - len(sizes)) + sizes

    def local(values: Floats) -> Floats:
        # zeros beyond the edge: numerator and both powers lack the same samples, so the ratio is that of a shrunken window
        return np.asarray(uniform_filter(values, size=size, mode="constant"))

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


def phase_coherence(prediction: Any, reference: Any) -> float:
    """|mean of e^{j phase difference}| over samples where both have a phase: 1 for a constant difference, about 0 for none.

    Returns:
        In [0, 1]; NaN where no sample has a phase on both sides.

    Example:
        >>> round(phase_coherence(np.array([1, 1j]), np.array([1.0 + 0j, 1])), 4)
        0.7071
    """
    p, r = _pair(prediction, reference)
    _power(r)
    cross = r * np.conj(p)
    seen = cross[cross != 0]
    return float("nan") if seen.size == 0 else float(np.abs(np.mean(seen / np.abs(seen))))


def psnr_db_image(prediction: Any, reference: Any, *, low: float = 1.0, high: float = 99.0) -> float:
    """Peak signal-to-noise ratio of the image as people see it: decibels, clipped to percentiles of the reference.

    On linear amplitude one bright point sets the peak and flatters everything.

    Args:
        prediction: complex.
        reference: complex, the same shape.
        low: percentile of the reference's dB that is black.
        high: percentile that is white.

    Returns:
        dB; infinite where both look the same.

    Raises:
        InputError: as `nmse`; a reference without contrast between the percentiles.
    """
    p, r = _pair(prediction, reference)
    if not 0 <= low < high <= 100:
        raise InputError(f"low, high: expected 0 <= low < high <= 100, got {low:g} and {high:g}")
    floor = 1e-12 * np.sqrt(_power(r) / r.size)
    seen, wanted = (20 * np.log10(np.maximum(np.abs(x), floor)) for x in (p, r))
    black, white = np.percentile(wanted, [low, high])
    if white <= black:
        raise InputError(
            f"reference: expected contrast between percentiles {low:g} and {high:g}, got {white:g} dB in both"
        )
    error = np.mean((np.clip(seen, black, white) - np.clip(wanted, black, white)) ** 2) / (white - black) ** 2
    return float("inf") if error == 0 else float(-10 * np.log10(error))


def enl(image: Any) -> float:
    """Equivalent number of looks, mean(I)^2 / var(I): 1 for single-look speckle. Only meaningful where the ground is even.

    Args:
        image: complex, a homogeneous stretch (cut it out yourself).

    Returns:
        From 0; infinite where the intensity is constant.

    Raises:
        InputError: fewer than 2 samples, all 0.

    Example:
        Intensities 1 and 3: mean 2, variance 1.

        >>> round(enl(np.sqrt([1.0, 3.0]) + 0j), 6)
        4.0
    """
    intensity = _intensity("image", image)
    if intensity.size < 2:
        raise InputError(f"image: expected 2 samples or more, got {intensity.size}")
    spread = float(np.var(intensity))
    return float("inf") if spread == 0 else float(np.mean(intensity)) ** 2 / spread


def radiometric_bias_db(prediction: Any, reference: Any) -> float:
    """10 log10 of mean intensity over mean intensity: how much too bright, in dB; minus infinity for silence.

    Example:
        >>> round(radiometric_bias_db(np.full(3, 2.0 + 0j), np.ones(3, complex)), 2)
        6.02
    """
    p, r = _pair(prediction, reference)
    mine = float(np.sum(np.abs(p) ** 2))
    return float("-inf") if mine == 0 else float(10 * np.log10(mine / _power(r)))


def image_entropy(image: Any) -> float:
    """-sum q ln q of q = I / sum I, in nats: low is sharp. ln of the number of samples for an even image, 0 for one point.

    Example:
        >>> round(image_entropy(np.ones(8, complex)), 4)  # ln 8
        2.0794
    """
    intensity = _intensity("image", image)
    share = intensity[intensity > 0] / intensity.sum()
    return float(abs(np.sum(share * np.log(share))))


def contrast(image: Any) -> float:
    """Standard deviation of the amplitude over its mean: 0 for an even image, 0.523 for speckle, high is sharp.

    Example:
        >>> contrast(np.array([0.0, 2.0]) + 0j)
        1.0
    """
    amplitude = np.sqrt(_intensity("image", image))
    return float(amplitude.std() / amplitude.mean())


def doppler_spectrum_error(prediction: Any, reference: Any) -> float:
    """Half the sum of |difference| of the two mean azimuth power spectra, each of sum 1: the share of power at wrong Dopplers.

    Args:
        prediction: (..., L) complex, azimuth last.
        reference: the same shape.

    Returns:
        In [0, 1]; blind to gain and phase. 1 where the prediction is all 0.

    Raises:
        InputError: as `nmse`.

    Example:
        Two tones at different frequencies share nothing.

        >>> n = np.arange(16)
        >>> round(doppler_spectrum_error(np.exp(2j * np.pi * n / 16), np.exp(2j * np.pi * 5 * n / 16)), 6)
        1.0
    """
    p, r = _pair(prediction, reference)
    spectra = [np.sum(np.abs(np.fft.fft(x.reshape(-1, x.shape[-1]), axis=-1)) ** 2, axis=0) for x in (p, r)]
    _power(r)
    if spectra[0].sum() == 0:
        return 1.0
    mine, wanted = (s / s.sum() for s in spectra)
    return float(0.5 * np.sum(np.abs(mine - wanted)))


def judge_focus(prediction: Any, reference: Any) -> dict[str, float]:
    """Every figure of this page that compares two images, under the names that records use.

    Example:
        >>> sorted(judge_focus(np.arange(1, 9) + 0j, np.arange(1, 9) + 0j))[:4]
        ['coherence', 'doppler_spectrum_error', 'nmse', 'phase_coherence']
    """
    return {
        "nmse": nmse(prediction, reference),
        "snr_db": snr_db(prediction, reference),
        "scale_invariant_nmse": scale_invariant_nmse(prediction, reference),
        "coherence": coherence(prediction, reference),
        "phase_rmse": phase_rmse(prediction, reference),
        "phase_coherence": phase_coherence(prediction, reference),
        "psnr_db_image": psnr_db_image(prediction, reference),
        "radiometric_bias_db": radiometric_bias_db(prediction, reference),
        "doppler_spectrum_error": doppler_spectrum_error(prediction, reference),
    }


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


def _intensity(name: str, image: Any) -> Floats:
    intensity = np.abs(as_complex(name, image)) ** 2
    if not intensity.sum() > 0:
        raise InputError(f"{name}: expected a signal, got zeros only or NaN")
    return intensity
