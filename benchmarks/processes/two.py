"""Two processes against one: time of a step, and whether the losses are the same curve.

    python -m benchmarks.processes.two                       1 and 2 processes (gloo, a thread each), DDP and FSDP2
    python -m benchmarks.processes.two --device cuda --processes 1 2 4 8

The batch is the whole batch of all processes, so every row of the table trains the same; `relations` compares samples across
processes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path


def work(folder: Path, devices: int, device: str, batch: int, steps: int, relations: bool) -> None:
    """One training; process 0 writes what it took."""
    from benchmarks.processes.task import make

    from stillhouse.core import ranks
    from stillhouse.core.records import RECORDS, read_records
    from stillhouse.training.loop import fit

    task = make(batch, steps, threads=1)
    config = replace(task.config, device=device, devices=devices, optimizer="sgd", learning_rate=0.02, log_every=1)
    seen: list[float] = []
    started = time.perf_counter()
    job = replace(task, config=config).job(relations)
    fit(job, config, seed=0, folder=folder, on_progress=lambda p, n: seen.append(time.perf_counter()))
    if not ranks.first():
        return
    found = {
        "seconds": time.perf_counter() - started,
        "step": statistics.median(b - a for a, b in pairwise(seen[5:])),
        "losses": [record["loss"] for record in read_records(folder / RECORDS) if record["split"] == "train"],
    }
    (folder / "found.json").write_text(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        place, devices, relations = options.work
        work(Path(place), int(devices), options.device, options.batch, options.steps, relations == "relations")
        return
    print("| processes | signals | ms a step | steps a second x one | whole run, s | largest difference of a loss |")
    print("|---|---|---|---|---|---|")
    for signals in ("logits", "relations"):
        base = None
        for devices in options.processes:
            with tempfile.TemporaryDirectory() as folder:
                words = [sys.executable, "-m", "benchmarks.processes.two", "--device", options.device]
                words += ["--batch", str(options.batch), "--steps", str(options.steps)]
                subprocess.run(
                    [*words, "--work", folder, str(devices), signals],
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
                found = json.loads((Path(folder) / "found.json").read_text())
            base = base or found
            apart = max(abs(a - b) for a, b in zip(found["losses"], base["losses"]))
            print(
                f"| {devices} | {signals} | {1000 * found['step']:.1f} | {base['step'] / found['step']:.2f} | "
                f"{found['seconds']:.1f} | {apart:.1e} of {base['losses'][0]:.3f} to {base['losses'][-1]:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
