"""What a training is made of, and how that is saved, restored and handed to the next stage.

A checkpoint is what `torch.save` writes and one line after it: the sha256 of all before. So `torch.load(path, weights_only=True)`
reads it too, and a changed bit anywhere is found before anything of it is used. It holds whole tensors: a run can go on with
another number of processes, and weights that were split (FSDP2) may be whole next time.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn

from stillhouse.core import processes, ranks
from stillhouse.core.checks import InputError, StillhouseError
from stillhouse.core.records import CHECKPOINT, RECORDS, write_atomically
from stillhouse.training.config import TrainingConfig
from stillhouse.training.device import fabric
from stillhouse.training.dot import DOT
from stillhouse.training.gradient_monitor import GradientMonitor
from stillhouse.training.job import Job
from stillhouse.training.optimizer import build_optimizer

FORMAT = "stillhouse-checkpoint-4"
STRIDE = 1_000_000_007  # between the seeds of two processes


@dataclass
class Fit:
    """Where a training stands: what a checkpoint holds besides weights, and what `fit` returns at the end."""

    step: int = 0
    seconds: float = 0.0
    best_epoch: int = 0
    best: dict[str, float | None] = field(default_factory=dict)
    best_rank: tuple[float, ...] = ()
    ranks: list[tuple[float, ...]] = field(default_factory=list)
    epochs: int = 0
    stopped_early: bool = False


class TrainingState:
    """The state of one training: model, optimizer, schedule, weights that are kept; saved to and restored from a checkpoint."""

    def __init__(self, job: Job, config: TrainingConfig, seed: int, folder: Path) -> None:
        self.job, self.config, self.seed, self.folder = job, config, seed, folder
        self.batch_size = job.batch_size or config.batch_size
        self.steps_per_epoch = -(-job.rows // self.batch_size)
        self.total = config.epochs * self.steps_per_epoch
        self.fabric = fabric(config)
        self.many, self.split = ranks.count() > 1, config.strategy == "fsdp"
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self.model, self.extras = job.model, job.extras.to(self.fabric.device)
        if self.many:
            self.model.to(self.fabric.device)
            processes.copy_from_first([*self.model.state_dict().values(), *self.extras.state_dict().values()])
        # before weights are split: a copy of whole ones, which is split like them
        self.average: Any = self._build_average() if self.split else None
        self.fabric.setup_module(self.model)
        optimizer, self.schedule = build_optimizer(self.model, self.extras, config, self.steps_per_epoch)
        self.optimizer: Any = self.fabric.setup_optimizers(optimizer)
        job.to(self.fabric.device)
        if self.average is None:
            self.average = self._build_average()
        elif self.split:
            self.fabric.setup_module(self.average.module)
        self.state = Fit()
        self.best_weights: dict[str, Tensor] = {}
        self.learned = [p for group in optimizer.param_groups for p in group["params"]]
        own = {id(p) for p in self.model.parameters()}
        self.shared = sum(id(p) in own for p in self.learned)  # the student's come first
        self.dot = optimizer if isinstance(optimizer, DOT) else None
        self.apart = self.dot is not None or config.gradients != "sum"
        self.monitor = None if config.doctor is None else GradientMonitor(config.doctor, job.task_term)
        self.stopping = self.saving = False
        torch.manual_seed(seed + 1 + ranks.rank() * STRIDE)

    @property
    def _holds_start(self) -> bool:
        return self.job.keeps_start and self.config.keep == "best"

    def _build_average(self) -> Any:
        """timm's weight average: buffers too, with a decay that warms up, so that a short run does not lag."""
        if self.config.ema_decay == 0:
            return None
        from timm.utils import ModelEmaV3

        return ModelEmaV3(self.model, decay=self.config.ema_decay, use_warmup=True, exclude_buffers=False)

    def _buffers(self) -> list[Tensor]:
        found = [*self.model.buffers(), *self.extras.buffers()]
        return found if self.average is None else [*found, *self.average.module.buffers()]

    # ------------------------------------------------------------------------------------------------ checkpoints

    def save(self) -> None:
        """Write the checkpoint; of several processes the first does."""
        if self.many:
            processes.copy_from_first(self._buffers())
        state = {
            "fit": vars(self.state).copy(),
            "total": self.total,
            "model": whole(self.model),
            "extras": self.extras.state_dict(),
            "job": self.job.state_dict(),
            "doctor": None if self.monitor is None else self.monitor.state_dict(),
            "optimizer": _full(self.optimizer.state_dict()),
            "schedule": self.schedule.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "average": None if self.average is None else whole(self.average.module),
            "best_weights": self.best_weights,
            "generators": processes.together(_generators()),
        }
        processes.on_first(lambda: save_checkpoint(self.folder / CHECKPOINT, state))

    def load(self) -> None:
        """Go on from the checkpoint.

        Raises:
            InputError: it is damaged, or of another training.
        """
        path = self.folder / CHECKPOINT
        state = load_checkpoint(path)
        if state["total"] != self.total or (state["average"] is None) != (self.average is None):
            raise InputError(
                f"checkpoint {path} is of another training: expected {self.total} steps, got {state['total']}"
            )
        try:
            self._restore(state)
        except StillhouseError:
            raise
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            text = " ".join(str(error).split())
            raise InputError(f"checkpoint {path} is of another model or configuration: {text}") from error

    def _restore(self, state: dict[str, Any]) -> None:
        load_whole(self.model, state["model"])
        self.extras.load_state_dict(state["extras"])
        self.job.load_state_dict(state["job"])
        if self.monitor is not None:
            self.monitor.load_state_dict(state["doctor"])
        self._load_optimizer(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        if self.average is not None:
            load_whole(self.average.module, state["average"])
        self.best_weights = state["best_weights"]
        self.state = replace(self.state, **state["fit"])
        if ranks.rank() < len(state["generators"]):
            held = state["generators"][ranks.rank()]
            torch.set_rng_state(held["cpu"])
            if torch.cuda.is_available() and held["cuda"]:
                torch.cuda.set_rng_state_all(held["cuda"])
        else:  # there were fewer processes before
            torch.manual_seed(self.seed + 1 + ranks.rank() * STRIDE + self.state.step)

    def take_over(self, path: Path, parts: Sequence[str]) -> None:
        """Start from the moments or the extras of another training, as far as they are the same parameters."""
        state = load_checkpoint(path)
        if "extras" in parts:
            here = self.extras.state_dict()
            shared = {n: x for n, x in state["extras"].items() if n in here and here[n].shape == x.shape}
            if not shared:
                raise StillhouseError(f"restore_from_previous: 'extras' of {path}: nothing there fits; leave it out")
            self.extras.load_state_dict({**here, **shared})
        if "optimizer" in parts:
            now, old = self.optimizer.state_dict(), state["optimizer"]
            sizes = [[len(group["params"]) for group in x["param_groups"]] for x in (now, old)]
            if sizes[0] != sizes[1]:
                raise StillhouseError(
                    f"restore_from_previous: 'optimizer' of {path}: expected parameter groups of {sizes[0]}, got {sizes[1]}; "
                    "train_only and signals that learn projectors must be the same in both stages"
                )
            self._load_optimizer({**now, "state": old["state"]})

    def _load_optimizer(self, state: dict[str, Any]) -> None:
        """A whole state, its moments split as the parameters are."""
        moments = {
            number: {
                name: _like(x, self.learned[number]) if getattr(x, "shape", None) == self.learned[number].shape else x
                for name, x in entries.items()
            }
            for number, entries in state["state"].items()
        }
        self.optimizer.load_state_dict({**state, "state": moments})


# ------------------------------------------------------------------------------------------------ files


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint; through memory, so a full disk is a plain error.

    The records so far belong to it: they are flushed to the disk first, and their hash is kept.
    """

    def write(file: IO[bytes]) -> None:
        buffer = io.BytesIO()
        torch.save({"records": _records(path.parent), **state}, buffer)
        buffer.write(_last_line(buffer.getbuffer()))
        file.write(buffer.getbuffer())

    write_atomically(path, write)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of ours; tensors and plain data only, never a pickle that runs code.

    Raises:
        InputError: missing, truncated, changed since it was written, or not a checkpoint of this version.
    """
    try:
        raw = path.read_bytes()
        size = len(raw) - len(_last_line(b""))
        if size < 0 or raw[size:] != _last_line(memoryview(raw)[:size]):
            raise InputError(
                f"checkpoint {path} cannot be read: expected the sha256 of its content at its end, got something else "
                "(truncated, damaged, or not a checkpoint of this version)"
            )
        state: dict[str, Any] = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"checkpoint {path} cannot be read: {error.strerror}") from None
    except pickle.UnpicklingError as error:
        raise InputError(f"checkpoint {path} cannot be read: {str(error).splitlines()[0]}") from None
    if _records(path.parent, state["records"]["bytes"]) != state["records"]:
        raise InputError(f"{path.parent / RECORDS} was changed after {path.name} was written beside it")
    return state


def _records(folder: Path, size: int = -1) -> dict[str, Any]:
    """The number and the hash of the first bytes (-1: of all) of a training's records, flushed."""
    raw, path = b"", folder / RECORDS
    if path.is_file():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            raw = file.read(size)
    return {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}


def _last_line(content: bytes | memoryview) -> bytes:
    return f"\n{FORMAT} sha256 {hashlib.sha256(content).hexdigest()}\n".encode()


def _generators() -> dict[str, Any]:
    """The random states of this process."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}


# ------------------------------------------------------------------------------------------------ split weights


def whole(module: nn.Module) -> dict[str, Tensor]:
    """The state of a module, of which split tensors are whole; all processes must ask for it alike."""
    from torch.distributed.fsdp import FSDPModule

    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()  # what a forward pass without a backward pass left whole
    found: dict[str, Tensor] = _full(module.state_dict())
    return found


@torch.no_grad()
def load_whole(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """`load_state_dict` of whole tensors into a module whose weights may be split."""
    now = module.state_dict()
    module.load_state_dict({name: _like(x, now[name]) if name in now else x for name, x in state.items()})


def _full(state: Any) -> Any:
    from torch.distributed.tensor import DTensor
    from torch.utils._pytree import tree_map

    return tree_map(lambda x: x.full_tensor() if isinstance(x, DTensor) else x, state)


def _like(tensor: Tensor, target: Tensor) -> Tensor:
    """A whole tensor, split as another one is."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(target, DTensor):
        return tensor
    return distribute_tensor(tensor.to(target.device, target.dtype), target.device_mesh, target.placements)
