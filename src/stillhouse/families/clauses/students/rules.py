"""Rules that a person reads: the clauses that carry each class, cut to the literals that matter, and what they keep alone.

A clause of any bank reaches a class only through what follows it, so what it adds is activation times gradient, exact where the
rest of the network is a sum (flat machines) and first order elsewhere (Shrikumar et al. 2017, arXiv:1704.02685).

Shapes: M images, P places, C clauses of a site, F bits, K classes.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from stillhouse.classification.data import ImageData, ImageSplit
from stillhouse.core.checks import InputError
from stillhouse.families.clauses.rule_words import LOOKS, left_out_words, what_clauses_decide
from stillhouse.families.clauses.students.base import ClauseModel
from stillhouse.families.clauses.students.discrimination import by_discrimination, shares
from stillhouse.families.clauses.students.literal_names import pixels_of
from stillhouse.families.clauses.students.rule_cuts import (
    Clause,
    answers,
    cut_every_literal,
    cut_groups,
    sum_over_clauses,
)
from stillhouse.families.clauses.students.rule_looks import looks
from stillhouse.families.clauses.students.rule_pictures import as_bytes, examples
from stillhouse.families.clauses.students.sites import Site, listening, literals_of, settle, sites

GROWTH = (1, 3, 10, 30)  # rules a class
MOST_RULES, MOST_A_CLASS = 100, 10
ROWS_A_CLASS, CUT_ROWS, CUT_IMAGES, JUDGED, BATCH = 64, 2000, 256, 2000, 64
SEEN = 10_000  # validation images
BUDGET = 1e11  # operations for each of choosing, cutting and judging, so that a large network takes no longer than a small one
FEWEST_TRIALS, MOST_TRIALS = 12, 150


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
        looks: where the image is brighter or darker when it speaks, in words; empty where its bits have names.
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
    looks: str = ""

    def __str__(self) -> str:
        kept, where = len(self.literals), f"{self.place}, clause {self.clause}"
        literals = f"{kept} of {self.count} literals kept"
        if not self.words:
            bits = "inside the network" + (f", of which {self.allowed} may fail" if self.allowed else "")
            asked, literals = self.looks or "no words for what it looks at", f"{literals}, bits {bits}"
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
        growth: (rules a class, accuracy of the network with those clauses alone); 0 rules is what the rest of the network knows.
        full: accuracy of the whole network on the same images.
        shown: accuracy with the rules above alone, cut as they are.
        exact: whether every literal was tried; else groups of them, until the trials were used up.
        chosen_on: validation images by which clauses were chosen.
        cut_on: validation images whose answers did not change.
        judged_on: test images of the accuracies.
        arrays: `mean_K` (C, H, W) uint8 a class; `wanted_R`, `unwanted_R` (h, w) uint8 of rules over pixels; `examples_R`
            (E, C, h, w) uint8: where others speak most; `brighter_R`, `darker_R` (h, w) uint8: what goes with these
            (`rule_looks`).
        left_out: clauses that add much and fire on the class hardly more than on others: no rules of a class.
        classes: how many there are.
    """

    rules: list[Rule]
    growth: list[tuple[int, float]]
    full: float
    shown: float
    exact: bool
    chosen_on: int
    cut_on: int
    judged_on: int
    arrays: dict[str, np.ndarray]
    left_out: int
    classes: int

    def index(self) -> dict[str, Any]:
        """Plain data for a JSON file; the arrays go beside it."""
        entries = [{**asdict(rule), "literals": list(rule.literals), "words": list(rule.words)} for rule in self.rules]
        named = ("full", "shown", "exact", "chosen_on", "cut_on", "judged_on", "left_out")
        return {
            "rules": entries,
            "growth": [list(point) for point in self.growth],
            **{name: getattr(self, name) for name in named},
        }

    def text(self) -> str:
        """One line a rule, class by class; clauses of which no literal is needed follow by their numbers."""
        kept, count = sum(len(rule.literals) for rule in self.rules), sum(rule.count for rule in self.rules)
        lines = [
            what_clauses_decide(self.full, self.growth[0][1], self.shown, len(self.rules), self.classes),
            f"What tells each class from the others, chosen on {self.chosen_on} validation images."
            + " A pixel is (row, column)." * any(rule.words for rule in self.rules),
            f"{kept} of {count} literals are kept: without the others the whole network gives the same answers on {self.cut_on} "
            "images.",
            f"Left out: {left_out_words(self.left_out)}. Accuracies are of {self.judged_on} test images.",
        ]
        if any(rule.looks for rule in self.rules):
            lines.append(LOOKS)
        for name in dict.fromkeys(rule.class_name for rule in self.rules):
            own = [rule for rule in self.rules if rule.class_name == name]
            idle = [f"{rule.place} {rule.clause}" for rule in own if not rule.literals]
            lines += ["", *(str(rule) for rule in own if rule.literals)]
            if idle:
                lines.append(f"{name}: no answer needs a literal of these clauses that add to it: {', '.join(idle)}")
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Images:
    """Some images (M, C, H, W) in [0, 1] with their labels (M)."""

    pixels: Tensor
    labels: Tensor

    def first(self, count: int) -> Images:
        """The first so many."""
        return Images(self.pixels[:count], self.labels[:count])

    def evenly(self, classes: int, count: int) -> Images:
        """So many of each class, the first ones."""
        rows = [torch.nonzero(self.labels == k).flatten()[:count] for k in range(classes)]
        chosen = torch.cat(rows)
        return Images(self.pixels[chosen], self.labels[chosen])


def rules_of(network: nn.Module, data: ImageData) -> Rules:
    """The rules of a student, chosen on the validation split of its data and judged on the first test images."""

    def images(split: ImageSplit, count: int) -> Images:
        batch = split.batch(torch.arange(min(count, len(split))))
        return Images(batch.inputs, batch.labels)

    return find_rules(network, images(data.validation, SEEN), images(data.test, JUDGED), data.task.class_names)


@torch.no_grad()
def find_rules(
    network: nn.Module, validation: Images, test: Images, class_names: Sequence[str], *, per_class: int | None = None
) -> Rules:
    """The rules of any network with clauses, from validation images; what they keep, on test images.

    Args:
        network: a student with clauses; left as it is.
        validation: by which rules are chosen and cut.
        test: on which the chosen rules are judged.
        class_names: K names.
        per_class: rules of a class; None: ten, fewer where there are many classes.

    Raises:
        InputError: no clauses, or no images.
    """
    if not sites(network):
        raise InputError("rules: expected a network with clauses, this one has none")
    if not len(validation.labels) or not len(test.labels):
        raise InputError("rules: expected validation and test images, got none")
    assert isinstance(network, ClauseModel)
    model = copy.deepcopy(network).eval().requires_grad_(False)
    settle(model)
    found, classes = sites(model), len(class_names)
    wanted = max(1, min(MOST_A_CLASS, MOST_RULES // classes)) if per_class is None else per_class
    work = _operations(model, found, validation.pixels[:1])
    rows = max(1, min(ROWS_A_CLASS, int(BUDGET / work / (classes + 3) / classes)))
    chosen = validation.evenly(classes, rows)
    added, means = _what_clauses_add(model, found, chosen, classes)
    ranking = {k: _ranked(added, k) for k in range(classes) if bool((chosen.labels == k).any())}
    judged = test.first(max(200, min(JUDGED, int(BUDGET / work / (2 + len(GROWTH))))))
    growth = [
        (
            count,
            _accuracy(model, found, judged, {pair for ranks in ranking.values() for pair, _ in ranks[:count]}, means),
        )
        for count in (0, *GROWTH)
    ]
    full = _accuracy(model, found, judged, None, means)
    whole = _fulfilled(model, found, chosen)
    told = {k: by_discrimination(ranks, whole, chosen.labels, k) for k, ranks in ranking.items()}
    left_out = sum(len(ranks[:wanted]) - min(wanted, len(told[k])) for k, ranks in ranking.items())
    ranking = {k: ranks[:wanted] for k, ranks in told.items()}
    before = {(k, pair): literals_of(found[pair[0]], pair[1]) for k, ranks in ranking.items() for pair, _ in ranks}
    votes = {
        k: _votes_by_place(model, found, _of(chosen, k), k, [pair for pair, _ in ranks]) for k, ranks in ranking.items()
    }
    exact = sum_over_clauses(model, found)
    cut_on = validation.first(CUT_ROWS if exact else max(32, min(CUT_IMAGES, int(BUDGET / work / FEWEST_TRIALS))))
    if exact:
        cut_every_literal(model, found, cut_on.pixels, [pair for _, pair in before])
    else:
        trials = max(FEWEST_TRIALS, min(MOST_TRIALS, int(BUDGET / work / len(cut_on.labels))))
        cut_groups(model, found, cut_on.pixels, [pair for _, pair in before], trials)
    fulfilled = _fulfilled(model, found, chosen)
    inner: dict[Clause, list[Tensor]] = {}
    for of_class in votes.values():
        for pair, parts in of_class.items():
            if pixels_of(model, found[pair[0]]) is None:
                inner.setdefault(pair, []).append(parts)
    seen = looks(model, found, chosen.pixels, inner)
    rules: list[Rule] = []
    arrays: dict[str, np.ndarray] = {}
    for k, ranks in ranking.items():
        own = _of(chosen, k)
        arrays[f"mean_{k}"] = as_bytes(own.pixels.mean(0))
        for pair, adds in ranks:
            site, clause = found[pair[0]], pair[1]
            literals, pixels = literals_of(site, clause), pixels_of(model, site)
            if pixels is None or pixels.patch:
                arrays[f"examples_{len(rules)}"] = examples(model, own.pixels, votes[k][pair])
            if pixels is not None and literals:
                number = len(rules)
                arrays[f"wanted_{number}"], arrays[f"unwanted_{number}"] = pixels.pictures(literals)
            look = seen.get(pair)
            if look is not None:
                arrays[f"brighter_{len(rules)}"], arrays[f"darker_{len(rules)}"] = look.brighter, look.darker
            holds, elsewhere = shares(fulfilled[pair[0]][:, clause], chosen.labels, k)
            mine = chosen.labels == k
            rules.append(
                Rule(
                    class_name=class_names[k],
                    place=site.name,
                    clause=clause,
                    adds=adds,
                    holds=holds,
                    elsewhere=elsewhere,
                    literals=tuple(literals),
                    words=tuple(pixels.names(literals)) if pixels is not None else (),
                    count=len(before[k, pair]),
                    allowed=max(0, min(len(literals), site.bank.failures) - 1),
                    images=(int(mine.sum()), int((~mine).sum())),
                    speaks=_spoken(fulfilled[pair[0]][:, clause], mine),
                    spoke=_spoken(whole[pair[0]][:, clause], mine),
                    looks="" if look is None else look.words,
                )
            )
    shown = _accuracy(model, found, judged, {pair for _, pair in before}, means)
    counts = (len(chosen.labels), len(cut_on.labels), len(judged.labels))
    return Rules(rules, growth, full, shown, exact, *counts, arrays, left_out, classes)


def _operations(model: nn.Module, found: Mapping[str, Site], pixels: Tensor) -> int:
    """About how many operations an image takes: those of torch's counter, and every strength."""
    counts: list[int] = []
    with FlopCounterMode(display=False) as counter, listening(found, lambda s, bits, x: counts.append(50 * x.numel())):
        model(pixels)
    return max(1, int(counter.get_total_flops()) + sum(counts))


def _what_clauses_add(
    model: nn.Module, found: Mapping[str, Site], images: Images, classes: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """By site: (K, C) what a clause adds to a class on its own images above others; (C) mean strengths."""
    own = {n: torch.zeros(classes, s.bank.num_clauses) for n, s in found.items()}
    other = {n: torch.zeros_like(x) for n, x in own.items()}
    total = {n: torch.zeros(s.bank.num_clauses) for n, s in found.items()}
    places = dict.fromkeys(found, 0)
    for start in range(0, len(images.labels), BATCH):
        labels = images.labels[start : start + BATCH]
        strengths, logits = _with_gradients(model, found, images.pixels[start : start + BATCH])
        for name, strength in strengths.items():
            by_place = found[name].by_place(strength.detach(), len(labels))
            total[name] += by_place.sum((0, 1))
            places[name] += by_place.shape[0] * by_place.shape[1]
        for k in range(classes):
            mine = (labels == k).float()
            for name, votes in _votes(found, strengths, logits, k).items():
                summed = votes.sum(1)
                own[name][k] += mine @ summed
                other[name][k] += (1 - mine) @ summed
    counts = torch.bincount(images.labels, minlength=classes).clamp(min=1).float()
    others = (len(images.labels) - counts).clamp(min=1)
    added = {n: own[n] / counts[:, None] - other[n] / others[:, None] for n in found}
    means = {n: total[n] / max(1, places[n]) for n in found}
    return added, means


def _fulfilled(model: nn.Module, found: Mapping[str, Site], images: Images) -> dict[str, Tensor]:
    """(M, C) by site: mean strength over an image's places, of the full one; a site that is not asked is left out."""
    shares: dict[str, list[Tensor]] = {n: [] for n in found}
    full = {n: s.bank.capacity(*s.bank.masks()).clamp(min=1) / s.bank.failures for n, s in found.items()}
    for start in range(0, len(images.labels), BATCH):
        pixels = images.pixels[start : start + BATCH]

        def hear(site: Site, bits: Tensor, strength: Tensor, count: int = len(pixels)) -> None:
            shares[site.name].append(site.by_place(strength, count).mean(1) / full[site.name])

        with listening(found, hear):
            model(pixels)
    return {n: torch.cat(x) for n, x in shares.items() if x}


def _spoken(strength: Tensor, mine: Tensor) -> tuple[int, int]:
    """On how many images of a class, and of others, a clause is worth anything."""
    return int((strength[mine] > 0).sum()), int((strength[~mine] > 0).sum())


def _of(images: Images, k: int) -> Images:
    own = images.labels == k
    return Images(images.pixels[own], images.labels[own])


def _with_gradients(model: nn.Module, found: Mapping[str, Site], pixels: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Strengths of every site that is asked, as the network has them, and the logits that depend on them."""
    strengths: dict[str, Tensor] = {}

    def hear(site: Site, bits: Tensor, strength: Tensor) -> Tensor:
        kept = strength if strength.requires_grad else strength.detach().requires_grad_(True)
        strengths[site.name] = kept
        return kept

    with torch.enable_grad(), listening(found, hear):
        logits = model(pixels)
    return strengths, logits


def _votes(found: Mapping[str, Site], strengths: Mapping[str, Tensor], logits: Tensor, k: int) -> dict[str, Tensor]:
    """(B, P, C) activation times gradient for class k, by site."""
    with torch.enable_grad():
        gradients = torch.autograd.grad(
            logits[:, k].sum(), list(strengths.values()), retain_graph=True, allow_unused=True
        )
    votes = {}
    for (name, strength), gradient in zip(strengths.items(), gradients, strict=True):
        worth = torch.zeros_like(strength) if gradient is None else strength * gradient
        votes[name] = found[name].by_place(worth.detach(), len(logits))
    return votes


def _votes_by_place(
    model: nn.Module, found: Mapping[str, Site], images: Images, k: int, pairs: Sequence[Clause]
) -> dict[Clause, Tensor]:
    """(M, P) what each of some clauses adds to class k."""
    kept: dict[Clause, list[Tensor]] = {pair: [] for pair in pairs}
    for start in range(0, len(images.labels), BATCH):
        strengths, logits = _with_gradients(model, found, images.pixels[start : start + BATCH])
        votes = _votes(found, strengths, logits, k)
        for name, clause in pairs:
            kept[name, clause].append(votes[name][:, :, clause])
    return {pair: torch.cat(parts) for pair, parts in kept.items()}


def _ranked(added: Mapping[str, Tensor], k: int) -> list[tuple[Clause, float]]:
    """The clauses that add most to class k, most first; what adds nothing is no rule."""
    every = [(float(x), (name, j)) for name, table in added.items() for j, x in enumerate(table[k].tolist())]
    every.sort(key=lambda entry: (-entry[0], entry[1]))
    return [(pair, x) for x, pair in every[: max(GROWTH)] if x > 0]


def _accuracy(
    model: nn.Module, found: Mapping[str, Site], images: Images, kept: set[Clause] | None, means: Mapping[str, Tensor]
) -> float:
    """Share of right answers where all clauses but the kept ones always put out their mean; None keeps all."""
    keep = {name: torch.zeros(site.bank.num_clauses) for name, site in found.items()}
    for name, clause in kept or ():
        keep[name][clause] = 1.0

    def hear(site: Site, bits: Tensor, strength: Tensor) -> Tensor:
        mask, mean = keep[site.name], means[site.name]
        if site.conv is not None:
            mask, mean = mask[:, None, None], mean[:, None, None]
        return strength * mask + mean * (1 - mask)

    with listening(found if kept is not None else {}, hear):
        return float((answers(model, images.pixels) == images.labels).float().mean())
