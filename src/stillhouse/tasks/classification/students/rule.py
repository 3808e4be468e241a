"""Rules as they are read: one clause each, and what was found of a network, in words and for a file.

Shapes: C channels, H W pixels, K classes, R rules, E examples.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stillhouse.tasks.classification.rules_file import decided, heading, left_out_words
from stillhouse.tasks.classification.students.base import ClauseModel
from stillhouse.tasks.classification.students.transformer import UnifiedTMTransformer


@dataclass(frozen=True)
class Rule:
    """One clause that carries a class.

    Attributes:
        class_name: the class.
        place: where the clause is ("clauses", "block_2").
        clause: its number there.
        adds: to the class's score on the class's images, above what it adds on others.
        holds: how far it is fulfilled on the class's images: its mean strength, over all places, of its full one.
        elsewhere: the same of all other images.
        literals: numbers of those kept, f for bit f and F + f for its negation.
        words: the same in words; empty where a bit has no name.
        count: literals before it was cut.
        allowed: misses with which it still speaks, after the cut.
        images: of its class, and of others, by which it was chosen.
        speaks: on how many of them it is worth anything somewhere in the image, as it is cut.
        spoke: the same of the whole clause. A cut keeps answers of the network, not where a clause speaks.
    """

    class_name: str
    place: str
    clause: int
    adds: float
    holds: float
    elsewhere: float
    literals: tuple[int, ...]
    words: tuple[str, ...]
    count: int
    allowed: int
    images: tuple[int, int]
    speaks: tuple[int, int]
    spoke: tuple[int, int]

    def __str__(self) -> str:
        kept, where = len(self.literals), f"{self.place}, clause {self.clause}"
        literals = f"{kept} of {self.count} literals kept"
        if not self.words:
            bits = "inside the network" + (f", of which {self.allowed} may fail" if self.allowed else "")
            asked, literals = "no words for what it looks at", f"{literals}, bits {bits}"
        else:
            asked = f"where at most {self.allowed} of {kept} fail: {', '.join(self.words)}"
        return (
            f"{self.class_name}: {self.adds:+.3f} {asked} ({where}; {literals}; fulfilled to {self.holds:.0%} on "
            f"{self.class_name}, {self.elsewhere:.0%} on others)"
        )


@dataclass(frozen=True, eq=False)
class Rules:
    """What is found of a network.

    Attributes:
        rules: by class, those first that are fulfilled most on the class against on others.
        ablation_curve: (rules a class, accuracy with those clauses alone); 0 rules is the network without clauses.
        full: accuracy of the whole network on the same images.
        shown: accuracy with the rules above alone, cut as they are.
        exact: whether every literal was tried; else groups of them, until the trials were used up.
        chosen_on: validation images by which clauses were chosen.
        cut_on: validation images whose answers did not change.
        judged_on: test images of the accuracies.
        judged_of: test images that there are; where there are more, those that judge are drawn by class.
        arrays: `mean_K` (C, H, W) uint8 a class; `wanted_R`, `unwanted_R` (h, w) uint8 of rules over pixels; `examples_R`
            (E, C, h, w) uint8: where others speak most.
        left_out: clauses that add much and hold on the class hardly more than on others: no rules of a class.
        class_names: K.
    """

    rules: list[Rule]
    ablation_curve: list[tuple[int, float]]
    full: float
    shown: float
    exact: bool
    chosen_on: int
    cut_on: int
    judged_on: int
    judged_of: int
    arrays: dict[str, np.ndarray]
    left_out: int
    class_names: list[str]

    def index(self) -> dict[str, Any]:
        """Plain data for a JSON file; the arrays go beside it."""
        entries = [{**asdict(rule), "literals": list(rule.literals), "words": list(rule.words)} for rule in self.rules]
        named = ("full", "shown", "exact", "chosen_on", "cut_on", "judged_on", "judged_of", "left_out", "class_names")
        return {
            "rules": entries,
            "growth": [list(point) for point in self.ablation_curve],
            **{name: getattr(self, name) for name in named},
        }

    def text(self, **more: Any) -> str:
        """One line a rule, class by class; clauses that nothing can be said of follow by their numbers.

        Args:
            more: entries of the index besides, as `student`.
        """
        index = {**self.index(), **more}
        kept, count = sum(len(rule.literals) for rule in self.rules), sum(rule.count for rule in self.rules)
        lines = [
            decided(index),
            f"{heading(index)}, chosen on {self.chosen_on} validation images that are drawn by class."
            + " A pixel is (row, column)." * any(rule.words for rule in self.rules),
            f"{kept} of {count} literals are kept: without the others the whole network gives the same answers on {self.cut_on} "
            "images.",
            f"Left out: {left_out_words(self.left_out)}.",
        ]
        for name in dict.fromkeys(rule.class_name for rule in self.rules):
            own = [rule for rule in self.rules if rule.class_name == name]
            lines += ["", *(str(rule) for rule in own if rule.literals)]
            rest = ", ".join(f"{rule.place} {rule.clause}" for rule in own if not rule.literals)
            if rest:
                lines.append(f"{name}: these clauses add to it and have no literal that an answer needs: {rest}")
        return "\n".join(lines) + "\n"


EXAMPLES = 6


def examples(model: ClauseModel, images: Tensor, votes: Tensor) -> np.ndarray:
    """(E, C, h, w) uint8: the patches at which a clause adds most, each of another image; images where it looks at all of one."""
    _, height, width = model.image_shape
    first = class_tokens(model)
    local = votes[:, first:]
    if votes.shape[1] - first <= 1 or not bool(local.any()):
        best = votes.sum(1).topk(min(EXAMPLES, len(votes))).indices
        return as_bytes(images[best])
    columns, side = grid(model, local.shape[1], height, width)
    most, place = local.max(1)
    patches = []
    for image in most.topk(min(EXAMPLES, len(votes))).indices.tolist():
        row, column = divmod(int(place[image]), columns)
        patches.append(_patch(images[image], row * side[0], column * side[1], side))
    return as_bytes(torch.stack(patches))


def class_tokens(model: nn.Module) -> int:
    """How many places come before those of the image."""
    return int(isinstance(model, UnifiedTMTransformer) and model.class_token is not None)


def grid(model: nn.Module, places: int, height: int, width: int) -> tuple[int, tuple[int, int]]:
    """Columns and the (h, w) of a place: the grid of so many places that is most like the image."""
    rows = min(
        (r for r in range(1, places + 1) if places % r == 0),
        key=lambda r: abs(np.log(r * r * width / (places * height))),
    )
    columns = places // rows
    side = getattr(model, "patch_size", None)
    if isinstance(side, int):
        while side * rows < height or side * columns < width:
            side *= 2
        return columns, (side, side)
    return columns, (-(-height // rows), -(-width // columns))


def _patch(image: Tensor, top: int, left: int, side: tuple[int, int]) -> Tensor:
    """(C, 3h, 3w): the patch with what is around it, which is darker; black beyond the image."""
    (h, w), shade = side, 0.4
    padded = nn.functional.pad(image, (w, 3 * w, h, 3 * h))[:, top : top + 3 * h, left : left + 3 * w].clone()
    middle = padded[:, h : 2 * h, w : 2 * w].clone()
    padded *= shade
    padded[:, h : 2 * h, w : 2 * w] = middle
    return padded


def as_bytes(pixels: Tensor) -> np.ndarray:
    """Pixels in [0, 1] as uint8."""
    return np.asarray((pixels.clamp(0, 1) * 255).round().to(torch.uint8).numpy())
