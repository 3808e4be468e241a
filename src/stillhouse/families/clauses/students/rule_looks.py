"""What clauses inside a network answer to in the image: where it is brighter, and where darker, when they speak.

A bit inside a network is no pixel, so its literals cannot be drawn. What can be measured is the Pearson correlation, over images,
of a clause's strength with the brightness of each part of the image, or of the surroundings of the patch where it is asked. It
says what goes with a clause, not what the clause demands.

Shapes: B images, P places, R clauses, D parts of a view, Q parts of a side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, unfold

from stillhouse.families.clauses.rule_words import answers_to
from stillhouse.families.clauses.students.base import ClauseModel
from stillhouse.families.clauses.students.rule_cuts import Clause
from stillhouse.families.clauses.students.rule_pictures import class_tokens, grid
from stillhouse.families.clauses.students.sites import Site, listening

IMAGE_SIDE, PATCH_SIDE, THIRDS = 28, 4, 3  # parts of a side: of a whole image, of a patch, of what is named in words
BATCH = 64
ERRORS = 3.0  # standard errors of no correlation, 1 / sqrt(images), from which one is shown


@dataclass(frozen=True, eq=False)
class Look:
    """What goes with one clause.

    Attributes:
        words: to be read.
        brighter: (h, w) uint8, correlation with brightness where it is above 0, 255 the strongest of both pictures.
        darker: the same below 0.
    """

    words: str
    brighter: np.ndarray
    darker: np.ndarray


def looks(
    model: ClauseModel, found: Mapping[str, Site], images: Tensor, votes: Mapping[Clause, Sequence[Tensor]]
) -> dict[Clause, Look]:
    """Of some clauses; empty for images that are neither gray nor of three colours.

    Args:
        model: in eval mode.
        found: its sites.
        images: (M, C, H, W) in [0, 1].
        votes: of each clause, what it adds to classes: (M', P) each.
    """
    channels, height, width = model.image_shape
    if channels not in (1, 3):
        return {}
    tokens = class_tokens(model)
    seen: dict[Clause, Look] = {}
    for whole in (True, False):
        pairs = [pair for pair, parts in votes.items() if _is_whole(torch.cat([*parts]), tokens) is whole]
        tables = _correlations(model, {name: found[name] for name, _ in pairs}, images, whole)
        for name, clause in pairs:
            row = tables[name][clause]
            side = math.isqrt(len(row) - THIRDS**2)
            shape = (min(IMAGE_SIDE, height), min(IMAGE_SIDE, width)) if whole else (side, side)
            seen[name, clause] = _look(row, shape, len(images), whole)
    return seen


def _correlations(model: ClauseModel, found: Mapping[str, Site], images: Tensor, whole: bool) -> dict[str, Tensor]:
    """(R, 9 + D) by site, of all its clauses."""
    tokens, tables = class_tokens(model), {name: _Sums() for name in found}

    def hear(pixels: Tensor, site: Site, bits: Tensor, strength: Tensor) -> None:
        strengths = site.by_place(strength, len(pixels))
        if whole:
            one = strengths[:, :tokens] if 0 < tokens < strengths.shape[1] else strengths
            tables[site.name].add(one.mean(1, keepdim=True), _whole(pixels))
        else:
            local = strengths[:, tokens:]
            columns, side = grid(model, local.shape[1], *pixels.shape[-2:])
            tables[site.name].add(local, _around(pixels, local.shape[1] // columns, columns, min(PATCH_SIDE, *side)))

    for start in range(0, len(images) if found else 0, BATCH):
        pixels = images[start : start + BATCH]
        with listening(found, partial(hear, pixels)):
            model(pixels)
    return {name: table.correlations() for name, table in tables.items()}


def _is_whole(votes: Tensor, tokens: int) -> bool:
    """Whether a clause speaks of the image as one: it is asked once, or mostly at the class token."""
    weight = votes.abs().sum(0)
    return votes.shape[1] - tokens <= 1 or bool(weight[:tokens].sum() >= weight[tokens:].sum())


def _whole(pixels: Tensor) -> Tensor:
    """(B, 1, 9 + D): thirds, then parts, of each image's brightness."""
    gray = pixels.mean(1, keepdim=True)
    parts = adaptive_avg_pool2d(gray, (min(IMAGE_SIDE, gray.shape[-2]), min(IMAGE_SIDE, gray.shape[-1])))
    return _with_thirds(parts)[:, None]


def _around(pixels: Tensor, rows: int, columns: int, q: int) -> Tensor:
    """(B, P, 9 + D): each patch and the eight around it, as nine means, then as Q x Q parts each; 0 beyond the image."""
    gray = adaptive_avg_pool2d(pixels.mean(1, keepdim=True), (rows * q, columns * q))
    parts = unfold(gray, THIRDS * q, padding=q, stride=q).transpose(1, 2)
    around = _with_thirds(parts.reshape(-1, 1, THIRDS * q, THIRDS * q))
    return around.reshape(len(pixels), rows * columns, -1)


def _with_thirds(parts: Tensor) -> Tensor:
    return torch.cat([adaptive_avg_pool2d(parts, THIRDS).flatten(1), parts.flatten(1)], 1)


class _Sums:
    """What correlations are made of, batch by batch, within each place: else the position of a patch would count as its look."""

    def __init__(self) -> None:
        self.images = 0
        self.sums: list[Tensor] = []

    def add(self, strengths: Tensor, views: Tensor) -> None:
        """(B, P, R) and (B, P, D)."""
        s, x = strengths.double(), views.double()
        self.images += len(s)
        terms = [s.sum(0), x.sum(0), (s * s).sum((0, 1)), (x * x).sum((0, 1)), torch.einsum("bpr,bpd->rd", s, x)]
        self.sums = terms if not self.sums else [a + b for a, b in zip(self.sums, terms, strict=True)]

    def correlations(self) -> Tensor:
        """(R, D); 0 where nothing varies."""
        s, x, ss, xx, sx = self.sums
        covariance = sx - s.T @ x / self.images
        own = (ss - (s * s).sum(0) / self.images).clamp(min=0)
        other = (xx - (x * x).sum(0) / self.images).clamp(min=0)
        scale = (own[:, None] * other[None]).sqrt()
        return torch.where(scale > 1e-9, covariance / scale.clamp(min=1e-9), torch.zeros_like(covariance))


def _look(correlations: Tensor, shape: tuple[int, int], images: int, whole: bool) -> Look:
    """From (9 + D) correlations."""
    shown = torch.where(correlations.abs() >= ERRORS / math.sqrt(images), correlations, torch.zeros_like(correlations))
    picture = shown[THIRDS**2 :].reshape(shape)
    scaled = 255 * picture / picture.abs().max().clamp(min=1e-9)
    brighter, darker = (np.rint(x.clamp(min=0).numpy()).astype(np.uint8) for x in (scaled, -scaled))
    return Look(answers_to(shown[: THIRDS**2].tolist(), whole), brighter, darker)
