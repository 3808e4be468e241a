"""How many hidden layers at once are matched: which to which, and how each pair is compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stillhouse.core.config import configclass
from stillhouse.core.types import OutputSpec
from stillhouse.signals.config.features import LAYOUT_HELP, Pool, Resize, SideLayout, check_settings
from stillhouse.signals.layer_maps import MapName, Pairs, layer_blocks, layer_map, layer_paths

if TYPE_CHECKING:
    from stillhouse.signals.hidden import HiddenSignal

PATHS_HELP = "the {}'s layers: a pattern with {{}} for the number, as blocks.{{}}, or all paths, first to last"
MOST_ROWS = 1024
COUNT_HELP = "how many layers the {}'s pattern stands for; leave it out with a list of paths"


@configclass
class LayersConfig:
    """Layers of two networks and how their outputs are brought together; the base of signals of many layers."""

    student: str | tuple[str, ...] = Field(min_length=1, description=PATHS_HELP.format("student"))
    student_layers: int | None = Field(default=None, gt=0, description=COUNT_HELP.format("student"))
    teacher: str | tuple[str, ...] = Field(min_length=1, description=PATHS_HELP.format("teacher"))
    teacher_layers: int | None = Field(default=None, gt=0, description=COUNT_HELP.format("teacher"))
    pool: Pool = Field(default="mean", description="average over positions, or join position by position")
    resize: Resize = Field(
        default="average", description="unlike sizes: average both to the coarser, or linear, student's to teacher's"
    )
    normalize: bool = Field(default=True, description="standardize both sides over channels")
    student_layout: SideLayout = Field(default="auto", description=LAYOUT_HELP.format("student"))
    teacher_layout: SideLayout = Field(default="auto", description=LAYOUT_HELP.format("teacher"))
    weight: float = Field(default=1.0, ge=0, description="factor in the total loss")

    @property
    def student_paths(self) -> tuple[str, ...]:
        """All layers of the student, first to last."""
        return layer_paths(self.student, self.student_layers)

    @property
    def teacher_paths(self) -> tuple[str, ...]:
        """All layers of the teacher, first to last."""
        return layer_paths(self.teacher, self.teacher_layers)

    @property
    def between(self) -> str:
        """Both sides in short, for the name of the signal."""
        sides = (self.student, self.teacher)
        return "->".join(side if isinstance(side, str) else "+".join(side) for side in sides)


@configclass
class HiddenConfig(LayersConfig):
    """Match many hidden layers: a map says which to which, the mean over pairs is the loss.

    Maps of M layers of the student to N of the teacher: `uniform` (4 to 12: 3, 6, 9, 12), `skip` and `last` of patient
    distillation (6 to 12: 2, 4, 6, 8, 10, and 7 to 11; the student's last layer is left to the logits), `last-only`,
    `explicit` with `mapping`, and `learned`: gates mix the teacher's layers of each block, starting near `uniform`. Layers
    count from 1. Published recipes:

    TinyBERT: uniform, mse, one shared linear projector, pool none, both embeddings, normalize false. Patient distillation:
    skip, normalized-mse, pool first, projector none, normalize false. DistilBERT: last-only, cosine, pool none, projector
    none, normalize false.

    `cka` compares batches, not positions: it needs no projector, no equal widths and, with pool mean, no equal positions.

    Source: Jiao et al. 2020, arXiv:1909.10351 (TinyBERT); Sun et al. 2019, arXiv:1908.09355 (PKD); Sanh et al. 2019,
    arXiv:1910.01108 (DistilBERT); Lin, Chen, Kao 2023, doi:10.3390/s23031483 (LAD, the learned map).
    """

    kind: Literal["hidden"] = "hidden"
    map: MapName = Field(default="uniform", description="which layer of the teacher each layer of the student looks at")
    mapping: dict[int, int] = Field(
        default_factory=dict, description="map explicit: student's layer -> teacher's, from 1"
    )
    student_embedding: str | None = Field(default=None, description="path of the student's layer 0, if it is matched")
    teacher_embedding: str | None = Field(default=None, description="path of the teacher's layer 0, if it is matched")
    include: tuple[int, ...] = Field(
        default=(), description="only these layers of the student (0: embedding); empty: all"
    )
    exclude: tuple[int, ...] = Field(default=(), description="not these layers of the student")
    layer_weights: tuple[float, ...] = Field(
        default=(), description="one a pair that is left, in order; the mean over pairs is weighted by them"
    )
    distance: Literal["mse", "normalized-mse", "cosine", "smooth-l1", "cka"] = Field(
        default="mse", description="how each pair is compared"
    )
    projector: Literal["linear", "mlp", "orthogonal", "none"] = Field(
        default="linear", description="map from the student's width to the teacher's"
    )
    shared: bool = Field(default=False, description="one projector for all pairs; one each otherwise")
    initialize: Literal["default", "orthogonal", "least-squares"] = Field(
        default="default", description="how a linear projector starts; least-squares: fitted to the first batch"
    )
    rows: int = Field(
        default=MOST_ROWS, ge=4, description="cka with pool none: most positions of a batch, drawn anew each step"
    )
    gate_learning_rate: float | None = Field(
        default=None, gt=0, description="map learned: of the gates alone; they drift to the easiest layer if it is high"
    )

    def __post_init__(self) -> None:
        check_settings(self.projector, self.initialize, self.pool, self.resize)
        if (self.map == "explicit") != bool(self.mapping):
            raise ValueError(f"mapping: expected pairs with map explicit and none without, got {dict(self.mapping)}")
        if (self.student_embedding is None) != (self.teacher_embedding is None):
            raise ValueError("student_embedding and teacher_embedding: expected both or neither")
        if self.distance == "cka" and self.projector != "none":
            raise ValueError(
                f"projector: expected none with distance cka, which takes unlike widths, got {self.projector}"
            )
        if self.gate_learning_rate is not None and self.map != "learned":
            raise ValueError(f"gate_learning_rate: does nothing with map {self.map}; it is for learned")
        if self.shared and self.projector == "none":
            raise ValueError("shared: does nothing with projector none")
        if self.shared and self.initialize == "least-squares":
            raise ValueError("initialize: least-squares fits one pair of layers; expected shared: false, got true")
        if self.rows != MOST_ROWS and self.distance != "cka":
            raise ValueError(f"rows: does nothing with distance {self.distance}; it is for cka")
        pairs = self.pairs()
        if self.layer_weights and len(self.layer_weights) != len(pairs):
            raise ValueError(
                f"layer_weights: expected {len(pairs)}, one for each of the layers {[j for j, _ in pairs]}, "
                f"got {len(self.layer_weights)}"
            )
        if self.layer_weights and (min(self.layer_weights) < 0 or sum(self.layer_weights) == 0):
            raise ValueError(f"layer_weights: expected none below 0 and one above, got {self.layer_weights}")

    def pairs(self) -> Pairs:
        """(layer of the student, layer of the teacher) of every pair that is matched, from 1; (0, 0) for the embeddings.

        Raises:
            ValueError: a map that these layers do not have, or nothing left to match.
        """
        found = layer_map(self.map, len(self.student_paths), len(self.teacher_paths), self.mapping)
        if self.student_embedding is not None:
            found = ((0, 0), *found)
        layers = {student for student, _ in found}
        for name, chosen in (("include", self.include), ("exclude", self.exclude)):
            strangers = sorted(set(chosen) - layers)
            if strangers:
                raise ValueError(f"{name}: expected layers among {sorted(layers)}, got {strangers}")
        kept = tuple((j, k) for j, k in found if (not self.include or j in self.include) and j not in self.exclude)
        if not kept:
            raise ValueError(f"include and exclude: nothing is left of the layers {sorted(layers)}")
        return kept

    def targets(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """For each pair the student's path and the teacher's: one, or a whole block where the map is learned."""
        ours, theirs = self.student_paths, self.teacher_paths
        blocks = layer_blocks(len(ours), len(theirs)) if self.map == "learned" else ()
        found: list[tuple[str, tuple[str, ...]]] = []
        for student, teacher in self.pairs():
            if student == 0:
                found.append((str(self.student_embedding), (str(self.teacher_embedding),)))
            elif blocks:
                found.append((ours[student - 1], tuple(theirs[layer - 1] for layer in blocks[student - 1])))
            else:
                found.append((ours[student - 1], (theirs[teacher - 1],)))
        return tuple(found)

    def student_features(self) -> tuple[str, ...]:
        """Paths to tap in the student, each once."""
        return tuple(dict.fromkeys(path for path, _ in self.targets()))

    def teacher_features(self) -> tuple[str, ...]:
        """Paths to tap in the teacher, each once."""
        return tuple(dict.fromkeys(path for _, paths in self.targets() for path in paths))

    def build(self, student: OutputSpec, teacher: OutputSpec) -> HiddenSignal:
        """The signal; names and shapes are resolved here, before any training."""
        from stillhouse.signals.hidden import HiddenSignal

        return HiddenSignal(self, student, teacher)
