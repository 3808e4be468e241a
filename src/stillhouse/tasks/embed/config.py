"""A whole embedding run as one value: vectors, student, loss, training, controls and seeds. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from stillhouse.core.config import configclass
from stillhouse.core.plan import RunPlan, check_plan, one_teacher
from stillhouse.tasks.embed.data import VectorsConfig
from stillhouse.training.config import TrainingConfig

STUDENT = "student"  # the arm that learns; all others are anchors
FEW_ROWS = 5000  # training rows up to which the student overfits single neighbors
PERPLEXITY, PERPLEXITY_OF_FEW = 10.0, 40.0
EPOCH_STEPS, EPOCH_STEPS_OF_FEW = 50, 8
SIGNALS = ("features", "hidden", "relations", "dynamics")  # what can compare codes and vectors
Weight = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(gt=0)]


@configclass
class EmbeddingStudentConfig:
    """A linear map to few dimensions, which starts at the principal axes, and a small network that bends it.

    Codes of several levels are read as prefixes: the first 5 numbers are a code, the first 30 a finer one, all 155 the finest.
    """

    kind: Literal["embedding"] = "embedding"
    levels: tuple[Count, ...] = Field(
        default=(5,),
        min_length=1,
        description="numbers of each level, as 5 or 5,25,125; the first alone are a code too",
    )
    hidden: tuple[Count, Count] = Field(default=(512, 256), description="widths of the two hidden layers")
    normalize: bool | None = Field(
        default=None,
        description="scale the teacher's vectors to length 1 first: cosine, not length [true for vectors of length 1 and for "
        "captured texts; else false: lengths are data]",
    )
    output: Literal["euclidean", "sphere"] = Field(
        default="euclidean",
        description="the first level is any numbers (compare by distance; measured better), or of length 1 (by cosine)",
    )
    axes: tuple[tuple[str, str, str], ...] = Field(
        default=(), description="name, pole at -1 and pole at +1 of each axis of the first level (with poles_file)"
    )

    def __post_init__(self) -> None:
        if self.output == "sphere" and self.levels[0] < 2:
            raise ValueError("output: 'sphere' in 1 dimension is two points; take levels of 2 or more")
        if self.axes and len(self.axes) != self.levels[0]:
            raise ValueError(
                f"axes: expected {self.levels[0]}, one for each number of the first level, got {len(self.axes)}"
            )

    @property
    def widths(self) -> tuple[int, ...]:
        """How many numbers each prefix has.

        Example:
            >>> EmbeddingStudentConfig(levels=(5, 25, 125)).widths
            (5, 30, 155)

        Source: Kusupati et al. 2022, arXiv:2205.13147 (Matryoshka).
        """
        return tuple(accumulate(self.levels))


@configclass
class EmbeddingLossConfig:
    """Loss terms and batches. The defaults are what measured best on sentences; see docs for what each is worth.

    Near and far are two tasks that pull apart: `neighbor_weight` keeps who is near (kNN overlap), `global_weight` keeps how far
    the rest is (Spearman).
    """

    neighbor_weight: Weight = Field(default=1.0, description="weight of the neighbors' KL: who is near")
    perplexity: float | None = Field(
        default=None,
        gt=1,
        description="effective number of neighbors of a row in its batch [10; 40 of up to 5 000 training rows]",
    )
    tau: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(),
        description="in place of perplexity: a temperature of the rows' cosines, or one a stage, as 4,2,0.5 (output sphere); no"
        " falling schedule was better than one temperature",
    )
    global_weight: Weight = Field(
        default=1.0, description="weight of the correlation of distances: how far the rest is"
    )
    guard_weight: Weight = Field(
        default=16.0,
        description="times global_weight, of what exceeds 0.85 of the principal axes' 1 - correlation: near is not bought with far",
    )
    class_weight: Weight = Field(
        default=0.0,
        description="weight of KL between the softmax of vector and code, at tau: vectors that are scores of classes",
    )
    reconstruction_weight: Weight = Field(default=0.0, description="weight of rebuilding the vector from its code")
    pole_weight: Weight = Field(default=1.0, description="weight of named poles (with poles_file)")
    level_weights: tuple[Weight, ...] = Field(
        default=(), description="weights of the loss at 5, 5+25, ... numbers [1,0.5,0.25,...]"
    )
    noise: Weight = Field(
        default=0.5,
        description="length of the noise on the student's input, against the spread of the vectors; less overfitting",
    )
    anchors: int = Field(default=64, ge=0, description="rows of a batch that bring neighbors along, four each")
    epoch_steps: Count | Literal["pass"] | None = Field(
        default=None,
        description="optimizer steps between two validations: one 'epoch'; pass: as many as all training rows take [50; 8 of up"
        " to 5 000 training rows]",
    )
    validation_rows: int = Field(default=3000, ge=30, description="validation rows that are scored, at most")

    def __post_init__(self) -> None:
        if not (self.neighbor_weight or self.global_weight or self.class_weight or self.reconstruction_weight):
            raise ValueError("neighbor_weight, global_weight, class_weight, reconstruction_weight: nothing to learn")
        if self.level_weights and not self.level_weights[0]:
            raise ValueError("level_weights: expected one above 0 for the first level")

    def steps(self, rows: int, batch: int) -> int:
        """Optimizer steps of an epoch over so many training rows.

        Example:
            >>> EmbeddingLossConfig().steps(9000, 32), EmbeddingLossConfig(epoch_steps="pass").steps(1000, 32)
            (50, 32)
        """
        if self.epoch_steps == "pass":
            return -(-rows // batch)
        # a network that only rebuilds vectors, as the autoencoder, keeps more of them after more steps
        return self.epoch_steps or (EPOCH_STEPS_OF_FEW if self.neighbor_weight and rows <= FEW_ROWS else EPOCH_STEPS)

    def perplexity_of(self, rows: int, batch: int) -> float:
        """The effective number of neighbors: as given, or by the number of training rows.

        Args:
            rows: training rows.
            batch: rows that are compared with each other.

        Example:
            >>> EmbeddingLossConfig().perplexity_of(1000, 1000), EmbeddingLossConfig().perplexity_of(9000, 1000)
            (40.0, 10.0)
        """
        if self.perplexity is not None:
            return self.perplexity
        return max(PERPLEXITY, min(PERPLEXITY_OF_FEW, min(batch, rows) / 8)) if rows <= FEW_ROWS else PERPLEXITY


@configclass
class EmbeddingTrainingConfig(TrainingConfig):
    """The loop's knobs, with defaults as they measured best for embedding students: 1200 steps of 1024 rows; of few, 192."""

    epochs: int = Field(default=24, gt=0, description="validations: each comes after loss.epoch_steps steps")
    batch_size: int = Field(default=1024, gt=0, le=2**24, description="rows drawn for an optimizer step")
    learning_rate: float = Field(default=5e-3, gt=0, description="peak learning rate")
    warmup_epochs: float = Field(default=2.0, ge=0, description="linear warm-up, in epochs")
    weight_decay: float = Field(default=0.0, ge=0, description="decoupled weight decay of matrices")
    clip_norm: float = Field(default=10.0, ge=0, description="largest gradient norm; 0 turns clipping off")
    precision: Literal["32-true"] = Field(
        default="32-true", description="distances of near rows are differences of large numbers: no half precision"
    )


@configclass
class EmbedRunConfig(RunPlan):
    """Everything that an embedding run depends on; saved with the run."""

    may_grow: ClassVar[tuple[str, ...]] = ("seeds", "anchors")

    name: str = Field(default="embedding", min_length=1, description="the folder is runs/NAME unless --out is given")
    data: VectorsConfig = Field(description="the teacher's vectors and their splits")
    student: EmbeddingStudentConfig = Field(default_factory=EmbeddingStudentConfig, description="vectors -> codes")
    loss: EmbeddingLossConfig = Field(default_factory=EmbeddingLossConfig, description="what it learns from")
    training: EmbeddingTrainingConfig = Field(default_factory=EmbeddingTrainingConfig, description="the loop")
    teacher_assistants: tuple[EmbeddingStudentConfig, ...] = Field(
        default=(), description="assistants between the vectors and the student: wider codes, largest first"
    )
    anchors: tuple[Literal["pca", "random-projection", "truncation", "autoencoder", "umap"], ...] = Field(
        default=("pca", "random-projection", "truncation", "autoencoder", "umap"), description="what it is held against"
    )
    poles_file: str | None = Field(
        default=None, min_length=1, description="texts at known ends of axes: .csv or .jsonl of text, axis, pole"
    )
    teacher_dim: int | None = Field(default=None, gt=1, description="width that the vectors must have [as they come]")
    test_rows: int = Field(default=5000, gt=21, description="test rows that are judged, at most")

    @model_validator(mode="before")
    @classmethod
    def _one_teacher(cls, given: Any) -> Any:
        return one_teacher(
            given, "the teacher of a code is one set of vectors; join several beforehand, side by side, as one file"
        )

    def __post_init__(self) -> None:
        if self.auxiliary_losses or self.auxiliary_decay is not None:
            raise ValueError(
                "auxiliary_losses: codes have neither classes nor exits to learn from without a teacher; see "
                "loss.reconstruction_weight"
            )
        compared = self.loss.neighbor_weight or not self.loss.class_weight
        if self.loss.tau and compared and self.student.output != "sphere":
            raise ValueError("loss.tau: compares directions; take student.output: sphere, or perplexity instead of tau")
        if self.poles_file is not None and not self.student.axes:
            raise ValueError("poles_file: expected student.axes with it: [[name, pole at -1, pole at +1], ...]")
        check_plan(self)

    @classmethod
    def owns(cls, mapping: Mapping[str, Any]) -> bool:
        """A run of vectors: `data.path`."""
        data = mapping.get("data")
        return isinstance(data, Mapping) and "path" in data

    def unsupported_reason(self, signal: Any) -> str | None:
        """Codes and vectors are relations and features, never class scores."""
        if signal.kind not in SIGNALS:
            return (
                "vectors and codes have no classes, attention maps or clauses; take relations or features (student: "
                "code, hidden1 or hidden2; teacher: vector)"
            )
        if getattr(signal, "space", None) == "logits":
            return "space: logits compares class scores, which codes are not; take space: projector"
        return None
