"""What a training is made of, and how that is saved and restored.

A checkpoint is what `torch.save` writes and one line after it: the sha256 of all before. So `torch.load(path, weights_only=True)`
reads it too, and a changed bit anywhere is found before anything of it is used. A run can go on with another number of processes.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from stillhouse.core import processes, ranks
from stillhouse.core.checks import InputError, StillhouseError
from stillhouse.core.records import CHECKPOINT, RECORDS, write_atomically
from stillhouse.training.config import TrainingConfig
from stillhouse.training.device import fabric
from stillhouse.training.dot import DOT
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
        self.fabric, self.many = fabric(config), ranks.count() > 1
        self.device = self.fabric.device
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self.model, self.extras = job.model.to(self.device), job.extras.to(self.device)
        if self.many:
            processes.copy_from_first([*self.model.state_dict().values(), *self.extras.state_dict().values()])
        self.optimizer, self.schedule = build_optimizer(self.model, self.extras, config, self.steps_per_epoch)
        self.dot = self.optimizer if isinstance(self.optimizer, DOT) else None
        self.learned = [p for group in self.optimizer.param_groups for p in group["params"]]
        job.to(self.device)
        self.average = self._build_average()
        self.state = Fit()
        self.best_weights: dict[str, Tensor] = {}
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

    def _parts(self) -> dict[str, Any]:
        parts = {"model": self.model, "extras": self.extras, "job": self.job, "optimizer": self.optimizer}
        return {**parts, "schedule": self.schedule, "average": self.average and self.average.module}

    def save(self) -> None:
        """Write the checkpoint; of several processes the first does."""
        if self.many:
            processes.copy_from_first(self._buffers())
        state = {
            "fit": vars(self.state).copy(),
            "total": self.total,
            **{name: part if part is None else part.state_dict() for name, part in self._parts().items()},
            "best_weights": self.best_weights,
            "generators": processes.all_gather_objects(_generators()),
        }
        processes.run_on_first(lambda: save_checkpoint(self.folder / CHECKPOINT, state))

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
        for name, part in self._parts().items():
            if part is not None:
                part.load_state_dict(state[name])
        self.best_weights = state["best_weights"]
        self.state = replace(self.state, **state["fit"])
        if ranks.rank() < len(state["generators"]):
            held = state["generators"][ranks.rank()]
            torch.set_rng_state(held["cpu"])
            if torch.cuda.is_available() and held["cuda"]:
                torch.cuda.set_rng_state_all(held["cuda"])
        else:  # there were fewer processes before
            torch.manual_seed(self.seed + 1 + ranks.rank() * STRIDE + self.state.step)


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
