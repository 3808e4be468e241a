"""Many hidden layers at once, between networks of unlike depth and width: which to which, and how each pair is compared.

Layers count from 1, as in the papers; 0 is the embedding. Paths count from 0, as in `nn.ModuleList`. Shapes: B batch, N positions,
S width of the student, D width of the teacher, R rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses.cka import cka_loss, kernel_alignment_loss
from stillhouse.signals.base import BatchSignal
from stillhouse.signals.bridges import LayoutsConfig, Pool, drawn, standardize
from stillhouse.signals.features import DISTANCES, PROJECTOR_HELP, ProjectorKind, check_widths, projector_for

FEWEST_ROWS, MOST_ROWS = 4, 1024  # of the unbiased cka; of a batch, drawn anew each step
OF_BATCHES = {"cka": cka_loss, "kernel-alignment": kernel_alignment_loss}  # distances that compare whole batches
PATHS_HELP = "the {}'s layers: a pattern with {{}} for the number, as blocks.{{}}, or all paths, first to last"
COUNT_HELP = "how many layers the {}'s pattern stands for; leave it out with a list of paths"


MapName = Literal["uniform", "skip", "last", "last-only", "explicit", "learned"]
Pairs = tuple[tuple[int, int], ...]  # (layer of the student, layer of the teacher), from 1


def uniform_map(student_layers: int, teacher_layers: int) -> Pairs:
    """Student's layer j of M to the teacher's at the same relative depth of N, round(j N / M), halves rounded up.

    Raises:
        InputError: the student is deeper than the teacher, or one has no layers.

    Example:
        >>> [teacher for _, teacher in uniform_map(4, 12)]
        [3, 6, 9, 12]

    Source: Jiao et al. 2020, arXiv:1909.10351 (TinyBERT). How layers are chosen changes little: Yu et al. 2025, arXiv:2502.04499.
    """
    m, n = student_layers, teacher_layers
    if not 1 <= m <= n:
        raise InputError(
            f"layers: expected 1 to as many as the teacher's {n}, got {m} of the student; take map: explicit or last-only"
        )
    return tuple((j, (2 * j * n + m) // (2 * m)) for j in range(1, m + 1))


def layer_map(
    name: MapName, student_layers: int, teacher_layers: int, mapping: Mapping[int, int] | None = None
) -> Pairs:
    """The pairs of a named map, by layer of the student.

    `uniform`, and `learned` at the ends of its blocks: see `uniform_map`. `skip`: every few layers of the teacher, and `last`:
    its layers before the last in a row; both leave the student's last layer to the logits (patient distillation). `last-only`:
    the last to the last, either may be the deeper one. `explicit`: what `mapping` says, in any order and with repeats.

    Raises:
        InputError: as `uniform_map`, a student of one layer for `skip` and `last`, or a layer that is not there.

    Example:
        >>> [teacher for _, teacher in layer_map("skip", 6, 12)], [teacher for _, teacher in layer_map("last", 6, 12)]
        ([2, 4, 6, 8, 10], [7, 8, 9, 10, 11])
        >>> layer_map("last-only", 6, 12), layer_map("explicit", 2, 12, {2: 12, 1: 12})
        (((6, 12),), ((1, 12), (2, 12)))

    Source: Sun et al. 2019, arXiv:1908.09355 (patient knowledge distillation), section 3.2.
    """
    m, n = student_layers, teacher_layers
    if name == "last-only":
        return ((m, n),)
    if name == "explicit":
        pairs = tuple(sorted((mapping or {}).items()))
        if not pairs or not all(1 <= j <= m and 1 <= k <= n for j, k in pairs):
            raise InputError(
                f"mapping: expected layers 1 to {m} of the student to 1 to {n} of the teacher, got {dict(pairs)}"
            )
        return pairs
    pairs = uniform_map(m, n)
    if name in ("uniform", "learned"):
        return pairs
    if m < 2:
        raise InputError(f"map {name}: expected a student of at least 2 layers (the last is left to the logits), got 1")
    return pairs[:-1] if name == "skip" else tuple((j, n - m + j) for j in range(1, m))


def layer_blocks(student_layers: int, teacher_layers: int) -> tuple[tuple[int, ...], ...]:
    """The teacher's layers that each layer of the student has to itself: up to its own in the uniform map.

    Returns:
        M runs of layers that together are 1..N.

    Example:
        >>> layer_blocks(2, 5)
        ((1, 2, 3), (4, 5))
    """
    ends = [0, *(teacher for _, teacher in uniform_map(student_layers, teacher_layers))]
    return tuple(tuple(range(start + 1, end + 1)) for start, end in pairwise(ends))


def layer_paths(paths: str | Sequence[str], layers: int | None = None) -> tuple[str, ...]:
    """The paths of all layers, first to last: a pattern with its count, or the list as it is.

    Args:
        paths: a pattern with `{}` where the number stands, or the paths themselves.
        layers: how many a pattern stands for.

    Raises:
        InputError: a pattern without a count, or a count beside a list.

    Example:
        >>> layer_paths("blocks.{}", 2), layer_paths(["stem", "layer1"])
        (('blocks.0', 'blocks.1'), ('stem', 'layer1'))
    """
    if isinstance(paths, str) and "{}" in paths:
        if not layers:
            raise InputError(f"pattern {paths!r}: expected how many layers it stands for, got {layers}")
        return tuple(paths.replace("{}", str(number)) for number in range(layers))
    listed = (paths,) if isinstance(paths, str) else tuple(paths)
    if any("{}" in path for path in listed) or layers not in (None, len(listed)):
        raise InputError(f"paths: expected one pattern with its count, or a list, got {', '.join(listed)} and {layers}")
    return listed


@configclass
class LayersConfig(LayoutsConfig):
    """Layers of two networks and how their outputs are brought together; the base of signals of many layers."""

    student: str | tuple[str, ...] = Field(min_length=1, description=PATHS_HELP.format("student"))
    student_layers: int | None = Field(default=None, gt=0, description=COUNT_HELP.format("student"))
    teacher: str | tuple[str, ...] = Field(min_length=1, description=PATHS_HELP.format("teacher"))
    teacher_layers: int | None = Field(default=None, gt=0, description=COUNT_HELP.format("teacher"))
    pool: Pool = Field(default="mean", description="average over positions, or join position by position")
    normalize: bool = Field(default=True, description="standardize both sides over channels")
    projector: ProjectorKind = Field(default="linear", description=PROJECTOR_HELP)

    @property
    def student_layer_paths(self) -> tuple[str, ...]:
        """All layers of the student, first to last."""
        return layer_paths(self.student, self.student_layers)

    @property
    def teacher_layer_paths(self) -> tuple[str, ...]:
        """All layers of the teacher, first to last."""
        return layer_paths(self.teacher, self.teacher_layers)

    @property
    def between(self) -> str:
        """Both sides in short, for the name of the signal."""
        sides = (self.student, self.teacher)
        return "->".join(side if isinstance(side, str) else "+".join(side) for side in sides)


@configclass
class HiddenConfig(LayersConfig):
    """Match many hidden layers: a map pairs them, the mean over pairs is the loss.

    Maps of M layers of the student to N of the teacher: `uniform` (4 to 12: 3, 6, 9, 12), `skip` and `last` of patient
    distillation (6 to 12: 2, 4, 6, 8, 10, and 7 to 11; the student's last layer is left to the logits), `last-only`,
    `explicit` with `mapping`, and `learned`: gates mix the teacher's layers of each block, starting near `uniform`. Layers
    count from 1. Published recipes:

    TinyBERT: uniform, mse, linear, pool none, normalize false. Patient distillation: skip, normalized-mse, pool first, projector
    none, normalize false. DistilBERT: last-only, cosine, pool none, projector none, normalize false.

    `cka` and `kernel-alignment` compare batches, not positions: they need no projector, no equal widths and, with pool mean, no
    equal positions.

    Source: Jiao et al. 2020, arXiv:1909.10351 (TinyBERT); Sun et al. 2019, arXiv:1908.09355 (PKD); Sanh et al. 2019,
    arXiv:1910.01108 (DistilBERT); Lin, Chen, Kao 2023, doi:10.3390/s23031483 (LAD, the learned map).
    """

    kind: Literal["hidden"] = "hidden"
    map: MapName = Field(default="uniform", description="which layer of the teacher each layer of the student looks at")
    mapping: dict[int, int] = Field(default_factory=dict, description="explicit: student's layer -> teacher's, from 1")
    layer_weights: tuple[float, ...] = Field(
        default=(), description="one a pair that is left, in order; the mean over pairs is weighted by them"
    )
    distance: Literal["mse", "normalized-mse", "cosine", "smooth-l1", "cka", "kernel-alignment"] = Field(
        default="mse",
        description="how each pair is compared; cka: centered and unbiased, kernel-alignment: the formula without either",
    )

    def __post_init__(self) -> None:
        if self.distance in OF_BATCHES and self.projector != "none":
            raise ValueError(
                f"projector: expected none with distance {self.distance}, which takes unlike widths, got {self.projector}"
            )
        weights, pairs = self.layer_weights, self.pairs()
        if weights and (len(weights) != len(pairs) or min(weights) < 0 or sum(weights) == 0):
            raise ValueError(f"layer_weights: expected {len(pairs)}, none below 0 and one above, got {weights}")

    def pairs(self) -> Pairs:
        """(layer of the student, layer of the teacher) of every pair that is matched, from 1."""
        return layer_map(self.map, len(self.student_layer_paths), len(self.teacher_layer_paths), self.mapping)

    def targets(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """For each pair the student's path and the teacher's: one, or a whole block where the map is learned."""
        ours, theirs = self.student_layer_paths, self.teacher_layer_paths
        if self.map == "learned":
            blocks = layer_blocks(len(ours), len(theirs))
            return tuple((path, tuple(theirs[k - 1] for k in block)) for path, block in zip(ours, blocks))
        return tuple((ours[j - 1], (theirs[k - 1],)) for j, k in self.pairs())

    @property
    def student_paths(self) -> tuple[str, ...]:
        """Paths to tap in the student, each once."""
        return tuple(dict.fromkeys(path for path, _ in self.targets()))

    @property
    def teacher_paths(self) -> tuple[str, ...]:
        """Paths to tap in the teacher, each once."""
        return tuple(dict.fromkeys(path for _, paths in self.targets() for path in paths))

    @property
    def compares_samples(self) -> bool:
        """True of cka and kernel-alignment."""
        return self.distance in OF_BATCHES


class HiddenSignal(BatchSignal, of=HiddenConfig):
    """Mean over layer pairs of the distance of projected student features to teacher features; unweighted.

    (B,), or a scalar where the distance compares whole batches (cka, kernel-alignment), which wants 4 rows.

    Raises:
        InputError: a name that is not there, or shapes that cannot be joined.
    """

    def __init__(self, config: HiddenConfig, student: OutputSpec, teacher: OutputSpec) -> None:
        super().__init__(config.name or f"hidden:{config.between}", config.weight)
        self.config, self.pairs = config, config.pairs()
        self.layers = [
            [config.bridge((ours, path), (student, teacher), pool=config.pool) for path in theirs]
            for ours, theirs in config.targets()
        ]
        for bridges in self.layers:
            if len({(bridge.size, bridge.teacher_side.width, bridge.teacher_side.positions) for bridge in bridges}) > 1:
                listed = ", ".join(f"{bridge.teacher_side.path} {bridge.teacher_side.shape}" for bridge in bridges)
                raise InputError(f"map learned: expected layers of one shape in a block of the teacher, got {listed}")
            ours, theirs = bridges[0].student_side.width, bridges[0].teacher_side.width
            # cka projects nothing, so the student's own counts
            width = min(ours, theirs) if config.distance in OF_BATCHES else theirs
            check_widths(bridges[0], width, config.normalize, config.distance)
        weights = config.layer_weights or (1.0,) * len(self.pairs)
        self.shares = [weight / sum(weights) for weight in weights]
        self.projectors = nn.ModuleList(
            nn.Identity() if config.distance in OF_BATCHES else projector_for(bridges[0], config.projector)
            for bridges in self.layers
        )
        self.gates = nn.ModuleList(
            LayerGates(bridges[0].teacher_side.width, len(bridges))
            for bridges in self.layers
            if config.map == "learned"
        )
        self._last: dict[str, Tensor] = {}

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) distance of each sample, or a scalar."""
        total: Tensor | None = None
        self._last = {}
        for number, bridges in enumerate(self.layers):
            target = self._target(number, teacher_out)
            student = self.projectors[number](bridges[0].student(student_out.features))
            student = standardize(student) if self.config.normalize else student
            rows = student.shape[0] * student.shape[1]
            if self.config.distance in OF_BATCHES and self.too_few(rows, FEWEST_ROWS, progress):
                self._last = {}
                return 0 * student.sum()
            value = self._compare(student, target, progress)
            self._last[f"layer_{self.pairs[number][0]}"] = value.detach()
            if self.shares[number] > 0:  # 0 times an infinite value is NaN
                total = self.shares[number] * value + (0 if total is None else total)
        assert total is not None  # the configuration refuses weights of 0 alone
        return total

    def figures(self) -> dict[str, float]:
        """Of the last batch: each layer's distance and the mean opening of each gate; batches skipped so far, if any."""
        return {**{name: float(value.mean()) for name, value in self._last.items()}, **super().figures()}

    def _target(self, number: int, teacher_out: Outputs) -> Tensor:
        """(B, N, D) of the teacher; through gates it has a gradient, to them only."""
        bridges = self.layers[number]
        states = [bridge.teacher(teacher_out.features) for bridge in bridges]
        if self.config.normalize:
            states = [standardize(state) for state in states]
        if not self.gates:
            return states[0]
        mixed, opened = self.gates[number](states)  # a block of one has no gate and passes as it is
        for bridge, gate in zip(bridges[1:], opened):
            self._last[f"gate_{bridge.teacher_side.path}"] = gate.detach()
        return standardize(mixed) if self.config.normalize else mixed

    def _compare(self, student: Tensor, target: Tensor, progress: Progress) -> Tensor:
        if (whole := OF_BATCHES.get(self.config.distance)) is not None:
            return _both_ways(whole, *drawn(student, target, MOST_ROWS, progress.step))
        return _both_ways(DISTANCES[self.config.distance], student, target)


def _both_ways(distance: Callable[[Tensor, Tensor], Tensor], student: Tensor, target: Tensor) -> Tensor:
    """The distance, with a gradient to a learned target too: the losses detach their second argument, and all are symmetric."""
    value = distance(student, target)
    if not target.requires_grad:
        return value
    back = distance(target, student.detach())
    return value + (back - back.detach())


START = 3.0  # logit of a gate: sigmoid(3) = 0.953


class LayerGates(nn.Module):
    """A block of the teacher's layers as one target, mixed layer by layer.

    G_0 = h_0, g_l = sigmoid(W_l [h_l; G_(l-1)]), G_l = g_l h_l + (1 - g_l) G_(l-1): one gate a position. Weights start at 0
    and biases at 3, so every gate starts at 0.953: nearly the block's last layer, as the uniform map has it. The gates follow
    the gradient of the alignment, which likes the layer that is easiest to match. A gate that is wide
    open or shut hardly moves again: its gradient is g (1 - g).

    Args:
        width: D.
        layers: how many layers the block has; a block of one has no gate.

    Example:
        0.953 * 1 + 0.047 * 0:

        >>> mixed, gates = LayerGates(2, 2)([torch.zeros(1, 1, 2), torch.ones(1, 1, 2)])
        >>> [round(x, 3) for x in mixed.flatten().tolist()], len(gates)
        ([0.953, 0.953], 1)

    Source: Lin, Chen, Kao 2023, doi:10.3390/s23031483 (LAD); gates of one number and their start are ours.
    """

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        gates = [nn.Linear(2 * width, 1) for _ in range(layers - 1)]
        for gate in gates:
            nn.init.zeros_(gate.weight)
            nn.init.constant_(gate.bias, START)
        self.gates = nn.ModuleList(gates)

    def forward(self, states: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Mixed (B, N, D) and the gates (B, N, 1) of all layers but the first, from the layers' (B, N, D)."""
        mixed, opened = states[0], []
        for state, gate in zip(states[1:], self.gates):
            g = torch.sigmoid(gate(torch.cat([state, mixed], dim=-1)))
            mixed = g * state + (1 - g) * mixed
            opened.append(g)
        return mixed, opened
