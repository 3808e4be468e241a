"""The bars of theory (real kernel, causal kernel, both) computed from the chirp, and reached by our own ablations on white scenes.

python -m benchmarks.sar.bars --out runs/sar-bars
python -m benchmarks.sar.bars --out runs/sar-bars --sentinel      # also at Sentinel-1's time-bandwidth product of 744
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from stillhouse.core.config import parse, to_mapping
from stillhouse.core.records import read_json
from stillhouse.families.sar.data import preset
from stillhouse.families.sar.data.matched_filter import impulse_response
from stillhouse.families.sar.data.parameters import SarParameters
from stillhouse.families.sar.documented import read_teacher
from stillhouse.families.sar.metrics.bars import hankel_order, kernel_bar, linear_bar
from stillhouse.families.sar.plan import SarTrainConfig
from stillhouse.families.sar.run import train

HERE = Path(__file__).parent
ABLATIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # name: (of the network, of the bar)
    "complex, two-sided": ({}, {}),
    "real kernel": ({"real_kernel": True}, {"real": True}),
    "causal": ({"look_ahead": 0}, {"look_ahead": 0}),
    "causal and real": ({"look_ahead": 0, "real_kernel": True}, {"look_ahead": 0, "real": True}),
}
RADARS = {"64": 1300.0**2 / 64, "128": 1300.0**2 / 128}


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
