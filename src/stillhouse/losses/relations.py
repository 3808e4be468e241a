"""Relations between the samples of a batch in place of their coordinates: student and teacher may have any two widths.

Shapes: B batch, D width of either side. Every loss is 0-d (it is defined on the batch only), unchanged when either side is
rotated or its axes are exchanged, and 0 where the teacher is the student under an isometry. Complex rows are read as pairs of
real numbers. A pair of equal rows has distance 0 and gives no gradient, instead of the infinite one of a root at 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stillhouse.losses.correlation import pearson_distance
from stillhouse.losses.softened import compared_rows, wide, without_autocast

OPPOSITE = 1e-5  # what `pkt` adds to a similarity, so that exact opposites (0) keep a logarithm with a bounded gradient


@without_autocast
def rkd_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber difference of pairwise distances, each side's divided by their mean: what is near stays near, at any scale.

    Args:
        student: (B, Ds).
        teacher: (B, Dt); gets no gradient.

    Returns:
        0-d, mean over the B (B - 1) pairs.

    Raises:
        InputError: not two matrices of as many rows, or fewer than 3 (one distance over itself is 1 on both sides).

    Example:
        Distances 1, 3, 2 (mean 2) against 1, 2, 1 (mean 4/3): two gaps of 1/4 and none, (1/32 + 0 + 1/32) / 3 = 1/48.

        >>> ours, theirs = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.0], [1.0], [2.0]])
        >>> round(rkd_distance(ours, theirs).item() * 48, 4)
        1.0

    Relations:
        `rkd_angle` (used beside it, at twice its weight); `pearson_of_distances` allows for an offset too.

    Source: Park et al. 2019, arXiv:1904.05068 (RKD), eq. 4 to 7.
    """
    ours, theirs = _rows(student, teacher, "rkd distance")
    ours, theirs = (_others(pairwise_distances(_scaled(x))) for x in (ours, theirs))
    ours, theirs = (d / _positive(d.mean()) for d in (ours, theirs))
    return torch.nn.functional.smooth_l1_loss(ours, theirs)


@without_autocast
def rkd_angle(
    student: Tensor, teacher: Tensor, *, triples: int | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """Huber difference of the cosines of all angles that three samples make: shape without any distance.

    Args:
        student: (B, Ds).
        teacher: (B, Dt); gets no gradient.
        triples: how many triples to draw (with replacement) where there are more; None takes all B (B - 1) (B - 2), in memory
            of some B^3 numbers.
        generator: for the draw.

    Returns:
        0-d, mean over triples of different samples. An angle at two equal samples counts with cosine 0.

    Raises:
        InputError: not two matrices of as many rows, or fewer than 3.

    Example:
        A right triangle with equal legs (cosines 0, 0.7071, 0.7071) against one of equal sides (1/2 each):
        (0.25 + 2 * 0.0429) / 2 / 3 = 0.056.

        >>> ours = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> round(rkd_angle(ours, torch.eye(3)).item(), 4)
        0.056

    Relations:
        `rkd_distance` sees scale between pairs, which angles alone also fix, but weakly.

    Source: Park et al. 2019, arXiv:1904.05068 (RKD), eq. 8 to 10.
    """
    ours, theirs = _rows(student, teacher, "rkd angle")
    B = len(ours)
    if triples is not None and triples < B * (B - 1) * (B - 2):
        drawn = _draw_triples(B, triples, generator, ours.device)
        ours, theirs = (_angles(_scaled(x), drawn) for x in (ours, theirs))
        return torch.nn.functional.smooth_l1_loss(ours, theirs)
    same = torch.eye(B, dtype=torch.bool, device=ours.device)
    apart = ~(same[:, :, None] | same[:, None, :] | same[None, :, :])
    ours, theirs = (_angles(_scaled(x), None) for x in (ours, theirs))
    gaps = torch.nn.functional.smooth_l1_loss(ours, theirs, reduction="none")
    return gaps.masked_fill(~apart, 0.0).sum() / (B * (B - 1) * (B - 2))


@without_autocast
def similarity_preserving(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of centered Gram matrices whose rows have length 1: who resembles whom.

    Args:
        student: (B, Ds).
        teacher: (B, Dt); gets no gradient.

    Returns:
        0-d, mean over the B^2 entries (so about 1/B at worst: the image code of the paper weighs it by 3000). Unchanged by the
        scale of either side. A row without any similarity stays 0.

    Raises:
        InputError: not two matrices of as many rows, or fewer than 3 (two centered rows are opposite on both sides).

    Example:
        The batch mean is off: points on a line, -1, 0, 1, resemble each other by -1, 0 or 1, whatever is added to all.

        >>> line = torch.tensor([[-1.0], [0.0], [1.0]])
        >>> round(similarity_preserving(torch.eye(3), line).item(), 4) > 0, similarity_preserving(line + 5, line).item()
        (True, 0.0)

    Relations:
        `cka_loss` compares the whole matrices by one cosine.

    Source: Tung, Mori 2019, arXiv:1907.09682 (SP), eq. 2 to 4.
    """
    ours, theirs = (_centered(x) for x in _rows(student, teacher, "similarity preserving"))
    ours, theirs = (unit_rows(x @ x.t()) for x in (_scaled(ours), _scaled(theirs)))
    return (ours - theirs).square().mean()


@without_autocast
def pkt(student: Tensor, teacher: Tensor) -> Tensor:
    """KL of each sample's distribution over the others, by their cosine: probabilistic knowledge transfer.

    p(j | i) is (1 + cosine) / 2 over its sum; j = i is left out, since its similarity is always 1 and weighs most.

    Args:
        student: (B, Ds).
        teacher: (B, Dt); gets no gradient.

    Returns:
        0-d, mean over samples, in nats. Small by nature: cosines move a distribution over B - 1 others but little.

    Raises:
        InputError: not two matrices of as many rows, or fewer than 3 (one other has probability 1 on both sides).

    Example:
        Teacher: two equal rows and one at a right angle: (2/3, 1/3) twice and (1/2, 1/2). Student: all at right angles.
        2/3 (2/3 ln 4/3 + 1/3 ln 2/3) = 0.0378.

        >>> theirs = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> round(pkt(torch.eye(3), theirs).item(), 4)
        0.0378

    Relations:
        `similarity_preserving` compares rows of inner products.

    Source: Passalis, Tefas 2018, arXiv:1803.10837 (PKT), eq. 5 to 8.
    """
    ours, theirs = _rows(student, teacher, "pkt")
    log_q, log_p = (_log_neighbors(unit_rows(x)) for x in (ours, theirs))
    return (log_p.exp() * (log_p - log_q)).sum(dim=1).mean()


@without_autocast
def pearson_of_distances(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - Pearson correlation of the pairwise distances: far stays far, up to any scale and offset.

    Args:
        student: (B, Ds).
        teacher: (B, Dt); gets no gradient.

    Returns:
        0-d in [0, 2]. A teacher whose samples are all equally far apart teaches nothing: 0. Such a student: 1.

    Raises:
        InputError: not two matrices of as many rows, or fewer than 3.

    Example:
        Distances (1, 3, 2) against (1, 2, 1): r = cos 30 degrees = 0.866.

        >>> ours, theirs = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.0], [1.0], [2.0]])
        >>> round(pearson_of_distances(ours, theirs).item(), 4)
        0.134

    Relations:
        `rkd_distance` allows for the scale alone; `pearson_distance` correlates scores, not distances.

    Source: Székely, Rizzo, Bakirov 2007 (distance correlation, in its plain form).
    """
    ours, theirs = _rows(student, teacher, "pearson of distances")
    row, column = torch.triu_indices(len(ours), len(ours), offset=1, device=ours.device)
    ours, theirs = (pairwise_distances(_scaled(x))[row, column].unsqueeze(0) for x in (ours, theirs))
    return pearson_distance(ours, theirs).squeeze(0)


@without_autocast
def pairwise_distances(x: Tensor) -> Tensor:
    """Euclidean distances of all rows; exactly 0, with gradient 0, between rows that are equal up to rounding.

    Args:
        x: (B, D).

    Returns:
        (B, B), in float32 at least; memory of B^2 numbers, whatever D.

    Example:
        >>> pairwise_distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]])).tolist()
        [[0.0, 5.0], [5.0, 0.0]]

    Source: none; the expansion |a|^2 + |b|^2 - 2 a b, taken from the mean so that an offset costs no digits.
    """
    x = _centered(wide(x))
    square = x.square().sum(dim=1)
    bound = square[:, None] + square[None, :]
    squared = bound - 2 * (x @ x.t())
    # not `squared > ...`: a NaN must stay one
    near = (squared <= 4 * torch.finfo(x.dtype).eps * bound) | torch.eye(len(x), dtype=torch.bool, device=x.device)
    return squared.masked_fill(near, 1.0).sqrt().masked_fill(near, 0.0)


def unit_rows(x: Tensor) -> Tensor:
    """Rows of length 1; one that is 0 beside the others keeps a length near 0, and a gradient that 1 / length does not blow up.

    Args:
        x: (B, D), floating point.

    Returns:
        (B, D).

    Example:
        >>> unit_rows(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]

    Source: none.
    """
    x = _scaled(x)
    squared = x.square().sum(dim=1, keepdim=True)
    none = squared <= torch.finfo(x.dtype).eps ** 2 * squared.detach().amax()
    return x / squared.masked_fill(none, 1.0).sqrt()


# ---------------------------------------------------------------------------------------------------------------- inside


def _rows(student: Tensor, teacher: Tensor, what: str) -> tuple[Tensor, Tensor]:
    """Both sides as real matrices in float32 at least; the teacher's without gradient."""
    ours, theirs = compared_rows(student, teacher, what, 3)
    return _real(ours), _real(theirs)


def _real(x: Tensor) -> Tensor:
    """(B, D) complex as (B, 2 D) real: the same distances, and the real part of the products."""
    return wide(torch.view_as_real(x.resolve_conj()).flatten(1) if x.is_complex() else x)


def _positive(x: Tensor) -> Tensor:
    """A divisor: itself, or 1 where it is 0 (a NaN stays one)."""
    return x.masked_fill(x == 0, 1.0)


def _scaled(x: Tensor) -> Tensor:
    """The largest number brought to 1, for losses that do not see the scale: squares of small features would underflow.

    Taken as a constant: the gradient of a function that does not see the scale is the same.
    """
    return x / _positive(x.detach().abs().amax())


def _centered(x: Tensor) -> Tensor:
    return x - x.mean(dim=0)


def _others(square: Tensor) -> Tensor:
    """(B, B) without its diagonal, as (B, B - 1): by its place, since a mask's number of trues would cut a compiled graph."""
    B = len(square)
    # less its first number, the diagonal is the last of each B + 1
    return square.flatten()[1:].reshape(B - 1, B + 1)[:, :-1].reshape(B, B - 1)


def _angles(x: Tensor, triples: tuple[Tensor, Tensor, Tensor] | None) -> Tensor:
    """Cosines of the angle at j between the ways to i and to k, from products of rows alone: memory without D.

    (count,) for triples (i, j, k); (B, B, B) for None, with j first.
    """
    x = _centered(x)
    gram, distance = x @ x.t(), pairwise_distances(x)
    near = distance == 0
    inverse = distance.masked_fill(near, 1.0).reciprocal().masked_fill(near, 0.0)
    own = gram.diagonal()
    if triples is not None:
        i, j, k = triples
        return (gram[i, k] - gram[i, j] - gram[j, k] + own[j]) * inverse[i, j] * inverse[k, j]
    # <x_i - x_j, x_k - x_j>
    products = gram[None, :, :] - gram[:, :, None] - gram[:, None, :] + own[:, None, None]
    return products * inverse[:, :, None] * inverse[:, None, :]


def _draw_triples(
    B: int, count: int, generator: torch.Generator | None, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """i, j, k (count,), all different, every triple equally likely: distances round the circle from j that differ."""
    where = "cpu" if generator is None else generator.device

    def draw(high: int) -> Tensor:
        return torch.randint(high, (count,), generator=generator, device=where)

    j, first, second = draw(B), 1 + draw(B - 1), 1 + draw(B - 2)
    second = second + (second >= first).to(second.dtype)
    return ((j + first) % B).to(device), j.to(device), ((j + second) % B).to(device)


def _log_neighbors(unit: Tensor) -> Tensor:
    """(B, B - 1) log-probabilities of the others, by cosine."""
    similarity = _others(0.5 * (1 + (unit @ unit.t()).clamp(-1, 1)) + OPPOSITE)
    return similarity.log() - similarity.sum(dim=1, keepdim=True).log()
