"""How a network is trained: the knobs of the loop, which act in every task; a task's subclass adds its own. No torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stillhouse.core.config import configclass
from stillhouse.training.doctor_config import DoctorConfig

MOST_THREADS = 1024  # beyond some thousands, starting them ends the process without a word
MOST_DEVICES = 1024


@configclass
class TrainingConfig:
    """Knobs of the training loop, the same for every arm of a run and for every task."""

    epochs: int = Field(default=20, gt=0, description="passes over the training split")
    batch_size: int = Field(default=128, gt=0, le=2**24, description="rows per optimizer step")
    accumulate: int = Field(
        default=1, gt=0, description="micro-batches that a batch is cut into, to save memory; same result"
    )
    learning_rate: float = Field(default=2e-3, gt=0, description="peak learning rate of AdamW")
    final_learning_rate: float = Field(default=1e-5, ge=0, description="learning rate at the end of the cosine")
    schedule: Literal["cosine", "constant"] = Field(default="cosine", description="learning rate after the warm-up")
    cycle_steps: int = Field(
        default=0, ge=0, description="optimizer steps after which the cosine starts again from the peak; 0: one cosine"
    )
    warmup_epochs: float = Field(
        default=0.5, ge=0, le=1_000_000, description="linear warm-up from a hundredth of the peak, in epochs"
    )
    layer_decay: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="learning rate of a layer over that of the next one; the head has all of it",
    )
    weight_decay: float = Field(default=0.05, ge=0, description="decoupled weight decay of matrices")
    clip_norm: float = Field(default=1.0, ge=0, description="largest gradient norm; 0 turns clipping off")
    centralize_gradients: bool = Field(
        default=False, description="take from each weight vector's gradient its mean, before clipping"
    )
    optimizer: Literal["adamw", "muon", "sgd", "dot"] = Field(
        default="adamw",
        description="muon: Muon for the matrices inside blocks, AdamW for the rest; dot: SGD that remembers the "
        "teacher's gradients longer than the task's",
    )
    momentum: float | None = Field(default=None, ge=0, lt=1, description="of sgd and dot [0.9]")
    delta: float | None = Field(
        default=None, ge=0, lt=1, description="of dot: added to the teacher's momentum, taken off the task's [0.075]"
    )
    gradients: Literal["sum", "pcgrad", "cosine-gate"] = Field(
        default="sum",
        description="pcgrad: terms that conflict are projected; cosine-gate: a term against the task is left out",
    )
    doctor: DoctorConfig | None = Field(
        default=None, description="examine each term's gradient now and then, and balance weights if asked"
    )
    ema_decay: float = Field(
        default=0.0, ge=0, lt=1, description="decay of the weight average that is scored; 0 turns it off"
    )
    keep: Literal["best", "last"] = Field(
        default="best",
        description="weights to end with: of the best validation epoch, or the last (a best of a small split is luck)",
    )
    patience: int = Field(
        default=0, ge=0, description="stop after so many epochs without a better validation score; 0: never"
    )
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = Field(
        default="auto",
        description="auto: bf16-mixed on a GPU that has it, else 32-true (autocast on CPU measured slower)",
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(default="auto", description="where to compute")
    devices: int | Literal["auto"] = Field(
        default=1, description="processes of each machine, a GPU each; auto: all GPUs, or what torchrun started"
    )
    num_nodes: int = Field(default=1, gt=0, le=100_000, description="machines, joined by torchrun or SLURM")
    strategy: Literal["auto", "ddp", "fsdp"] = Field(
        default="auto",
        description="of several processes: ddp (auto): each has all weights; fsdp: weights, gradients and moments are split",
    )
    shard_teacher: bool = Field(
        default=False, description="split the weights of frozen teachers over the processes too; fsdp does it anyway"
    )
    threads: int | str | None = Field(
        default="auto",
        description="CPU threads; auto: one or one a core, whichever takes the first steps faster; none: one a core",
    )
    evaluation_batch_size: int = Field(default=512, gt=0, description="rows per forward pass when scoring")
    log_every: int = Field(default=20, gt=0, description="optimizer steps between two records of the loss terms")
    checkpoint_seconds: float = Field(
        default=60.0, ge=0, description="save for resume at most so often inside an epoch"
    )

    def __post_init__(self) -> None:
        self._check_processes()
        if isinstance(self.threads, int) and self.threads > MOST_THREADS:
            raise ValueError(f"threads: expected at most {MOST_THREADS}, got {self.threads}")
        if self.threads != "auto" and (
            isinstance(self.threads, str) or (self.threads is not None and self.threads < 1)
        ):
            raise ValueError(f"threads: expected a number from 1 on, auto or none, got {self.threads!r}")
        if self.momentum is not None and self.optimizer in {"adamw", "muon"}:
            raise ValueError(f"momentum: does nothing under {self.optimizer}; it belongs to sgd and dot")
        if self.delta is not None and self.optimizer != "dot":
            raise ValueError(f"delta: does nothing under {self.optimizer}; it belongs to dot")
        if self.gradients != "sum" and self.optimizer == "dot":
            raise ValueError(
                f"gradients: {self.gradients!r} makes one gradient of all, and dot needs two; take one of them"
            )
        if self.precision == "16-mixed" and (self.gradients != "sum" or self.optimizer == "dot"):
            raise ValueError(
                "precision: 16-mixed scales the loss, which gradients a term apart cannot have; take bf16-mixed"
            )
        if self.centralize_gradients and (self.gradients != "sum" or self.optimizer == "dot"):
            raise ValueError("centralize_gradients: works on the gradient of the sum; take gradients: sum, and not dot")
        if self.cycle_steps and self.schedule != "cosine":
            raise ValueError(f"cycle_steps: restarts a cosine, but schedule is {self.schedule!r}")
        if self.patience and self.keep == "last":
            raise ValueError("patience: waits for a better epoch, but keep is 'last'; take keep: best")
        if self.accumulate > self.batch_size:
            raise ValueError(f"accumulate: expected at most batch_size ({self.batch_size}), got {self.accumulate}")
        if self.schedule == "cosine" and self.final_learning_rate > self.learning_rate:
            raise ValueError(
                f"final_learning_rate: expected at most learning_rate ({self.learning_rate}), got {self.final_learning_rate}"
            )

    def _check_processes(self) -> None:
        """Raise ValueError for what cannot be on several processes."""
        if self.devices != "auto" and not 1 <= self.devices <= MOST_DEVICES:
            raise ValueError(f"devices: expected 1 to {MOST_DEVICES}, or auto, got {self.devices}")
        if self.shard_teacher and self.devices == 1 and self.num_nodes == 1 and self.strategy == "auto":
            raise ValueError("shard_teacher: one process has nobody to share with; take devices: 2 or more")
        if self.strategy != "fsdp":
            return
        whole = {
            "gradients": (self.gradients != "sum", "takes the gradients of terms apart"),
            "optimizer": (self.optimizer in {"muon", "dot"}, "needs whole matrices"),
            "doctor": (self.doctor is not None, "takes the gradients of terms apart"),
            "centralize_gradients": (self.centralize_gradients, "needs whole gradients"),
            "precision": (
                self.precision == "16-mixed",
                "scales the loss, which split gradients cannot have; bf16-mixed",
            ),
        }
        for name, (chosen, why) in whole.items():
            if chosen:
                raise ValueError(f"{name}: under strategy fsdp weights are split, and this {why}; take strategy: ddp")
