"""Whether lines were deramped, as those of spotlight products are: then a Fourier transform focuses them, and no filter does.

Shapes: N lines, L azimuth samples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError

LOOKED_AT, FEWEST_LINES, FEWEST_SAMPLES = 64, 4, 64  # of fewer, chance alone may look alike
ALIKE = (
    0.4  # stripmap lines have 0.02, unrelated ones up to 0.3 where they are fewest, deramped ones at 0 dB of noise 0.5
)


def check_stripmap(name: str, inputs: NDArray[Any], targets: NDArray[Any]) -> None:
    """Refuse lines whose chirp was taken out: training on them ends where it began.

    Args:
        name: of the data, for the message.
        inputs: (N, L) complex, before focusing.
        targets: (N, L) complex, focused.

    Raises:
        InputError: the power spectrum of a line is its focus.
    """
    if len(inputs) < FEWEST_LINES or inputs.shape[1] < FEWEST_SAMPLES:
        return
    found = spectrum_to_focus(inputs[:LOOKED_AT], targets[:LOOKED_AT])
    if found > ALIKE:
        raise InputError(
            f"{name}: these lines look deramped, as spotlight data are: the power spectrum of a line is its focus (correlation "
            f"{found:.2f}), so that a Fourier transform focuses them, which no filter and no network here does; multiply them by "
            "the chirp that was taken out (reramp), or take stripmap lines"
        )


def spectrum_to_focus(inputs: NDArray[Any], targets: NDArray[Any]) -> float:
    """Largest correlation between the lines' power spectra and their focused intensity, over one common shift and either direction.

    In a deramped line a point is a tone whose frequency is its place; in a stripmap line it is a chirp, whose spectrum says nothing
    of its place.

    Args:
        inputs: (N, L) complex.
        targets: (N, L) complex.

    Returns:
        At most 1, which a Fourier transform of the inputs has.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> scene = rng.normal(size=(8, 128)) + 1j * rng.normal(size=(8, 128))
        >>> round(spectrum_to_focus(np.fft.ifft(scene), scene), 4), spectrum_to_focus(scene, scene) < 0.2
        (1.0, True)
    """
    spectra, focus = (_standard(np.abs(x) ** 2) for x in (np.fft.fft(inputs), targets))
    theirs = np.fft.fft(focus)
    shifts = [np.fft.ifft(np.conj(np.fft.fft(ours)) * theirs).real.mean(0) for ours in (spectra, spectra[:, ::-1])]
    return float(np.max(shifts) / inputs.shape[1])


def _standard(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each line with mean 0 and deviation 1; one of equal numbers stays 0."""
    apart = x - x.mean(1, keepdims=True)
    spread = np.sqrt((apart**2).mean(1, keepdims=True))
    return np.asarray(apart / np.where(spread > 0, spread, 1))
