"""Recall of many pairs, by a curriculum: texts of few pairs first, of twice as many as soon as those are answered.

A memory of K key channels holds at most K independent keys, so a head has as many channels as there are pairs or more. Every
channel starts with the slowest decay that the mixer has: by default most of a head's channels forget within a hundred tokens.

The quantized arm goes on from the dense one's weights: the first part of both is the same network.

Source: the task: Arora et al. 2023, arXiv:2312.04927 (Zoology); the delta rule on it: Yang et al. 2024, arXiv:2406.06484.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from benchmarks.recall_texts import Task, accuracy, texts
from torch import Tensor, nn

from stillhouse.families.lm.students import SpikingLMConfig
from stillhouse.families.lm.students.network import SpikingLM
from stillhouse.layers.recurrent import MatrixMixer

LEAST_PAIRS, BAR, MEMORY = 8, 0.95, 0.9
"""Pairs of the first texts; the running accuracy at which pairs are doubled; the share of it that a step keeps."""
SLOWEST, WARM_UP, DECAYED, KEPT_EVERY = -7.0, 40, 0.35, 50
TOKENS_A_PAIR = 128  # of a batch at most: what few pairs teach takes steps, not texts
FRESH, FRESH_SEED = 128, 20_000


@dataclass(frozen=True)
class Run:
    """How long, on how much, how fast.

    Attributes:
        steps: of the optimizer.
        tokens: of a batch, so that short texts come in larger batches.
        rate: peak learning rate.
        start: weights to go on from; None: new ones, and fewer pairs at first.
        ramp: of a quantized arm, when (in shares of the steps) it starts and ends.
        slow: whether every channel starts with the slowest decay.
    """

    steps: int
    tokens: int = 2048
    rate: float = 3e-3
    start: Path | None = None
    ramp: tuple[float, float] = (0.05, 0.5)
    slow: bool = True
    seed: int = 0


def rungs(pairs: int) -> list[int]:
    """Pairs by stage.

    Example:
        >>> rungs(128), rungs(6), rungs(100)
        ([8, 16, 32, 64, 128], [6], [8, 16, 32, 64, 100])
    """
    few = [LEAST_PAIRS << i for i in range(20) if LEAST_PAIRS << i < pairs]
    return [*few, pairs]


def start(config: SpikingLMConfig, run: Run) -> SpikingLM:
    """The network at the first step."""
    torch.manual_seed(run.seed)
    model = config.build()
    if run.start is not None:
        found = torch.load(run.start, weights_only=True)["model"]
        missing, unknown = model.load_state_dict(
            {k: v for k, v in found.items() if not k.endswith("share")}, strict=False
        )
        assert not unknown, unknown
        assert all("spike" in name or name.endswith("share") for name in missing), missing
    elif run.slow:
        for part in model.modules():
            if isinstance(part, MatrixMixer):
                nn.init.constant_(part.decay.bias, SLOWEST)
    return model


def climb(config: SpikingLMConfig, distance: int, task: Task, run: Run, folder: Path) -> dict[str, Any]:
    """Train one arm, kept in `folder` and gone on with after a kill, and score it on fresh texts of each number of pairs."""
    folder.mkdir(parents=True, exist_ok=True)
    kept, model, stages = folder / "state.pt", start(config, run), rungs(task.pairs)
    optimizer = torch.optim.AdamW(model.parameter_groups(0.01), lr=run.rate, betas=(0.9, 0.95))
    generator = torch.Generator().manual_seed(run.seed)
    at: dict[str, Any] = {"step": 0, "stage": 0 if run.start is None else len(stages) - 1, "mean": 0.0, "seconds": 0.0}
    at["passed"] = []
    if kept.exists():
        found = torch.load(kept, weights_only=True)
        model.load_state_dict(found["model"])
        optimizer.load_state_dict(found["optimizer"])
        generator.set_state(found["generator"])
        at = found["at"]
    began = time.process_time() - at["seconds"]
    while at["step"] < run.steps:
        now = replace(task, pairs=stages[at["stage"]])
        size = min(run.tokens, TOKENS_A_PAIR * now.pairs)
        tokens, answers = texts(max(4, size // (4 * now.pairs + distance - 2)), distance, generator, now)
        prepare(model, optimizer, run, at["step"], tokens)
        loss, right = learn(model, optimizer, tokens, answers)
        at["mean"] = MEMORY * at["mean"] + (1 - MEMORY) * right
        at["step"], at["seconds"] = at["step"] + 1, time.process_time() - began
        if at["step"] % 25 == 0:
            shown = f"{now.pairs} pairs, loss {loss:.3f}, {at['mean']:.3f} right, {at['seconds']:.0f} s"
            print(f"  step {at['step']}: {shown}", flush=True)
        if at["mean"] >= BAR and at["stage"] + 1 < len(stages):
            at["passed"].append([now.pairs, at["step"]])
            at["stage"], at["mean"] = at["stage"] + 1, 0.0
        if at["step"] % KEPT_EVERY == 0 or at["step"] == run.steps:
            made = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({**made, "generator": generator.get_state(), "at": at}, folder / "state.new")
            (folder / "state.new").replace(kept)
    result = {
        "task": asdict(task),
        "distance": distance,
        "accuracy": by_pairs(model, distance, task, FRESH_SEED),
        "passed": at["passed"],
        "steps": run.steps,
        "processor_seconds": at["seconds"],
        "parameters": sum(p.numel() for p in model.parameters()),
        **model.figures(),
    }
    (folder / "result.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


def prepare(model: SpikingLM, optimizer: torch.optim.Optimizer, run: Run, step: int, tokens: Tensor) -> None:
    """Learning rate and quantization of a step; thresholds are fitted to these tokens where spikes begin."""
    rise, fall = (step + 1) / WARM_UP, max((run.steps - step) / (DECAYED * run.steps), 0.01)
    for group in optimizer.param_groups:
        group["lr"] = run.rate * min(1.0, rise, fall)
    if model.config.spikes is None and not model.config.ternary_weights:
        return
    first, last = (share * run.steps for share in run.ramp)
    share = min(1.0, max(0.0, (step - first) / (last - first)))
    if first <= step < first + 1:
        model.calibrate(tokens)
    model.quantize(min(1.0, 2 * share), spikes=max(0.0, 2 * share - 1))


def learn(model: SpikingLM, optimizer: torch.optim.Optimizer, tokens: Tensor, answers: Tensor) -> tuple[float, float]:
    """One step on one batch, answers alone in the loss: the loss and the share of right answers before it."""
    logits, asked = model(tokens[:, :-1]).logits[answers[:, 1:]], tokens[answers]
    loss = nn.functional.cross_entropy(logits, asked)
    for weight, value in model.regularizers().values():
        loss = loss + weight * value
    if not math.isfinite(loss.item()):
        raise RuntimeError(f"the loss is {loss.item()}")
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item(), (logits.argmax(-1) == asked).float().mean().item()


def by_pairs(model: SpikingLM, distance: int, task: Task, seed: int) -> dict[str, float]:
    """Share of right answers in fresh texts of each number of pairs, the largest last: `figures` are those of its last batch."""
    return {
        str(pairs): accuracy(model, distance, seed, task=replace(task, pairs=pairs), count=FRESH, batch=16)
        for pairs in rungs(task.pairs)
    }
