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
from stillhouse.tasks.classification.data.images import ImageData
from stillhouse.tasks.classification.data.split import Split
from stillhouse.tasks.classification.job import ClassificationJob
from stillhouse.tasks.classification.plan import ClassificationRunConfig, ClassificationTrainingConfig
from stillhouse.tasks.classification.students.banks import hooked, named_banks
from stillhouse.tasks.classification.students.core import apply_prior
from stillhouse.tasks.classification.vision.config import ClauseConfig
from stillhouse.training.loop import fit

LEAST = 8  # clauses of a block


def divide(scores: Sequence[float], total: int) -> list[int]:
    """Even whole numbers in proportion to the scores that add up to the total exactly (largest remainders, by pairs).

    Args:
        scores: (L) positive.
        total: even.

    Raises:
        InputError: an odd total, or one that is too small.

    Example:
        >>> divide([1.0, 1.0, 2.0], 64), divide([1.0, 100.0], 40)
        ([16, 16, 32], [8, 32])
    """
    if total % 2 or total < LEAST * len(scores):
        raise InputError(
            f"clauses.target: expected an even number, at least {LEAST} for each of {len(scores)} blocks, got {total}"
        )
    spare = (total - LEAST * len(scores)) // 2
    # what proportion alone would give above the least; the surplus of the least is taken from the others in proportion
    above = np.maximum(np.asarray(scores) / np.sum(scores) * total / 2 - LEAST / 2, 0.0)
    shares = above / max(above.sum(), 1e-12) * spare
    counts = np.floor(shares).astype(int)
    counts[np.argsort(counts - shares, kind="stable")[: spare - counts.sum()]] += 1
    return [int(LEAST + 2 * count) for count in counts]


@torch.no_grad()
def worth_of_blocks(model: Any, split: Split, batch_size: int = 256) -> dict[str, list[float]]:
    """What the clauses of each block are worth: how much worse the network is when they always put out their mean.

    Args:
        model: a transformer with clauses.
        split: rows that it has learned from: on others a brief training has hardly anything to show but noise.
        batch_size: rows per forward pass.

    Returns:
        (L) each: `worth`, nats by which the loss rises; `error`, the standard error of that.
    """
    model.eval()
    blocks = model.feed_forwards()
    found = {name: bank for name, bank in named_banks(model).items() if name in blocks}
    device = next(model.parameters()).device
    strengths: dict[str, list[Tensor]] = {name: [] for name in found}

    def keep(name: str, bits: Tensor, strength: Tensor) -> None:
        flat = strength.flatten(0, -2).double()
        strengths[name].append(torch.stack([flat.sum(0), torch.full_like(flat[0], len(flat))]))

    def mean(name: str, bits: Tensor, strength: Tensor) -> Tensor:
        total, count = torch.stack(strengths[name]).sum(0)
        return (total / count).to(strength).expand_as(strength)

    def losses(banks: dict[str, Any], change: Callable[..., Tensor | None]) -> Tensor:
        with hooked(banks, change):
            logits = [model(batch.inputs.to(device)).float().cpu() for batch in split.batches(batch_size)]
        return cross_entropy(torch.cat(logits), split.labels, reduction="none")

    whole = losses(found, keep)
    rises = [losses({name: bank}, mean) - whole for name, bank in found.items()]
    return {
        "worth": [float(rise.mean()) for rise in rises],
        "error": [float(rise.std(correction=0) / len(rise) ** 0.5) for rise in rises],
    }


def allocate_clauses(
    config: ClauseConfig,
    plan: ClassificationRunConfig,
    data: ImageData,
    path: Path,
    *,
    resume: bool,
    log: Callable[[str], None] = lambda line: None,
) -> list[int]:
    """Train a throw-away model for some steps and move clauses to blocks where one is worth more to it.

    Half of a block's clauses stay and the other half follow what a clause of it is worth, because it is the guess of a model that
    was trained briefly; the doubt draws all blocks together, so that noise alone moves few clauses.

    Args:
        config: total, batches, steps.
        plan: its student (a transformer with clauses), training and prior are used.
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
        student: Any = plan.student
        before = [count for stage in student.for_task(data.input_spec).stages() for count in stage.clauses]
        total = config.target or sum(before)
        divide([1.0] * len(before), total)  # a bad total is refused before anything is trained
        model, scored = _trained(config, plan, data, path.parent / "auto_clause")
        found = {"before": before, "target": config.target, **worth_of_blocks(model, scored)}
        worth = np.maximum(0.0, found["worth"])
        usual, doubt = worth.sum() / sum(before), sum(found["error"]) / sum(before)
        follow = (worth / before + doubt) / max(usual + doubt, 1e-12)
        found["after"] = divide((0.5 + 0.5 * follow) * before, total)
        write_json(path, found)
    was, now = ([int(count) for count in found[name]] for name in ("before", "after"))
    log(f"Auto-tuned clause counts: {', '.join(map(str, now))} (before: {', '.join(map(str, was))})")
    return now


def _trained(
    config: ClauseConfig, plan: ClassificationRunConfig, data: ImageData, folder: Path
) -> tuple[torch.nn.Module, Split]:
    """The throw-away model and some rows that it has learned from: few rows are learned several times over."""
    size = plan.training.batch_size
    learned = data.train.sample(config.auto_steps * size)
    scored = learned.sample(config.auto_batches * size)
    epochs = max(1, round(config.auto_steps / -(-len(learned) // size)))
    run = plan.training
    training = ClassificationTrainingConfig(  # without what needs a long one
        epochs=epochs,
        batch_size=size,
        learning_rate=run.learning_rate,
        final_learning_rate=run.final_learning_rate,
        warmup_epochs=0.1 * epochs,
        optimizer=run.optimizer,
        keep="last",
        device=run.device,
        threads=run.threads,
    )
    brief: Any = replace(data, train=learned, validation=scored)
    torch.manual_seed(0)
    model = plan.student.build(data.input_spec)
    apply_prior(model, plan.prior)
    fit(ClassificationJob(model, brief, training, seed=0), training, seed=0, folder=folder)
    return model, scored
