"""Does the gate earn its place? The recipe s4_ssm_complex_toy at a small size with `use_selectivity` and without it, three seeds.

    python -m benchmarks.sar.selective --out runs/sar-selective

Beside them a network without it of as many parameters. Whole scene, identity activation, one azimuth rate (`--spreads` for
others). A finished training is not made again.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stillhouse.core.folder import SCORES, read_arrays
from stillhouse.core.records import RESULT, read_json
from stillhouse.core.verdict import compare
from stillhouse.tasks.sar.documented import read_teacher
from stillhouse.tasks.sar.recipes import recipe_path
from stillhouse.tasks.sar.run import train

SMALL = {
    "data": {"train": 256, "validation": 32, "test": 64},
    "model": {"model_dim": 8, "state_dim": 64, "num_layers": 2},
    "training": {"epochs": 15, "threads": 1},
}
ARMS: dict[str, dict[str, Any]] = {
    "gate": {"use_selectivity": "gate"},
    "without": {"use_selectivity": "none"},
    "wider": {"use_selectivity": "none", "state_dim": 72},  # as many parameters as with the gate
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--spreads", nargs="+", type=float, default=[0.0])
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = read_teacher(recipe_path("s4_ssm_complex_toy"), SMALL)
    print("| rate spread | gate, NMSE dB | without | without, wider | gate - | quality, 95 % interval | verdict |")
    print("|---|---|---|---|---|---|---|")
    for spread in options.spreads:
        quality: dict[str, np.ndarray] = {}
        for arm, changes in ARMS.items():
            scores = []
            for seed in range(options.seeds):
                folder = options.out / f"{arm}-{spread:g}-{seed}"
                one = replace(
                    config,
                    seed=seed,
                    data=replace(config.data, rate_spread=spread),
                    model=replace(config.model, **changes),
                )
                if not (folder / "report.html").is_file():
                    train(one, folder, resume=(folder / "run.json").is_file())
                scores.append(read_arrays(folder / SCORES)["quality"])
            quality[arm] = np.stack(scores)
            params = read_json(folder / RESULT)["params"]
            print(f"<!-- {arm}: {params:,} parameters -->", flush=True)
        shown = " | ".join(f"{10 * np.log10(1 - quality[arm].mean()):.2f}" for arm in ARMS)
        for control in ("without", "wider"):
            found = compare(quality["gate"], quality[control])
            interval = f"{found.difference:+.5f} ({found.low:+.5f} to {found.high:+.5f})"
            print(f"| {spread:.0%} | {shown} | {control} | {interval} | {found.verdict} |", flush=True)


if __name__ == "__main__":
    main()
