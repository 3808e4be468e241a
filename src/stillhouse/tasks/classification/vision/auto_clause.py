"""How many clauses each block gets: more where a clause is worth more to the answer, by a briefly trained model, at an exact total.

Legend: L blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from stillhouse.core.checks import InputError
from stillhouse.core.records import read_object, write_json
from stillhouse.tasks.classification.data import ImageData
from stillhouse.tasks.classification.data.split import Split
from stillhouse.tasks.classification.job import ClassificationJob
from stillhouse.tasks.classification.plan import ClassificationRunConfig
from stillhouse.tasks.classification.students.banks import hooked, named_banks
from stillhouse.tasks.classification.vision.config import ClauseConfig
from stillhouse.training.loop import fit

LEAST = 8  # clauses of a block


def divide(scores: Sequence[float], total: int, *, least: int = LEAST) -> list[int]:
    """Even whole numbers in proportion to the scores that add up to the total exactly (largest remainders, by pairs).

    Args:
        scores: (L) positive.
        total: even.
        least: of each.

    Raises:
        InputError: an odd total, or one that is too small.

    Example:
        >>> divide([1.0, 1.0, 2.0], 64), divide([1.0, 100.0], 40)
        ([16, 16, 32], [8, 32])
    """
    if total % 2:
        raise InputError(f"clauses.target: expected an even number (half for, half against), got {total}")
    if total < least * len(scores):
        raise InputError(f"clauses.target: expected at least {least} for each of {len(scores)} blocks, got {total}")
    pairs, floor = total // 2, -(-least // 2)
    weights = np.asarray(scores, dtype=float) / np.sum(scores)
    spare = pairs - floor * len(weights)
    # what proportion alone would give, never below the floor; the floor's surplus is taken from the others in proportion
    above = np.maximum(weights * pairs - floor, 0.0)
    shares = above / above.sum() * spare if above.sum() > 0 else weights * spare
    counts = np.floor(shares).astype(int)
    for place in np.argsort(-(shares - counts), kind="stable")[: spare - int(counts.sum())]:
        counts[place] += 1
    return [int(2 * (floor + count)) for count in counts]


def need(worth: float, usual: float, doubt: float = 0.0) -> float:
    """How many times its clauses a block is given: half of them stay, the other half follow what a clause of it is worth.

    Half, because it is the guess of a model that was trained briefly; and the doubt draws all blocks together, so that noise
    alone moves few clauses.

    Args:
        worth: of one clause of the block, at least 0.
        usual: the mean over the clauses of all blocks.
        doubt: how far worths are uncertain, in the same unit.

    Example:
        >>> need(0.0, 0.125), need(0.125, 0.125), need(0.375, 0.125), need(0.0, 0.125, doubt=0.125)
        (0.5, 1.0, 2.0, 0.75)
    """
    return 1.0 if usual + doubt <= 0 else 0.5 + 0.5 * (worth + doubt) / (usual + doubt)


@torch.no_grad()
def worth_of_blocks(model: Any, split: Split, batch_size: int = 256) -> dict[str, list[float]]:
    """What the clauses of each block are worth: how much worse the network is when they always put out their mean.

    Args:
        model: a transformer with clauses.
        split: rows that it has learned from: on others a brief training has hardly anything to show but noise.
        batch_size: rows per forward pass.

    Returns:
        (L) each: `worth`, nats by which the loss rises; `error`, the standard error of that; `accuracy`, without the block's
        clauses; and (1) `whole`, the accuracy with all.
    """
    model.eval()
    blocks = model.feed_forwards()
    found = {name: bank for name, bank in named_banks(model).items() if name in blocks}
    device, labels = next(model.parameters()).device, split.labels
    sums: dict[str, Any] = dict.fromkeys(found, 0.0)
    counts = dict.fromkeys(found, 0)

    def add(name: str, bits: Tensor, strength: Tensor) -> None:
        flat = strength.flatten(0, -2).double()
        sums[name], counts[name] = sums[name] + flat.sum(0), counts[name] + len(flat)

    def logits(block: str | None) -> Tensor:
        def mean(name: str, bits: Tensor, strength: Tensor) -> Tensor:
            return (sums[name] / counts[name]).to(strength).expand_as(strength)

        with hooked({block: found[block]}, mean) if block else hooked(found, add):
            return torch.cat([model(batch.inputs.to(device)).float().cpu() for batch in split.batches(batch_size)])

    whole = logits(None)
    without = {name: logits(name) for name in found}
    rises = [
        cross_entropy(x, labels, reduction="none") - cross_entropy(whole, labels, reduction="none")
        for x in without.values()
    ]
    return {
        "worth": [float(rise.mean()) for rise in rises],
        "error": [float(rise.std(correction=0) / len(rise) ** 0.5) for rise in rises],
        "accuracy": [float((x.argmax(1) == labels).float().mean()) for x in without.values()],
        "whole": [float((whole.argmax(1) == labels).float().mean())],
    }


def allocate_clauses(
    config: ClauseConfig,
    student: Any,
    plan: ClassificationRunConfig,
    data: ImageData,
    path: Path,
    *,
    resume: bool,
    log: Callable[[str], None] = lambda line: None,
) -> list[int]:
    """Train a throw-away model for some steps, see what the clauses of each block are worth to it, and move clauses to where one
    is worth more.

    Args:
        config: total, batches, steps.
        student: configuration of a transformer with clauses.
        plan: its training and prior are used.
        data: only the training split is read.
        path: JSON with counts before and after, and what `worth_of_blocks` found; read again on resume.
        resume: take what is in the file.
        log: gets a line with the counts.

    Returns:
        (L) clauses of each block.
    """
    if resume and path.is_file():
        found = read_object(path, {"before": list[int], "after": list[int]})
    else:
        before = [count for stage in student.for_task(data.input_spec).stages() for count in stage.clauses]
        total = config.target or sum(before)
        divide([1.0] * len(before), total)  # a bad total is refused before anything is trained
        model, scored, steps = _trained(config, student, plan, data, path.parent / "auto_clause")
        found = {"before": before, "target": config.target, "steps": steps, **worth_of_blocks(model, scored)}
        worth = [max(0.0, rise) for rise in found["worth"]]
        usual, doubt = sum(worth) / sum(before), sum(found["error"]) / sum(before)
        wanted = [need(w / count, usual, doubt) * count for w, count in zip(worth, before, strict=True)]
        found["after"] = divide(wanted, total)
        write_json(path, found)
    was, now = ([int(count) for count in found[name]] for name in ("before", "after"))
    log(f"Auto-tuned clause counts: {', '.join(map(str, now))} (before: {', '.join(map(str, was))})")
    return now


def _trained(
    config: ClauseConfig, student: Any, plan: ClassificationRunConfig, data: ImageData, folder: Path
) -> tuple[torch.nn.Module, Split, int]:
    """The throw-away model, some rows that it has learned from, and its steps: few rows are learned several times over."""
    size = plan.training.batch_size
    learned = data.train.sample(config.auto_steps * size)
    scored = learned.sample(config.auto_batches * size)
    each = -(-len(learned) // size)  # steps of an epoch
    training = _training(plan, max(1, round(config.auto_steps / each)))
    brief: Any = replace(data, train=learned, validation=scored)
    torch.manual_seed(0)
    model = student.build(data.input_spec)
    if plan.prior != "none":
        from stillhouse.tasks.classification.students.core import apply_prior

        apply_prior(model, plan.prior)
    fit(ClassificationJob(model, brief, training, seed=0), training, seed=0, folder=folder)
    return model, scored, training.epochs * each


def _training(plan: ClassificationRunConfig, epochs: int) -> Any:
    """A short training without what needs a long one."""
    mixing = replace(plan.training.mixing, mixup_alpha=0.0, cutmix_alpha=0.0)
    return replace(
        plan.training,
        epochs=epochs,
        warmup_epochs=0.1 * epochs,
        keep="last",
        mixing=mixing,
        report_test=False,
        report_train=False,
        ema_decay=0.0,
        layer_decay=1.0,
        cycle_steps=0,
        clause_specialize=0.0,
        patience=0,
    )
