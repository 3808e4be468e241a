"""One network over a swath whose azimuth rates spread over 30 %: the shipped recipe beside filters of each rate.

    python -m benchmarks.sar.swath --out runs/sar-swath

A seed draws the data (scenes, noise, ranges) and the weights; the solution does not depend on the weights. `smooth in range` is
the matched filter of each rate whose edge pulse is weighted by the share of it that lies in the aperture: what a filter that
follows the range without jumps tends to, while the truth's aperture grows by whole pulses. A finished training is not made again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from stillhouse.core.records import RESULT, read_json
from stillhouse.families.sar.closed_form import fit_read_outs
from stillhouse.families.sar.data.matched_filter import matched_filter
from stillhouse.families.sar.data.sequences import SarData, SarSplit
from stillhouse.families.sar.documented import read_teacher
from stillhouse.families.sar.metrics import anchors
from stillhouse.families.sar.plan import SarTrainConfig
from stillhouse.families.sar.recipes import recipe_path
from stillhouse.families.sar.run import train
from stillhouse.families.sar.saved import load_model
from stillhouse.families.sar.score import focus
from stillhouse.families.sar.teacher import focused, in_units

RECIPE, FIFTHS = "s4_swath", 5
Row = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="in place of the recipe's")
    options = parser.parse_args()
    torch.set_num_threads(1)
    changes = {} if options.epochs is None else {"training": {"epochs": options.epochs}}
    config = read_teacher(recipe_path(RECIPE), changes)
    rows, seconds = dict[str, Row](), list[float]()
    for seed in range(options.seeds):
        one, folder = replace(config, seed=seed, data=replace(config.data, seed=seed)), options.out / f"seed-{seed}"
        data = one.data.build()
        if not (folder / "report.html").is_file():
            train(one, folder, resume=(folder / "run.json").is_file())
        network, result = in_units(*load_model(folder), data), read_json(folder / RESULT)
        found = {
            "network of the recipe": errors(focused(network, data.test.inputs), data.test, data.valid),
            "its read-outs by least squares, no step taken": errors(closed(one, data), data.test, data.valid),
            **filters(data),
        }
        rows |= {f"{name}, seed {seed}": row for name, row in found.items()}
        seconds.append(result["seconds"])
        print(f"seed {seed}: {result['params']:,} parameters, best epoch {result['best_epoch']}", flush=True)
    show(rows)
    if options.json is not None:
        kept = {"nmse_db": {name: decibels(row) for name, row in rows.items()}, "seconds": seconds}
        options.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def closed(config: SarTrainConfig, data: SarData) -> np.ndarray:
    """What the network focuses before its first step."""
    torch.manual_seed(config.seed)
    model = config.model.build()
    fit_read_outs(model, data)
    return focus(model, data.test.inputs)


def filters(data: SarData) -> dict[str, Row]:
    """Matched filters: of each rate, smooth in range, of the middle rate."""
    signal = data.test.inputs[..., 0].numpy()
    exact = data.kernels(data.test)
    middle = matched_filter(data.parameters, half=data.valid.start) * (data.scale.input_rms / data.scale.target_rms)
    kernels = {
        "matched filter of each rate": exact,
        "the same, smooth in range": smooth(exact, data),
        "matched filter of the middle rate": np.broadcast_to(middle, exact.shape),
    }
    return {name: errors(anchors.matched(signal, k), data.test, data.valid) for name, k in kernels.items()}


def smooth(exact: np.ndarray, data: SarData) -> np.ndarray:
    """Matched filters whose edge pulse counts by the share of it that lies in the aperture."""
    radar, rate = data.parameters, data.test.facts["azimuth_rate"][:, None]
    assert radar is not None  # simulated lines have a radar
    lag = np.arange(exact.shape[1]) - exact.shape[1] // 2
    half = radar.prf * radar.doppler_bandwidth / rate / 2
    share = np.clip(half - np.abs(lag) + 0.5, 0, 1)
    return np.abs(exact).max(1, keepdims=True) * share * np.exp(1j * np.pi * rate * (lag / radar.prf) ** 2)


def errors(found: np.ndarray, split: SarSplit, valid: slice) -> Row:
    """NMSE of all lines together, and by fifth of the swath."""
    wanted = split.targets[..., 0].numpy()[:, valid]
    wrong, power = (np.sum(np.abs(x) ** 2, axis=1) for x in (found[:, valid] - wanted, wanted))
    fifth = np.minimum((split.facts["column"] * FIFTHS).astype(int), FIFTHS - 1)
    parts = [float(wrong[fifth == n].sum() / power[fifth == n].sum()) for n in range(FIFTHS)]
    return {"all": [float(wrong.sum() / power.sum())], "fifths": parts}


def decibels(row: Row) -> list[float]:
    return [round(10 * float(np.log10(x)), 3) for x in (*row["all"], *row["fifths"])]


def show(rows: Mapping[str, Row]) -> None:
    print("| NMSE, dB | all | 0-0.2 | 0.2-0.4 | 0.4-0.6 | 0.6-0.8 | 0.8-1 |\n|---|---|---|---|---|---|---|")
    for name, row in rows.items():
        print(f"| {name} | {' | '.join(f'{x:.2f}' for x in decibels(row))} |")


if __name__ == "__main__":
    main()
