"""Sizes of the stages of a transformer, from numbers or lists. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stillhouse.tasks.classification.students.config import UnifiedTMConfig

Wholes = int | tuple[int, ...]
Numbers = float | tuple[float, ...]


USUAL_WINDOW = 7  # of Swin


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: blocks of one width over one map.

    Attributes:
        depth: number of blocks.
        width: D.
        heads: H.
        hidden: F, bits that the clauses read.
        clauses: C of each block.
        grid: (rows, columns) of the map of tokens.
        window: side of a window, 0 for global attention.
    """

    depth: int
    width: int
    heads: int
    hidden: int
    clauses: tuple[int, ...]
    grid: tuple[int, int]
    window: int


def spread(name: str, value: Numbers, count: int, *, doubling: bool = False) -> tuple[float, ...]:
    """One number for each of `count` places: a number is repeated or doubled, a list must fit.

    Example:
        >>> spread("embed_dim", 96, 3, doubling=True), spread("mlp_ratio", (4.0,), 1)
        ((96, 192, 384), (4.0,))

    Raises:
        ValueError: a list of another length, or a number that is not positive.
    """
    if isinstance(value, Sequence):
        if len(value) != count:
            raise ValueError(
                f"{name}: expected one number or a list of {count} (one a stage), got {len(value)}: {value}"
            )
        values = tuple(value)
    else:
        values = tuple(value * 2**place if doubling else value for place in range(count))
    if min(values) <= 0:
        raise ValueError(f"{name}: expected positive numbers, got {value}")
    return values


def clauses_of(value: Wholes, depths: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Clauses of every block of every stage: from one number, one a stage, or one a block.

    Example:
        >>> clauses_of((64, 32), (1, 2)), clauses_of((8, 16, 32), (1, 2))
        (((64,), (32, 32)), ((8,), (16, 32)))

    Raises:
        ValueError: a list that fits neither.
    """
    if isinstance(value, int):
        return tuple((value,) * depth for depth in depths)
    if len(value) == sum(depths):
        places = iter(value)
        return tuple(tuple(next(places) for _ in range(depth)) for depth in depths)
    if len(value) == len(depths):
        return tuple((clauses,) * depth for clauses, depth in zip(value, depths))
    raise ValueError(
        f"tm_clauses: expected one number, {len(depths)} (one a stage) or {sum(depths)} (one a block), got {len(value)}"
    )


def stages_of(config: UnifiedTMConfig) -> tuple[Stage, ...]:
    """The stages that a configuration describes.

    Raises:
        ValueError: lists that do not fit, heads that do not divide a width, an image smaller than a patch, a window larger
            than the first map.
    """
    swin = config.architecture == "swin"
    given = config.depths if config.depths is not None else ((2, 2, 6, 2) if swin else 4)
    depths = (given,) if isinstance(given, int) else tuple(given)
    if not depths or min(depths) < 1:
        raise ValueError(f"depths: expected at least 1 block, got {given}")
    if not swin and len(depths) != 1:
        raise ValueError(f"depths: expected one number for a ViT, got {len(depths)}: {depths}")
    count = len(depths)
    widths = [int(w) for w in spread("embed_dim", config.embed_dim, count, doubling=True)]
    heads = [int(h) for h in spread("num_heads", config.num_heads, count, doubling=True)]
    ratios = spread("mlp_ratio", config.mlp_ratio, count)
    clauses = clauses_of(config.tm_clauses, depths)
    for width, head in zip(widths, heads):
        if width % head:
            raise ValueError(f"embed_dim: expected a multiple of num_heads ({head}), got {width}")
    _, height, across = config.image_shape
    if min(height, across) < config.patch_size:
        raise ValueError(f"patch_size: expected at most the image ({height} x {across}), got {config.patch_size}")
    grid = (-(-height // config.patch_size), -(-across // config.patch_size))
    if swin and config.window_size is not None and config.window_size > max(grid):
        raise ValueError(
            f"window_size: expected at most the first map ({grid[0]} x {grid[1]} patches), got {config.window_size}"
        )
    stages = []
    for place in range(count):
        if place and max(grid) == 1:
            raise ValueError(
                f"depths: the map is one token after stage {place}; expected at most {place} stages, got {count}"
            )
        if place:
            grid = (-(-grid[0] // 2), -(-grid[1] // 2))
        hidden = int(widths[place] * ratios[place])
        if hidden < 1:
            raise ValueError(f"mlp_ratio: expected at least one hidden bit, got {ratios[place]} x {widths[place]}")
        window = (config.window_size or USUAL_WINDOW) if swin else 0
        stages.append(Stage(depths[place], widths[place], heads[place], hidden, clauses[place], grid, window))
    return tuple(stages)
