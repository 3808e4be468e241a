"""Attention heads weighed by the clauses that they feed: measured on validation images, kept in the state dict.

Legend: H heads, C clauses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.tasks.classification.data import ImageSplit
from stillhouse.tasks.classification.job import ClassificationJob
from stillhouse.tasks.classification.plan import RunTrainingConfig

ROWS = 1024  # enough for means over tokens, and a fraction of a validation pass


@torch.no_grad()
def clause_usage(
    model: nn.Module, split: ImageSplit, batch_size: int = 256, rows: int = ROWS
) -> dict[str, dict[str, Tensor]]:
    """How strongly clauses of each block answer, and how much of that goes with each head.

    Args:
        model: a transformer with clauses; in eval mode.
        split: images; where there are more than `rows`, that many drawn by class are read.
        batch_size: images per forward pass.
        rows: how many images.

    Returns:
        By block: `clauses` (C) mean strength of each clause, `heads` (H) clause activity that goes with each head.

    Raises:
        InputError: a model without clauses or heads.
    """
    if not hasattr(model, "named_blocks") or not has_clauses(model):
        raise InputError(f"clause usage: expected a transformer with clauses, got {type(model).__name__}")
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    sums: dict[str, dict[str, Tensor]] = {}
    some = split.sample(rows)
    for batch in some.batches(batch_size):
        _, notes = model(batch.inputs.to(device), collect_diagnostics=True)
        share = len(batch.labels) / len(some)
        for name, means in (("clauses", notes.clause_mean), ("heads", notes.head_mean)):
            for block, mean in means.items():
                held = sums.setdefault(block, {})
                held[name] = held.get(name, 0) + share * mean.cpu()
    model.train(was_training)
    return sums


@torch.no_grad()
def set_gains(model: nn.Module, heads: dict[str, Tensor], strength: float) -> None:
    """Weigh the heads of every block: gain = 1 - strength + strength x activity / mean activity.

    Args:
        model: with `head_gains` (H) buffers in the attention of each block.
        heads: (H) activity by block.
        strength: 0 leaves all heads at 1.
    """
    blocks: dict[str, Any] = dict(model.named_blocks())  # type: ignore[operator]
    for name, activity in heads.items():
        blocks[name].heads.head_gains.copy_(_gains(activity, strength))


def _gains(activity: Tensor, strength: float) -> Tensor:
    mean = activity.mean()
    return torch.ones_like(activity) if mean <= 0 else 1 - strength + strength * activity / mean


def specialize(
    models: Sequence[nn.Module], split: ImageSplit, strength: float, batch_size: int
) -> dict[str, float | None]:
    """Measure the last model on validation images and give all of them the same gains, before the epoch is scored.

    Args:
        models: what is trained, and its weight average if there is one: the last is measured.
        split: validation images.
        strength: see `set_gains`.
        batch_size: images per forward pass.

    Returns:
        For the record: smallest and largest gain, mean clause strength by block.
    """
    usage = clause_usage(models[-1], split, batch_size)
    heads = {block: entry["heads"] for block, entry in usage.items()}
    for model in models:
        set_gains(model, heads, strength)
    gains = torch.cat([_gains(x, strength) for x in heads.values()])
    found: dict[str, float | None] = {"head_gain/least": float(gains.min()), "head_gain/most": float(gains.max())}
    return found | {f"clause_usage/{block}": float(entry["clauses"].mean()) for block, entry in usage.items()}


def has_clauses(model: nn.Module) -> bool:
    """Whether there is a clause bank in a model; controls have none."""
    banks = getattr(model, "banks", None)
    return callable(banks) and any(True for _ in banks())


class ClausesJob(ClassificationJob):
    """Classes from labels and teacher; with `clause_specialize`, heads are weighed before each validation."""

    config: RunTrainingConfig

    def before_validation(self, model: nn.Module) -> dict[str, float | None]:
        """Measure clauses on the validation split and set the gains of the heads; controls have no clauses."""
        strength = self.config.clause_specialize
        if strength == 0 or not has_clauses(model):
            return {}
        return specialize((self.model, model), self.data.validation, strength, self.config.evaluation_batch_size)
