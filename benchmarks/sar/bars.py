"""The bars of theory for filters that focus: a real kernel, a causal kernel, both; computed from the chirp.

python -m benchmarks.sar.bars
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import hankel, svdvals

from stillhouse.tasks.sar.data.radar import SarParameters, impulse_response, preset

KINDS: dict[str, dict[str, Any]] = {
    "complex, two-sided": {},
    "real kernel": {"real": True},
    "causal": {"look_ahead": 0},
    "causal and real": {"look_ahead": 0, "real": True},
}
RADARS = {"64": 1300.0**2 / 64, "128": 1300.0**2 / 128, "744 (Sentinel-1)": None}
Complex = NDArray[np.complex128]


def kernel_bar(kernel: Complex, *, real: bool = False, look_ahead: int | None = None) -> float:
    """NMSE of the best restricted copy of a filter on white input: the share of its energy that the restriction cuts off.

    Args:
        kernel: (K) the filter that should be applied, lag 0 in the middle.
        real: only a real kernel is allowed, as where real and imaginary parts go through the same real network.
        look_ahead: only lags from -`look_ahead` on: how many samples after now are known. 0 is causal, None is unrestricted.
    """
    half = len(kernel) // 2
    kept = kernel[np.arange(len(kernel)) - half >= -(half if look_ahead is None else look_ahead)]
    return float(1 - np.sum(np.abs(kept.real if real else kept) ** 2) / np.sum(np.abs(kernel) ** 2))


def linear_bar(echo: Complex, *, real: bool = False, look_ahead: int | None = None, noise: float = 0.0) -> float:
    """NMSE of the best (Wiener) linear filter of a restricted kind against the matched filter, on a white scene.

    Args:
        echo: (K) the response of a point, lag 0 in the middle.
        real: only real taps.
        look_ahead: samples after now that are known; all that matter where not given.
        noise: power of white noise in the input over the power of the raw data (1 / SNR).

    Source: Wiener 1949; normal equations as in Haykin, Adaptive Filter Theory, ch. 2.
    """
    half, taps = len(echo) // 2, len(echo)
    filter_taps = np.conj(echo[::-1])
    raw = np.correlate(echo, echo, "full")  # E[x_(m+l) x_m*] at l = index - (K - 1)
    cross = np.convolve(filter_taps, raw)  # E[y_(m+l) x_m*] at l = index - (K - 1) - half
    power = float(np.convolve(cross, np.conj(filter_taps[::-1]))[2 * half + taps - 1].real)
    lags = np.arange(-(2 * half if look_ahead is None else look_ahead), 2 * half + 1)
    matrix = _at(raw, lags[:, None] - lags[None, :] + taps - 1) + noise * raw[taps - 1].real * np.eye(len(lags))
    wanted = _at(cross, lags + taps - 1 + half)
    # complex circular data: the best real taps solve the real parts of the same equations
    left, right = (matrix.real, wanted.real) if real else (matrix, wanted)
    found = np.linalg.lstsq(left, right, rcond=1e-12)[0]
    return max(0.0, 1 - float(np.vdot(found, right).real) / power)


def hankel_order(kernel: Complex, energy: float = 0.99) -> int:
    """Complex modes that a linear state-space model needs to hold a share of a filter's squared Hankel singular values."""
    held = np.cumsum(svdvals(hankel(kernel)) ** 2)
    return int(np.searchsorted(held / held[-1], energy * (1 - 1e-12))) + 1


def _at(values: Complex, index: NDArray[np.int64]) -> Complex:
    inside = (index >= 0) & (index < len(values))
    return np.where(inside, values[np.clip(index, 0, len(values) - 1)], 0)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(
        "| time-bandwidth product | kernel | share cut off (kernel bar) | best linear (Wiener bar) |\n|---|---|---|---|"
    )
    for product, rate in RADARS.items():
        echo = impulse_response(SarParameters(azimuth_rate=rate) if rate else preset("sentinel-1"))
        for name, bar in KINDS.items():
            print(f"| {product} | {name} | {kernel_bar(echo, **bar):.3f} | {linear_bar(echo, **bar):.3f} |", flush=True)
        orders = ", ".join(f"{share:.0%} {hankel_order(echo, share)}" for share in (0.5, 0.9, 0.99))
        print(f"| {product} | *modes for a share of the Hankel energy: {orders}* | | |", flush=True)


if __name__ == "__main__":
    main()
