"""How a network is trained: the knobs of the loop, which act in every task; a task's subclass adds its own. No torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stillhouse.core.config import configclass

TASK = "labels"  # the term that the others are held against, unless the task names another


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
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of sgd and dot")
    delta: float = Field(
        default=0.075, ge=0, lt=1, description="of dot: added to the teacher's momentum, taken off the task's"
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
    precision: Literal["auto", "32-true", "bf16-mixed"] = Field(
        default="auto",
        description="auto: bf16-mixed on a GPU that has it, else 32-true (autocast on CPU measured slower)",
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(default="auto", description="where to compute")
    devices: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = Field(
        default=1, description="processes of each machine, a GPU each; auto: all GPUs, or what torchrun started"
    )
    num_nodes: int = Field(default=1, gt=0, le=100_000, description="machines, joined by torchrun or SLURM")
    threads: int | None = Field(default=None, gt=0, le=1024, description="CPU threads; none: one a core")
    evaluation_batch_size: int = Field(default=512, gt=0, description="rows per forward pass when scoring")
    log_every: int = Field(default=20, gt=0, description="optimizer steps between two records of the loss terms")
    checkpoint_seconds: float = Field(default=60.0, ge=0, description="save for resume at most so often in an epoch")

    def __post_init__(self) -> None:
        for wrong, words in (
            (
                self.optimizer == "dot" and self.centralize_gradients,
                "centralize_gradients: works on the gradient of the sum, and dot has two; take another optimizer",
            ),
            (self.patience and self.keep == "last", "patience: waits for a better epoch; take keep: best"),
            (
                self.accumulate > self.batch_size,
                f"accumulate: expected at most batch_size ({self.batch_size}), got {self.accumulate}",
            ),
            (
                self.schedule == "cosine" and self.final_learning_rate > self.learning_rate,
                f"final_learning_rate: expected at most learning_rate ({self.learning_rate}), got {self.final_learning_rate}",
            ),
        ):
            if wrong:
                raise ValueError(words)
