"""What 8-bit weights, pruning and balanced truncation cost in quality, on the test lines of a run.

python -m benchmarks.sar.compress runs/sar/tiny runs/sar/compressed runs/sar/standard
python -m benchmarks.sar.compress --truncate 256 128 64 48 32 -- runs/sar/teacher-64
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from stillhouse.tasks.sar.data.sequences import SarData
from stillhouse.tasks.sar.saved import load_data_config, load_model
from stillhouse.tasks.sar.score import focus, judge
from stillhouse.tasks.sar.students.compression import prune, quantize
from stillhouse.tasks.sar.students.network import SarSSM
from stillhouse.tasks.sar.students.truncation import truncate

SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)


def row(name: str, model: SarSSM, data: SarData, size: str = "") -> str:
    found = judge(focus(model, data.test.inputs), data.test, data.valid)
    return f"| {name} | {size} | {found['quality']:.4f} | {found['coherence']:.4f} | {-found['snr_db']:.2f} |"


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
        small, tensors, _ = quantize(model, held)
        rounded = sum(x.values.numel() for x in tensors.values())
        others = sum(p.numel() for p in model.parameters()) - rounded
        print(row("weights int8", small, data, f"{rounded + 4 * (others + len(tensors)):,}"), flush=True)
        for share in SHARES:
            small, _ = prune(model, share, held)
            print(row(f"{share:.0%} of the weights pruned", small, data), flush=True)


if __name__ == "__main__":
    main()
