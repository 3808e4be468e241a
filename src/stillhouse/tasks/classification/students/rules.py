"""Rules that a person reads: the clauses that carry each class, cut to the literals that matter, and what they keep alone.

A clause of any bank reaches a class only through what follows it, so what it adds is activation times gradient, exact where the
rest of the network is a sum (flat machines) and first order elsewhere (Shrikumar et al. 2017, arXiv:1704.02685).

Shapes: M images, P places, C clauses of a bank, F bits, H W pixels, K classes, E examples.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.sample import sample_rows
from stillhouse.core.types import Batch
from stillhouse.logic.simplify import cut_literals
from stillhouse.tasks.classification.data import ImageData
from stillhouse.tasks.classification.data.split import Part, Split
from stillhouse.tasks.classification.lower import lower_layer
from stillhouse.tasks.classification.rules_file import Rules
from stillhouse.tasks.classification.students.banks import (
    hooked,
    literals_of,
    named_banks,
    pixels_of,
    round_weights,
    write_masks,
)
from stillhouse.tasks.classification.students.clauses import ClauseBank, ClauseModel
from stillhouse.tasks.classification.students.core import DeepTM, TMLayer

Banks = Mapping[str, ClauseBank]
Clause = tuple[str, int]  # bank, number there
GROWTH = (1, 3, 10, 30)  # rules a class
MOST_RULES, MOST_A_CLASS, EXAMPLES = 100, 10, 6
ROWS, MOST_ROWS, CUT_ROWS, JUDGED, BATCH = (
    640,
    64,
    2000,
    2000,
    64,
)  # images by which clauses are chosen, of a class at most
CUTS = 10  # times that cutting begins anew without those clauses that must stay whole
ALIKE = 1.1  # times as much on its class as on others: below this a clause holds alike everywhere


@dataclass(frozen=True, eq=False)
class Fulfilled:
    """What clauses do on some images, by bank.

    Attributes:
        degree: (M, C) mean strength over the places of an image, of the full one.
        places: (M, C) share of the places at which a clause is worth anything.
    """

    degree: Mapping[str, Tensor]
    places: Mapping[str, Tensor]


def images_of(split: Split) -> Batch:
    """All images of a split, in memory."""
    return split.batch(torch.arange(len(split)))


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
        validation: by which rules are chosen and cut; of many images a sample.
        test: on which the chosen rules are judged, or a sample of it.
        class_names: K names.
        per_class: rules of a class; None: ten, fewer where there are many classes.

    Raises:
        InputError: no clauses, or no images.
    """
    if not isinstance(network, ClauseModel) or not named_banks(network):
        raise InputError("rules: expected a network with clauses, this one has none")
    if not len(validation) or not len(test):
        raise InputError("rules: expected validation and test images, got none")
    model = copy.deepcopy(network).eval().requires_grad_(False)
    round_weights(model)
    banks, classes = named_banks(model), len(class_names)
    wanted = max(1, min(MOST_A_CLASS, MOST_RULES // classes)) if per_class is None else per_class
    rows = max(1, min(MOST_ROWS, ROWS // classes))
    by_class = [torch.nonzero(validation.labels == k).flatten() for k in range(classes)]
    chosen = images_of(Part(validation, torch.cat([own[sample_rows(len(own), rows)] for own in by_class])))
    added, means = _what_clauses_add(model, banks, chosen, classes)
    ranking = {k: _ranked(added, k) for k in range(classes) if bool((chosen.labels == k).any())}
    judged = images_of(test.sample(JUDGED))

    def accuracy(kept: set[Clause] | None) -> float:
        return _accuracy(model, banks, judged, kept, means)

    growth = [
        [count, accuracy({pair for ranks in ranking.values() for pair, _ in ranks[:count]})] for count in (0, *GROWTH)
    ]
    full, whole = accuracy(None), _fulfilled(model, banks, chosen)
    told = {k: by_discrimination(ranks, whole, chosen.labels, k)[:wanted] for k, ranks in ranking.items()}
    left_out = sum(min(wanted, len(ranking[k])) - len(told[k]) for k in ranking)
    pairs = [(k, pair) for k, ranks in told.items() for pair, _ in ranks]
    counts = {pair: len(literals_of(banks[pair[0]], pair[1])) for _, pair in pairs}
    votes = {k: _votes_by_place(model, banks, _of(chosen, k), k, [pair for pair, _ in told[k]]) for k in told}
    cut_on = images_of(validation.sample(CUT_ROWS))
    fulfilled = _cut(model, banks, cut_on.inputs, chosen, pairs)
    rules: list[dict[str, Any]] = []
    arrays: dict[str, np.ndarray] = {}
    for k, ranks in told.items():
        own = _of(chosen, k)
        arrays[f"mean_{k}"] = as_bytes(own.inputs.mean(0))
        for pair, adds in ranks:
            number, bank = len(rules), banks[pair[0]]
            literals, pixels = literals_of(bank, pair[1]), pixels_of(model, bank)
            if pixels is None:
                arrays[f"examples_{number}"] = examples(model, own.inputs, votes[k][pair])
            elif literals:
                arrays[f"wanted_{number}"], arrays[f"unwanted_{number}"] = pixels.pictures(literals)
            holds, elsewhere = shares(fulfilled.degree[pair[0]][:, pair[1]], chosen.labels, k)
            rules.append(
                {
                    "class_name": class_names[k],
                    "place": pair[0],
                    "clause": pair[1],
                    "adds": adds,
                    "holds": holds,
                    "elsewhere": elsewhere,
                    "literals": literals,
                    "words": [] if pixels is None else pixels.names(literals),
                    "count": counts[pair],
                    "allowed": max(0, min(len(literals), bank.failures) - 1),
                }
            )
    index = {
        "rules": rules,
        "growth": growth,
        "full": full,
        "shown": accuracy({pair for _, pair in pairs}),
        "exact": _sum_of_clauses(model) is not None,
        "chosen_on": len(chosen.labels),
        "cut_on": len(cut_on.labels),
        "judged_on": len(judged.labels),
        "judged_of": len(test),
        "left_out": left_out,
        "class_names": list(class_names),
    }
    return Rules(index, arrays)


def shares(fulfilled: Tensor, labels: Tensor, k: int) -> tuple[float, float]:
    """Mean of (M,) shares on the images of class k, and on all others (0 where there are none)."""
    own = labels == k
    return float(fulfilled[own].mean()), float(fulfilled[~own].mean()) if bool((~own).any()) else 0.0


def tells(pair: Clause, fulfilled: Fulfilled, labels: Tensor, k: int) -> bool:
    """Whether a clause tells class k from the others, by how far it is fulfilled and by how often: what holds for nearly every
    image, of the class and of others, is no rule of the class, however loud.
    """
    for table in (fulfilled.degree, fulfilled.places):
        own, others = shares(table[pair[0]][:, pair[1]], labels, k)
        if own <= ALIKE * others:
            return False
    return True


def by_discrimination(
    ranks: Sequence[tuple[Clause, float]], fulfilled: Fulfilled, labels: Tensor, k: int
) -> list[tuple[Clause, float]]:
    """The clauses that tell class k from the others, the most different first.

    Args:
        ranks: (clause, what it adds) of class k.
        fulfilled: by M images.
        labels: (M,) of the images.
        k: the class.
    """

    def gap(pair: Clause) -> float:
        own, others = shares(fulfilled.degree[pair[0]][:, pair[1]], labels, k)
        return own - others

    kept = [(pair, adds) for pair, adds in ranks if pair[0] in fulfilled.degree and tells(pair, fulfilled, labels, k)]
    return sorted(kept, key=lambda entry: -gap(entry[0]))


def _sum_of_clauses(model: nn.Module) -> TMLayer | None:
    """The layer whose clauses add up to the scores, so that every literal can be tried; None in other networks."""
    core = getattr(model, "core", None)
    return core.last if isinstance(core, DeepTM) and len(named_banks(model)) == 1 else None


def _cut(
    model: nn.Module, banks: Banks, pixels: Tensor, chosen: Batch, wanted: Sequence[tuple[int, Clause]]
) -> Fulfilled:
    """Cut clauses to the literals that answers need, in networks whose scores are a sum over them.

    A clause that would hold on every class alike, as it is cut, stays whole.

    Args:
        model: changed in place.
        banks: its clauses.
        pixels: of the images whose answers stay.
        chosen: by which classes are told apart.
        wanted: (class, clause).

    Returns:
        What the clauses do then on the chosen images.
    """
    layer = _sum_of_clauses(model)
    if layer is None:
        return _fulfilled(model, banks, chosen)
    (bank,), cut = banks.values(), {pair for _, pair in wanted}
    clauses, original, heard = lower_layer(layer), torch.stack(bank.masks()).bool(), list[np.ndarray]()
    with hooked(banks, lambda name, bits, strength: heard.append(bits.numpy() > 0)):
        answers(model, pixels)
    bits = np.concatenate(heard)
    for _ in range(CUTS):
        masks = original.clone()
        for j, kept in cut_literals(clauses, bits, sorted({j for _, j in cut})).items():
            literals = torch.zeros(2 * bank.num_bits, dtype=torch.bool)
            literals[kept.tolist()] = True
            masks[:, j] = literals.unflatten(0, (2, bank.num_bits))
        write_masks(bank, masks)
        fulfilled = _fulfilled(model, banks, chosen)
        blurred = {
            pair for k, pair in wanted if literals_of(bank, pair[1]) and not tells(pair, fulfilled, chosen.labels, k)
        }
        if not blurred & cut:
            break
        cut -= blurred  # without these cuts, answers may need literals of the others
    return fulfilled


def _what_clauses_add(
    model: nn.Module, banks: Banks, images: Batch, classes: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """By bank: (K, C) what a clause adds to a class on its own images above others; (C) mean strengths."""
    own = {n: torch.zeros(classes, bank.num_clauses) for n, bank in banks.items()}
    other = {n: torch.zeros_like(x) for n, x in own.items()}
    total = {n: torch.zeros(bank.num_clauses) for n, bank in banks.items()}
    places = dict.fromkeys(banks, 0)
    for start in range(0, len(images.labels), BATCH):
        labels = images.labels[start : start + BATCH]
        strengths, logits = _with_gradients(model, banks, images.inputs[start : start + BATCH])
        for name, strength in strengths.items():
            by_place = strength.detach().flatten(0, -2)
            total[name] += by_place.sum(0)
            places[name] += len(by_place)
        for k in range(classes):
            mine = (labels == k).float()
            for name, votes in _votes(strengths, logits, k).items():
                summed = votes.sum(1)
                own[name][k] += mine @ summed
                other[name][k] += (1 - mine) @ summed
    counts = torch.bincount(images.labels, minlength=classes).clamp(min=1).float()
    others = (len(images.labels) - counts).clamp(min=1)
    added = {n: own[n] / counts[:, None] - other[n] / others[:, None] for n in banks}
    return added, {n: total[n] / max(1, places[n]) for n in banks}


def _fulfilled(model: nn.Module, banks: Banks, images: Batch) -> Fulfilled:
    """How far and how often each clause is fulfilled on each image; a bank that is not asked is left out."""
    degrees: dict[str, list[Tensor]] = {n: [] for n in banks}
    places: dict[str, list[Tensor]] = {n: [] for n in banks}
    full = {n: bank.capacity(*bank.masks()).clamp(min=1) / bank.failures for n, bank in banks.items()}
    for start in range(0, len(images.labels), BATCH):
        pixels = images.inputs[start : start + BATCH]

        def hear(name: str, bits: Tensor, strength: Tensor, count: int = len(pixels)) -> None:
            by_place = strength.reshape(count, -1, strength.shape[-1])
            degrees[name].append(by_place.mean(1) / full[name])
            places[name].append((by_place > 0).float().mean(1))

        with hooked(banks, hear):
            model(pixels)
    return Fulfilled(*({n: torch.cat(x) for n, x in table.items() if x} for table in (degrees, places)))


def _of(images: Batch, k: int) -> Batch:
    own = images.labels == k
    return Batch(images.inputs[own], images.labels[own], images.index[own])


def _with_gradients(model: nn.Module, banks: Banks, pixels: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Strengths of every bank that is asked, as the network has them, and the logits that depend on them."""
    strengths: dict[str, Tensor] = {}

    def hear(name: str, bits: Tensor, strength: Tensor) -> Tensor:
        strengths[name] = strength if strength.requires_grad else strength.detach().requires_grad_(True)
        return strengths[name]

    with torch.enable_grad(), hooked(banks, hear):
        logits = model(pixels)
    return strengths, logits


def _votes(strengths: Mapping[str, Tensor], logits: Tensor, k: int) -> dict[str, Tensor]:
    """(B, P, C) activation times gradient for class k, by bank."""
    with torch.enable_grad():
        gradients = torch.autograd.grad(
            logits[:, k].sum(), list(strengths.values()), retain_graph=True, allow_unused=True, materialize_grads=True
        )
    return {
        name: (strength * gradient).detach().reshape(len(logits), -1, strength.shape[-1])
        for (name, strength), gradient in zip(strengths.items(), gradients, strict=True)
    }


def _votes_by_place(
    model: nn.Module, banks: Banks, images: Batch, k: int, pairs: Sequence[Clause]
) -> dict[Clause, Tensor]:
    """(M, P) what each of some clauses adds to class k."""
    kept: dict[Clause, list[Tensor]] = {pair: [] for pair in pairs}
    for start in range(0, len(images.labels), BATCH):
        votes = _votes(*_with_gradients(model, banks, images.inputs[start : start + BATCH]), k)
        for name, clause in pairs:
            kept[name, clause].append(votes[name][:, :, clause])
    return {pair: torch.cat(parts) for pair, parts in kept.items()}


def _ranked(added: Mapping[str, Tensor], k: int) -> list[tuple[Clause, float]]:
    """The clauses that add most to class k, most first; what adds nothing is no rule."""
    every = [((name, j), float(x)) for name, table in added.items() for j, x in enumerate(table[k].tolist())]
    every.sort(key=lambda entry: (-entry[1], entry[0]))
    return [(pair, x) for pair, x in every[: max(GROWTH)] if x > 0]


def answers(model: nn.Module, pixels: Tensor) -> Tensor:
    """(M) the classes that a network names."""
    return torch.cat([model(part).argmax(1) for part in pixels.split(256)])


def _accuracy(
    model: nn.Module, banks: Banks, images: Batch, kept: set[Clause] | None, means: Mapping[str, Tensor]
) -> float:
    """Share of right answers where all clauses but the kept ones always put out their mean; None keeps all."""
    keep = {name: torch.zeros(bank.num_clauses) for name, bank in banks.items()}
    for name, clause in kept or ():
        keep[name][clause] = 1.0

    def hear(name: str, bits: Tensor, strength: Tensor) -> Tensor:
        return strength * keep[name] + means[name] * (1 - keep[name])

    with hooked(banks if kept is not None else {}, hear):
        return float((answers(model, images.inputs) == images.labels).float().mean())


def examples(model: nn.Module, images: Tensor, votes: Tensor) -> np.ndarray:
    """(E, C, h, w) uint8: the patches at which a clause adds most, each of another image; images where it looks at all of one."""
    height, width = images.shape[2:]
    local = votes[:, int(getattr(model, "class_token", None) is not None) :]
    rows = max(1, round((local.shape[1] * height / width) ** 0.5))
    columns, rest = divmod(local.shape[1], rows)
    if local.shape[1] <= 1 or rest or not bool(local.any()):
        return as_bytes(images[votes.sum(1).topk(min(EXAMPLES, len(votes))).indices])
    h, w = -(-height // rows), -(-width // columns)
    most, place = local.max(1)
    padded, patches = nn.functional.pad(images, (w, 3 * w, h, 3 * h)), []
    for image in most.topk(min(EXAMPLES, len(votes))).indices.tolist():
        row, column = divmod(int(place[image]), columns)
        patch = (
            0.4 * padded[image, :, row * h : (row + 3) * h, column * w : (column + 3) * w]
        )  # what is around it is darker
        patch[:, h : 2 * h, w : 2 * w] /= 0.4
        patches.append(patch)
    return as_bytes(torch.stack(patches))


def as_bytes(pixels: Tensor) -> np.ndarray:
    """Pixels in [0, 1] as uint8."""
    return np.asarray((pixels.clamp(0, 1) * 255).round().to(torch.uint8).numpy())
