"""What an embedding student learns from, and how its batches are made. No torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from stillhouse.core.config import configclass
from stillhouse.training.config import TrainingConfig

FEW_ROWS = 5000  # training rows up to which the student overfits single neighbors
PERPLEXITY, PERPLEXITY_OF_FEW, MIX_OF_FEW = 10.0, 40.0, 0.5


@configclass
class EmbeddingLossConfig:
    """Loss terms and batches. The defaults are what measured best on sentences; see docs for what each is worth.

    Near and far are two tasks that pull apart: `neighbor_weight` keeps who is near (kNN overlap), `global_weight` keeps how far
    the rest is (Spearman).
    """

    neighbor_weight: float = Field(default=1.0, ge=0, description="weight of the neighbors' KL: who is near")
    perplexity: float | None = Field(
        default=None,
        gt=1,
        description="effective number of neighbors of a row in its batch [10; 40 of up to 5 000 training rows]",
    )
    tau: tuple[float, ...] = Field(
        default=(),
        description="in place of perplexity: a temperature of the rows' cosines, or one a stage, as 4,2,0.5 (output sphere); no"
        " falling schedule was better than one temperature",
    )
    global_weight: float = Field(
        default=1.0, ge=0, description="weight of the correlation of distances: how far the rest is"
    )
    class_weight: float = Field(
        default=0.0,
        ge=0,
        description="weight of KL between the softmax of vector and code, at tau: vectors that are scores of classes",
    )
    reconstruction_weight: float = Field(default=0.0, ge=0, description="weight of rebuilding the vector from its code")
    spread_weight: float = Field(default=0.0, ge=0, description="weight against axes that collapse (deviation below 1)")
    decorrelation_weight: float = Field(default=0.0, ge=0, description="weight against axes that are alike")
    pole_weight: float = Field(default=1.0, ge=0, description="weight of named poles (with poles_file)")
    level_weights: tuple[float, ...] = Field(
        default=(), description="weights of the loss at 5, 5+25, ... numbers [1,0.5,0.25,...]"
    )
    noise: float = Field(
        default=0.5,
        ge=0,
        description="length of the noise on the student's input, against the spread of the vectors; less overfitting",
    )
    mix: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="share of a batch's rows that lie between a row and a neighbor of it, where the vectors are as good a "
        "teacher [0; 0.5 of up to 5 000 training rows]",
    )
    graph: Literal["auto", "exact", "blocks", "off"] = Field(
        default="auto",
        description="neighbors drawn into batches: exact (auto up to 50 000 rows), within blocks, or none",
    )
    graph_neighbors: int = Field(default=30, gt=0, description="nearest rows of which some are drawn")
    anchors: int = Field(default=64, gt=0, description="rows of a batch that bring neighbors along")
    drawn: int = Field(default=4, gt=0, description="neighbors that each brings")
    epoch_steps: Annotated[int, Field(gt=0)] | Literal["pass"] = Field(
        default=50,
        description="optimizer steps between two validations: one 'epoch'; pass: as many as all training rows take",
    )
    validation_rows: int = Field(default=3000, ge=30, description="validation rows that are scored, at most")

    def __post_init__(self) -> None:
        if not (self.neighbor_weight or self.global_weight or self.class_weight or self.reconstruction_weight):
            raise ValueError(
                "neighbor_weight, global_weight, class_weight, reconstruction_weight: expected one above 0, got nothing to "
                "learn"
            )
        if any(tau <= 0 for tau in self.tau):
            raise ValueError(f"tau: expected temperatures above 0, got {self.tau}")
        if any(weight < 0 for weight in self.level_weights):
            raise ValueError(f"level_weights: expected numbers from 0, got {self.level_weights}")

    def steps(self, rows: int, batch: int) -> int:
        """Optimizer steps of an epoch over so many training rows.

        Example:
            >>> EmbeddingLossConfig().steps(1000, 32), EmbeddingLossConfig(epoch_steps="pass").steps(1000, 32)
            (50, 32)
        """
        return -(-rows // batch) if self.epoch_steps == "pass" else self.epoch_steps

    def of_rows(self, rows: int, batch: int) -> EmbeddingLossConfig:
        """The same with what depends on the number of training rows filled in.

        Args:
            rows: training rows.
            batch: rows that are compared with each other.

        Example:
            >>> few = EmbeddingLossConfig().of_rows(1000, 1000)
            >>> few.perplexity, few.mix
            (40.0, 0.5)
        """
        few = rows <= FEW_ROWS
        perplexity = max(PERPLEXITY, min(PERPLEXITY_OF_FEW, min(batch, rows) / 8)) if few else PERPLEXITY
        found = self.perplexity if self.perplexity is not None else perplexity
        mix = self.mix if self.mix is not None else MIX_OF_FEW if few else 0.0
        return replace(self, perplexity=found, mix=mix)


@configclass
class EmbeddingTrainingConfig(TrainingConfig):
    """The loop's knobs, with defaults as they measured best for embedding students: 1200 steps of 1024 rows."""

    epochs: int = Field(default=24, gt=0, description="validations: each comes after loss.epoch_steps steps")
    batch_size: int = Field(default=1024, gt=0, le=2**24, description="rows drawn for an optimizer step")
    learning_rate: float = Field(default=5e-3, gt=0, description="peak learning rate")
    warmup_epochs: float = Field(default=2.0, ge=0, description="linear warm-up, in epochs")
    weight_decay: float = Field(default=0.0, ge=0, description="decoupled weight decay of matrices")
    clip_norm: float = Field(default=10.0, ge=0, description="largest gradient norm; 0 turns clipping off")
    precision: Literal["32-true"] = Field(
        default="32-true", description="distances of near rows are differences of large numbers: no half precision"
    )
