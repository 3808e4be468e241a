"""How fast clauses are as logic, one image to 10 000, beside torch's dense float32 product in the same run.

    python -m benchmarks.logic.kernels              # --cpu where other programs run: seconds of this process, of all its threads

2 000 clauses of 32 literals over 784 bits, ten classes, LF 8 (fuzzy) and LF 1 (crisp), random bits: bytes to scores, thresholds,
transposition and votes included; the best of several calls. Then LF 8 over the 3 724 bits of filters joined in squares of 4.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.kernel import threads
from stillhouse.logic.machine import PackedModel
from stillhouse.tasks.classification.data.boolean_features import boolean_features

CLASSES, CLAUSES, LITERALS = 10, 2000, 32


def make(failures: int, square: int = 0) -> PackedModel:
    """Random clauses over 28 x 28 pixels, or over their filter bits joined in squares."""
    generator, edges = np.random.default_rng(0), np.array([] if square else [0.5], np.float32)
    bits = PackedModel((1, 28, 28), edges, (), (), (), square).width
    made = ClauseSet.of(
        [np.sort(generator.choice(2 * bits, LITERALS, replace=False)) for _ in range(CLAUSES)],
        bits=bits,
        capacity=np.full(CLAUSES, failures),
        votes=generator.integers(-1000, 1000, (CLAUSES, CLASSES)),
    )
    return PackedModel((1, 28, 28), edges, (made,), (), tuple(map(str, range(CLASSES))), square)


def best(call: Callable[[], object], clock: Callable[[], float], rounds: int = 30, seconds: float = 4.0) -> float:
    """Seconds by a clock of the fastest call, after one that compiles."""
    call()
    found, began = float("inf"), time.perf_counter()
    for _ in range(rounds):
        started = clock()
        call()
        found = min(found, clock() - started)
        if time.perf_counter() - began > seconds:
            break
    return found


def dense(machine: PackedModel, images: np.ndarray) -> Callable[[], object]:
    """The same scores by two products of torch."""
    clauses = machine.layers[0]
    wanted, unwanted = (torch.from_numpy(side.astype(np.float32)) for side in clauses.dense())
    kernel, offset = (wanted - unwanted).T.contiguous(), torch.from_numpy(clauses.capacity).float() - wanted.sum(1)
    votes, pixels, square = torch.from_numpy(clauses.votes).float(), torch.from_numpy(images), machine.square
    front = partial(boolean_features, square=square) if square else partial(torch.gt, other=0.5)
    return lambda: torch.relu(torch.addmm(offset, front(pixels.float() / 255).flatten(1).float(), kernel)) @ votes


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cpu", action="store_true", help="seconds of the processor, not of the clock")
    clock = time.process_time if parser.parse_args().cpu else time.perf_counter
    torch.set_num_threads(threads())
    print(f"torch {torch.__version__}, {threads()} threads, CPU:", torch.backends.cpu.get_cpu_capability())
    for name, failures, square in (("fuzzy, LF 8", 8, 0), ("crisp", 1, 0), ("filters, LF 8", 8, 4)):
        machine = make(failures, square)
        for rows in (1, 64, 1000, 10000):
            images = np.random.default_rng(2).integers(0, 256, (rows, 1, 28, 28), dtype=np.uint8)
            with torch.inference_mode():
                seconds = {
                    "kernel": best(partial(machine.scores, images), clock),
                    "torch": best(dense(machine, images), clock),
                    "numpy": best(partial(machine.scores, images, definition=True), clock, rounds=5),
                }
            rates = ", ".join(f"{way} {rows / took:,.0f}" for way, took in seconds.items())
            print(f"{name}, {rows} images, images/s: {rates}; x torch {seconds['torch'] / seconds['kernel']:.1f}")


if __name__ == "__main__":
    main()
