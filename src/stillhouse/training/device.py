"""Where a training computes: on which device, in how many processes. Lightning Fabric finds or starts them."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillhouse.core import processes, ranks
from stillhouse.core.checks import InputError
from stillhouse.core.config import to_mapping
from stillhouse.core.folder import RunFolder
from stillhouse.training.config import TrainingConfig

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PATIENCE = timedelta(days=7)  # the others wait while process 0 scores and writes, however long that takes
OF_PROCESSES = ("training.devices", "training.num_nodes")


def check_device(device: str) -> None:
    """Raise InputError for a GPU that is not there; "auto" and "cpu" always are.

    Example:
        >>> check_device("auto")
    """
    import torch

    missing = {"cuda": not torch.cuda.is_available(), "mps": not torch.backends.mps.is_available()}
    if missing.get(device, False):
        raise InputError(f"device: expected a device that is here, got {device!r}; take auto or cpu")


def join(config: TrainingConfig) -> None:
    """Start the processes of a run, or join those that torchrun or SLURM started; the first thing that a run does.

    The other processes run the same command from its beginning, and print nothing from here on.

    Raises:
        InputError: more devices than there are, or other numbers than torchrun or SLURM has.
    """
    check_device(config.device)
    if not _is_plain(config):
        fabric(config)
    if not ranks.first():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for as long as the process lives


@contextmanager
def open_run(path: Path, config: Any, *, resume: bool) -> Iterator[RunFolder]:
    """`RunFolder.open` of a run's configuration for all of its processes, by the first; how many they are may change on resume.

    Raises:
        InputError: what `RunFolder.open` and `join` raise.
    """
    join(config.training)
    grown = {name: getattr(config, name) for name in ("may_grow", "may_hold") if hasattr(config, name)}
    grown["may_change"] = (*getattr(config, "may_change", ()), *OF_PROCESSES)
    with ExitStack() as stack:

        def opened() -> dict[str, Any]:
            return stack.enter_context(RunFolder.open(path, to_mapping(config), resume=resume, **grown)).before

        yield RunFolder(path, processes.run_on_first(opened))


def fabric(config: TrainingConfig) -> Fabric:
    """The device and the number format of a training, its processes joined.

    Raises:
        InputError: see `join`.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    chosen: dict[str, Any] = {"accelerator": config.device, "precision": precision(config)}
    if _is_plain(config):
        return Fabric(devices=1, **chosen)
    devices = _devices(config)
    try:
        found = Fabric(devices=devices, num_nodes=config.num_nodes, strategy=DDPStrategy(timeout=PATIENCE), **chosen)
        found.launch()
    except Exception as error:
        text = " ".join(str(error).split())
        raise InputError(f"devices {config.devices}, num_nodes {config.num_nodes}: {text}") from error
    if ranks.count() != devices * config.num_nodes:
        raise InputError(
            f"devices, num_nodes: expected the {ranks.count()} processes that were started, got {devices} x {config.num_nodes}"
        )
    started = getattr(found.strategy.launcher, "procs", [])
    if started and not ranks.children:
        ranks.children.extend(started)
        atexit.register(ranks.end_children, patience=20.0)
    return found


def precision(config: TrainingConfig) -> str:
    """The number format that a configuration means on this machine."""
    if config.precision != "auto":
        return config.precision
    import torch

    gpu = config.device in {"auto", "cuda"} and torch.cuda.is_available()
    # a GPU without bf16 units emulates it, slower than float32
    gpu = gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16-mixed" if gpu else "32-true"


def _is_plain(config: TrainingConfig) -> bool:
    """Whether one process trains alone, as nearly always."""
    return config.devices == 1 and config.num_nodes == 1


def _devices(config: TrainingConfig) -> int:
    """Processes of this machine."""
    if config.devices != "auto":
        return config.devices
    if "LOCAL_WORLD_SIZE" in os.environ:  # torchrun's
        return int(os.environ["LOCAL_WORLD_SIZE"])
    import torch

    return max(1, torch.cuda.device_count()) if config.device in {"auto", "cuda"} else 1
