"""A teacher's answer at any temperature, from its largest scores and a few sums over all others.

The k largest scores are known one by one. Of the n others the sums R(s) = ln sum exp(s z) are kept at a few s = 1/T, each
score at most the k-th. R is convex in s (Hoelder) with R(0) = ln n and slopes of at most the k-th score, so that between two
kept temperatures it lies under their chord and above the chords beside it. Their middle is taken: exact at the kept
temperatures, and off by at most half of their distance elsewhere, in nats of the others' mass; a kept log-probability is off
by less, that times the share of the others. With a single sum at T = 1 the bounds are those of Jensen: n^(1-s) R^s where all
others are equal, R m^(s-1) where they are as unequal as the k-th score m lets them be.

Shapes: N tokens, k kept, G temperatures whose sums are kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stillhouse.losses.softened import kl_of_logs


@dataclass(frozen=True)
class Scores:
    """What a cache knows of the class scores of some rows (the tokens of a text).

    Attributes:
        ids: (N, k) int64, the most probable tokens, falling.
        scores: (N, k) their logits less the largest.
        rest: (N, G) ln sum exp(z / T) of all other tokens' logits z less the largest, at each temperature.
        temperatures: G of them, rising.
        others: number of other tokens, n.
    """

    ids: Tensor
    scores: Tensor
    rest: Tensor
    temperatures: tuple[float, ...]
    others: int

    def at(self, rows: Tensor) -> Scores:
        """Those of some tokens."""
        return Scores(self.ids[rows], self.scores[rows], self.rest[rows], self.temperatures, self.others)

    def to(self, device: torch.device) -> Scores:
        """The same on a device."""
        ids, scores, rest = (x.to(device) for x in (self.ids, self.scores, self.rest))
        return Scores(ids, scores, rest, self.temperatures, self.others)

    def log_probabilities(self, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
        """(N, k) of the kept tokens and (N,) of all others together at a temperature, a tensor () with its gradient.

        Example:
            Four tokens of equal score, one kept: a quarter and three quarters at every temperature.

            >>> flat = Scores(torch.zeros(1, 1), torch.zeros(1, 1), torch.tensor([[math.log(3)]]), (1.0,), 3)
            >>> kept, rest = flat.log_probabilities(5.0)
            >>> round(kept.exp().item(), 4), round(rest.exp().item(), 4)
            (0.25, 0.75)
        """
        kept = self.scores / temperature
        if not self.others:
            return torch.log_softmax(kept, -1), kept.new_full(kept.shape[:-1], -math.inf)
        low, high = tail_bounds(self.rest, self.temperatures, self.others, self.cap, temperature)
        rest = (low + high) / 2
        total = torch.logaddexp(kept.logsumexp(-1), rest)
        return kept - total.unsqueeze(-1), rest - total

    def flat(self) -> Scores:
        """Rows of windows (B, L, ...) as rows of tokens."""
        ids, scores, rest = (x.flatten(0, 1) for x in (self.ids, self.scores, self.rest))
        return Scores(ids, scores, rest, self.temperatures, self.others)

    def dense(self) -> Tensor:
        """(N, k + n) scores less the largest, the mass of the others at the lowest kept temperature shared out among them.

        Exact where all classes were kept; for measures that want a score of every class, not for a loss.
        """
        classes = self.ids.shape[-1] + self.others
        if not self.others:
            return self.scores.new_empty(*self.scores.shape[:-1], classes).scatter(-1, self.ids, self.scores)
        each = (self.rest[..., :1] - math.log(self.others)) * self.temperatures[0]
        return each.expand(*self.scores.shape[:-1], classes).scatter(-1, self.ids, self.scores)

    @property
    def cap(self) -> Tensor:
        """(N,) what no other score exceeds: the k-th, with what half precision may have taken off it."""
        return self.scores[..., -1] * (1 - 2.0**-10)


def tail_bounds(
    rest: Tensor, temperatures: Sequence[float], others: int, cap: Tensor, temperature: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Bounds of ln sum exp(z / T) over scores z of which such sums are known at other temperatures.

    Args:
        rest: (N, G) the sums that are known.
        temperatures: G, where they are known, rising.
        others: number of scores.
        cap: (N,) the largest that a score can be.
        temperature: T above 0.

    Returns:
        (N,) low and high; equal to `rest` at a known temperature.

    Example:
        Two scores whose exps sum to 1, none above ln 0.9; at T = 2 their square roots sum to sqrt(2) if they are equal, and to
        at least 1 / sqrt(0.9).

        >>> known, cap = torch.zeros(1, 1), torch.tensor([0.9]).log()
        >>> low, high = tail_bounds(known, (1.0,), 2, cap, 2.0)
        >>> round(low.exp().item(), 4), round(high.exp().item(), 4)
        (1.0541, 1.4142)
    """
    s = 1 / temperature
    place = float(s.detach()) if isinstance(s, Tensor) else s
    at = [0.0, *sorted(1 / t for t in temperatures)]
    values = [rest.new_full(rest.shape[:-1], math.log(others)), *rest.flip(-1).unbind(-1)]

    def slope(i: int) -> Tensor:
        return (values[i + 1] - values[i]) / (at[i + 1] - at[i])

    last = len(at) - 1
    right = next((i for i in range(1, last + 1) if place <= at[i]), last + 1)
    if right > last:  # colder than any sum that is known
        return values[last] + slope(last - 1) * (s - at[last]), values[last] + cap * (s - at[last])
    high = values[right - 1] + slope(right - 1) * (s - at[right - 1])
    low = values[right] + (cap if right == last else slope(right)) * (s - at[right])
    if right >= 2:
        low = torch.maximum(low, values[right - 1] + slope(right - 2) * (s - at[right - 1]))
    return torch.minimum(low, high), high


def scores_kl(student_logits: Tensor, scores: Scores, temperature: float | Tensor) -> Tensor:
    """T^2 KL over the kept tokens and one bucket for all others, at a temperature that is applied now.

    The teacher's log-probabilities have a gradient in the temperature, as those of a live teacher have.

    Args:
        student_logits: (N, V).
        scores: of the same tokens.
        temperature: a number, or a tensor () that is learned.

    Returns:
        (N,) in nats times T^2; never above `forward_kl`, and equal to it where all are kept, or the two tails are proportional.
        (The kept ones renormalized to 1 would ask the student for more certainty than the teacher has.)

    Example:
        >>> import math
        >>> kept = Scores(torch.tensor([[0]]), torch.zeros(1, 1), torch.tensor([[math.log(3)]]), (1.0,), 3)
        >>> round(scores_kl(torch.zeros(1, 4), kept, 2.0).item(), 4)  # both uniform
        0.0

    Source: Anshumann et al. 2025, arXiv:2503.16870 (the bias of a renormalized top k).
    """
    log_p, rest_p = scores.log_probabilities(temperature)
    log_q = torch.log_softmax(student_logits.float() / temperature, 1)
    kept_q = log_q.gather(1, scores.ids)
    if scores.others:
        log_p = torch.cat([log_p, rest_p.unsqueeze(1)], 1)
        # summed over the others: 1 - sum q would be 0 in float32 once the k hold all but a ten-millionth
        kept_q = torch.cat([kept_q, log_q.scatter(1, scores.ids, -torch.inf).logsumexp(1, keepdim=True)], 1)
    return kl_of_logs(log_p, kept_q) * temperature**2
