"""Cutting clauses to the literals that the network's answers need: all that can be tried, or groups of them while trials last.

Shapes: M images, C clauses of a site, F bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from stillhouse.families.classification.lower import lower_layer
from stillhouse.families.classification.students.core import DeepTM
from stillhouse.families.classification.students.discrimination import Clause
from stillhouse.families.classification.students.flat import TeamCore
from stillhouse.families.classification.students.sites import Site, listening, literals_of, write_masks
from stillhouse.logic.simplify import cut_by_trials, cut_literals, effects

MOST_BITS = 2e7  # that are kept in memory of a site
Literal = tuple[str, int, int]  # site, clause, literal


def answers(model: nn.Module, pixels: Tensor) -> Tensor:
    """(M) the classes that a network names."""
    return torch.cat([model(pixels[start : start + 256]).argmax(1) for start in range(0, len(pixels), 256)])


def sum_over_clauses(model: nn.Module, found: Mapping[str, Site]) -> bool:
    """Whether the scores are a sum over the clauses of one bank, so that every literal can be tried."""
    core = getattr(model, "core", None)
    return len(found) == 1 and (isinstance(core, TeamCore) or (isinstance(core, DeepTM) and len(core.layers) == 1))


def cut_every_literal(model: nn.Module, found: Mapping[str, Site], pixels: Tensor, pairs: Sequence[Clause]) -> None:
    """Cut the clauses of a network whose scores are a sum over them, literal by literal."""
    name, core = next(iter(found)), getattr(model, "core", None)
    assert isinstance(core, (TeamCore, DeepTM))
    clauses = lower_layer(core if isinstance(core, TeamCore) else core.last)
    heard: list[np.ndarray] = []
    with listening(found, lambda site, bits, strength: heard.append(bits.numpy() > 0)):
        answers(model, pixels)
    kept = cut_literals(clauses, np.concatenate(heard), sorted({j for _, j in pairs}))
    gone = [
        (name, j, f) for j, stays in kept.items() for f in clauses.clause(j).tolist() if f not in set(stays.tolist())
    ]
    _write_without(found, gone, masks_of(found))


def cut_groups(
    model: nn.Module, found: Mapping[str, Site], pixels: Tensor, pairs: Sequence[Clause], trials: int
) -> None:
    """Cut the clauses of any network: groups of literals are removed, and come back where an answer changes."""
    pairs = sorted(set(pairs))
    order = _least_first(model, found, pixels, pairs)
    before, masks = answers(model, pixels), masks_of({name: found[name] for name, _ in pairs})

    def unchanged(gone: Sequence[Literal]) -> bool:
        _write_without(found, gone, masks)
        return bool((answers(model, pixels) == before).all())

    _write_without(found, cut_by_trials(order, unchanged, trials), masks)


def _least_first(model: nn.Module, found: Mapping[str, Site], pixels: Tensor, pairs: Sequence[Clause]) -> list[Literal]:
    """Every literal of the clauses, that one first whose removal changes its clause at the fewest places."""
    heard: dict[str, tuple[Tensor, Tensor]] = {}

    def hear(site: Site, bits: Tensor, strength: Tensor) -> None:
        failing = site.failing(bits, count)
        heard[site.name] = (failing[0].flatten(0, 1), failing[1].flatten(0, 1))

    sizes: list[int] = []
    with listening(found, lambda site, bits, x: sizes.append(x.numel() // site.bank.num_clauses * site.bank.num_bits)):
        model(pixels[:1])
    count = max(1, min(len(pixels), int(MOST_BITS / max(sizes, default=1))))
    with listening(found, hear):
        model(pixels[:count])
    order: list[tuple[int, Literal]] = []
    for name, clause in pairs:
        if name not in heard:
            continue
        site, literals = found[name], literals_of(found[name], clause)
        zeros, ones = heard[name]
        bits = site.bank.num_bits
        if literals:
            missed = torch.stack([zeros[:, f] if f < bits else ones[:, f - bits] for f in literals], 1).numpy()
            worth = effects(missed, min(len(literals), site.bank.failures))
            order += [(int(x), (name, clause, f)) for x, f in zip(worth, literals, strict=True)]
    return [literal for _, literal in sorted(order)]


@torch.no_grad()
def write_back(found: Mapping[str, Site], masks: Mapping[str, Tensor], pairs: Sequence[Clause]) -> None:
    """Give some clauses the literals that they had before they were cut."""
    for name in {name for name, _ in pairs}:
        now, own = torch.stack(found[name].bank.masks()).bool(), [clause for site, clause in pairs if site == name]
        now[:, own] = masks[name][:, own]
        write_masks(found[name].bank, *now)


def masks_of(found: Mapping[str, Site]) -> dict[str, Tensor]:
    """(2, C, F) of every site, to write back."""
    return {name: torch.stack(site.bank.masks()).bool() for name, site in found.items()}


def _write_without(found: Mapping[str, Site], gone: Sequence[Literal], masks: Mapping[str, Tensor]) -> None:
    now = {name: mask.clone() for name, mask in masks.items()}
    for name, clause, literal in gone:
        plane, bit = divmod(literal, found[name].bank.num_bits)
        now[name][plane, clause, bit] = False
    for name, (positive, negated) in now.items():
        write_masks(found[name].bank, positive, negated)
