"""Where a teacher comes from. No torch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass
from stillhouse.core.types import ImageSpec

if TYPE_CHECKING:
    from stillhouse.teachers.teacher import NetworkTeacher

BY_ROW = ("vectors", "encoder", "predictions", "sklearn")  # know rows of the data by their number
FOREIGN = ("timm", "torchvision", "py")  # whose weights may come from a file of anyone's
BUILT = ("builtin", *FOREIGN, "ckpt")
NETWORKS = (*BUILT, "run", "cache", "self")
SOURCES = (*NETWORKS, *BY_ROW, "given")
SELF = "self:average"
READ_BY = {  # settings that some sources alone read
    "decay": ("self",),
    "checkpoint": FOREIGN,
    "arguments": ("py", "sklearn"),
    "architecture": ("timm", "torchvision"),
    **dict.fromkeys(("mean", "std", "classes"), (*FOREIGN, "ckpt")),
}


@configclass
class TeacherConfig:
    """Where a teacher comes from and how it is fitted to the data at hand."""

    source: str = Field(
        default="builtin:digits",
        description="builtin:digits, builtin:banking, timm:NAME, torchvision:NAME, py:FILE.py:CLASS (of your own), "
        "ckpt:FILE (of train-teacher), run:FOLDER (the student of a run), "
        "cache:FOLDER (its answers, kept by `stillhouse cache`), vectors:FILE.npy (a vector for each row of the data, on which a "
        "head is fitted to the labelled ones), encoder:NAME|FOLDER (the same of a sentence encoder), predictions:FILE "
        "(answers of any model, in the order of the data), sklearn:CLASSIFIER (fitted to the labelled rows), or self:average",
    )
    checkpoint: str | None = Field(
        default=None,
        description="state dict for timm:NAME, torchvision:NAME or py:FILE.py:CLASS; nothing is fetched then",
    )
    pretrained: bool = Field(default=True, description="fetch the published weights of timm:NAME or torchvision:NAME")
    image_size: int | None = Field(
        default=None, gt=0, description="side in pixels that images are resized to for the teacher alone"
    )
    data_size: bool = Field(
        default=False,
        description="the data's own side, at least 32, in place of the one it was trained at (timm: positions are resampled)",
    )
    head: Literal["auto", "keep", "probe"] = Field(
        default="auto",
        description="auto: fit a re-made head on frozen features; probe: re-make and fit it always; keep: never",
    )
    decay: float | None = Field(
        default=None, ge=0, lt=1, description="of self:average, the moving average of the student's weights [0.999]"
    )
    architecture: dict[str, int | float | bool | str] = Field(
        default_factory=dict, description="more keyword arguments of the architecture, as embed_dim"
    )

    arguments: dict[str, Any] = Field(
        default_factory=dict, description="of the class of py:FILE.py:CLASS or sklearn:CLASSIFIER, by keyword"
    )
    mean: tuple[float, ...] | None = Field(
        default=None,
        description="pixel mean that its inputs are normalized with, a number or one a channel [its own; py: 0]",
    )
    std: tuple[float, ...] | None = Field(default=None, description="pixel deviation likewise [its own; py: 1]")
    classes: tuple[str, ...] | None = Field(
        default=None,
        description="names of its classes in its own order, matched with those of the data [the data's order]",
    )

    def __post_init__(self) -> None:
        kind, colon, name = self.source.partition(":")
        if kind not in SOURCES or not colon or not name:
            raise ValueError(f"source: expected {', '.join(f'{s}:...' for s in SOURCES)}, got {self.source!r}")
        if kind == "self" and self.source != SELF:
            raise ValueError(f"source: a student's own teacher is {SELF!r}, got {self.source!r}")
        if kind == "py" and not (name.rpartition(":")[0].endswith(".py") and name.rpartition(":")[2].isidentifier()):
            raise ValueError(f"source: expected py:FILE.py:CLASS, got {self.source!r}")
        for setting, kinds in READ_BY.items():
            if getattr(self, setting) not in (None, {}) and kind not in kinds:
                able = ", ".join(f"{word}:..." for word in kinds)
                raise ValueError(f"{setting}: does nothing with {self.source!r}; it belongs to {able}")
        if self.data_size and self.image_size is not None:
            raise ValueError("data_size: image_size is given; expected one of the two")
        if self.std is not None and min(self.std, default=0.0) <= 0:
            raise ValueError(f"std: expected numbers above 0, got {list(self.std)}")
        made = kind in ("timm", "torchvision") and self.checkpoint is None
        if self.classes is not None and (made or self.head == "probe"):
            raise ValueError(
                "classes: does nothing where the last layer is re-made; give a checkpoint, without head: probe"
            )

    @property
    def is_student(self) -> bool:
        """Whether the teacher is the student itself: there is none before training."""
        return self.source == SELF

    def build(self, input_spec: ImageSpec, features: tuple[str, ...] = ()) -> NetworkTeacher:
        """The frozen teacher for a task.

        Args:
            input_spec: class count, image shape, pixel statistics.
            features: paths of sub-modules whose outputs are wanted.

        Raises:
            InputError: unknown name, weights that cannot be fetched or do not fit, another class count; `self:average`.
        """
        if self.source.startswith("given:"):
            raise InputError(f"teacher {self.source!r} was given to stillhouse.distill in Python; give it again")
        if self.source.partition(":")[0] not in BUILT:
            raise InputError(f"teacher {self.source!r} is no network; expected one here, whose weights can be loaded")
        from stillhouse.teachers.build import build

        if self.data_size:
            from stillhouse.teachers.networks import SMALLEST_SIDE

            side = max(SMALLEST_SIDE, *input_spec.shape[1:])
            return build(replace(self, image_size=side, data_size=False), input_spec, features)
        return build(self, input_spec, features)
