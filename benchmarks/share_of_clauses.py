"""What share of a training step do the clauses take? The recipe `mnist` with its three feed-forwards, timed in turn."""

import argparse
import statistics
import time
from dataclasses import replace

import torch

from stillhouse.core.machine import machine
from stillhouse.core.types import ImageTask
from stillhouse.recipes import load_run

ROUNDS, STEPS, BATCH = 7, 5, 128


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    config = load_run("mnist").student
    task = ImageTask(tuple("0123456789"), (1, 28, 28), (0.13,), (0.31,))
    pixels, labels = torch.rand(BATCH, 1, 28, 28), torch.randint(0, 10, (BATCH,))
    arms = {}
    for kind in ("none", "mlp", "clauses", "clauses bf16"):
        torch.manual_seed(0)
        model = replace(config, feed_forward=kind.split()[0]).build(task)
        arms[kind] = (model, torch.optim.AdamW(model.parameters(), lr=1e-3))
    times: dict[str, list[float]] = {kind: [] for kind in arms}
    for _ in range(ROUNDS):
        for kind, (model, optimizer) in arms.items():
            start = time.perf_counter()
            for _ in range(STEPS):
                with torch.autocast("cpu", torch.bfloat16, enabled=kind.endswith("bf16")):
                    loss = torch.nn.functional.cross_entropy(model(pixels).float(), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            times[kind].append((time.perf_counter() - start) / STEPS)
    median = {kind: statistics.median(seen[1:]) for kind, seen in times.items()}
    print(
        f"{machine()}, {torch.get_num_threads()} threads, batch {BATCH}, median of {ROUNDS - 1} rounds of {STEPS} steps"
    )
    for kind, seconds in median.items():
        print(f"{kind:12} {1000 * seconds:7.1f} ms a step, {seconds / median['none']:.2f} x none")
    print(f"share of the clauses in a step: {1 - median['none'] / median['clauses']:.0%}")


if __name__ == "__main__":
    main()
