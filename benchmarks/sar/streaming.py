"""Memory and time per line of the step form, from a thousand lines to a million; each length in a process of its own.

python -m benchmarks.sar.streaming runs/sar/least/arms/kd/seed-0 --lines 1000 10000 100000 1000000
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from stillhouse.families.sar.stream import stream


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lines", nargs="+", type=int, default=[1000, 10_000, 100_000, 1_000_000])
    options = parser.parse_args()
    if len(options.lines) == 1:
        torch.set_num_threads(1)
        print(json.dumps(asdict(stream(options.folder, lines=options.lines[0]))))
        return
    head = (
        "lines",
        "processor ms a line",
        "ms a line",
        "first 1 024",
        "last",
        "state, bytes, before and after",
        "peak grew by",
    )
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}", flush=True)
    for lines in options.lines:
        command = [sys.executable, "-m", "benchmarks.sar.streaming", str(options.folder), "--lines", str(lines)]
        said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        times = " | ".join(f"{said[name]:.4f}" for name in ("processor_ms", "median_ms", "first_ms", "last_ms"))
        state = f"{said['state_bytes']:,} and {said['state_bytes_end']:,}"
        print(f"| {lines:,} | {times} | {state} | {said['peak_growth_bytes'] / 1024:,.0f} kB |", flush=True)


if __name__ == "__main__":
    main()
