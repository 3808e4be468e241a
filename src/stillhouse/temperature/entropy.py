"""The temperature at which a softened distribution has a chosen entropy. Shapes: B batch, K classes."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass
from stillhouse.core.types import OutputSpec, Progress
from stillhouse.losses.values import wide
from stillhouse.temperature.given import Temperature

HALVINGS = 40  # of log(high / low): far below what float32 resolves


@torch.no_grad()
def temperature_of_entropy(logits: Tensor, *, target: float, low: float, high: float) -> Tensor:
    """Solve H(softmax(z / T)) = target for T, row by row, by bisection in log T.

    The entropy rises with T (its slope is the variance of z under the distribution, over T^3), so there is one solution;
    where it lies outside the bounds, the nearer bound is given.

    Args:
        logits: (B, K).
        target: nats, from 0 to ln K.
        low: smallest temperature given.
        high: largest temperature given.

    Returns:
        (B,) in [low, high]. A row whose entropy does not depend on T (all logits equal) gets a bound; so does a row with a
        NaN, which the loss then shows.

    Raises:
        InputError: logits are not (B, K), target outside [0, ln K], or not 0 < low < high.

    Example:
        Two classes 4 apart have the entropy of (3/4, 1/4), 0.5623 nats, where 4 / T = ln 3.

        >>> t = temperature_of_entropy(torch.tensor([[4.0, 0.0]]), target=0.562335, low=0.1, high=50.0)
        >>> round(t.item(), 2), round(4 / math.log(3), 2)
        (3.64, 3.64)

    Source: van der Maaten, Hinton 2008 (JMLR 9), section 2 (the bisection for a set perplexity, exp of this entropy).
    """
    if logits.ndim != 2 or logits.shape[1] < 1:
        raise InputError(f"logits: expected (B, K), got {tuple(logits.shape)}")
    most = math.log(logits.shape[1])
    if not 0.0 <= target <= most:
        raise InputError(f"target: expected an entropy from 0 to ln K = {most:.4f} nats, got {target}")
    if not 0.0 < low < high:
        raise InputError(f"low, high: expected 0 < low < high, got {low} and {high}")
    z = wide(logits)
    below = torch.full(z.shape[:1], math.log(low), dtype=z.dtype, device=z.device)
    above = torch.full_like(below, math.log(high))
    for _ in range(HALVINGS):
        middle = (below + above) / 2
        reached = _entropy(z, middle.exp()) >= target
        below, above = torch.where(reached, below, middle), torch.where(reached, middle, above)
    return ((below + above) / 2).exp().clamp(low, high)


@configclass
class EntropyTemperature:
    """For each sample the temperature at which the teacher's softened scores have a chosen entropy.

    Every soft target then holds equally much beside its first choice: a sure teacher is softened more than an unsure one.
    Solved by bisection, as the neighborhoods of SNE are for a perplexity; nothing is learned and no gradient flows.

    Source: the bisection for a set perplexity: van der Maaten, Hinton 2008 (JMLR 9), section 2; uneven entropy of soft labels
    under one temperature, and temperatures per sample against it: Luong et al. 2026, arXiv:2605.20357.
    """

    kind: Literal["entropy"] = "entropy"
    share: float = Field(default=0.5, gt=0, lt=1, description="target entropy as a share of ln K, its largest value")
    low: float = Field(
        default=1.0, gt=0, description="lower bound of the temperature, also where the target needs less"
    )
    high: float = Field(
        default=20.0, gt=0, description="upper bound of the temperature, also where the target needs more"
    )

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"high: expected more than low ({self.low}), got {self.high}")

    def build(self, student: OutputSpec, teacher: OutputSpec) -> EntropyMatching:
        """The solver.

        Raises:
            InputError: a single class, whose entropy is always 0.
        """
        if teacher.num_classes < 2:
            raise InputError(
                f"temperature 'entropy': expected at least 2 classes of the teacher, got {teacher.num_classes}"
            )
        return EntropyMatching(self)


class EntropyMatching(Temperature):
    """For each sample the temperature at which the teacher's entropy is `share` of ln K; no gradient.

    The loss is multiplied by its square, so that a sure row, softened more, keeps a gradient of the usual size.

    Source: see `temperature_of_entropy`.
    """

    def __init__(self, config: EntropyTemperature) -> None:
        super().__init__()
        self.config = config
        self._last: Tensor | None = None

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, progress: Progress) -> Tensor:
        """(B,) for the teacher's logits (B, K)."""
        target = self.config.share * math.log(teacher_logits.shape[1])
        found = temperature_of_entropy(teacher_logits, target=target, low=self.config.low, high=self.config.high)
        self._last = found
        return found

    def figures(self) -> dict[str, float]:
        """Mean and spread of the last batch's temperatures, and the share of samples that a bound stopped."""
        if self._last is None:
            return {}
        now, config = self._last, self.config
        stopped = (now <= config.low * 1.0001) | (now >= config.high * 0.9999)
        return {
            "temperature": now.mean().item(),
            "temperature-spread": now.std(correction=0).item(),
            "temperature-at-bound": stopped.float().mean().item(),
        }


def _entropy(z: Tensor, temperature: Tensor) -> Tensor:
    """(B,) nats of softmax(z / T); a class at -inf adds nothing."""
    log_p = torch.log_softmax(z / temperature.unsqueeze(1), dim=1)
    return torch.special.entr(log_p.exp()).sum(dim=1)
