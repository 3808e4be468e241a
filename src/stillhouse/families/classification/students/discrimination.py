"""Which clauses tell a class from the others: fulfilled more on its images than on others, not merely loud on all of them.

What a clause adds to a class (activation times gradient) can be large where it fires alike on every class: a bias in disguise. A
person who reads rules asks what is *different* about a class.

Shapes: M images, C clauses of a site.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

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
