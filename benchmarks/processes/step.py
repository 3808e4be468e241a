"""Our optimizer step against a hand-written loop, timm's and torchdistill's, on one task in turn.

    python -m benchmarks.processes.step                      ours, by hand, timm's task, torchdistill's box
    python -m benchmarks.processes.step --batch 128 --steps 60 --rounds 5 --threads 2
    python -m benchmarks.processes.step --only torchdistill --steps 12 --rounds 1      whether it runs at all

timm is in the extra `models`. torchdistill is installed into a cache folder of its own (`--cache`), without what it depends on, so
that all loops run on one torch; what cannot be installed is named and left out.

Every loop: the same networks and images, logits at temperature 2 beside the labels, AdamW, clipping, a cosine, loss terms read
every 20th step. Each round times all of them one after another; the table has the median of rounds and its ratio to the loop by
hand.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import torch
from benchmarks.processes.task import Task, make
from torch import Tensor, nn
from torch.nn import functional as F

from stillhouse.training.loop import fit

SKIPPED = 5  # first steps, which allocate


def ours(task: Task) -> list[float]:
    """Seconds of each step of `fit`, log, schedule and progress included."""
    seen: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        fit(
            task.job(),
            task.config,
            seed=0,
            folder=Path(folder),
            on_progress=lambda p, n: seen.append(time.perf_counter()),
        )
    per = len(task.data.train) // task.config.batch_size
    return [b - a for i, (a, b) in enumerate(pairwise(seen), start=1) if i % per]  # without validations


def by_hand(task: Task) -> list[float]:
    """What one writes oneself."""
    teacher = task.teacher

    def loss(x: Tensor, y: Tensor) -> Tensor:
        scores = task.student(x)
        with torch.no_grad():
            target = F.log_softmax(teacher(x) / 2, 1)
        kd = 4 * F.kl_div(F.log_softmax(scores / 2, 1), target, log_target=True, reduction="batchmean")
        return F.cross_entropy(scores, y) + kd

    return _loop(task, task.student, loss)


def of_timm(task: Task) -> list[float]:
    """timm's `LogitDistillationTask`, as its train.py steps it."""
    from timm.task import LogitDistillationTask

    for network in (task.student, task.teacher):  # it wants to know which pixels each was made for
        network.pretrained_cfg = {"mean": (0.0,) * 3, "std": (1.0,) * 3}  # type: ignore[assignment]
    work = LogitDistillationTask(
        task.student, task.teacher, distill_loss_weight=1.0, task_loss_weight=1.0, temperature=2.0, verbose=False
    )
    return _loop(task, work, lambda x, y: work(x, y)["loss"])


def of_torchdistill(task: Task) -> list[float]:
    """torchdistill's `DistillationBox`, configured and stepped as its example scripts do; batches are those of the others."""
    from torchdistill.core.distillation import DistillationBox

    config, rows = task.config, task.data.train
    total = config.epochs * -(-len(rows) // config.batch_size)
    paths = {f"{who}_module_path": "." for who in ("student", "teacher")}
    outputs = {f"{who}_module_io": "output" for who in ("student", "teacher")}
    kd = {"key": "KDLoss", "kwargs": {**paths, **outputs, "temperature": 2.0, "alpha": 1.0, "beta": 1.0}}
    settings = {"lr": config.learning_rate, "weight_decay": config.weight_decay, "fused": True}
    cosine = {"T_max": total, "eta_min": config.final_learning_rate}
    box = DistillationBox(
        task.teacher,
        task.student,
        {},
        {
            "num_epochs": config.epochs,
            "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
            "student": {"forward_proc": "forward_batch_only"},
            "optimizer": {"key": "AdamW", "kwargs": settings, "max_grad_norm": config.clip_norm},
            "scheduler": {"key": "CosineAnnealingLR", "kwargs": cosine, "scheduling_step": 1},
            "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"kd": {"criterion": kd, "weight": 1.0}}}},
        },
        torch.device("cpu"),
        None,
        False,
        1,
    )
    task.student.train()
    task.teacher.eval()
    seconds, shown = [], 0.0
    for number, index in enumerate(_batches(len(rows), config.batch_size, config.epochs)):
        started = time.perf_counter()
        x = rows.images.index_select(0, index).float().div_(255)
        value = box.forward_process(x, rows.labels[index])
        box.post_forward_process(value)
        if number % config.log_every == 0:
            shown = float(value.detach())
        seconds.append(time.perf_counter() - started)
    assert math.isfinite(shown)
    return seconds


def install_torchdistill(cache: Path) -> str | None:
    """Make torchdistill importable; the reason where it cannot be."""
    place = cache / "torchdistill"
    if not (place / "torchdistill").is_dir():
        words = ["install", "--quiet", "--no-deps", "--target", str(place), "torchdistill"]
        uv = shutil.which("uv")
        command = [uv, "pip", *words, "--python", sys.executable] if uv else [sys.executable, "-m", "pip", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
    sys.path.append(str(place))  # behind all else: nothing of ours comes from there
    try:
        import torchdistill.core.distillation  # noqa: F401
    except ImportError as error:
        return str(error)
    return None


def _loop(task: Task, module: nn.Module, loss: Callable[[Tensor, Tensor], Tensor]) -> list[float]:
    config, rows = task.config, task.data.train
    decayed = [p for p in task.student.parameters() if p.ndim >= 2]
    plain = [p for p in task.student.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
    total = config.epochs * -(-len(rows) // config.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total, eta_min=config.final_learning_rate)
    module.train()
    task.teacher.eval()
    seconds, shown = [], 0.0
    for number, index in enumerate(_batches(len(rows), config.batch_size, config.epochs)):
        started = time.perf_counter()
        x = rows.images.index_select(0, index).float().div_(255)
        value = loss(x, rows.labels[index])
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(task.student.parameters(), config.clip_norm)
        optimizer.step()
        schedule.step()
        if number % config.log_every == 0:
            shown = float(value.detach())
        seconds.append(time.perf_counter() - started)
    assert math.isfinite(shown)
    return seconds


def _batches(rows: int, size: int, epochs: int) -> Iterator[Tensor]:
    for epoch in range(epochs):
        yield from torch.randperm(rows, generator=torch.Generator().manual_seed(epoch)).split(size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("batch", 24), ("steps", 80), ("rounds", 5), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", nargs="+", default=[], help="these loops, beside the one by hand")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "stillhouse-benchmarks")
    options = parser.parse_args()
    loops = {"by hand": by_hand, "stillhouse": ours, "timm": of_timm, "torchdistill": of_torchdistill}
    loops = {
        name: loop for name, loop in loops.items() if name == "by hand" or not options.only or name in options.only
    }
    if "torchdistill" in loops and (why := install_torchdistill(options.cache)) is not None:
        print(f"torchdistill is left out: {why}")
        del loops["torchdistill"]
    if "timm" in loops and importlib.util.find_spec("timm.task") is None:
        print("timm is left out: this version has no timm.task")
        del loops["timm"]
    torch.set_num_threads(options.threads)
    found: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(options.rounds):
        order = list(loops)[number % len(loops) :] + list(loops)[: number % len(loops)]
        for name in order:
            task = make(options.batch, options.steps, threads=options.threads)
            found[name].append(statistics.median(loops[name](task)[SKIPPED:]))
    base = statistics.median(found["by hand"])
    print(f"batch {options.batch}, {options.steps} steps, {options.rounds} rounds in turn, {options.threads} thread(s)")
    print(
        "| loop | ms a step (median; lowest to highest round) | x by hand (of one round: lowest to highest) |\n|---|---|---|"
    )
    for name, rounds in found.items():
        low, high = (1000 * end(rounds) for end in (min, max))
        ratios = [a / b for a, b in zip(rounds, found["by hand"])]
        middle = statistics.median(rounds)
        apart = f"{middle / base:.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        print(f"| {name} | {1000 * middle:.2f} ({low:.2f} to {high:.2f}) | {apart} |")


if __name__ == "__main__":
    main()
