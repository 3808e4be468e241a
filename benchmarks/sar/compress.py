"""What 8-bit weights, 8-bit state, pruning and balanced truncation cost in quality, on the test lines of a run.

python -m benchmarks.sar.compress runs/sar/tiny runs/sar/compressed runs/sar/standard
python -m benchmarks.sar.compress --truncate 256 128 64 48 32 -- runs/sar/teacher-64
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from stillhouse.families.sar.data.sequences import SarData
from stillhouse.families.sar.saved import load_data_config, load_model
from stillhouse.families.sar.score import focus, judge
from stillhouse.families.sar.students.network import SarSSM
from stillhouse.families.sar.students.pruning import prune
from stillhouse.families.sar.students.quantization import quantize
from stillhouse.families.sar.students.streaming import Stream
from stillhouse.families.sar.students.truncation import truncate

SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)
STREAMED = 16  # test lines that are streamed with a rounded state


def row(name: str, model: SarSSM, data: SarData, size: str = "") -> str:
    found = judge(focus(model, data.test.inputs), data.test, data.valid)
    return f"| {name} | {size} | {found['quality']:.4f} | {found['coherence']:.4f} | {-found['snr_db']:.2f} |"


def rounded_state(model: SarSSM, steps: tuple[float, ...], data: SarData) -> str:
    """Quality of 8-bit weights and 8-bit state, streamed."""
    inputs = data.test.inputs[:STREAMED]
    stream = Stream(model, len(inputs), state_steps=steps)
    said = [line for t in range(inputs.shape[1]) if (line := stream.step(inputs[:, t])) is not None]
    whole = torch.cat([torch.stack(said, 1), stream.finish()], 1)[..., 0].numpy()
    wanted = data.test.targets[:STREAMED, :, 0].numpy()
    error = np.abs(whole - wanted)[:, data.valid] ** 2
    nmse = error.sum(1) / (np.abs(wanted[:, data.valid]) ** 2).sum(1)
    return f"| weights and state int8 ({STREAMED} lines) | | {1 - nmse.mean():.4f} | | |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--truncate", nargs="*", type=int, default=[])
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = None
    for run in options.runs:
        folder = next(iter(sorted(run.glob("arms/kd/seed-0"))), run)
        model, _ = load_model(folder)
        data = data or load_data_config(folder).build()
        print(f"\n{run.name}\n\n| form | bytes of weights | quality | coherence | NMSE dB |\n|---|---|---|---|---|")
        print(row("float32", model, data, f"{4 * sum(p.numel() for p in model.parameters()):,}"), flush=True)
        for size in options.truncate:
            small, _ = truncate(model, size)
            name = f"balanced truncation to state_dim {size}"
            print(row(name, small, data, f"{4 * sum(p.numel() for p in small.parameters()):,}"), flush=True)
        if options.truncate:
            continue
        held = data.validation.inputs[:4]
        small, report = quantize(model, held)
        print(row("weights int8", small, data, f"{report.bytes_after:,}"))
        if report.state_steps:
            print(rounded_state(small, report.state_steps, data), flush=True)
        moved, all_of_it = quantize(model, held, dynamics=True)
        print(row("weights, poles and time units int8", moved, data, f"{all_of_it.bytes_after:,}"))
        for share in SHARES:
            small, _ = prune(model, share, held)
            print(row(f"{share:.0%} of the weights pruned", small, data), flush=True)


if __name__ == "__main__":
    main()
