"""A trained machine as hardware: written as Verilog, proved, every test image simulated, synthesised.

    python -m benchmarks.logic.hardware --packed runs/logic/flat.packed --data-root DIR --out runs/logic/flat.hardware

What is done already is not done again: simulated images are kept in blocks. Prints one JSON object; exit status 1 if an answer of
the simulator differs from the definition's, or a proof fails. A synthesis that takes longer than its limit is ended, and said to.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.classification.data import DataConfig
from stillhouse.core.checks import InputError
from stillhouse.core.config import parse
from stillhouse.logic.machine import Machine
from stillhouse.logic.packed import load_packed
from stillhouse.logic.prove_machine import prove_machine
from stillhouse.logic.targets.verilog import simulate, synthesise, write_verilog


def measure(machine: Machine, images: np.ndarray, labels: np.ndarray, given: argparse.Namespace) -> dict[str, Any]:
    """What `--out` holds so far, and what is still to do."""
    given.out.mkdir(parents=True, exist_ok=True)
    table, file = given.out / "hardware.json", given.out / "clauses.v"
    found: dict[str, Any] = json.loads(table.read_text()) if table.is_file() else {}

    def keep(**more: Any) -> None:
        found.update(more)
        table.write_text(json.dumps(found, indent=1))
        print(json.dumps(more), file=sys.stderr, flush=True)

    if "bytes" not in found or not file.is_file():
        started = time.perf_counter()
        write_verilog(machine, file)
        keep(bytes=file.stat().st_size, written_s=round(time.perf_counter() - started, 1))
    if "proof" not in found:
        cpu = time.process_time()
        proof = prove_machine(file.read_text(), machine)
        keep(proof=str(proof), proved=proof.proved, proof_cpu_s=round(time.process_time() - cpu, 1))
    if given.proof_only:
        return found
    bits, classes, wrong, seconds = machine.bits(images), [], 0, found.get("simulated_s", 0.0)
    for start in range(0, len(bits), given.block):
        kept = given.out / f"simulated-{start}.npz"
        rows = bits[start : start + given.block]
        if not kept.is_file():
            started = time.perf_counter()
            scores, best = simulate(file, rows, outputs=len(machine.class_names), lanes=given.lanes)
            seconds += time.perf_counter() - started
            assert best is not None
            np.savez(kept, scores=scores, best=best)
            keep(simulated_s=round(seconds, 1))
        with np.load(kept) as block:
            expected = machine.scores_of_bits(rows)
            wrong += int(((block["scores"] != expected).any(1) | (block["best"] != expected.argmax(1))).sum())
            classes.append(block["best"])
    right = int((np.concatenate(classes) == labels).sum())
    keep(simulated=len(bits), differ=wrong, right=right)
    if "synthesis" not in found:
        started = time.perf_counter()
        try:
            keep(synthesis=synthesise(file, limit=given.limit))
        except InputError as error:
            keep(synthesis=str(error))
        keep(synthesis_s=round(time.perf_counter() - started, 1))
    return found


def main() -> int:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packed", type=Path, required=True, help="a machine of one layer or two")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--data-root")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--lanes", type=int, default=1024, help="images that the simulator answers at once")
    parser.add_argument("--block", type=int, default=2500, help="images between two results that are kept")
    parser.add_argument("--limit", type=float, default=900.0, help="seconds of a synthesis")
    parser.add_argument("--proof-only", action="store_true")
    given = parser.parse_args()
    split = parse(DataConfig, {"name": given.data, "root": given.data_root}).build().test
    found = measure(
        load_packed(given.packed),
        split.images.numpy()[: given.rows],  # type: ignore[union-attr]
        split.labels.numpy()[: given.rows],
        given,
    )
    print(json.dumps(found, indent=1))
    return 0 if found["proved"] and not found.get("differ") else 1


if __name__ == "__main__":
    sys.exit(main())
