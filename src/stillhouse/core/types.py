"""What travels between the rooms: batches, outputs, their shapes, and how far the run is. Imports no torch at run time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from torch import Tensor

    from stillhouse.losses.top_k import Scores


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch of a labelled image data set.

    Attributes:
        inputs: (B, C, H, W) float32, raw pixels in [0, 1]; every model applies its own normalization.
        labels: (B,) int64, class numbers from 0.
        index: (B,) int64, rows of the split the batch was taken from (the key of a teacher cache).
        soft_labels: (B, K) shares of the classes where images were mixed; None where `labels` are enough.
        rows: (B,) int64, rows of the file or arrays that all splits were taken from; None where they are not known.
    """

    inputs: Tensor
    labels: Tensor
    index: Tensor
    soft_labels: Tensor | None = None
    rows: Tensor | None = None

    @property
    def targets(self) -> Tensor:
        """(B,) labels, or (B, K) shares of a mixed batch: what a loss with the labels should read."""
        return self.labels if self.soft_labels is None else self.soft_labels


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a model puts out: logits (B, K), features by module path as far as they are tapped, and the outputs of each member of
    a group.

    Attributes:
        kept: of a cache that holds the largest scores and the mass of the rest; `logits` are then a stand-in, for measures only.
    """

    logits: Tensor
    features: Mapping[str, Tensor] = field(default_factory=dict)
    members: tuple[Outputs, ...] = ()
    kept: Scores | None = None


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """The shapes of `Outputs` without the batch axis, known before training: what signals are built against.

    Attributes:
        kept: number of scores that are known one by one, where not all are; a signal on class scores refuses what needs all.
        clauses: paths of the sub-modules that put out clauses; None where it is not known.
    """

    num_classes: int
    features: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    members: tuple[OutputSpec, ...] = ()
    kept: int | None = None
    clauses: tuple[str, ...] | None = field(default=None, compare=False)


class _Classes:
    """What has names of classes."""

    __slots__ = ()
    class_names: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        return len(self.class_names)


@dataclass(frozen=True, slots=True)
class ImageSpec(_Classes):
    """What a model must know of an image data set to be built for it.

    Attributes:
        class_names: one name a class, in label order.
        shape: (C, H, W) of one image.
        pixel_mean: (C) mean of the training pixels in [0, 1].
        pixel_std: (C) standard deviation of the training pixels.
    """

    rows: ClassVar[str] = "images"
    class_names: tuple[str, ...]
    shape: tuple[int, int, int]
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]

    def example(self, count: int) -> Tensor:
        """Images (count, C, H, W) to find out shapes and times with."""
        import torch

        return torch.rand(count, *self.shape, generator=torch.Generator().manual_seed(0))


@dataclass(frozen=True, slots=True)
class TextSpec(_Classes):
    """What a model must know of a data set of labelled texts to be built for it.

    Attributes:
        class_names: one name a class, in label order.
        length: L, tokens of every row, padded.
        vocabulary: V, token ids are below it.
        padding: the token id that stands for nothing.
    """

    rows: ClassVar[str] = "texts"
    class_names: tuple[str, ...]
    length: int
    vocabulary: int
    padding: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """(L) of one row."""
        return (self.length,)

    def example(self, count: int) -> Tensor:
        """Token ids (count, L) to find out shapes and times with; half of each row is padding."""
        import torch

        ids = torch.randint(0, self.vocabulary, (count, self.length), generator=torch.Generator().manual_seed(0))
        ids[:, (self.length + 1) // 2 :] = self.padding
        return ids


@dataclass(frozen=True, slots=True)
class FeatureSpec(_Classes):
    """What a model must know of rows of counted features: words of texts, thresholds and categories of tables.

    Attributes:
        class_names: one name a class, in label order.
        names: (F) what each feature is: a word or two, `age > 37`, `job = clerk`.
        idf: (F) inverse document frequencies of the training rows; 1 of tables.
        reading: how raw rows become features, as `data.readers` takes it.
    """

    rows: ClassVar[str] = "words or a table"
    class_names: tuple[str, ...]
    names: tuple[str, ...]
    idf: tuple[float, ...]
    reading: Mapping[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """(F) of one row."""
        return (len(self.names),)

    def example(self, count: int) -> Tensor:
        """Counts (count, F) to find out shapes and times with; a twentieth of them is 1."""
        import torch

        return (torch.rand(count, *self.shape, generator=torch.Generator().manual_seed(0)) < 0.05).float()


InputSpec = ImageSpec | TextSpec | FeatureSpec


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: optimizer steps done, of how many, and in which stage of its curriculum.

    Example:
        >>> Progress(step=25, total_steps=100).fraction
        0.25
    """

    step: int
    total_steps: int
    stage: int = 0
    stages: int = 1

    @property
    def fraction(self) -> float:
        """Share of the run that is done, in [0, 1]."""
        return min(1.0, self.step / max(1, self.total_steps))
