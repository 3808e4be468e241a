"""Where a training computes: on which device, in how many processes. Lightning Fabric finds or starts them."""

from __future__ import annotations

import atexit
import os
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from stillhouse.core import ranks
from stillhouse.core.checks import InputError
from stillhouse.training.config import TrainingConfig

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PATIENCE = timedelta(days=7)  # the others wait while process 0 scores and writes, however long that takes


def check_device(device: str) -> None:
    """Raise InputError for a GPU that is not there; "auto" and "cpu" always are.

    Example:
        >>> check_device("auto")
    """
    import torch

    missing = {"cuda": not torch.cuda.is_available(), "mps": not torch.backends.mps.is_available()}
    if missing.get(device, False):
        raise InputError(f"device: expected a device that is here, got {device!r}; take auto or cpu")


def is_plain(config: TrainingConfig) -> bool:
    """Whether one process trains alone, as nearly always."""
    return config.devices == 1 and config.num_nodes == 1 and config.strategy == "auto"


def join(config: TrainingConfig) -> None:
    """Start the processes of a run, or join those that torchrun or SLURM started; the first thing that a run does.

    The other processes run the same command from its beginning, and print nothing from here on.

    Raises:
        InputError: more devices than there are, or other numbers than torchrun or SLURM has.
    """
    check_device(config.device)
    if is_plain(config):
        return
    fabric(config)
    if not ranks.first():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for as long as the process lives


def fabric(config: TrainingConfig) -> Fabric:
    """The engine of a training, its processes joined.

    Raises:
        InputError: see `join`.
    """
    from lightning_fabric import Fabric

    chosen: dict[str, Any] = {"accelerator": config.device, "devices": 1, "precision": precision(config)}
    if is_plain(config):
        if ranks.count() > 1:
            raise InputError(f"devices: expected the {ranks.count()} processes that are joined already, got 1")
        return Fabric(**chosen)
    devices = _devices(config)
    try:
        found = Fabric(
            **{**chosen, "devices": devices}, num_nodes=config.num_nodes, strategy=_strategy(config, devices)
        )
        found.launch()
    except (RuntimeError, ValueError, TypeError) as error:
        raise InputError(f"devices {config.devices}, num_nodes {config.num_nodes}: {_line(error)}") from error
    except Exception as error:
        if type(error).__name__ != "MisconfigurationException":  # Fabric's, of no public base
            raise
        raise InputError(f"devices {config.devices}, num_nodes {config.num_nodes}: {_line(error)}") from error
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


def _devices(config: TrainingConfig) -> int:
    """Processes of this machine."""
    if config.devices != "auto":
        return config.devices
    if "LOCAL_WORLD_SIZE" in os.environ:  # torchrun's
        return int(os.environ["LOCAL_WORLD_SIZE"])
    import torch

    return max(1, torch.cuda.device_count()) if config.device in {"auto", "cuda"} else 1


def _strategy(config: TrainingConfig, devices: int) -> Any:
    from lightning_fabric.strategies import ModelParallelStrategy

    if config.strategy == "fsdp":
        from stillhouse.training.sharded import shard

        world = devices * config.num_nodes
        return ModelParallelStrategy(shard, data_parallel_size=world, tensor_parallel_size=1, timeout=PATIENCE)
    return _replicated()


def _replicated() -> Any:
    from lightning_fabric.strategies import DDPStrategy

    class Replicated(DDPStrategy):
        """Fabric's DDP without torch's wrapper, which averages gradients of one forward and one backward call.

        A step here calls parts of networks, several times, and takes the gradients of terms apart; the loop averages them itself.
        """

        def setup_module(self, module: Any) -> Any:
            return module

    return Replicated(timeout=PATIENCE)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
