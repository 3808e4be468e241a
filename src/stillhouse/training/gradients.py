"""What each term of the loss wants, and what is done where terms disagree.

A gradient is a list with one tensor a parameter, None where the term does not reach it; inner products are taken over all of
them together, as one vector. With micro-batches or several processes the gradients of each term are added up (averaged) first and
combined then: a projection of parts is not the projection of the whole. Gradients scaled by a GradScaler (fp16) must be
unscaled before; bf16 and float32 need nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from stillhouse.core import ranks
from stillhouse.core.processes import average_gradients

Gradient = list[Tensor | None]
Combination = Literal["sum", "pcgrad", "cosine-gate"]


def per_term_gradients(
    terms: Mapping[str, tuple[float, Tensor]],
    parameters: Sequence[Tensor],
    *,
    scale: float = 1.0,
    keep_graph: bool = False,
) -> dict[str, Gradient]:
    """The gradient of weight times value of each term; one backward pass each, in place of one for their sum.

    The graph is kept for the terms that follow and freed by the last one. `.grad` is not touched. Parameters that no term
    shares (a projector's) are reached in the same passes.

    Args:
        terms: name -> (weight, 0-d value). A term of weight 0 is left out, one without a graph reaches nothing.
        parameters: what is learned, or one shared activation; frozen ones get None.
        scale: factor on all, as the share of a micro-batch.
        keep_graph: keep it for a backward pass afterwards.

    Returns:
        name -> gradient, in the order of the terms.

    Example:
        >>> x = torch.tensor([3.0], requires_grad=True)
        >>> found = per_term_gradients({"labels": (1.0, (x**2).sum()), "logits": (0.5, x.sum())}, [x])
        >>> {name: g[0].tolist() for name, g in found.items()}
        {'labels': [6.0], 'logits': [0.5]}
    """
    learned = [p for p in parameters if p.requires_grad]
    live = [name for name, (weight, value) in terms.items() if weight != 0]
    found: dict[str, Gradient] = {}
    for place, name in enumerate(live):
        weight, value = terms[name]
        if not value.requires_grad or not learned:
            found[name] = [None] * len(parameters)
            continue
        keep = keep_graph or any(terms[later][1].requires_grad for later in live[place + 1 :])
        reached = torch.autograd.grad(value * (weight * scale), learned, retain_graph=keep, allow_unused=True)
        here = iter(reached)
        found[name] = [next(here) if p.requires_grad else None for p in parameters]
    return found


def averaged(gradients: dict[str, Gradient], parameters: Sequence[Tensor]) -> dict[str, Gradient]:
    """The means over the processes of a run; what no process reaches stays None.

    Args:
        gradients: name -> gradient, of the same terms everywhere.
        parameters: those that the gradients are of.
    """
    if ranks.count() == 1:
        return gradients
    found: dict[str, Gradient] = {}
    for name, gradient in gradients.items():
        holders = [torch.empty_like(p, requires_grad=False) for p in parameters]
        for holder, value in zip(holders, gradient, strict=True):
            holder.grad = value
        average_gradients(holders, [], parameters[0].device)
        found[name] = [holder.grad for holder in holders]
    return found


def add_gradients(first: Mapping[str, Gradient], second: Mapping[str, Gradient]) -> dict[str, Gradient]:
    """Term by term sums, for micro-batches; a term that is missing on one side counts as nothing.

    Example:
        >>> one = [torch.tensor([1.0]), None]
        >>> add_gradients({"a": one}, {"a": one, "b": one})
        {'a': [tensor([2.]), None], 'b': [tensor([1.]), None]}
    """
    names = dict.fromkeys([*first, *second])
    return {name: total([g[name] for g in (first, second) if name in g]) for name in names}


def total(gradients: Sequence[Gradient]) -> Gradient:
    """The sum, parameter by parameter; None where no term reaches it."""
    return [_sum(parts) for parts in zip(*gradients, strict=True)]


def inner(a: Gradient, b: Gradient) -> Tensor:
    """Inner product () over all parameters as one vector, in float32 at least."""
    products = [(_wide(x) * _wide(y)).sum() for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    return sum(products[1:], products[0]) if products else torch.zeros(())


def cosine(a: Gradient, b: Gradient) -> float | None:
    """Cosine of two gradients in [-1, 1]; None where one of them is zero.

    Example:
        >>> cosine([torch.tensor([1.0, 0.0])], [torch.tensor([-3.0, 0.0])])
        -1.0
    """
    size = math.sqrt(float(inner(a, a))) * math.sqrt(float(inner(b, b)))
    if size == 0:
        return None
    value = float(inner(a, b)) / size
    return math.copysign(1.0, value) if abs(value) > 1 else value  # rounding; NaN stays


def pcgrad(gradients: Mapping[str, Gradient], *, generator: torch.Generator | None = None) -> Gradient:
    """Each term's gradient loses what runs against another's, then they are summed (projecting conflicting gradients).

    For every term, the others are visited in random order: where the inner product with the other's *original* gradient is
    negative, the part along it is taken out. Two terms end with a sum that is against neither; more may not.

    Args:
        gradients: name -> gradient of the weighted term.
        generator: of the order; with one or two terms the order does not matter.

    Returns:
        The combined gradient.

    Example:
        (1, 0) and (-1, 1): each is made orthogonal to the other, (1/2, 1/2) and (0, 1).

        >>> g = {"labels": [torch.tensor([1.0, 0.0])], "logits": [torch.tensor([-1.0, 1.0])]}
        >>> pcgrad(g)[0].tolist()
        [0.5, 1.5]

    Relations:
        `cosine_gate` drops a conflicting auxiliary term whole and never changes the task's; both cost one backward a term.

    Source: Yu et al. 2020, arXiv:2001.06782 (PCGrad).
    """
    names = list(gradients)
    squares = {name: inner(gradients[name], gradients[name]) for name in names}
    projected = []
    for name in names:
        own = list(gradients[name])
        others = [other for other in names if other != name]
        for place in torch.randperm(len(others), generator=generator).tolist():
            other = others[place]
            against = inner(own, gradients[other])
            if against < 0 and squares[other] > 0:
                own = _plus(own, gradients[other], -against / squares[other])
        projected.append(own)
    return total(projected)


def cosine_gate(gradients: Mapping[str, Gradient], *, task: str = "labels") -> Gradient:
    """The sum without the terms whose cosine with the task's gradient is below 0: help is taken, harm is not.

    A term that is orthogonal (it reaches other parameters only), or one beside a task gradient of zero, stays.

    Args:
        gradients: name -> gradient of the weighted term.
        task: the term that is never dropped.

    Returns:
        The combined gradient.

    Example:
        >>> g = {"labels": [torch.tensor([1.0, 0.0])], "logits": [torch.tensor([-1.0, 1.0])]}
        >>> cosine_gate(g)[0].tolist()
        [1.0, 0.0]

    Source: Du et al. 2018, arXiv:1812.02224 (gradient similarity of auxiliary losses).
    """
    kept = [name for name in gradients if name not in gated(gradients, task=task)]
    return total([gradients[name] for name in kept])


def gated(gradients: Mapping[str, Gradient], *, task: str = "labels") -> dict[str, float]:
    """The terms that `cosine_gate` drops, each with its cosine."""
    cosines = {name: cosine(g, gradients[task]) for name, g in gradients.items() if name != task}
    return {name: value for name, value in cosines.items() if value is not None and value < 0}


def combine(
    kind: Combination,
    gradients: Mapping[str, Gradient],
    parameters: Sequence[Tensor],
    *,
    shared: int | None = None,
    task: str = "labels",
    generator: torch.Generator | None = None,
) -> dict[str, float]:
    """Write the combined gradient into `.grad`, in place of a backward pass over the sum.

    Args:
        kind: `sum`, `pcgrad` or `cosine-gate`.
        gradients: of `per_term_gradients`, added up over micro-batches.
        parameters: those that the gradients are of; `.grad` is replaced.
        shared: only the first so many are what the terms share (the student's); the rest (projectors, temperatures) get
            the plain sum: a term's own parameters are no place of conflict, and an adversary's sign must not be projected.
            [all]
        task: the term that `cosine-gate` never drops; a step without it (its weight is 0 in a stage) has nothing that another
            could be against, and keeps all.
        generator: of the order in `pcgrad`.

    Returns:
        Figures to record: `dropped/NAME`: the cosine of each term that was dropped.
    """
    shared = len(parameters) if shared is None else shared
    front = {name: gradient[:shared] for name, gradient in gradients.items()}
    dropped: dict[str, float] = {}
    if kind == "sum" or (kind == "cosine-gate" and task not in front):
        head = total(list(front.values()))
    elif kind == "pcgrad":
        head = pcgrad(front, generator=generator)
    else:
        dropped = gated(front, task=task)
        head = cosine_gate(front, task=task)
    # a dropped term still trains its own projector: it must be ready when the term is heard again
    rest = total([gradient[shared:] for gradient in gradients.values()])
    for parameter, gradient in zip(parameters, head + rest, strict=True):
        parameter.grad = gradient
    return {f"dropped/{name}": value for name, value in dropped.items()}


def _sum(parts: Sequence[Tensor | None]) -> Tensor | None:
    there = [part for part in parts if part is not None]
    return sum(there[1:], there[0]) if there else None


def _plus(own: Gradient, other: Gradient, factor: Tensor) -> Gradient:
    moved = [None if x is None else x * factor.to(x.dtype) for x in other]
    return [_sum(pair) for pair in zip(own, moved)]


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
