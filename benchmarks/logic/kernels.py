"""How fast clauses are: every engine, one image to 10 000, beside torch's dense float32 product in the same run.

    python -m benchmarks.logic.kernels                     # this CPU as it is, then the same limited to AVX2
    python -m benchmarks.logic.kernels --isa native        # only as it is
    python -m benchmarks.logic.kernels --growth --plots p  # growth with clauses, literals, LF; pictures in p/

2 000 clauses of 32 literals over 784 bits, ten classes, LF 8 (fuzzy) and LF 1 (crisp); random bits, so that early leave helps crisp
clauses as it does in use, and fuzzy ones not at all. `clauses` is the evaluation alone (from bits to clause values, no votes),
`whole` is bytes to classes, thresholds, transposition and votes included. Times are the best of several, latencies are percentiles.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "NUMBA_CPU_NAME": "haswell"}
BEYOND_AVX2 = ("avx512", "avx10", "avxvnni", "avxifma", "vaes", "vpclmulqdq", "gfni", "amx")
CLASSES, BITS, CLAUSES, LITERALS = 10, 784, 2000, 32


def avx2_environment() -> dict[str, str]:
    """Variables by which numba, torch and oneDNN use nothing newer than AVX2."""
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    kept = {name: on and not name.startswith(BEYOND_AVX2) for name, on in features.items()}
    return {**AVX2, "NUMBA_CPU_FEATURES": ",".join(("+" if on else "-") + name for name, on in kept.items())}


def make(clauses: int = CLAUSES, literals: int = LITERALS, failures: int = 8, seed: int = 0) -> Any:
    """A machine of random clauses over 28 x 28 pixels."""
    from stillhouse.logic.clause_set import ClauseSet
    from stillhouse.logic.machine import Machine

    generator = np.random.default_rng(seed)
    made = ClauseSet.of(
        [np.sort(generator.choice(2 * BITS, literals, replace=False)) for _ in range(clauses)],
        bits=BITS,
        capacity=np.full(clauses, min(failures, literals)),
        votes=generator.integers(-1000, 1000, (clauses, CLASSES)),
    )
    return Machine((1, 28, 28), np.array([0.5], np.float32), (made,), (), tuple(map(str, range(CLASSES))))


def best(call: Callable[[], object], rounds: int = 7, seconds: float = 4.0) -> float:
    """Seconds of the fastest call, after one that compiles."""
    call()
    found, began = float("inf"), time.perf_counter()
    for _ in range(rounds):
        started = time.perf_counter()
        call()
        found = min(found, time.perf_counter() - started)
        if time.perf_counter() - began > seconds:
            break
    return found


def clauses_alone(machine: Any, blocks: int = 8) -> tuple[float, float]:
    """Images a second of all threads, and of a walk whose rows all lie in the nearest cache: what adders alone allow."""
    from stillhouse.logic.kernels.numba_sliced import CHUNK, NumbaSliced, sliced_planes, threads, where

    kernel = NumbaSliced(machine.layers[0])
    size, workers = (2 * BITS + 1) * kernel.words, threads()
    generator = np.random.default_rng(0)
    planes = np.zeros((blocks, 2 * BITS + 1, kernel.words), np.int64)
    planes[:, :BITS] = generator.integers(-(2**63), 2**63 - 1, (blocks, BITS, kernel.words))
    planes[:, BITS:-1] = ~planes[:, :BITS]
    near = (kernel.rows // kernel.words % 64 * kernel.words).astype(np.int32)
    outs = [np.zeros(CHUNK * 9 * kernel.words, np.int64) for _ in range(workers)]

    def rate(rows: np.ndarray) -> float:
        walk = (where(rows), *kernel.walk[1:])

        def work(out: np.ndarray) -> None:
            sliced_planes(
                where(planes), size, blocks, walk, len(kernel.plan.order), where(out), kernel.lanes, kernel.depth
            )

        with ThreadPoolExecutor(workers) as pool:
            seconds = best(lambda: list(pool.map(work, outs)), rounds=40)
        return workers * blocks * kernel.block / seconds

    return rate(kernel.rows), rate(near)


def dense(machine: Any, batch: int) -> tuple[float, float]:
    """Images a second of torch's float32 product: clause values alone, and bytes to classes."""
    import torch

    clauses = machine.layers[0]
    wanted, unwanted = (torch.from_numpy(side.astype(np.float32)) for side in clauses.dense())
    kernel, offset = (wanted - unwanted).T.contiguous(), torch.from_numpy(clauses.capacity).float() - wanted.sum(1)
    votes = torch.from_numpy(clauses.votes).float()
    pixels = torch.randint(0, 256, (batch, BITS), dtype=torch.uint8)
    bits = (pixels >= 128).float()
    with torch.inference_mode():
        values = best(lambda: torch.relu(torch.addmm(offset, bits, kernel)), rounds=9)
        whole = best(
            lambda: (torch.relu(torch.addmm(offset, (pixels.float() / 255 > 0.5).float(), kernel)) @ votes).argmax(1),
            rounds=9,
        )
    return batch / values, batch / whole


def classes(evaluator: Any, images: np.ndarray) -> np.ndarray:
    """What `Machine.predict` does."""
    return np.asarray(evaluator.scores(images).argmax(1))


def latencies(machine: Any, engine: str, calls: int = 3000) -> tuple[float, float]:
    """p50 and p99 in microseconds of one image, bytes to class."""
    from stillhouse.logic.engine import MachineEvaluator

    evaluator = MachineEvaluator(machine, engine)
    images = np.random.default_rng(1).integers(0, 256, (64, 1, 1, 28, 28), dtype=np.uint8)
    took = []
    for number in range(calls):
        image = images[number % 64]
        started = time.perf_counter()
        evaluator.scores(image).argmax(1)
        took.append(time.perf_counter() - started)
    return tuple(float(np.percentile(took[calls // 10 :], q)) * 1e6 for q in (50, 99))  # type: ignore[return-value]


def measure() -> dict[str, Any]:
    """Everything but growth, in this process."""
    import torch

    from stillhouse.core.machine import cpu_capabilities
    from stillhouse.logic.engine import MachineEvaluator, compile_seconds
    from stillhouse.logic.kernels.numba_sliced import threads, widest_words

    torch.set_num_threads(threads())
    found: dict[str, Any] = {"cpu": cpu_capabilities(), "threads": threads(), "words": widest_words(), "kinds": {}}
    found["cpu"]["environment"].pop("NUMBA_CPU_FEATURES", None)  # a page long
    for name, failures in (("fuzzy LF 8", 8), ("crisp LF 1", 1)):
        machine = make(failures=failures)
        first = {engine: compile_seconds(machine, engine) for engine in ("numba", "row")}
        rate, near = clauses_alone(machine)
        dense_clauses, dense_whole = dense(machine, 1000)
        again, _ = clauses_alone(machine)  # before and after the product: the machine may be shared
        rate = max(rate, again)
        entry: dict[str, Any] = {
            "first_call_s": first,
            "clauses": rate,
            "dense_clauses": dense_clauses,
            "clauses_ratio": rate / dense_clauses,
            "all_in_nearest_cache": near,
            "share_of_adders": rate / near,
            "loads_GB_s": rate * CLAUSES * LITERALS / 8 / 1e9,
            # eight literals take seven adders of two instructions, or 32 plain ones, and one more; a crisp clause leaves early
            "word_operations_G_s": rate / 64 * CLAUSES * LITERALS / 8 * (15 if widest_words() == 8 else 33) / 1e9,
            "dense_whole": dense_whole,
            "whole": {},
        }
        for engine in ("numba", "row", "numpy", "torch"):
            evaluator = MachineEvaluator(machine, engine)
            for batch in (1, 64, 1000, *((10000,) if engine == "numba" else ())):
                images = np.random.default_rng(2).integers(0, 256, (batch, 1, 28, 28), dtype=np.uint8)
                entry["whole"][f"{engine} {batch}"] = batch / best(partial(classes, evaluator, images), rounds=15)
        entry["whole_ratio"] = max(entry["whole"].values()) / dense_whole
        entry["latency_us"] = {engine: latencies(machine, engine) for engine in ("row", "numba")}
        entry["chosen"] = {n: MachineEvaluator(machine).layers[0].choose(n) for n in (1, 64, 1000, 10000)}
        found["kinds"][name] = entry
    return found


def growth() -> dict[str, dict[int, float]]:
    """Images a second, clauses alone, with one number changed at a time."""
    cases = {
        "clauses": (500, 1000, 2000, 4000, 8000),
        "literals": (8, 16, 32, 64, 128, 256),
        "failures": (1, 2, 8, 16, 64, 256),
    }
    return {
        what: {
            n: clauses_alone(make(**{what: n, **({"literals": 300} if n > 32 and what == "failures" else {})}))[0]
            for n in ns
        }
        for what, ns in cases.items()
    }


def show(name: str, found: dict[str, Any]) -> None:
    """As text."""
    print(f"\n== {name}: torch {found['cpu']['torch']}, blocks of {found['words']} words, {found['threads']} threads")
    print("   CPU:", " ".join(found["cpu"]["flags"]), found["cpu"]["environment"])
    for kind, entry in found["kinds"].items():
        print(f"-- {kind}: first call {', '.join(f'{e} {s:.1f} s' for e, s in entry['first_call_s'].items())}")
        print(
            f"   clauses alone {entry['clauses'] / 1e6:.2f} M images/s, dense float32 {entry['dense_clauses'] / 1e3:.1f} k: "
            f"{entry['clauses_ratio']:.0f} x"
        )
        if "crisp" not in kind:  # those leave before they have read all
            print(
                f"   {entry['word_operations_G_s']:.0f} G word operations/s, {entry['loads_GB_s']:.0f} GB/s read; "
                f"{entry['share_of_adders']:.0%} of the same walk within the nearest cache"
            )
        print(f"   bytes to class: dense {entry['dense_whole'] / 1e3:.1f} k; best of ours {entry['whole_ratio']:.0f} x")
        print("   " + ", ".join(f"{case} {rate / 1e3:,.0f} k" for case, rate in entry["whole"].items()))
        print(
            "   one image, us: "
            + ", ".join(f"{e} p50 {a:.1f} p99 {b:.1f}" for e, (a, b) in entry["latency_us"].items())
        )
        print("   chosen by measurement:", entry["chosen"])


def draw(found: dict[str, dict[int, float]], folder: Path) -> None:
    """One picture a number."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    for what, rates in found.items():
        figure, axis = pyplot.subplots(figsize=(5, 3.2), layout="constrained")
        axis.loglog(list(rates), [rate / 1e6 for rate in rates.values()], "o-")
        axis.set_xlabel(what)
        axis.set_ylabel("million images a second")
        axis.grid(alpha=0.3, which="both")
        figure.savefig(folder / f"logic-growth-{what}.svg")
        pyplot.close(figure)


def main() -> None:
    """Read the flags, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--isa", choices=["both", "native", "avx2"], default="both")
    parser.add_argument("--growth", action="store_true", help="growth with clauses, literals and LF instead")
    parser.add_argument("--plots", type=Path, help="folder for pictures of the growth")
    parser.add_argument("--out", type=Path, help="JSON file for all figures")
    options = parser.parse_args()
    if os.environ.get("LOGIC_BENCHMARK_CHILD"):
        print(json.dumps(measure()))
        return
    if options.growth:
        found: dict[str, Any] = growth()
        for what, rates in found.items():
            print(f"{what}: " + ", ".join(f"{n}: {rate / 1e6:.2f} M/s" for n, rate in rates.items()))
        if options.plots:
            draw(found, options.plots)
    else:
        found = {}
        for isa in ("native", "avx2") if options.isa == "both" else (options.isa,):
            extra = avx2_environment() if isa == "avx2" else {}
            environment = {**os.environ, **extra, "LOGIC_BENCHMARK_CHILD": "1"}
            command = [sys.executable, "-m", "benchmarks.logic.kernels"]
            answer = subprocess.run(command, env=environment, capture_output=True, text=True)
            if answer.returncode:
                sys.exit(answer.stderr)
            found[isa] = json.loads(answer.stdout.splitlines()[-1])
            show(isa, found[isa])
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
