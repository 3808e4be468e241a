"""How much memory a network asks for, found out without asking for it."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook

from stillhouse.core.checks import InputError

COPIES = 4  # weights, their gradients, and the two moments of Adam
MOST_PARTS = 50_000  # of networks that are trained: some thousands; millions take minutes to build


class _TooManyParts(Exception):
    """The network has more parts than any that is trained."""


def check_size(build: Callable[[], nn.Module], name: str, *, memory: int | None = None) -> None:
    """Refuse a network whose training this machine could not hold, before a byte of it is there.

    It is built without storage; one that cannot be (its start is computed from data) is let through.

    Args:
        build: makes the network.
        name: for the message.
        memory: bytes that there are; those of this machine where not given.

    Raises:
        InputError: it is too large.
    """
    parts = 0

    def counted(module: nn.Module, part: str, inner: nn.Module | None) -> None:
        nonlocal parts
        parts += 1
        if parts > MOST_PARTS:
            raise _TooManyParts

    counting = register_module_module_registration_hook(counted)
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            network = build()
        weights = sum(p.numel() for p in network.parameters())
        size = COPIES * sum(p.numel() * p.element_size() for p in network.parameters())
    except _TooManyParts:
        raise InputError(
            f"{name}: expected a network of at most {MOST_PARTS:,} layers and parts of layers, got more; lower its depth"
        ) from None
    except Exception:  # its own faults are found, and named, when it is built
        return
    finally:
        counting.remove()
    have = memory or machine_memory()
    if size > have:
        raise InputError(
            f"{name}: expected a network whose training fits into {have / 2**30:,.1f} GiB of memory, got one of {weights:,} "
            f"weights, which with gradients and moments takes {size / 2**30:,.1f} GiB; lower its sizes"
        )


def machine_memory() -> int:
    """Bytes of memory: of this machine, or of its largest GPU, whichever is more."""
    own = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 2**63
    of_gpus = [torch.cuda.get_device_properties(n).total_memory for n in range(torch.cuda.device_count())]
    return max([own, *of_gpus])
