"""How much memory a network asks for, found out without asking for it: else a width or a depth of a billion ends the machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count

import torch
from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook

from stillhouse.core.checks import InputError

COPIES = 4  # weights, their gradients, and the two moments of Adam
MOST_PARTS = 50_000  # of networks that are trained: some thousands; millions take minutes to build


def check_size(build: Callable[[], nn.Module], name: str, *, memory: int | None = None) -> None:
    """Refuse a network whose training this machine could not hold, before a byte of it is there.

    It is built without storage; one that cannot be (its start is computed from data) is let through.

    Args:
        build: makes the network.
        name: for the message.
        memory: bytes that there are [of this machine, or of its largest GPU].

    Raises:
        InputError: it is too large.
    """
    parts = count(1)

    def counted(*unused: object) -> None:
        if next(parts) > MOST_PARTS:
            raise InputError(f"{name}: expected a network of at most {MOST_PARTS:,} layers, got more; lower its depth")

    counting = register_module_module_registration_hook(counted)
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            weights = [(p.numel(), p.element_size()) for p in build().parameters()]
    except InputError:
        raise
    except Exception:  # its own faults are found, and named, when it is built
        return
    finally:
        counting.remove()
    own = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 2**63
    of_gpus = [torch.cuda.get_device_properties(n).total_memory for n in range(torch.cuda.device_count())]
    have, size = memory or max([own, *of_gpus]), COPIES * sum(number * width for number, width in weights)
    if size > have:
        raise InputError(
            f"{name}: expected a network whose training fits into {have / 2**30:,.1f} GiB of memory, got one of "
            f"{sum(number for number, _ in weights):,} weights, which with gradients and moments takes "
            f"{size / 2**30:,.1f} GiB; lower its sizes"
        )
