"""Rules that a person reads: the clauses that carry each class, cut to the literals that matter, and what they keep alone.

A clause of any bank reaches a class only through what follows it, so what it adds is activation times gradient, exact where the
rest of the network is a sum (flat machines) and first order elsewhere (Shrikumar et al. 2017, arXiv:1704.02685).

Shapes: M images, P places of a bank, C its clauses, J clauses of all banks side by side, F bits, H W pixels, K classes, E examples.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.labels import sample_rows
from stillhouse.core.types import Batch
from stillhouse.logic.simplify import cut_literals
from stillhouse.tasks.classification.data.images import ImageData
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
from stillhouse.tasks.classification.students.clauses import ClauseModel
from stillhouse.tasks.classification.students.core import DeepTM, TMLayer

GROWTH = (1, 3, 10, 30)  # rules a class
MOST_RULES, MOST_A_CLASS, EXAMPLES = 100, 10, 6
ROWS, MOST_ROWS = 640, 64  # images by which clauses are chosen, and of a class at most
CUT_ROWS, JUDGED, BATCH = 2000, 2000, 64
CUTS = 10  # times that cutting begins anew without those clauses that must stay whole
ALIKE = 1.1  # times as much on its class as on others: below this a clause holds alike everywhere
Ranks = Sequence[tuple[int, float]]  # a clause among all, and what it adds


@dataclass(frozen=True, eq=False)
class ClauseMatches:
    """What clauses do on some images.

    Attributes:
        degree: (M, J) mean strength over the places of an image, of the full one.
        places: (M, J) share of the places at which a clause is worth anything.
    """

    degree: Tensor
    places: Tensor


class Watched:
    """A network whose clauses are heard, those of all banks side by side; a bank that is never asked puts out zeros."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.banks = model, named_banks(model)
        self.clauses = [(name, j) for name, bank in self.banks.items() for j in range(bank.num_clauses)]

    def together(self, of_banks: Mapping[str, Tensor]) -> Tensor:
        """(..., J) of what banks have in their last axis."""
        some = next(iter(of_banks.values()))
        empty = {name: some.new_zeros(*some.shape[:-1], bank.num_clauses) for name, bank in self.banks.items()}
        return torch.cat([of_banks.get(name, zeros) for name, zeros in empty.items()], -1)

    def heard(self, pixels: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Strengths of every bank that is asked, as the network has them, and the logits that depend on them."""
        strengths: dict[str, Tensor] = {}

        def hear(name: str, bits: Tensor, strength: Tensor) -> Tensor:
            strengths[name] = strength if strength.requires_grad else strength.detach().requires_grad_(True)
            return strengths[name]

        with torch.enable_grad(), hooked(self.banks, hear):
            return strengths, self.model(pixels)

    def fulfilled(self, images: Batch) -> ClauseMatches:
        """How far and how often each clause is fulfilled on each image."""
        degree, places = [], []
        full = self.together({n: b.capacity(*b.masks()).clamp(min=1) / b.failures for n, b in self.banks.items()})
        for pixels in images.inputs.split(BATCH):
            strengths, _ = self.heard(pixels)
            by_place = {n: x.detach().reshape(len(pixels), -1, x.shape[-1]) for n, x in strengths.items()}
            degree.append(self.together({n: x.mean(1) for n, x in by_place.items()}) / full)
            places.append(self.together({n: (x > 0).float().mean(1) for n, x in by_place.items()}))
        return ClauseMatches(torch.cat(degree), torch.cat(places))

    def added(self, images: Batch, classes: int) -> tuple[Tensor, Tensor]:
        """(K, J) what a clause adds to a class on its own images above others; (J) mean strengths.

        Of more than ten classes, each is compared with the others in some of the batches alone: each is a gradient a class.
        """
        own, other = torch.zeros(2, classes, len(self.clauses))
        counts, others = torch.zeros(2, classes)
        total, every = torch.zeros(len(self.clauses)), -(-classes // MOST_A_CLASS)
        for batch, (pixels, labels) in enumerate(zip(images.inputs.split(BATCH), images.labels.split(BATCH))):
            strengths, logits = self.heard(pixels)
            total += len(pixels) * self.together({n: x.detach().flatten(0, -2).mean(0) for n, x in strengths.items()})
            for k in range(classes):
                mine = (labels == k).float()
                if (batch + k) % every and not mine.any():
                    continue
                summed = self.together({n: x.sum(1) for n, x in votes_for(k, strengths, logits).items()})
                own[k] += mine @ summed
                other[k] += (1 - mine) @ summed
                counts[k] += mine.sum()
                others[k] += len(mine) - mine.sum()
        added = own / counts.clamp(min=1)[:, None] - other / others.clamp(min=1)[:, None]
        return added, total / len(images.labels)

    def votes(self, images: Tensor, k: int, clauses: Sequence[int]) -> dict[int, Tensor]:
        """(M, P) what each of some clauses adds to class k."""
        parts = [votes_for(k, *self.heard(pixels)) for pixels in images.split(BATCH)]
        return {
            j: torch.cat([part[name][:, :, own] for part in parts]) for j in clauses for name, own in [self.clauses[j]]
        }

    def accuracy(self, images: Batch, means: Tensor, kept: Collection[int] | None) -> float:
        """Share of right answers where all clauses but the kept ones always put out their mean; None keeps all."""
        keep = torch.zeros(len(self.clauses)).index_fill(0, torch.tensor(sorted(kept or ()), dtype=torch.int64), 1.0)
        sizes = [bank.num_clauses for bank in self.banks.values()]
        parts = dict(zip(self.banks, zip(keep.split(sizes), means.split(sizes))))

        def hear(name: str, bits: Tensor, strength: Tensor) -> Tensor:
            spoken, mean = parts[name]
            return strength * spoken + mean * (1 - spoken)

        with hooked(self.banks if kept is not None else {}, hear):
            return float((answers(self.model, images.inputs) == images.labels).float().mean())


def votes_for(k: int, strengths: Mapping[str, Tensor], logits: Tensor) -> dict[str, Tensor]:
    """(B, P, C) activation times gradient for class k, by bank."""
    with torch.enable_grad():
        gradients = torch.autograd.grad(
            logits[:, k].sum(), list(strengths.values()), retain_graph=True, allow_unused=True, materialize_grads=True
        )
    return {
        name: (strength * gradient).detach().reshape(len(logits), -1, strength.shape[-1])
        for (name, strength), gradient in zip(strengths.items(), gradients, strict=True)
    }


def answers(model: nn.Module, pixels: Tensor) -> Tensor:
    """(M) the classes that a network names."""
    return torch.cat([model(part).argmax(1) for part in pixels.split(256)])


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
    watched, classes = Watched(model), len(class_names)
    most = max(1, min(MOST_A_CLASS, MOST_RULES // classes)) if per_class is None else per_class
    rows = max(1, min(MOST_ROWS, ROWS // classes))
    by_class = [torch.nonzero(validation.labels == k).flatten() for k in range(classes)]
    chosen = images_of(Part(validation, torch.cat([own[sample_rows(len(own), rows)] for own in by_class])))
    added, means = watched.added(chosen, classes)
    ranking = {k: rank_by_contribution(added[k]) for k in range(classes) if bool((chosen.labels == k).any())}
    judged = images_of(test.sample(JUDGED))
    growth = [
        [count, watched.accuracy(judged, means, {j for ranks in ranking.values() for j, _ in ranks[:count]})]
        for count in (0, *GROWTH)
    ]
    full, whole = watched.accuracy(judged, means, None), watched.fulfilled(chosen)
    told = {k: rank_by_discrimination(ranks, whole, chosen.labels, k)[:most] for k, ranks in ranking.items()}
    pairs = [(k, j) for k, ranks in told.items() for j, _ in ranks]
    counts = {j: len(literals_of(watched.banks[watched.clauses[j][0]], watched.clauses[j][1])) for _, j in pairs}
    own = {k: chosen.inputs[chosen.labels == k] for k in told}
    votes = {k: watched.votes(own[k], k, [j for j, _ in ranks]) for k, ranks in told.items()}
    cut_on = images_of(validation.sample(CUT_ROWS))
    fulfilled = _prune_literals(watched, cut_on.inputs, chosen, pairs)
    rules: list[dict[str, Any]] = []
    arrays = {f"mean_{k}": as_bytes(images.mean(0)) for k, images in own.items()}
    for k, (j, adds) in ((k, entry) for k, ranks in told.items() for entry in ranks):
        number, (place, clause) = len(rules), watched.clauses[j]
        bank = watched.banks[place]
        literals, pixels = literals_of(bank, clause), pixels_of(model, bank)
        if pixels is None:
            arrays[f"examples_{number}"] = examples(model, own[k], votes[k][j])
        elif literals:
            arrays[f"wanted_{number}"], arrays[f"unwanted_{number}"] = pixels.pictures(literals)
        holds, elsewhere = shares(fulfilled.degree[:, j], chosen.labels, k)
        rules.append(
            {
                "class_name": class_names[k],
                "place": place,
                "clause": clause,
                "adds": adds,
                "holds": holds,
                "elsewhere": elsewhere,
                "literals": literals,
                "words": [] if pixels is None else pixels.names(literals),
                "count": counts[j],
                "allowed": max(0, min(len(literals), bank.failures) - 1),
            }
        )
    index = {
        "rules": rules,
        "growth": growth,
        "full": full,
        "shown": watched.accuracy(judged, means, {j for _, j in pairs}),
        "exact": _sum_of_clauses(watched) is not None,
        "chosen_on": len(chosen.labels),
        "cut_on": len(cut_on.labels),
        "judged_on": len(judged.labels),
        "judged_of": len(test),
        "left_out": sum(min(most, len(ranking[k])) - len(told[k]) for k in ranking),
        "class_names": list(class_names),
    }
    return Rules(index, arrays)


def rank_by_contribution(added: Tensor) -> Ranks:
    """The clauses that add most to a class (J), most first; what adds nothing is no rule."""
    values, order = added.sort(descending=True, stable=True)
    return [(j, x) for j, x in zip(order.tolist()[: max(GROWTH)], values.tolist()) if x > 0]


def shares(fulfilled: Tensor, labels: Tensor, k: int) -> tuple[float, float]:
    """Mean of (M,) shares on the images of class k, and on all others (0 where there are none)."""
    own = labels == k
    return float(fulfilled[own].mean()), float(fulfilled[~own].mean()) if bool((~own).any()) else 0.0


def class_discrimination(j: int, fulfilled: ClauseMatches, labels: Tensor, k: int) -> bool:
    """Whether a clause tells class k from the others, by how far it is fulfilled and by how often: what holds for nearly every
    image, of the class and of others, is no rule of the class, however loud.
    """
    both = (shares(table[:, j], labels, k) for table in (fulfilled.degree, fulfilled.places))
    return all(own > ALIKE * others for own, others in both)


def rank_by_discrimination(ranks: Ranks, fulfilled: ClauseMatches, labels: Tensor, k: int) -> Ranks:
    """The clauses that tell class k from the others, the most different first.

    Args:
        ranks: (clause, what it adds) of class k.
        fulfilled: by M images.
        labels: (M,) of the images.
        k: the class.
    """

    def gap(entry: tuple[int, float]) -> float:
        own, others = shares(fulfilled.degree[:, entry[0]], labels, k)
        return own - others

    return sorted(
        (entry for entry in ranks if class_discrimination(entry[0], fulfilled, labels, k)), key=gap, reverse=True
    )


def _sum_of_clauses(watched: Watched) -> TMLayer | None:
    """The layer whose clauses add up to the scores, so that every literal can be tried; None in other networks."""
    core = getattr(watched.model, "core", None)
    return core.last if isinstance(core, DeepTM) and len(watched.banks) == 1 else None


def _prune_literals(
    watched: Watched, pixels: Tensor, chosen: Batch, wanted: Sequence[tuple[int, int]]
) -> ClauseMatches:
    """Cut clauses to the literals that answers need, in networks whose scores are a sum over them.

    A clause that would hold on every class alike, as it is cut, stays whole.

    Args:
        watched: changed in place.
        pixels: of the images whose answers stay.
        chosen: by which classes are told apart.
        wanted: (class, clause).

    Returns:
        What the clauses do then on the chosen images.
    """
    layer = _sum_of_clauses(watched)
    if layer is None:
        return watched.fulfilled(chosen)
    bank, cut = layer.bank, {j for _, j in wanted}
    clauses, original, heard = lower_layer(layer), torch.stack(bank.masks()).bool(), list[np.ndarray]()
    with hooked(watched.banks, lambda name, bits, strength: heard.append(bits.numpy() > 0)):
        answers(watched.model, pixels)
    bits = np.concatenate(heard)
    for _ in range(CUTS):
        masks = original.clone()
        for j, kept in cut_literals(clauses, bits, sorted(cut)).items():
            literals = torch.zeros(2 * bank.num_bits, dtype=torch.bool)
            literals[kept.tolist()] = True
            masks[:, j] = literals.unflatten(0, (2, bank.num_bits))
        write_masks(bank, masks)
        fulfilled = watched.fulfilled(chosen)
        blurred = {
            j for k, j in wanted if literals_of(bank, j) and not class_discrimination(j, fulfilled, chosen.labels, k)
        }
        if not blurred & cut:
            break
        cut -= blurred  # without these cuts, answers may need literals of the others
    return fulfilled


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
