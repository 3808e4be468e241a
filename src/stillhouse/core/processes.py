"""What the processes of a run do together; with one process every function is the identity.

A step of training on W processes is the step of one process on the whole batch: each computes the loss terms of its own rows,
multiplied with W n / N (n of the N rows are its own), and gradients are averaged. A term that compares samples is computed by
every process from the gathered outputs of all; `gather` sends back the sum of all gradients, so that the same average is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from stillhouse.core import ranks

T = TypeVar("T")


def share(rows: Tensor) -> tuple[Tensor, list[int]]:
    """This process's part of some rows, and how many each process has.

    A process that gets none takes the first row, so that it goes through the same computation; it counts 0 of it.

    Example:
        >>> share(torch.arange(3))
        (tensor([0, 1, 2]), [3])
    """
    parts = rows.tensor_split(ranks.count())
    mine = parts[ranks.rank()]
    return (mine if len(mine) else rows[:1]), [len(part) for part in parts]


def gather(x: Tensor, sizes: Sequence[int] | None = None) -> Tensor:
    """(N, ...) the first rows of all processes in order, with a gradient to this one's.

    Args:
        x: (n, ...) rows of this process, of which only as many count as `sizes` says.
        sizes: rows of each process; None: all of them are asked.
    """
    if ranks.count() == 1:
        return x
    from torch.distributed.nn.functional import all_gather

    known = all_gather_objects(len(x)) if sizes is None else list(sizes)
    if x.is_complex():
        return torch.view_as_complex(gather(torch.view_as_real(x), known))
    if x.dtype == torch.bool:
        return gather(x.to(torch.uint8), known).bool()
    mine = x[: known[ranks.rank()]]
    padded = torch.cat([mine, x.new_zeros(max(known) - len(mine), *x.shape[1:])])
    return torch.cat([part[:size] for part, size in zip(all_gather(padded), known)])


def all_gather_objects(value: T) -> list[T]:
    """What each process has for a value, in order; plain data or small tensors."""
    if ranks.count() == 1:
        return [value]
    found: list[Any] = [None] * ranks.count()
    torch.distributed.all_gather_object(found, value)
    return found


def broadcast_from_first(value: T) -> T:
    """Process 0's value, for all."""
    return all_gather_objects(value)[0]


def run_on_first(work: Callable[[], T]) -> T:
    """Let process 0 do something while the others wait; all get its result, or raise its error."""
    if ranks.count() == 1:
        return work()
    found: Any = None
    error: BaseException | None = None
    if ranks.first():
        try:
            found = work()
        except BaseException as caught:
            error = caught
    error = broadcast_from_first(error)
    if error is not None:
        raise error
    return broadcast_from_first(found)


def run_first_then_others(work: Callable[[], T]) -> T:
    """Let process 0 do something first (it leaves files), then all others (they read them); its error is everyone's."""
    if ranks.count() == 1:
        return work()
    found: list[T] = []
    run_on_first(lambda: found.append(work()))
    return found[0] if ranks.first() else work()


def all_reduce_mean(tensors: Iterable[Tensor | None]) -> None:
    """Replace each tensor by its mean over the processes, in place, in one message a number format; None is left out."""
    if ranks.count() == 1:
        return
    alike: dict[torch.dtype, list[Tensor]] = {}
    for x in tensors:
        if x is not None:
            alike.setdefault(x.dtype, []).append(x)
    for group in alike.values():
        flat = torch.cat([x.flatten() for x in group])
        torch.distributed.all_reduce(flat)
        for x, mean in zip(group, (flat / ranks.count()).split([x.numel() for x in group])):
            x.copy_(mean.view_as(x))


def average_gradients(parameters: Sequence[Tensor], flags: Sequence[bool], device: torch.device) -> list[bool]:
    """Average `.grad` of all parameters; one that no process reaches stays None, one that some reach is 0 elsewhere.

    Args:
        parameters: in the same order everywhere.
        flags: carried along in the message that asks who has a gradient.
        device: of the messages.

    Returns:
        For each flag whether any process raised it.
    """
    held = [*flags, *(p.grad is not None for p in parameters)]
    seen = torch.tensor(held, dtype=torch.uint8, device=device)
    torch.distributed.all_reduce(seen, op=torch.distributed.ReduceOp.MAX)
    reached = [bool(x) for x in seen.tolist()]
    for parameter, here in zip(parameters, reached[len(flags) :], strict=True):
        if here and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    all_reduce_mean(p.grad for p in parameters)
    return reached[: len(flags)]


def copy_from_first(tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors with process 0's, in place."""
    if ranks.count() > 1:
        for x in tensors:
            torch.distributed.broadcast(x, src=0)
