"""Does the gate earn its place? The recipe s4_ssm_complex_toy at a small size with `use_selectivity` and without it, three seeds.

    python -m benchmarks.sar.selective --out runs/sar-selective

At one azimuth rate focusing is the same filter everywhere; over a spread of 10 % without a position channel it is not, and a gate
could weigh what a filter of one rate cannot. Whole scene, identity activation. A finished training is not made again.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from stillhouse.core.folder import SCORES, read_arrays
from stillhouse.core.records import RESULT, read_json
from stillhouse.core.verdict import compare
from stillhouse.families.sar.documented import read_teacher
from stillhouse.families.sar.recipes import recipe_path
from stillhouse.families.sar.run import train

SMALL = {
    "data": {"train": 256, "validation": 32, "test": 64},
    "model": {"model_dim": 8, "state_dim": 64, "num_layers": 2},
    "training": {"epochs": 15, "threads": 1},
}
ARMS = {"gate": "gate", "without": "none"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--spreads", nargs="+", type=float, default=[0.0, 0.1])
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = read_teacher(recipe_path("s4_ssm_complex_toy"), SMALL)
    print(
        "| rate spread | with the gate, NMSE dB | without, NMSE dB | gate - without, quality, 95 % interval | verdict |"
    )
    print("|---|---|---|---|---|")
    for spread in options.spreads:
        quality: dict[str, np.ndarray] = {}
        for arm, gate in ARMS.items():
            found = []
            for seed in range(options.seeds):
                folder = options.out / f"{arm}-{spread:g}-{seed}"
                one = replace(
                    config,
                    seed=seed,
                    data=replace(config.data, rate_spread=spread),
                    model=replace(config.model, use_selectivity=gate),
                )
                if not (folder / "report.html").is_file():
                    train(one, folder, resume=(folder / "run.json").is_file())
                found.append(read_arrays(folder / SCORES)["quality"])
            quality[arm] = np.stack(found)
            params = read_json(folder / RESULT)["params"]
            print(f"<!-- {arm}: {params:,} parameters -->", flush=True)
        result = compare(quality["gate"], quality["without"])
        both = " | ".join(f"{10 * np.log10(1 - quality[arm].mean()):.2f}" for arm in ARMS)
        interval = f"{result.difference:+.5f} ({result.low:+.5f} to {result.high:+.5f})"
        print(f"| {spread:.0%} | {both} | {interval} | {result.verdict} |", flush=True)


if __name__ == "__main__":
    main()
