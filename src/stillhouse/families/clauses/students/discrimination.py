"""Which clauses tell a class from the others: fulfilled more on its images than on others, not merely loud on all of them.

What a clause adds to a class (activation times gradient) can be large where it fires alike on every class: a bias in disguise. A
person who reads rules asks what is *different* about a class.

Shapes: M images, C clauses of a site.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

ALIKE = 1.1  # times as much on its class as on others: below this a clause fires alike everywhere


def shares(fulfilled: Tensor, labels: Tensor, k: int) -> tuple[float, float]:
    """Mean of (M,) shares on the images of class k, and on all others (0 where there are none)."""
    own = labels == k
    return float(fulfilled[own].mean()), float(fulfilled[~own].mean()) if bool((~own).any()) else 0.0


def fires_alike(holds: float, elsewhere: float) -> bool:
    """Whether a clause is fulfilled on its class hardly more than on others.

    Example:
        >>> fires_alike(0.05, 0.06), fires_alike(1.0, 1.0), fires_alike(0.5, 0.1)
        (True, True, False)
    """
    return holds <= ALIKE * elsewhere


def by_discrimination(
    ranks: Sequence[tuple[tuple[str, int], float]], fulfilled: Mapping[str, Tensor], labels: Tensor, k: int
) -> list[tuple[tuple[str, int], float]]:
    """The clauses that tell class k from others, the most different first.

    Args:
        ranks: ((site, clause), what it adds) of class k.
        fulfilled: (M, C) by site, how far each clause is fulfilled on each image.
        labels: (M,) of the images.
        k: the class.

    Returns:
        Those of `ranks` that do not fire alike, by what they are fulfilled more on the class than on others.
    """
    found = [
        (pair, adds, shares(fulfilled[pair[0]][:, pair[1]], labels, k)) for pair, adds in ranks if pair[0] in fulfilled
    ]
    kept = [(pair, adds, own - other) for pair, adds, (own, other) in found if not fires_alike(own, other)]
    return [(pair, adds) for pair, adds, _ in sorted(kept, key=lambda entry: -entry[2])]
