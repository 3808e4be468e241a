"""Where does a learned temperature go? Traces of T on a 100-class task whose teacher is exact; the runaway and its cure.

Data: a mixture of 100 Gaussians in 20 groups. The teacher is the mixture's own posterior (nothing is trained, so it is the best
teacher there is); the student a small network on few samples. Each arm differs in the temperature alone.
"""

import argparse
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn

from stillhouse.core.machine import command_line, machine, versions
from stillhouse.core.records import write_json
from stillhouse.core.types import OutputSpec, Progress
from stillhouse.losses.divergence import forward_kl
from stillhouse.temperature import (
    FixedTemperature,
    LearnedTemperature,
    Temperature,
    TemperatureConfig,
)

CLASSES, GROUPS, WIDTH, NOISE = 100, 20, 24, 0.75
TRAIN, TEST, BATCH, HIDDEN = 3000, 4000, 64, 32


@dataclass(frozen=True)
class Arm:
    """A temperature, and whether the loss keeps its factor T^2."""

    name: str
    temperature: TemperatureConfig
    square: bool = True


@dataclass(frozen=True)
class Task:
    """Inputs (N, D), labels (N,), teacher logits (N, K) of both splits."""

    train: tuple[Tensor, Tensor, Tensor]
    test: tuple[Tensor, Tensor, Tensor]


def arms(initial: float, weight: float, scale: Any) -> list[Arm]:
    """Fixed; reversed and minimized, with and without T^2, with and without anchor."""

    def learned(anchor_weight: float, reversal: bool) -> LearnedTemperature:
        form = {"anchor_scale": scale} if anchor_weight else {}
        return LearnedTemperature(initial=initial, anchor_weight=anchor_weight, reversal=reversal, **form)

    return [
        Arm("fixed", FixedTemperature(value=initial)),
        Arm("reversal", learned(0.0, True)),
        Arm("reversal, anchor", learned(weight, True)),
        Arm("no reversal", learned(0.0, False)),
        Arm("no reversal, anchor", learned(weight, False)),
        Arm("no reversal, no T^2", learned(0.0, False), square=False),
        Arm("no reversal, no T^2, anchor", learned(weight, False), square=False),
        Arm("reversal, no T^2", learned(0.0, True), square=False),
    ]


def make_task(seed: int) -> Task:
    """Draw the mixture and both splits; the teacher's logits are the log-likelihoods of the components."""
    generator = torch.Generator().manual_seed(1000 + seed)
    groups = torch.randn(GROUPS, WIDTH, generator=generator)
    centers = groups.repeat_interleave(CLASSES // GROUPS, dim=0)
    centers = centers + 0.5 * torch.randn(CLASSES, WIDTH, generator=generator)

    def split(size: int) -> tuple[Tensor, Tensor, Tensor]:
        labels = torch.randint(CLASSES, (size,), generator=generator)
        inputs = centers[labels] + NOISE * torch.randn(size, WIDTH, generator=generator)
        return inputs, labels, -torch.cdist(inputs, centers).square() / (2 * NOISE**2)

    return Task(split(TRAIN), split(TEST))


def train(arm: Arm, task: Task, *, seed: int, steps: int, label_weight: float) -> dict[str, Any]:
    """One student; its trace of T, its test accuracy and its KL to the teacher at T = 1."""
    torch.manual_seed(seed)
    student = nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES))
    spec = OutputSpec(CLASSES)
    temperature: Temperature = arm.temperature.build(spec, spec)
    groups = [{"params": list(student.parameters()), "weight_decay": 0.01}, *temperature.groups()]
    optimizer = torch.optim.AdamW(groups, lr=3e-3, fused=True)
    inputs, labels, told = task.train
    trace = []
    for step in range(steps):
        rows = torch.randint(TRAIN, (BATCH,))
        said = student(inputs[rows])
        value = temperature(said, told[rows], Progress(step, steps))
        taught = forward_kl(said, told[rows], temperature=value)
        taught = taught if arm.square else taught / value**2
        loss = taught.mean() + label_weight * nn.functional.cross_entropy(said, labels[rows])
        loss = loss + sum(weight * term for weight, term in temperature.regularizers().values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        trace.append(temperature.figures()["temperature"])
    with torch.no_grad():
        inputs, labels, told = task.test
        said = student(inputs)
        accuracy = (said.argmax(1) == labels).float().mean().item()
        divergence = forward_kl(said, told).mean().item()
    return {"arm": arm.name, "seed": seed, "trace": trace, "accuracy": accuracy, "kl_at_1": divergence}


def table(results: list[dict[str, Any]]) -> str:
    """Mean and range over the seeds, a line for each arm."""
    lines = [f"{'arm':29}{'T at 1/4':>9}{'T at end':>9}{'range of end':>15}{'accuracy %':>17}{'KL at T=1':>11}"]
    for name in dict.fromkeys(r["arm"] for r in results):
        mine = [r for r in results if r["arm"] == name]
        ends, quarter = [r["trace"][-1] for r in mine], [r["trace"][len(r["trace"]) // 4] for r in mine]
        scores = [100 * r["accuracy"] for r in mine]
        spread = statistics.stdev(scores) if len(scores) > 1 else float("nan")
        lines.append(
            f"{name:29}{statistics.mean(quarter):9.2f}{statistics.mean(ends):9.2f}{min(ends):8.2f} {max(ends):6.2f}"
            f"{statistics.mean(scores):10.2f} +- {spread:.2f}{statistics.mean(r['kl_at_1'] for r in mine):10.3f}"
        )
    return "\n".join(lines)


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """T against the step, a panel for each arm, a line for each seed."""
    names = list(dict.fromkeys(r["arm"] for r in results))
    columns = 3
    figure, axes = plt.subplots(
        -(-len(names) // columns),
        columns,
        figsize=(10, 7),
        sharex=True,
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for axis, name in zip(axes.flat, names):
        for result in results:
            if result["arm"] == name:
                axis.plot(result["trace"], color="#1f5a99", linewidth=1)
        axis.set_title(name, fontsize=10)
        axis.set_yscale("log")
        axis.set_yticks([1, 2, 4, 8, 16], labels=["1", "2", "4", "8", "16"])
        axis.set_ylim(0.9, 24)
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    figure.supxlabel("optimizer step")
    figure.supylabel("temperature (bounds 1 and 21)")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out", type=Path, default=None, help="folder for temperature_traces.json and .png")
    parser.add_argument("--seeds", type=int, default=3, help="students of each arm")
    parser.add_argument("--steps", type=int, default=1000, help="optimizer steps")
    parser.add_argument("--initial", type=float, default=4.0, help="temperature at the start, and of the anchor")
    parser.add_argument("--anchor-weight", type=float, default=10.0, help="of the arms with an anchor")
    parser.add_argument("--anchor-scale", choices=("log", "linear"), default="log", help="of the anchor's distance")
    parser.add_argument("--label-weight", type=float, default=0.1, help="weight of the cross-entropy with the labels")
    options = parser.parse_args()
    started = time.perf_counter()
    results = []
    for seed in range(options.seeds):
        task = make_task(seed)
        if seed == 0:
            _, labels, told = task.test
            print(f"teacher {100 * (told.argmax(1) == labels).float().mean():.1f} % on the test split")
        for arm in arms(options.initial, options.anchor_weight, options.anchor_scale):
            results.append(train(arm, task, seed=seed, steps=options.steps, label_weight=options.label_weight))
    seconds = time.perf_counter() - started
    print(table(results))
    print(
        f"{options.seeds} seeds, {options.steps} steps, {seconds:.0f} s on {machine()}, {torch.get_num_threads()} threads"
    )
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        settings = {key: value for key, value in vars(options).items() if key != "out"}
        about = {"command": command_line(), "versions": versions(), "machine": machine(), "settings": settings}
        write_json(options.out / "temperature_traces.json", {**about, "results": results})
        draw(results, options.out / "temperature_traces.png")


if __name__ == "__main__":
    main()
