"""The signal of class scores. Shapes: B batch, K classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses import (
    cosine_logits,
    decoupled_kl,
    dist_relations,
    forward_kl,
    generalized_js,
    mse_logits,
    reverse_kl,
    skew_forward_kl,
    skew_reverse_kl,
    standardize_logits,
    symmetric_kl,
    total_variation,
)
from stillhouse.signals.config.logits import USED_BY, LogitsConfig

LOSSES: dict[str, Callable[..., Tensor]] = {
    "forward-kl": forward_kl,
    "reverse-kl": reverse_kl,
    "symmetric-kl": symmetric_kl,
    "js": generalized_js,
    "skew-forward-kl": skew_forward_kl,
    "skew-reverse-kl": skew_reverse_kl,
    "total-variation": total_variation,
    "mse": mse_logits,
    "centered-mse": partial(mse_logits, centered=True),
    "cosine": cosine_logits,
    "dkd": decoupled_kl,
    "dist": dist_relations,
}
WITHOUT_FACTOR = ("total-variation", "dist")  # not multiplied by T^2, so they stand at T = 1 as published


class LogitSignal(nn.Module):
    """Compares (B, K) logits by the configured loss; (B,) unweighted, 0-d for `dist`.

    A learned temperature is a sub-module: it is trained, saved and resumed with the signal, and what it wants to be seen and
    added to the loss is passed on.

    Raises:
        InputError: teacher and student differ in the number of classes, or there are so few that the loss is blind to them.
    """

    def __init__(self, config: LogitsConfig, student: OutputSpec, teacher: OutputSpec) -> None:
        super().__init__()
        self.name, self.weight = config.name or "logits", config.weight
        if student.num_classes != teacher.num_classes:
            raise InputError(
                f"signal {self.name!r}: expected equal class counts, student has {student.num_classes}, "
                f"teacher {teacher.num_classes}"
            )
        _check_enough_classes(self.name, config, student.num_classes)
        self.loss, self.standardize = config.loss, config.standardize
        given = {s: getattr(config, s) for s, losses in USED_BY.items() if config.loss in losses and s != "temperature"}
        self.compare = partial(LOSSES[config.loss], **{s: value for s, value in given.items() if value is not None})
        self.temperature: Any = None  # a number, or a part that is asked for one
        if config.loss in USED_BY["temperature"]:
            told = config.temperature
            if told is None:
                self.temperature = 1.0 if config.loss in WITHOUT_FACTOR else 2.0
            else:
                self.temperature = told if isinstance(told, (int, float)) else told.build(student, teacher)

    def forward(self, said: Outputs, told: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) loss of each sample, or 0-d of the batch."""
        ours, theirs = said.logits, told.logits.detach()
        if self.standardize:
            ours, theirs = standardize_logits(ours), standardize_logits(theirs)
        compare = partial(self.compare, ours, theirs)
        if self.loss == "dkd":
            compare = partial(compare, batch.labels)
        if self.temperature is None:
            return compare()
        if isinstance(self.temperature, (int, float)):
            return compare(temperature=self.temperature)
        return compare(temperature=self.temperature(ours, theirs, progress))

    def figures(self) -> dict[str, float]:
        """What a temperature that changes wants to be seen."""
        return dict(self._ask("figures"))

    def bounds(self) -> dict[str, tuple[float, float]]:
        """Between what a learned temperature stays."""
        return dict(self._ask("bounds"))

    def regularizers(self) -> dict[str, tuple[float, Tensor]]:
        """What a learned temperature adds to the loss."""
        return dict(self._ask("regularizers"))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What a learned temperature is trained with."""
        method = getattr(self.temperature, "parameter_groups", None)
        return list(method()) if callable(method) else []

    def _ask(self, what: str) -> Mapping[str, Any]:
        method = getattr(self.temperature, what, None)
        return method() if callable(method) else {}


def _check_enough_classes(name: str, config: LogitsConfig, classes: int) -> None:
    """Refuse a loss whose gradient is 0 whatever the scores: two standardized or correlated ones are always -1 and 1."""
    if config.standardize:
        fewest, why, instead = 3, "two standardized scores are -1 and 1 whatever they were", "standardize: false"
    elif config.loss == "dist" and config.intra_weight == 0:
        fewest, why, instead = 3, "two probabilities always correlate by -1 or 1", "an intra_weight above 0"
    elif config.loss == "dkd" and config.target_weight == 0:
        fewest, why, instead = 3, "one other class has nothing to be compared with", "a target_weight above 0"
    else:
        fewest, why, instead = 1 if config.loss == "mse" else 2, "a single score has nothing beside it", "loss: mse"
    if classes < fewest:
        raise InputError(
            f"signal {name!r}: expected at least {fewest} classes, got {classes}, where it teaches nothing ({why}); take {instead}"
        )
