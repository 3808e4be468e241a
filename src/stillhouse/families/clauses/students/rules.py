"""Clauses as sentences: what a class's strongest clauses ask for, how often they hold for the class and for the others.

Shapes: M images, C clauses, F bits, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.families.clauses.students.clauses import ClauseBank
from stillhouse.families.clauses.students.core import DeepTM
from stillhouse.families.clauses.students.feed_forward import ClauseFeedForward
from stillhouse.families.clauses.students.flat import FlatTM, TeamCore
from stillhouse.families.clauses.students.interpret import block_votes
from stillhouse.families.clauses.students.transformer import UnifiedTMTransformer


@dataclass(frozen=True, slots=True)
class Rule:
    """One clause that speaks for or against a class.

    Attributes:
        class_name: the class.
        place: where the clause is ("clauses", "block_2").
        clause: its number there.
        vote: what it adds to the class's score on the class's images, against its mean over all images.
        holds: share of the class's images for which it speaks at all (for a transformer, of their patches).
        elsewhere: the same share over all other images.
        literals: what it asks for, surest first; the first of them.
        count: how many literals it has.
        allowed: misses with which it still speaks.
    """

    class_name: str
    place: str
    clause: int
    vote: float
    holds: float
    elsewhere: float
    literals: tuple[str, ...]
    count: int
    allowed: int

    def __str__(self) -> str:
        more = f", and {self.count - len(self.literals)} more" if self.count > len(self.literals) else ""
        return (
            f"{self.class_name}: {self.vote:+.3f} where at most {self.allowed} of {self.count} fail: "
            f"{', '.join(self.literals) or 'nothing'}{more} "
            f"({self.place}, clause {self.clause}: holds for {self.holds:.0%} of {self.class_name}, {self.elsewhere:.0%} of others)"
        )


@torch.no_grad()
def flat_rules(
    model: FlatTM,
    images: Tensor,
    labels: Tensor,
    class_names: Sequence[str],
    *,
    per_class: int = 3,
    literals: int = 8,
) -> list[Rule]:
    """The clauses of a flat machine that separate each class best, in words about pixels.

    Args:
        model: with clauses.
        images: (M, channels, H, W) in [0, 1], from the validation split.
        labels: (M) their classes.
        class_names: K names.
        per_class: rules for a class.
        literals: literals spelt out in a rule.

    Raises:
        InputError: a control without clauses.
    """
    core = model.core
    if not isinstance(core, (TeamCore, DeepTM)):
        raise InputError("rules: expected a machine with clauses, this one is a control")
    layer = core if isinstance(core, TeamCore) else core.last
    model.eval()
    strength = model.voted(images).strength  # (M, C)
    weight = layer.vote_weight()  # (K, C)
    names = _pixel_names(model)
    found = []
    for number, name in enumerate(class_names):
        own = labels == number
        if not bool(own.any()):
            continue
        votes = weight[number] * (strength[own].mean(0) - strength.mean(0))
        for clause in votes.topk(min(per_class, len(votes))).indices.tolist():
            words, count, allowed = _words(layer.bank, clause, names, literals)
            holds, elsewhere = _shares(strength[:, clause] > 0, own)
            vote = float(votes[clause])
            found.append(Rule(name, "clauses", clause, vote, holds, elsewhere, words, count, allowed))
    return found


def transformer_rules(
    model: UnifiedTMTransformer,
    images: Tensor,
    labels: Tensor,
    class_names: Sequence[str],
    *,
    per_class: int = 3,
    literals: int = 6,
    rows: int = 64,
) -> list[Rule]:
    """The clauses of a transformer that vote most for each class, in words about its bits.

    A bit of a transformer is no pixel: it is named by its number and by the class whose patches turn it on most.

    Args:
        model: with clause feed-forwards.
        images: (M, channels, H, W) in [0, 1], from the validation split.
        labels: (M) their classes.
        class_names: K names.
        per_class: rules for a class.
        literals: literals spelt out in a rule.
        rows: images of a class that votes are averaged over.
    """
    model.eval()
    present = [k for k in range(len(class_names)) if bool((labels == k).any())]
    chosen = torch.cat([torch.nonzero(labels == k).flatten()[:rows] for k in present])
    images, labels = images[chosen], labels[chosen]
    parts = model.feed_forwards()
    bits, active = _activity(model, images)
    means = {k: {n: v.sum(1).mean(0) for n, v in block_votes(model, images[labels == k], k).items()} for k in present}
    overall = {k: {n: v.sum(1).mean(0) for n, v in block_votes(model, images, k).items()} for k in present}
    found = []
    for k in present:
        edge = torch.cat([means[k][n] - overall[k][n] for n in parts])
        owners = [(n, clause) for n in parts for clause in range(len(means[k][n]))]
        for flat in edge.topk(min(per_class, len(edge))).indices.tolist():
            name, clause = owners[flat]
            names = _bit_names(bits[name], labels, class_names, present)
            words, count, allowed = _words(parts[name].bank, clause, names, literals)
            holds, elsewhere = _shares(active[name][:, :, clause].float().mean(1), labels == k)
            vote = float(edge[flat])
            found.append(Rule(class_names[k], name, clause, vote, holds, elsewhere, words, count, allowed))
    return found


def _words(
    bank: ClauseBank, clause: int, names: tuple[list[str], list[str]], limit: int
) -> tuple[tuple[str, ...], int, int]:
    """The surest literals of a clause by name, how many it has, and how many may fail."""
    with torch.no_grad():
        include = torch.stack(bank.masks())[:, clause]  # (2, F)
        sure = bank.literal_scores()[:, clause]
    count = int(include.sum())
    order = (
        torch.where(include > 0, sure, torch.full_like(sure, float("-inf"))).flatten().topk(min(limit, count)).indices
    )
    flat = [*names[0], *names[1]]
    return tuple(flat[place] for place in order.tolist()), count, max(0, min(count, bank.failures) - 1)


def _shares(holds: Tensor, own: Tensor) -> tuple[float, float]:
    values = holds.float()
    return float(values[own].mean()), float(values[~own].mean()) if bool((~own).any()) else 0.0


def _pixel_names(model: FlatTM) -> tuple[list[str], list[str]]:
    """Names of the literals of a flat machine: bright and dark, by level, channel, row and column."""
    channels, height, width = model.image_shape
    levels = model.config.levels
    bright, dark = [], []
    for level in range(1, levels + 1):
        edge = f"{level / (levels + 1):.2g}"
        for channel in range(channels):
            where = "" if channels == 1 else f" of channel {channel}"
            for row in range(height):
                for column in range(width):
                    bright.append(f"pixel ({row}, {column}){where} above {edge}")
                    dark.append(f"pixel ({row}, {column}){where} not above {edge}")
    return bright, dark


@torch.no_grad()
def _activity(model: UnifiedTMTransformer, images: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """By block: bits (M, N, F) and which clauses speak (M, N, C), at the patches."""
    bits: dict[str, Tensor] = {}
    active: dict[str, Tensor] = {}
    first = int(model.class_token is not None)
    hooks = []

    def listen(name: str, part: ClauseFeedForward) -> None:
        def hook(bank: torch.nn.Module, args: tuple[Tensor, ...], strength: Tensor) -> None:
            bits[name], active[name] = args[0][:, first:], strength[:, first:] > 0

        hooks.append(part.bank.register_forward_hook(hook))

    for name, part in model.feed_forwards().items():
        listen(name, part)
    try:
        model(images)
    finally:
        for handle in hooks:
            handle.remove()
    return bits, active


def _bit_names(
    bits: Tensor, labels: Tensor, class_names: Sequence[str], present: Sequence[int]
) -> tuple[list[str], list[str]]:
    share = bits.mean(1)  # (M, F)
    by_class = torch.stack([share[labels == k].mean(0) for k in present])
    most, least = by_class.argmax(0).tolist(), by_class.argmin(0).tolist()
    on = [f"bit {f} (most in {class_names[present[k]]})" for f, k in enumerate(most)]
    off = [f"not bit {f} (least in {class_names[present[k]]})" for f, k in enumerate(least)]
    return on, off
