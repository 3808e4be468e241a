"""The bars of theory (real kernel, causal kernel, both) computed from the chirp, and reached by our own ablations on white scenes.

python -m benchmarks.sar.bars --out runs/sar-bars
python -m benchmarks.sar.bars --out runs/sar-bars --sentinel      # also at Sentinel-1's time-bandwidth product of 744
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import hankel, svdvals

from stillhouse.core.config import parse, to_mapping
from stillhouse.core.records import read_json
from stillhouse.tasks.sar.data import preset
from stillhouse.tasks.sar.data.matched_filter import impulse_response
from stillhouse.tasks.sar.data.parameters import SarParameters
from stillhouse.tasks.sar.documented import read_teacher
from stillhouse.tasks.sar.plan import SarTrainConfig
from stillhouse.tasks.sar.run import train

HERE = Path(__file__).parent
ABLATIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # name: (of the network, of the bar)
    "complex, two-sided": ({}, {}),
    "real kernel": ({"real_kernel": True}, {"real": True}),
    "causal": ({"look_ahead": 0}, {"look_ahead": 0}),
    "causal and real": ({"look_ahead": 0, "real_kernel": True}, {"look_ahead": 0, "real": True}),
}
RADARS = {"64": 1300.0**2 / 64, "128": 1300.0**2 / 128}


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


def ablations(product: str, out: Path) -> dict[str, float]:
    """Train the four networks on white scenes of one radar; test NMSE of each."""
    plain = to_mapping(read_teacher(HERE / "white.yaml"))
    found = {}
    for name, (model, _) in ABLATIONS.items():
        change = {**plain, "model": {**plain["model"], **model}}
        if product == "744":
            change["data"] = {**plain["data"], "parameters": None, "preset": "sentinel-1", "length": 2919, "train": 96}
            change["data"] |= {"validation": 8, "test": 16}
            change["model"] |= {"state_dim": 960, "memory": 700.0, "model_dim": 4}
            change["training"] = {**plain["training"], "epochs": 10, "batch_size": 4, "learning_rate": 5e-3}
        else:
            change["data"] = {**plain["data"], "parameters": {**plain["data"]["parameters"]}}
            change["data"]["parameters"]["azimuth_rate"] = RADARS[product]
            if product == "128":
                change["model"] |= {"state_dim": 320, "memory": 120.0}
        folder = out / product / name.replace(", ", "-").replace(" ", "-")
        if not (folder / "report.html").is_file():
            train(parse(SarTrainConfig, change), folder, resume=(folder / "run.json").is_file())
        found[name] = read_json(folder / "result.json")["metrics"]["nmse"]
        print(product, name, found[name], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sentinel", action="store_true")
    parser.add_argument("--products", nargs="*", default=["64", "128"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    products = [*options.products, *(["744"] if options.sentinel else [])]
    lines = [
        "| time-bandwidth product | kernel | share cut off (kernel bar) | best linear (Wiener bar) | trained, test NMSE |",
        "|---|---|---|---|---|",
    ]
    for product in products:
        radar = preset("sentinel-1") if product == "744" else SarParameters(azimuth_rate=RADARS[product])
        echo = impulse_response(radar)
        trained = ablations(product, options.out)
        for name, (_, bar) in ABLATIONS.items():
            cut, best = kernel_bar(echo, **bar), linear_bar(echo, **bar)
            lines.append(f"| {product} | {name} | {cut:.3f} | {best:.3f} | {trained[name]:.3f} |")
        orders = ", ".join(f"{share:.0%} {hankel_order(echo, share)}" for share in (0.5, 0.9, 0.99))
        lines.append(f"| {product} | *modes for a share of the Hankel energy: {orders}* | | | |")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
