"""Codes of several levels (5, 25, 125 numbers) as a tree of five-number nodes, and back. Deterministic; no torch.

The root holds the first level. Child i of the root holds numbers 5i..5i+4 of the second level, child j of that one the five
numbers at 25i + 5j of the third. Every level is divided by one number (its scale) to lie in [-1, 1]: dividing all of a level
alike keeps its distances in proportion. A child's weight is the share of its axis in its parent: |v_i| / (sum |v| + 1e-8).

    scale = fit_scale(codes)                     once, on the training codes
    tree = encode(codes[0], scale=scale)
    for path in paths(tree, top_k=3): print(path.key, path.weight, path.label, path.evidence)
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.families.embed.students.axes import AXES, Axis, axes_from, describe

SCHEMA, VERSION = "stillhouse-tree", 1
WIDTH = 5
MAX_DEPTH = 5
ROOT = "root"


@dataclass(frozen=True)
class TreeNode:
    """Five numbers, what they are called, how much they count, and none or exactly five children.

    Attributes:
        value: five finite numbers in [-1, 1].
        label: in words.
        key: place in the tree: "root", "dim1", "dim2/dim2.4", "dim2/dim2.4/dim2.4.1".
        weight: share in the parent, in [0, 1]; 0 is kept as 0.
        children: None where the node is a leaf, else five.
    """

    value: tuple[float, ...]
    label: str = ""
    key: str = ROOT
    weight: float = 1.0
    children: tuple[TreeNode, ...] | None = None

    def __post_init__(self) -> None:
        value = tuple(float(number) for number in self.value)
        if len(value) != WIDTH or not all(abs(number) <= 1.0 for number in value):  # NaN fails too
            raise InputError(f"{self.key}: value: expected {WIDTH} numbers from -1 to 1, got {list(self.value)}")
        if not 0.0 <= self.weight <= 1.0:
            raise InputError(f"{self.key}: weight: expected a number from 0 to 1, got {self.weight}")
        if self.children is not None and len(self.children) != WIDTH:
            raise InputError(f"{self.key}: children: expected None or {WIDTH}, got {len(self.children)}")
        for place, child in enumerate(self.children or (), start=1):
            if child.key != child_key(self.key, place):
                raise InputError(f"{self.key}: children: expected {child_key(self.key, place)!r}, got {child.key!r}")
        object.__setattr__(self, "value", value)
        object.__setattr__(self, "weight", float(self.weight))

    def walk(self) -> Iterator[TreeNode]:
        """This node, then its children's trees, in order."""
        yield self
        for child in self.children or ():
            yield from child.walk()


@dataclass(frozen=True)
class HierarchicalVector:
    """A tree of codes with what is needed to read it: the scale of each level and the axes. Immutable.

    Attributes:
        root: the first level.
        scale: what the numbers of each level were divided by; its length is the number of levels of the code.
        axes: five.
    """

    root: TreeNode
    scale: tuple[float, ...] = (1.0,)
    axes: tuple[Axis, ...] = AXES

    def __post_init__(self) -> None:
        _check_scale(self.scale)
        if len(self.axes) != WIDTH:
            raise InputError(f"axes: expected {WIDTH}, got {len(self.axes)}")
        if self.root.key != ROOT or depth_of(self.root) >= len(self.scale):
            raise InputError(
                f"root: expected key {ROOT!r} and depth below {len(self.scale)} (a scale a level), "
                f"got {self.root.key!r} and depth {depth_of(self.root)}"
            )

    def __getitem__(self, key: str) -> TreeNode:
        """The node at a key.

        Raises:
            InputError: there is none.
        """
        for node in self.root.walk():
            if node.key == key:
                return node
        raise InputError(f"key: no node {key!r} in this tree; there are {', '.join(n.key for n in self.root.walk())}")


@dataclass(frozen=True)
class PathReasoning:
    """One way from the root to a leaf.

    Attributes:
        key: of the leaf.
        weight: product of the weights on the way.
        label: of the leaf.
        evidence: its two largest axes as (axis, number, words).
    """

    key: str
    weight: float
    label: str
    evidence: tuple[tuple[str, float, str], ...]


# ------------------------------------------------------------------------------------------------- codes <-> tree


def level_sizes(depth: int) -> tuple[int, ...]:
    """Numbers of each level down to a depth.

    Example:
        >>> level_sizes(2)
        (5, 25, 125)
    """
    return tuple(WIDTH ** (level + 1) for level in range(depth + 1))


def fit_scale(codes: np.ndarray, *, coverage: float = 1.0) -> tuple[float, ...]:
    """One number a level that brings a set of codes into [-1, 1]: fit it once, on training codes, and store it.

    Args:
        codes: (n, 5), (n, 30) or (n, 155).
        coverage: share of the numbers of a level that is to lie inside; the rest is clipped. 1: the largest is at 1.

    Returns:
        A scale a level; 1.0 for a level that is all 0.

    Raises:
        InputError: another width, no rows, NaN, or a coverage outside (0, 1].

    Example:
        >>> fit_scale(np.array([[0.0, 1, -4, 0, 2]]))
        (4.0,)
    """
    codes = np.asarray(codes, np.float64)
    if codes.ndim != 2 or not len(codes):
        raise InputError(f"codes: expected (rows, numbers), got shape {codes.shape}")
    if not 0 < coverage <= 1:
        raise InputError(f"coverage: expected a share above 0 and up to 1, got {coverage}")
    levels = _levels(codes)
    found = [float(np.quantile(np.abs(level), coverage, method="higher")) for level in levels]
    return tuple(size if size > 0 else 1.0 for size in found)


def encode(
    code: np.ndarray | Sequence[float],
    *,
    scale: Sequence[float] | None = None,
    axes: Sequence[Axis] = AXES,
    max_depth: int | None = None,
    threshold: float = 0.0,
) -> HierarchicalVector:
    """The tree of one code; the same code always gives the same tree.

    Args:
        code: (5,), (30,), (155,) numbers: one, two, three levels.
        scale: of each level (`fit_scale`); what is larger is clipped to the box. [1 a level]
        axes: what labels are made of.
        max_depth: levels below the root to unfold. [all that the code has]
        threshold: a node unfolds only where its largest child weight is at least this; 0 unfolds all, 0.2 all but the zero
            node (the largest of five shares is at least 1/5), 0.5 those that one axis rules.

    Returns:
        The tree.

    Raises:
        InputError: another width, NaN, a scale of another length, a threshold outside [0, 1].

    Example:
        >>> tree = encode([0.6, -0.15, 0.0, 0.15, 0.1] + [0.1] * 25)
        >>> tree.root.label
        'moderately Action'
        >>> [round(child.weight, 3) for child in tree.root.children]
        [0.6, 0.15, 0.0, 0.15, 0.1]
    """
    numbers = np.asarray(code, np.float64)
    if numbers.ndim != 1:
        raise InputError(f"code: expected one row of numbers, got shape {numbers.shape}")
    levels = [level[0] for level in _levels(numbers[None])]
    scale = tuple(float(s) for s in scale) if scale is not None else (1.0,) * len(levels)
    _check_scale(scale)
    if len(scale) != len(levels):
        raise InputError(f"scale: expected {len(levels)} numbers, one a level, got {len(scale)}")
    if not 0.0 <= threshold <= 1.0:
        raise InputError(f"threshold: expected a number from 0 to 1, got {threshold}")
    deepest = len(levels) - 1 if max_depth is None else max_depth
    if not 0 <= deepest < len(levels):
        raise InputError(f"max_depth: expected 0 to {len(levels) - 1} for {len(levels)} levels, got {max_depth}")
    boxed = [np.clip(level / s, -1.0, 1.0) for level, s in zip(levels, scale)]
    root = _node(boxed, (), 1.0, tuple(axes), deepest, threshold)
    return HierarchicalVector(root, scale, tuple(axes))


def flatten(tree: HierarchicalVector) -> NDArray[np.float64]:
    """The code of a tree: what `encode` was given, where nothing was clipped and all was unfolded; 0 for what was not.

    Returns:
        (5,), (30,) or (155,): all levels side by side.

    Example:
        >>> flatten(encode([4.0, 0, -2, 0, 0], scale=[4.0])).tolist()
        [4.0, 0.0, -2.0, 0.0, 0.0]
    """
    levels = [np.zeros(size) for size in level_sizes(len(tree.scale) - 1)]

    def put(node: TreeNode, depth: int, place: int) -> None:
        levels[depth][WIDTH * place : WIDTH * (place + 1)] = np.array(node.value) * tree.scale[depth]
        for number, child in enumerate(node.children or ()):
            put(child, depth + 1, WIDTH * place + number)

    put(tree.root, 0, 0)
    return np.concatenate(levels)


# ------------------------------------------------------------------------------------------------------ reasoning


def share_of_axes(value: Sequence[float]) -> tuple[float, ...]:
    """How much each axis counts in a node: |v_i| / (sum |v| + 1e-8); all 0 for the zero node."""
    total = sum(abs(number) for number in value) + 1e-8
    return tuple(abs(number) / total for number in value)


def paths(tree: HierarchicalVector, *, top_k: int = 3) -> list[PathReasoning]:
    """The ways to the leaves that count most, with what speaks for them.

    Args:
        tree: the tree.
        top_k: how many at most.

    Returns:
        By falling weight, then by place; a path through a node of weight 0 has weight 0.

    Raises:
        InputError: top_k below 1.

    Example:
        >>> best = paths(encode([0.6, -0.15, 0.0, 0.15, 0.1] + [0.9, 0, 0, 0.8, 0] * 5), top_k=1)[0]
        >>> best.key, round(best.weight, 3), [words for _, _, words in best.evidence]
        ('dim1', 0.6, ['strongly Action', 'strongly World'])
    """
    if top_k < 1:
        raise InputError(f"top_k: expected at least 1, got {top_k}")
    found = [
        PathReasoning(node.key, weight, node.label, _evidence(node, tree.axes))
        for node, weight in _weighted(tree.root)
        if not node.children
    ]
    return sorted(found, key=lambda path: -path.weight)[:top_k]


def combined(tree: HierarchicalVector) -> NDArray[np.float64]:
    """(5,) mean of all nodes, each by the product of the weights on its way: the tree as one point of the box.

    Example:
        A root alone is itself.

        >>> combined(encode([0.5, 0, 0, 0, -1])).tolist()
        [0.5, 0.0, 0.0, 0.0, -1.0]
    """
    pairs = list(_weighted(tree.root))
    weights = np.array([weight for _, weight in pairs])
    total = weights.sum()
    values = np.array([node.value for node, _ in pairs])
    return weights @ values / total if total > 0 else np.zeros(WIDTH)


def edit(
    tree: HierarchicalVector,
    key: str,
    *,
    value: Sequence[float] | None = None,
    weight: float | None = None,
    label: str | None = None,
) -> HierarchicalVector:
    """A new tree with one node changed; the old tree and all other nodes stay as they are.

    Args:
        tree: stays as it is.
        key: of the node.
        value: its five new numbers; its label is made anew, unless one is given. Children and their weights stay.
        weight: its new weight; 0 is a weight.
        label: its new label.

    Returns:
        The new tree.

    Raises:
        InputError: no such node, or a value or weight that a node cannot have.

    Example:
        >>> tree = encode([0.6, -0.15, 0.0, 0.15, 0.1])
        >>> edit(tree, "root", value=[0, 0.9, 0, 0, 0]).root.label, tree.root.label
        ('strongly Positive', 'moderately Action')
    """
    node = tree[key]
    change: dict[str, Any] = {}
    if value is not None:
        change = {"value": tuple(value)}
        change["label"] = _label(replace(node, value=tuple(value)).value, tree.axes)
    if weight is not None:
        change["weight"] = weight
    if label is not None:
        change["label"] = label
    return replace(tree, root=_replaced(tree.root, key, change))


# ----------------------------------------------------------------------------------------------------------- JSON


def to_json(tree: HierarchicalVector, *, indent: int | None = None) -> str:
    """The tree as JSON, with schema and version, that `from_json` reads back to an equal tree."""
    axes = [[axis.name, axis.negative, axis.positive] for axis in tree.axes]
    top = {"schema": SCHEMA, "version": VERSION, "scale": list(tree.scale), "axes": axes, "root": _plain(tree.root)}
    return json.dumps(top, ensure_ascii=False, indent=indent, allow_nan=False)


def from_json(text: str) -> HierarchicalVector:
    """Read a tree, every node checked.

    Raises:
        InputError: not JSON, another schema or version, something missing, or nodes that cannot be.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InputError(f"tree: not JSON: {error}") from None
    if not isinstance(found, Mapping) or (found.get("schema"), found.get("version")) != (SCHEMA, VERSION):
        got = (found.get("schema"), found.get("version")) if isinstance(found, Mapping) else type(found).__name__
        raise InputError(f"tree: expected schema {SCHEMA!r} version {VERSION}, got {got}")
    try:
        return HierarchicalVector(_read(found["root"]), tuple(found["scale"]), axes_from(found["axes"]))
    except (KeyError, TypeError) as error:
        raise InputError(f"tree: something is missing or of the wrong type: {error}") from None


# -------------------------------------------------------------------------------------------------------- the rest


def depth_of(node: TreeNode) -> int:
    """Levels below a node."""
    return 1 + max(map(depth_of, node.children)) if node.children else 0


def child_key(parent: str, place: int) -> str:
    """The key of child 1..5 of a node.

    Example:
        >>> child_key("root", 2), child_key("dim2", 4), child_key("dim2/dim2.4", 1)
        ('dim2', 'dim2/dim2.4', 'dim2/dim2.4/dim2.4.1')
    """
    return f"dim{place}" if parent == ROOT else f"{parent}/{parent.rsplit('/', 1)[-1]}.{place}"


def _check_scale(scale: tuple[float, ...]) -> None:
    if not 1 <= len(scale) <= MAX_DEPTH + 1 or not all(0 < s < math.inf for s in scale):
        raise InputError(f"scale: expected 1 to {MAX_DEPTH + 1} numbers above 0, got {scale}")


def _levels(codes: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    known = {sum(level_sizes(depth)): level_sizes(depth) for depth in range(MAX_DEPTH + 1)}
    if codes.shape[1] not in known:
        widths = ", ".join(map(str, list(known)[:3]))
        raise InputError(f"code: expected {widths}, ... numbers (levels of 5, 25, 125, ...), got {codes.shape[1]}")
    if not np.isfinite(codes).all():
        raise InputError("code: expected finite numbers, got NaN or infinite ones")
    return np.split(codes, np.cumsum(known[codes.shape[1]])[:-1], axis=1)


def _node(
    levels: list[NDArray[np.float64]],
    way: tuple[int, ...],
    weight: float,
    axes: tuple[Axis, ...],
    deepest: int,
    threshold: float,
) -> TreeNode:
    key, place = ROOT, 0
    for step in way:
        key, place = child_key(key, step + 1), WIDTH * place + step
    value = tuple(float(number) for number in levels[len(way)][WIDTH * place : WIDTH * (place + 1)])
    shares = share_of_axes(value)
    children: tuple[TreeNode, ...] | None = None
    # rounding and the 1e-8 keep five equal shares a hair below 1/5
    if len(way) < deepest and max(shares) >= threshold - 1e-6:
        children = tuple(_node(levels, (*way, i), shares[i], axes, deepest, threshold) for i in range(WIDTH))
    return TreeNode(value, _label(value, axes), key, weight, children)


def _label(value: Sequence[float], axes: tuple[Axis, ...]) -> str:
    """The axes that are not neutral, largest first; "neutral" where all are."""
    words = [
        (abs(number), text) for number, text in zip(value, describe(value, axes)) if not text.startswith("neutral ")
    ]
    return ", ".join(text for _, text in sorted(words, key=lambda pair: -pair[0])[:2]) or "neutral"


def _evidence(node: TreeNode, axes: tuple[Axis, ...]) -> tuple[tuple[str, float, str], ...]:
    ranked = sorted(range(WIDTH), key=lambda i: -abs(node.value[i]))[:2]
    return tuple((axes[i].name, node.value[i], axes[i].words(node.value[i])) for i in ranked)


def _weighted(node: TreeNode, above: float = 1.0) -> Iterator[tuple[TreeNode, float]]:
    weight = above * node.weight
    yield node, weight
    for child in node.children or ():
        yield from _weighted(child, weight)


def _replaced(node: TreeNode, key: str, change: Mapping[str, Any]) -> TreeNode:
    if node.key == key:
        return replace(node, **change)
    below = node.children
    return replace(node, children=below and tuple(_replaced(child, key, change) for child in below))


def _plain(node: TreeNode) -> dict[str, Any]:
    plain: dict[str, Any] = {"key": node.key, "label": node.label, "weight": node.weight, "value": list(node.value)}
    return {**plain, "children": node.children and [_plain(child) for child in node.children]}


def _read(found: Mapping[str, Any]) -> TreeNode:
    below = found["children"]
    children = None if below is None else tuple(_read(child) for child in below)
    return TreeNode(tuple(found["value"]), found["label"], found["key"], found["weight"], children)
