"""What a training is made of, and how that is saved, restored, handed to the next stage, and split over processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stillhouse.core import processes, ranks
from stillhouse.core.checks import InputError, StillhouseError
from stillhouse.core.records import CHECKPOINT, check_object
from stillhouse.training.checkpoint import Checkpoint, load_checkpoint, restore_rng, save_checkpoint
from stillhouse.training.config import TrainingConfig
from stillhouse.training.device import fabric
from stillhouse.training.dot import DOT
from stillhouse.training.gradient_monitor import SignalDoctor
from stillhouse.training.job import Job
from stillhouse.training.optimizer import build_optimizer
from stillhouse.training.threads import Threads

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
        self.steps_per_epoch = -(-job.rows // config.batch_size)
        self.total = config.epochs * self.steps_per_epoch
        self.fabric = fabric(config)
        self.many = ranks.count() > 1
        self.threads = Threads(config.threads, on_cpu=self.fabric.device.type == "cpu")
        self.model, self.extras = job.model, job.extras.to(self.fabric.device)
        if self.many:
            self.model.to(self.fabric.device)
            processes.copy_from_first([*self.model.state_dict().values(), *self.extras.state_dict().values()])
        self.average: Any = None
        self.undo = self._shard()
        self.fabric.setup_module(self.model)
        optimizer, self.schedule = build_optimizer(self.model, self.extras, config, self.steps_per_epoch)
        self.optimizer: Any = self.fabric.setup_optimizers(optimizer)
        job.to(self.fabric.device)
        self.average = self.average or self._build_average()
        self.state = Fit()
        self.best_weights: dict[str, Tensor] = {}
        self.learned = [p for group in optimizer.param_groups for p in group["params"]]
        own = {id(p) for p in self.model.parameters()}
        self.shared = sum(id(p) in own for p in self.learned)  # the student's come first
        self.dot = optimizer if isinstance(optimizer, DOT) else None
        self.apart = self.dot is not None or config.gradients != "sum"
        self.doctor = None if config.doctor is None else SignalDoctor(config.doctor, job.task_term)
        self.stopping = self.saving = False
        torch.manual_seed(seed + 1 + ranks.rank() * STRIDE)

    @property
    def _holds_start(self) -> bool:
        return self.job.keeps_start and self.config.keep == "best"

    # ------------------------------------------------------------------------------------------------ checkpoints

    def save(self) -> None:
        """Write the checkpoint; of several processes the first does."""
        if self.many:
            processes.copy_from_first(self._buffers())
        others = processes.together(_generators())[1:]
        optimizer = self.optimizer.state_dict()
        if self.config.strategy == "fsdp":
            from stillhouse.training.sharded import full

            optimizer = full(optimizer)
        state: Checkpoint = {
            "fit": vars(self.state).copy(),
            "total": self.total,
            "model": self._whole(self.model),
            "extras": self.extras.state_dict(),
            "job": self.job.state_dict(),
            "threads": self.threads.state_dict(),
            "doctor": None if self.doctor is None else self.doctor.state_dict(),
            "optimizer": optimizer,
            "schedule": self.schedule.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "average": None if self.average is None else self._whole(self.average.module),
            "best_weights": self.best_weights,
            "generators": others,
        }
        processes.on_first(lambda: save_checkpoint(self.folder / CHECKPOINT, state))

    def load(self) -> None:
        """Go on from the checkpoint.

        Raises:
            InputError: it is damaged, or of another training.
        """
        path = self.folder / CHECKPOINT
        state = load_checkpoint(path)
        self._check(state, path)
        try:
            self._restore(state)
        except StillhouseError:
            raise
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            text = " ".join(str(error).split())
            raise InputError(f"checkpoint {path} is of another model or configuration: {text}") from error

    def _check(self, state: Checkpoint, path: Path) -> None:
        """See that a checkpoint is one of this training, before anything of it is believed."""
        fit = check_object(
            state["fit"], {name: type(x) for name, x in vars(Fit()).items()}, f"checkpoint {path}, fit", only=True
        )
        if state["total"] != self.total:
            raise InputError(f"checkpoint {path}: expected {self.total} steps, got {state['total']}")
        if not 0 <= fit["step"] <= self.total:
            raise InputError(f"checkpoint {path}: expected a step of 0 to {self.total}, got {fit['step']}")
        epochs = fit["step"] // self.steps_per_epoch
        held = sorted(state["model"]) if epochs or self._holds_start else []
        for name, expected, got in (
            (f"validations by step {fit['step']}", epochs, fit["epochs"]),
            ("tensors of best_weights", held, sorted(state["best_weights"])),
            ("whether weights are averaged", self.average is not None, state["average"] is not None),
            ("whether a doctor looks on", self.doctor is not None, state["doctor"] is not None),
        ):
            if expected != got:
                raise InputError(f"checkpoint {path}: {name}: expected {expected}, got {got}")

    def _restore(self, state: Checkpoint) -> None:
        self._load_whole(self.model, state["model"])
        self.extras.load_state_dict(state["extras"])
        self.job.load_state_dict(state["job"])
        self.threads.load_state_dict(state["threads"])
        if self.doctor is not None and state["doctor"] is not None:
            self.doctor.load_state_dict(state["doctor"])
        self.optimizer.load_state_dict(self._split_optimizer(state["optimizer"]))
        self.schedule.load_state_dict(state["schedule"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        if self.average is not None and state["average"] is not None:
            self._load_whole(self.average.module, state["average"])
        self.best_weights = state["best_weights"]
        self.state = replace(self.state, **state["fit"])
        if ranks.first():
            restore_rng(state)
        elif ranks.rank() <= len(state["generators"]):
            held = state["generators"][ranks.rank() - 1]
            torch.set_rng_state(held["cpu"])
            if torch.cuda.is_available() and held["cuda"] is not None:
                torch.cuda.set_rng_state(held["cuda"])
        else:  # there were fewer processes before
            torch.manual_seed(self.seed + 1 + ranks.rank() * STRIDE + self.state.step)

    def take_over(self, path: Path, parts: Sequence[str]) -> None:
        """Start from the moments or the extras of another training, as far as they are the same parameters."""
        state = load_checkpoint(path)
        if "extras" in parts:
            here = self.extras.state_dict()
            shared = {n: x for n, x in state["extras"].items() if n in here and here[n].shape == x.shape}
            if not shared:
                raise StillhouseError(
                    f"restore_from_previous: 'extras' of {path}: nothing there fits (its entries: {sorted(state['extras'])[:5]})"
                )
            self.extras.load_state_dict({**here, **shared})
        if "optimizer" in parts:
            now, old = self.optimizer.state_dict(), state["optimizer"]
            sizes = [[len(group["params"]) for group in x["param_groups"]] for x in (now, old)]
            if sizes[0] != sizes[1]:
                raise StillhouseError(
                    f"restore_from_previous: 'optimizer' of {path}: expected parameter groups of {sizes[0]}, got {sizes[1]}; "
                    "signals that learn projectors must be the same in both stages"
                )
            self.optimizer.load_state_dict(self._split_optimizer({**now, "state": old["state"]}))

    def _build_average(self) -> Any:
        """timm's weight average: buffers too, with a decay that warms up, so that a short run does not lag."""
        if self.config.ema_decay == 0:
            return None
        from timm.utils import ModelEmaV3

        return ModelEmaV3(self.model, decay=self.config.ema_decay, use_warmup=True, exclude_buffers=False)

    # ------------------------------------------------------------------------------------------------ split weights

    def _buffers(self) -> list[Tensor]:
        found = [*self.model.buffers(), *self.extras.buffers()]
        return found if self.average is None else [*found, *self.average.module.buffers()]

    def _shard(self) -> list[Callable[[], None]]:
        """Split what the configuration wants split; returns what makes it whole again."""
        config = self.config
        if config.strategy != "fsdp" and not (config.shard_teacher and self.many):
            return []
        from stillhouse.training.sharded import keep_whole, shard_frozen

        undo = [shard_frozen(network, self.fabric.device) for network in self.job.frozen()]
        if config.strategy == "fsdp":
            if self.job.follows:
                raise InputError(
                    "strategy fsdp: weights are split, and a moving average that teaches (auxiliary_decay, a teacher that is the "
                    "student) copies whole ones; take strategy: ddp"
                )
            self.average = self._build_average()  # a copy of whole weights, split like them
            undo.append(keep_whole(self.model))
            if self.average is not None:
                self.fabric.setup_module(self.average.module)
        return undo

    def make_whole(self) -> None:
        """Give student and teacher their whole weights back."""
        while self.undo:
            self.undo.pop()()

    def _whole(self, module: torch.nn.Module) -> dict[str, Any]:
        if self.config.strategy != "fsdp":
            return module.state_dict()
        from stillhouse.training.sharded import full, reshard

        reshard(module)
        return {name: full(x) for name, x in module.state_dict().items()}

    def _load_whole(self, module: torch.nn.Module, state: Mapping[str, Tensor]) -> None:
        if self.config.strategy != "fsdp":
            module.load_state_dict(state)
            return
        from stillhouse.training.sharded import load_whole

        load_whole(module, state)

    def _split_optimizer(self, state: dict[str, Any]) -> dict[str, Any]:
        if self.config.strategy != "fsdp":
            return state
        from stillhouse.training.sharded import optimizer_state

        return optimizer_state(state, self.optimizer)


def _generators() -> dict[str, Tensor | None]:
    """The random states of this process."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None}
