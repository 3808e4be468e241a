"""Texts of multi-query associative recall, and the share of right answers in them.

A text begins by binding keys to values (k v k v ...); after filler each key is asked for once, in random order, and its value
must follow. Keys, values and filler are disjoint sets of tokens; new bindings in every text. Chance is 1 / values.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stillhouse.families.lm.students.network import SpikingLM

FILLERS = 8


@dataclass(frozen=True)
class Task:
    """How much a text binds, and from how large tables: tokens are keys first, then values, then filler."""

    pairs: int = 6
    keys: int = 16
    values: int = 16

    @property
    def vocabulary(self) -> int:
        """Tokens in all."""
        return self.keys + self.values + FILLERS


def texts(count: int, distance: int, generator: torch.Generator, task: Task | None = None) -> tuple[Tensor, Tensor]:
    """Tokens (count, L) and which of them are answers (count, L) bool; a key is asked for at least `distance` tokens after it
    was bound, at most 4 * pairs more."""
    task = Task() if task is None else task
    keys = torch.rand(count, task.keys, generator=generator).argsort(1)[:, : task.pairs]
    values = task.keys + torch.randint(task.values, (count, task.pairs), generator=generator)
    bound = torch.stack([keys, values], 2)
    filler = task.keys + task.values + torch.randint(FILLERS, (count, distance - 2), generator=generator)
    order = torch.rand(count, task.pairs, generator=generator).argsort(1)
    asked = bound.gather(1, order.unsqueeze(-1).expand(-1, -1, 2))
    tokens = torch.cat([bound.flatten(1), filler, asked.flatten(1)], 1)
    answers = torch.zeros_like(tokens, dtype=torch.bool)
    answers[:, -2 * task.pairs + 1 :: 2] = True
    return tokens, answers


@torch.no_grad()
def accuracy(
    model: SpikingLM, distance: int, seed: int = 10_000, *, task: Task | None = None, count: int = 256, batch: int = 256
) -> float:
    """Share of right answers in fresh texts."""
    training = model.training
    model.eval()
    tokens, answers = texts(count, distance, torch.Generator().manual_seed(seed + distance), task)
    found = [model(some[:, :-1]).logits.argmax(-1) for some in tokens.split(batch)]
    model.train(training)
    right = torch.cat(found) == tokens[:, 1:]
    return right[answers[:, 1:]].float().mean().item()
