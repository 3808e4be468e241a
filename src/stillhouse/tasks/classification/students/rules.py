"""Rules that a person reads: the clauses that carry each class, cut to the literals that matter, and what they keep alone.

A clause of any bank reaches a class only through what follows it, so what it adds is activation times gradient, exact where the
rest of the network is a sum (flat machines) and first order elsewhere (Shrikumar et al. 2017, arXiv:1704.02685).

Shapes: M images, P places, C clauses of a site, F bits, K classes.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.sample import sample_rows
from stillhouse.metrics.cost import flop_counter
from stillhouse.tasks.classification.data import ImageData
from stillhouse.tasks.classification.data.split import Part, Split
from stillhouse.tasks.classification.students.base import ClauseModel
from stillhouse.tasks.classification.students.literal_names import pixels_of
from stillhouse.tasks.classification.students.rule import Rule, Rules, as_bytes, examples
from stillhouse.tasks.classification.students.rule_cuts import (
    Clause,
    Fulfilled,
    answers,
    by_discrimination,
    cut_every_literal,
    cut_groups,
    masks_of,
    shares,
    sum_over_clauses,
    tells,
    write_back,
)
from stillhouse.tasks.classification.students.sites import ClauseModule, literals_of, round_weights, signal_set, sites

GROWTH = (1, 3, 10, 30)  # rules a class
MOST_RULES, MOST_A_CLASS = 100, 10
ROWS_A_CLASS, CUT_ROWS, CUT_IMAGES, JUDGED, BATCH = 64, 2000, 256, 2000, 64
BUDGET = 1e11  # operations for each of choosing, cutting and judging, so that a large network takes no longer than a small one
FEWEST_TRIALS, MOST_TRIALS = 12, 150
CUTS, EXACT_CUTS = 3, 10  # times that cutting begins anew without those clauses that must stay whole


@dataclass(frozen=True)
class Images:
    """Some images (M, C, H, W) in [0, 1] with their labels (M)."""

    pixels: Tensor
    labels: Tensor


def images_of(split: Split) -> Images:
    """All images of a split, in memory."""
    batch = split.batch(torch.arange(len(split)))
    return Images(batch.inputs, batch.labels)


def of_each_class(split: Split, classes: int, count: int) -> Split:
    """At most so many rows of each class, drawn by a fixed seed, class by class."""
    own = [torch.nonzero(split.labels == k).flatten() for k in range(classes)]
    return Part(split, torch.cat([rows[sample_rows(len(rows), count)] for rows in own]))


def rules_of(network: nn.Module, data: ImageData) -> Rules:
    """The rules of a student, chosen on the validation split of its data and judged on its test split."""
    return find_rules(network, data.validation, data.test, data.input_spec.class_names)


@torch.no_grad()
def find_rules(
    network: nn.Module, validation: Split, test: Split, class_names: Sequence[str], *, per_class: int | None = None
) -> Rules:
    """The rules of any network with clauses, from validation images; what they keep, on test images.

    Args:
        network: a student with clauses; left as it is.
        validation: by which rules are chosen and cut; where that would take long, a sample of its images.
        test: on which the chosen rules are judged, or a sample of it.
        class_names: K names.
        per_class: rules of a class; None: ten, fewer where there are many classes.

    Raises:
        InputError: no clauses, or no images.
    """
    if not sites(network):
        raise InputError("rules: expected a network with clauses, this one has none")
    if not len(validation) or not len(test):
        raise InputError("rules: expected validation and test images, got none")
    assert isinstance(network, ClauseModel)
    model = copy.deepcopy(network).eval().requires_grad_(False)
    round_weights(model)
    found, classes = sites(model), len(class_names)
    wanted = max(1, min(MOST_A_CLASS, MOST_RULES // classes)) if per_class is None else per_class
    work = _operations(model, found, validation.batch(torch.arange(1)).inputs)
    rows = max(1, min(ROWS_A_CLASS, int(BUDGET / work / (classes + 3) / classes)))
    chosen = images_of(of_each_class(validation, classes, rows))
    added, means = _what_clauses_add(model, found, chosen, classes)
    ranking = {k: _ranked(added, k) for k in range(classes) if bool((chosen.labels == k).any())}
    judged = images_of(test.sample(max(200, min(JUDGED, int(BUDGET / work / (2 + len(GROWTH)))))))
    ablation_curve = [
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
    most = CUT_ROWS if exact else max(32, min(CUT_IMAGES, int(BUDGET / work / FEWEST_TRIALS)))
    cut_on = images_of(validation.sample(most))
    trials = None if exact else max(FEWEST_TRIALS, min(MOST_TRIALS, int(BUDGET / work / len(cut_on.labels))))
    fulfilled = _cut(model, found, cut_on, chosen, [*before], trials)
    rules: list[Rule] = []
    arrays: dict[str, np.ndarray] = {}
    for k, ranks in ranking.items():
        own = _of(chosen, k)
        arrays[f"mean_{k}"] = as_bytes(own.pixels.mean(0))
        for pair, adds in ranks:
            site, clause = found[pair[0]], pair[1]
            literals, pixels = literals_of(site, clause), pixels_of(model, site)
            if pixels is None:
                arrays[f"examples_{len(rules)}"] = examples(model, own.pixels, votes[k][pair])
            if pixels is not None and literals:
                number = len(rules)
                arrays[f"wanted_{number}"], arrays[f"unwanted_{number}"] = pixels.pictures(literals)
            holds, elsewhere = shares(fulfilled.degree[pair[0]][:, clause], chosen.labels, k)
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
                    speaks=_spoken(fulfilled.degree[pair[0]][:, clause], mine),
                    spoke=_spoken(whole.degree[pair[0]][:, clause], mine),
                )
            )
    shown = _accuracy(model, found, judged, {pair for _, pair in before}, means)
    counts = (len(chosen.labels), len(cut_on.labels), len(judged.labels), len(test))
    return Rules(rules, ablation_curve, full, shown, exact, *counts, arrays, left_out, list(class_names))


def _cut(
    model: nn.Module,
    found: Mapping[str, ClauseModule],
    cut_on: Images,
    chosen: Images,
    wanted: Sequence[tuple[int, Clause]],
    trials: int | None,
) -> Fulfilled:
    """Cut clauses to the literals that answers need; one that would hold on every class alike, as it is cut, stays whole.

    Args:
        model: changed in place.
        found: its sites.
        cut_on: whose answers stay.
        chosen: by which classes are told apart.
        wanted: (class, clause).
        trials: of groups of literals; None: every literal is tried.

    Returns:
        What the clauses do then on the chosen images.
    """
    originals, cut = masks_of(found), {pair for _, pair in wanted}
    for _ in range(EXACT_CUTS if trials is None else CUTS):
        if trials is None:
            cut_every_literal(model, found, cut_on.pixels, sorted(cut))
        else:
            cut_groups(model, found, cut_on.pixels, sorted(cut), trials)
        fulfilled = _fulfilled(model, found, chosen)
        kept = [(k, pair) for k, pair in wanted if literals_of(found[pair[0]], pair[1])]
        blurred = {pair for k, pair in kept if not tells(pair, fulfilled, chosen.labels, k)}
        if not blurred:
            return fulfilled
        write_back(found, originals, sorted(cut))  # without these cuts, answers may need literals of the others
        cut -= blurred
    return _fulfilled(model, found, chosen)


def _operations(model: nn.Module, found: Mapping[str, ClauseModule], pixels: Tensor) -> int:
    """About how many operations an image takes: those of torch's counter, and every strength."""
    counts: list[int] = []
    with flop_counter() as counter, signal_set(found, lambda s, bits, x: counts.append(50 * x.numel())):
        model(pixels)
    return max(1, int(counter.get_total_flops()) + sum(counts))


def _what_clauses_add(
    model: nn.Module, found: Mapping[str, ClauseModule], images: Images, classes: int
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


def _fulfilled(model: nn.Module, found: Mapping[str, ClauseModule], images: Images) -> Fulfilled:
    """How far and how often each clause is fulfilled on each image; a site that is not asked is left out."""
    degrees: dict[str, list[Tensor]] = {n: [] for n in found}
    places: dict[str, list[Tensor]] = {n: [] for n in found}
    full = {n: s.bank.capacity(*s.bank.masks()).clamp(min=1) / s.bank.failures for n, s in found.items()}
    for start in range(0, len(images.labels), BATCH):
        pixels = images.pixels[start : start + BATCH]

        def hear(site: ClauseModule, bits: Tensor, strength: Tensor, count: int = len(pixels)) -> None:
            by_place = site.by_place(strength, count)
            degrees[site.name].append(by_place.mean(1) / full[site.name])
            places[site.name].append((by_place > 0).float().mean(1))

        with signal_set(found, hear):
            model(pixels)
    return Fulfilled(*({n: torch.cat(x) for n, x in table.items() if x} for table in (degrees, places)))


def _spoken(strength: Tensor, mine: Tensor) -> tuple[int, int]:
    """On how many images of a class, and of others, a clause is worth anything."""
    return int((strength[mine] > 0).sum()), int((strength[~mine] > 0).sum())


def _of(images: Images, k: int) -> Images:
    own = images.labels == k
    return Images(images.pixels[own], images.labels[own])


def _with_gradients(
    model: nn.Module, found: Mapping[str, ClauseModule], pixels: Tensor
) -> tuple[dict[str, Tensor], Tensor]:
    """Strengths of every site that is asked, as the network has them, and the logits that depend on them."""
    strengths: dict[str, Tensor] = {}

    def hear(site: ClauseModule, bits: Tensor, strength: Tensor) -> Tensor:
        kept = strength if strength.requires_grad else strength.detach().requires_grad_(True)
        strengths[site.name] = kept
        return kept

    with torch.enable_grad(), signal_set(found, hear):
        logits = model(pixels)
    return strengths, logits


def _votes(
    found: Mapping[str, ClauseModule], strengths: Mapping[str, Tensor], logits: Tensor, k: int
) -> dict[str, Tensor]:
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
    model: nn.Module, found: Mapping[str, ClauseModule], images: Images, k: int, pairs: Sequence[Clause]
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
    model: nn.Module,
    found: Mapping[str, ClauseModule],
    images: Images,
    kept: set[Clause] | None,
    means: Mapping[str, Tensor],
) -> float:
    """Share of right answers where all clauses but the kept ones always put out their mean; None keeps all."""
    keep = {name: torch.zeros(site.bank.num_clauses) for name, site in found.items()}
    for name, clause in kept or ():
        keep[name][clause] = 1.0

    def hear(site: ClauseModule, bits: Tensor, strength: Tensor) -> Tensor:
        mask, mean = keep[site.name], means[site.name]
        return strength * mask + mean * (1 - mask)

    with signal_set(found if kept is not None else {}, hear):
        return float((answers(model, images.pixels) == images.labels).float().mean())
