"""Which of several processes this one is, and those that it started. No torch.

A run on many processes is one program that all of them carry out alike; process 0 alone writes files and prints. torch.distributed
knows the numbers once the processes are joined; before that, and in a plain run, there is one process, number 0.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

children: list[subprocess.Popen[bytes]] = []  # processes of this run that this one started


def count() -> int:
    """How many processes carry out this run."""
    group = _group()
    return 1 if group is None else int(group.get_world_size())


def rank() -> int:
    """The number of this process, from 0."""
    group = _group()
    return 0 if group is None else int(group.get_rank())


def first() -> bool:
    """Whether this is the process that writes files."""
    return rank() == 0


def helps() -> bool:
    """Whether this process was started (by process 0, torchrun or SLURM) as another one than process 0."""
    names = ("RANK", "LOCAL_RANK", "NODE_RANK") + (("SLURM_PROCID",) if "SLURM_NTASKS" in os.environ else ())
    return any(os.environ.get(name, "0") not in {"", "0"} for name in names)


def end_children(patience: float = 0.0) -> None:
    """End the processes that this one started, those first that do not end by themselves in so many seconds."""
    while children:
        child = children.pop()
        try:
            child.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _group() -> Any:
    """torch.distributed, where it is loaded and the processes are joined."""
    group: Any = sys.modules.get("torch.distributed")
    return group if group is not None and group.is_available() and group.is_initialized() else None
