"""How many clauses each block gets: more where the answer is still weak, by a briefly trained model, at an exact total.

Legend: L blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stillhouse.classification.data import ImageData, ImageSplit
from stillhouse.classification.job import ClassificationJob
from stillhouse.core.checks import InputError
from stillhouse.core.records import read_object, write_json
from stillhouse.families.clauses.plan import ClausesRunConfig
from stillhouse.families.clauses.specialize import clause_usage
from stillhouse.families.clauses.vision.config import ClauseConfig
from stillhouse.families.clauses.vision.places import places_of
from stillhouse.signals import ProbesConfig, build_signals, student_features
from stillhouse.training.distillation import Listening
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
        raise InputError(f"--transformer-clause-target: expected an even number (half for, half against), got {total}")
    if total < least * len(scores):
        raise InputError(
            f"--transformer-clause-target: expected at least {least} for each of {len(scores)} blocks, got {total}"
        )
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


def need(accuracy: float, usage: float) -> float:
    """How much a block wants, relative to others: weak read-outs and silent clauses want more.

    Args:
        accuracy: of a linear read-out after the block, in [0, 1].
        usage: mean clause strength there, in [0, 1].

    Example:
        >>> need(0.75, 0.25), need(0.25, 0.25)
        (1.0, 1.5)
    """
    return float(np.clip(1.75 - accuracy, 0.5, 1.5) * np.clip(1.25 - usage, 0.7, 1.3))


def share_out(
    config: ClauseConfig, student: Any, plan: ClausesRunConfig, data: ImageData, path: Path, *, resume: bool
) -> list[int]:
    """Train a throw-away model for some steps, score its blocks on training images that it has not seen, divide the clauses.

    Args:
        config: total, batches, steps.
        student: configuration of a transformer with clauses.
        plan: its training and prior are used.
        data: only the training split is read.
        path: JSON with counts before and after, accuracies and usage; read again on resume.
        resume: take what is in the file.

    Returns:
        (L) clauses of each block.
    """
    if resume and path.is_file():
        return [int(count) for count in read_object(path, {"after": list[int]})["after"]]
    before = [count for stage in student.for_task(data.task).stages() for count in stage.clauses]
    total = config.target or sum(before)
    divide([1.0] * len(before), total)  # a bad total is refused before anything is trained
    size = plan.training.batch_size
    scored = min(config.auto_batches * size, len(data.train) // 2)
    steps = max(1, min(config.auto_steps, (len(data.train) - scored) // size))
    brief = _brief(data, min(steps * size, len(data.train) - scored), scored)
    torch.manual_seed(0)
    model = student.build(data.task)
    if plan.prior != "none":
        from stillhouse.families.clauses.students.priors import apply_prior

        apply_prior(model, plan.prior)
    places = places_of(student, data.task)
    blocks = tuple(place for place in places if "blocks" in place)
    probes = (ProbesConfig(places=blocks),)
    job = ClassificationJob(model, brief, _training(plan), seed=0, listening=_probes(model, probes, data))
    done = fit(job, _training(plan), seed=0, folder=path.parent / "auto_clause")
    accuracy = [float(done.best[f"component/{place}"] or 0.0) for place in blocks]
    usage = [float(entry["clauses"].mean()) for entry in clause_usage(model, brief.validation).values()]
    after = divide([need(a, u) * base for a, u, base in zip(accuracy, usage, before, strict=True)], total)
    found = {
        "before": before,
        "after": after,
        "accuracy": accuracy,
        "usage": usage,
        "target": config.target,
        "steps": steps,
    }
    write_json(path, found)
    return after


def _training(plan: ClausesRunConfig) -> Any:
    """One short epoch without what needs a long one."""
    mixing = replace(plan.training.mixing, mixup_alpha=0.0, cutmix_alpha=0.0)
    return replace(
        plan.training,
        epochs=1,
        warmup_epochs=0.1,
        mixing=mixing,
        report_test=False,
        report_train=False,
        ema_decay=0.0,
        layer_decay=1.0,
        cycle_steps=0,
        clause_specialize=0.0,
        patience=0,
    )


def _probes(model: torch.nn.Module, probes: tuple[ProbesConfig, ...], data: ImageData) -> Listening:
    from stillhouse.layers.taps import Tapped

    features = student_features(probes)
    tapped = Tapped(model, features)
    spec = tapped.spec(data.task.example(2))
    tapped.close()
    return Listening(features=features, own=build_signals(probes, spec, spec))


def _brief(data: ImageData, learned: int, scored: int) -> ImageData:
    """Training rows to learn from, and others of the same split to score on, by a fixed draw."""
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))
    rest = order[learned : learned + scored]

    def rows(index: torch.Tensor) -> ImageSplit:
        return ImageSplit(data.train.images[index], data.train.labels[index])

    return replace(data, train=rows(order[:learned]), validation=rows(rest))
