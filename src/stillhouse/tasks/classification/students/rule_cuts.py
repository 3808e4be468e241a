"""Cutting clauses to the literals that the network's answers need: all that can be tried, or groups of them while trials last.

Shapes: M images, C clauses of a site, F bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from stillhouse.logic.simplify import cut_literals, ddmin, effects
from stillhouse.tasks.classification.lower import lower_layer
from stillhouse.tasks.classification.students.core import DeepTM
from stillhouse.tasks.classification.students.flat import TeamCore
from stillhouse.tasks.classification.students.sites import ClauseModule, literals_of, signal_set, write_masks

ALIKE = 1.1  # times as much on its class as on others: below this a clause holds alike everywhere
Clause = tuple[str, int]  # site, number there


@dataclass(frozen=True, eq=False)
class Fulfilled:
    """What clauses of a network do on some images, by site.

    Attributes:
        degree: (M, C) mean strength over the places of an image, of the full one.
        places: (M, C) share of the places at which a clause is worth anything.
    """

    degree: Mapping[str, Tensor]
    places: Mapping[str, Tensor]


def shares(fulfilled: Tensor, labels: Tensor, k: int) -> tuple[float, float]:
    """Mean of (M,) shares on the images of class k, and on all others (0 where there are none)."""
    own = labels == k
    return float(fulfilled[own].mean()), float(fulfilled[~own].mean()) if bool((~own).any()) else 0.0


def alike(own: float, others: float) -> bool:
    """Whether a clause holds on its class hardly more than on others.

    Example:
        >>> alike(0.05, 0.06), alike(1.0, 1.0), alike(0.5, 0.1)
        (True, True, False)
    """
    return own <= ALIKE * others


def tells(pair: Clause, fulfilled: Fulfilled, labels: Tensor, k: int) -> bool:
    """Whether a clause tells class k from the others, by how far it is fulfilled and by how often: what holds for nearly every
    image, of the class and of others, is no rule of the class, however loud.
    """
    site, clause = pair
    return not any(alike(*shares(table[site][:, clause], labels, k)) for table in (fulfilled.degree, fulfilled.places))


def by_discrimination(
    ranks: Sequence[tuple[Clause, float]], fulfilled: Fulfilled, labels: Tensor, k: int
) -> list[tuple[Clause, float]]:
    """The clauses that tell class k from the others, the most different first.

    Args:
        ranks: ((site, clause), what it adds) of class k.
        fulfilled: by M images.
        labels: (M,) of the images.
        k: the class.

    Returns:
        Those of `ranks` that do not hold alike, by what they are fulfilled more on the class than on others.
    """

    def gap(pair: Clause) -> float:
        own, others = shares(fulfilled.degree[pair[0]][:, pair[1]], labels, k)
        return own - others

    kept = [(pair, adds) for pair, adds in ranks if pair[0] in fulfilled.degree and tells(pair, fulfilled, labels, k)]
    return sorted(kept, key=lambda entry: -gap(entry[0]))


MOST_BITS = 2e7  # that are kept in memory of a site
Literal = tuple[str, int, int]  # site, clause, literal


def answers(model: nn.Module, pixels: Tensor) -> Tensor:
    """(M) the classes that a network names."""
    return torch.cat([model(pixels[start : start + 256]).argmax(1) for start in range(0, len(pixels), 256)])


def sum_over_clauses(model: nn.Module, found: Mapping[str, ClauseModule]) -> bool:
    """Whether the scores are a sum over the clauses of one bank, so that every literal can be tried."""
    core = getattr(model, "core", None)
    return len(found) == 1 and (isinstance(core, TeamCore) or (isinstance(core, DeepTM) and len(core.layers) == 1))


def cut_every_literal(
    model: nn.Module, found: Mapping[str, ClauseModule], pixels: Tensor, pairs: Sequence[Clause]
) -> None:
    """Cut the clauses of a network whose scores are a sum over them, literal by literal."""
    name, core = next(iter(found)), getattr(model, "core", None)
    assert isinstance(core, (TeamCore, DeepTM))
    clauses = lower_layer(core if isinstance(core, TeamCore) else core.last)
    heard: list[np.ndarray] = []
    with signal_set(found, lambda site, bits, strength: heard.append(bits.numpy() > 0)):
        answers(model, pixels)
    kept = cut_literals(clauses, np.concatenate(heard), sorted({j for _, j in pairs}))
    gone = [
        (name, j, f) for j, stays in kept.items() for f in clauses.clause(j).tolist() if f not in set(stays.tolist())
    ]
    _write_without(found, gone, masks_of(found))


def cut_groups(
    model: nn.Module, found: Mapping[str, ClauseModule], pixels: Tensor, pairs: Sequence[Clause], trials: int
) -> None:
    """Cut the clauses of any network: groups of literals are removed, and come back where an answer changes."""
    pairs = sorted(set(pairs))
    order = _least_first(model, found, pixels, pairs)
    before, masks = answers(model, pixels), masks_of({name: found[name] for name, _ in pairs})

    def unchanged(gone: Sequence[Literal]) -> bool:
        _write_without(found, gone, masks)
        return bool((answers(model, pixels) == before).all())

    _write_without(found, ddmin(order, unchanged, trials), masks)


def _least_first(
    model: nn.Module, found: Mapping[str, ClauseModule], pixels: Tensor, pairs: Sequence[Clause]
) -> list[Literal]:
    """Every literal of the clauses, that one first whose removal changes its clause at the fewest places."""
    heard: dict[str, tuple[Tensor, Tensor]] = {}

    def hear(site: ClauseModule, bits: Tensor, strength: Tensor) -> None:
        failing = site.failing(bits, count)
        heard[site.name] = (failing[0].flatten(0, 1), failing[1].flatten(0, 1))

    sizes: list[int] = []
    with signal_set(found, lambda site, bits, x: sizes.append(x.numel() // site.bank.num_clauses * site.bank.num_bits)):
        model(pixels[:1])
    count = max(1, min(len(pixels), int(MOST_BITS / max(sizes, default=1))))
    with signal_set(found, hear):
        model(pixels[:count])
    order: list[tuple[int, Literal]] = []
    for name, clause in pairs:
        if name not in heard:
            continue
        site, literals = found[name], literals_of(found[name], clause)
        zeros, ones = heard[name]
        bits = site.bank.num_bits
        if literals:
            missed = torch.stack([zeros[:, f] if f < bits else ones[:, f - bits] for f in literals], 1).numpy()
            worth = effects(missed, min(len(literals), site.bank.failures))
            order += [(int(x), (name, clause, f)) for x, f in zip(worth, literals, strict=True)]
    return [literal for _, literal in sorted(order)]


@torch.no_grad()
def write_back(found: Mapping[str, ClauseModule], masks: Mapping[str, Tensor], pairs: Sequence[Clause]) -> None:
    """Give some clauses the literals that they had before they were cut."""
    for name in {name for name, _ in pairs}:
        now, own = torch.stack(found[name].bank.masks()).bool(), [clause for site, clause in pairs if site == name]
        now[:, own] = masks[name][:, own]
        write_masks(found[name].bank, *now)


def masks_of(found: Mapping[str, ClauseModule]) -> dict[str, Tensor]:
    """(2, C, F) of every site, to write back."""
    return {name: torch.stack(site.bank.masks()).bool() for name, site in found.items()}


def _write_without(found: Mapping[str, ClauseModule], gone: Sequence[Literal], masks: Mapping[str, Tensor]) -> None:
    now = {name: mask.clone() for name, mask in masks.items()}
    for name, clause, literal in gone:
        plane, bit = divmod(literal, found[name].bank.num_bits)
        now[name][plane, clause, bit] = False
    for name, (positive, negated) in now.items():
        write_masks(found[name].bank, positive, negated)
