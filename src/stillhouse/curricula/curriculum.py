"""A curriculum at work: the stage, the rows of an epoch, the weights, and all that a resume needs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from stillhouse.core.checks import InputError
from stillhouse.curricula.baby_steps import balanced_over_classes, draw, nested_subsets, rows_in_order
from stillhouse.curricula.config import CurriculumConfig

if TYPE_CHECKING:
    from torch import Tensor


class Seen(NamedTuple):
    """Samples handed out so far, counted with repetition, and how many different ones."""

    samples: int
    distinct: int


class Curriculum:
    """Goes through the stages of a `CurriculumConfig`; plain, no parameters.

    Args:
        config: what to do.
        difficulty: (N,) score of each sample, high is hard (`score_difficulty`, `fuse`).
        labels: (N,) class of each sample; None where there are no classes (then `by_class` must be off).
        seed: from 0; decides equal samples, the random order and the shuffles.

    Raises:
        InputError: shapes differ, scores that are not finite, no labels under `by_class`, or a first subset too small to
            hold every class.

    Example:
        Eight samples, the first the easiest; a quarter is two, seen four times each.

        >>> config = CurriculumConfig(by_class=False, replay=0.0)
        >>> curriculum = Curriculum(config, difficulty=range(8), labels=None, seed=0)
        >>> sorted(curriculum.order(epoch=0).tolist())
        [0, 0, 0, 0, 1, 1, 1, 1]
        >>> curriculum.on_validation_end({}, step=50, fraction=0.5)
        >>> curriculum.stage, curriculum.stages
        (2, 4)

    Source: Liu et al. 2025, arXiv:2506.05695 (POCL).
    """

    def __init__(self, config: CurriculumConfig, difficulty: ArrayLike, labels: ArrayLike | None, *, seed: int) -> None:
        self.config, self.seed = config, seed
        scores = np.asarray(difficulty, dtype=np.float64)
        if scores.ndim != 1 or not scores.size or not np.isfinite(scores).all():
            raise InputError(
                f"difficulty: expected (N,) finite scores of at least one sample, got shape {scores.shape}"
            )
        rows = rows_in_order(scores, config.order, seed=seed)
        if config.by_class:
            rows = balanced_over_classes(rows, _checked_labels(labels, scores.size))
        self.rows = len(rows)
        self.subsets = nested_subsets(rows, config.shares)
        if config.order == "none":
            self.subsets = [rows] * len(config.shares)
        elif config.by_class and len(self.subsets[0]) < (classes := len(np.unique(np.asarray(labels)))):
            raise InputError(
                f"shares: expected a first subset that holds all {classes} classes, got {len(self.subsets[0])} rows"
            )
        self._others = [np.setdiff1d(rows, subset, assume_unique=True) for subset in self.subsets]
        self._order_hash = hashlib.sha256(rows.tobytes()).hexdigest()[:16]
        self._transition = config.when.build(self.stages)
        self.stage, self._began = 0, 0
        self._given: tuple[int, int] | None = None  # the epoch handed out last, and its stage
        self._samples, self._met = 0, np.zeros(self.rows, dtype=bool)

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.config.shares)

    @property
    def seen(self) -> Seen:
        """What was handed out by `order`; an epoch counts whole, once, when it is first asked for."""
        return Seen(self._samples, int(self._met.sum()))

    def order(self, epoch: int) -> Tensor:
        """Row numbers of one epoch, (N,) int64: always N of them.

        A function of seed, epoch and stage alone. An epoch that has begun keeps its rows when the stage changes inside it, so
        that a resume in the middle finds them again.
        """
        import torch

        if self._given is None or self._given[0] != epoch:
            self._given = (epoch, self.stage)
            rows = self._draw(epoch, self.stage)
            self._samples += len(rows)
            self._met[rows] = True
        return torch.from_numpy(self._draw(*self._given))

    def on_validation_end(self, metrics: Mapping[str, float | None], step: int, fraction: float) -> None:
        """Take in one validation; may go on to the next stage (by time to several, where validations are rare).

        Args:
            metrics: of the validation split.
            step: optimizer steps done.
            fraction: share of the run done, in [0, 1].

        Raises:
            InputError: the transition's metric is missing, None or not finite.
        """
        while self.stage < self.stages - 1 and self._transition.ends(
            metrics, stage=self.stage, steps=step - self._began, fraction=fraction
        ):
            self.stage += 1
            self._began = step
            self._transition.begin()
            if self.config.transition.kind != "time":
                return  # one validation shows nothing of the stage that begins

    def weights(self) -> Mapping[str, float]:
        """Factors of the present stage: `labels` for the label weight, `signals` for the weight of every signal."""
        return {
            "labels": self.config.label_weight(self.stage),
            "signals": self.config.signal_weight(self.stage),
        }

    def figures(self) -> dict[str, float]:
        """To be logged: stage from 0, rows of its subset, samples and distinct samples seen, the factors."""
        weights = self.weights()
        return {
            "stage": float(self.stage),
            "subset-rows": float(len(self.subsets[self.stage])),
            "samples-seen": float(self.seen.samples),
            "distinct-seen": float(self.seen.distinct),
            "label-factor": weights["labels"],
            "signal-factor": weights["signals"],
        }

    def state_dict(self) -> dict[str, Any]:
        """All that a resume needs, also in the middle of a stage or an epoch: plain values and one tensor."""
        import torch

        return {
            "order": self._order_hash,
            "seed": self.seed,
            "stage": self.stage,
            "began": self._began,
            "given": None if self._given is None else list(self._given),
            "samples": self._samples,
            "met": torch.from_numpy(np.packbits(self._met)),
            "transition": self._transition.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there.

        Raises:
            InputError: the state is of another order of the rows (other scores, labels, data or seed).
        """
        if (state["order"], state["seed"]) != (self._order_hash, self.seed):
            raise InputError(
                f"curriculum: expected the state of the same order of rows ({self._order_hash}, seed {self.seed}), "
                f"got ({state['order']}, seed {state['seed']}); were the difficulties measured anew?"
            )
        self.stage, self._began = int(state["stage"]), int(state["began"])
        self._given = None if state["given"] is None else (int(state["given"][0]), int(state["given"][1]))
        self._samples = int(state["samples"])
        self._met = np.unpackbits(state["met"].cpu().numpy(), count=self.rows).astype(bool)
        self._transition.load_state_dict(state["transition"])

    def _draw(self, epoch: int, stage: int) -> np.ndarray:
        return draw(
            self.subsets[stage],
            self._others[stage],
            replay=self.config.replay,
            epoch=epoch,
            seed=(self.seed, stage),
        )


def _checked_labels(labels: ArrayLike | None, rows: int) -> np.ndarray:
    if labels is None:
        raise InputError("labels: expected (N,) class numbers for by_class, got none; turn by_class off")
    checked = np.asarray(labels)
    if checked.shape != (rows,):
        raise InputError(f"labels: expected shape ({rows},) as difficulty, got {checked.shape}")
    return checked
