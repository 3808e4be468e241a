"""What the loop trains: any task that can name its loss terms and score itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.core.processes import share
from stillhouse.core.types import Progress
from stillhouse.training.config import TASK

Terms = dict[str, tuple[float, Tensor]]


@dataclass(frozen=True)
class Validation:
    """The score of a model on the validation split.

    Attributes:
        metrics: what is recorded.
        rank: compared entry by entry, larger is better: by it the best epoch is kept.
        score_stderr: standard error of rank's first entry; of epochs within it of the best, the last is kept.
    """

    metrics: dict[str, float | None]
    rank: tuple[float, ...]
    score_stderr: float = 0.0


class Job(ABC):
    """A model, the rows it learns from, its loss and its score. The loop knows no more of a task than this.

    Args:
        model: trained, averaged if asked for, and kept.
        rows: number of training rows; an epoch is ceil(rows / batch_size) optimizer steps.
        seed: decides the order of the rows.
        extras: what is learned along and not kept: projectors, temperatures.

    Attributes:
        task_term: name of the task's own loss, which DOT keeps apart from the others.
    """

    task_term: str = TASK
    keeps_start = False  # whether the weights that training begins with count as its epoch 0
    batch_size: int | None = (
        None  # rows of an optimizer step, where the rows allow no more than that [the configuration's]
    )

    def __init__(self, model: nn.Module, *, rows: int, seed: int, extras: nn.Module | None = None) -> None:
        self.model, self.rows, self.seed = model, rows, seed
        self.extras: nn.Module = nn.Module() if extras is None else extras
        self.device = torch.device("cpu")
        self.sizes: list[int] = []  # rows of each process in the micro-batch of now; empty where there is one process

    @abstractmethod
    def terms(self, rows: Tensor, progress: Progress) -> Terms:
        """Named terms of the loss on some rows, as (weight, mean over the rows); called in training mode."""

    @abstractmethod
    def validate(self, model: nn.Module) -> Validation:
        """The score of a model (`self.model`, or its average) on the validation split; called in eval mode, without gradients."""

    def to(self, device: torch.device) -> None:
        """Called once, when model and extras have been moved."""
        self.device = device

    def share(self, rows: Tensor) -> tuple[Tensor, list[int]]:
        """This process's part of a micro-batch, and how many rows each process has; a job that gathers by itself takes all."""
        return share(rows)

    def ahead(self, rows: Tensor) -> None:
        """Told which rows this process is asked for next, for what takes time to read."""

    def order(self, epoch: int) -> Tensor:
        """(rows,) int64: the rows in the order of an epoch; a function of the seed, the epoch and the job's saved state."""
        return epoch_order(self.rows, self.seed, epoch)

    @property
    def stage(self) -> tuple[int, int]:
        """The stage of the curriculum, of how many."""
        return 0, 1

    def on_train_batch_end(self, step: int) -> None:
        """Called after every optimizer step, with the number of steps done."""

    def on_validation_end(self, validation: Validation, progress: Progress) -> None:
        """Called after every validation."""

    def figures(self) -> dict[str, float]:
        """Further numbers of the last step, for the record (a temperature, a gate)."""
        return {}

    def close(self) -> None:
        """Called at the end, whatever happened."""

    def state_dict(self) -> dict[str, Any]:
        """What resume needs beyond the weights of model and extras; tensors and plain data."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave."""


def epoch_order(rows: int, seed: int, epoch: int) -> Tensor:
    """The order of the training rows in an epoch, a function of the seed and the epoch only."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(rows, generator=generator)
