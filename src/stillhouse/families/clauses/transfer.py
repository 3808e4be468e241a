"""A wide clause machine hands its best clauses to a narrow one, which learns on from there.

Shapes: B images, P places that a bank is asked at, C clauses, O votes of a clause, F bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.classification.data import ImageSplit
from stillhouse.core.checks import InputError
from stillhouse.families.clauses.plan import ClauseTransferConfig
from stillhouse.families.clauses.students.core import TMLayer
from stillhouse.families.clauses.students.flat import TeamCore
from stillhouse.families.clauses.students.sites import listening, sites

BATCH = 256


@dataclass(frozen=True)
class Donor:
    """A wide machine, and what each of its clauses is worth.

    Attributes:
        source: its folder, for messages.
        model: in eval mode.
        worth: by the path of a layer of clauses: (C), more is better.
    """

    source: str
    model: nn.Module
    worth: Mapping[str, Tensor]


def donor_of(model: nn.Module, split: ImageSplit, config: ClauseTransferConfig) -> Donor:
    """Weigh the clauses of a machine on images of a split.

    Raises:
        InputError: it has no clauses.
    """
    layers = clause_layers(model)
    if not layers:
        raise InputError(f"start_from: expected a student with clauses in {config.run}, got {type(model).__name__}")
    if config.pick == "random":
        drawn = torch.Generator().manual_seed(0)
        worth = {path: torch.rand(layer.bank.num_clauses, generator=drawn) for path, layer in layers.items()}
        return Donor(config.run, model, worth)
    how_often = mean_strengths(model.eval(), split, config.rows)
    weigh = {path: layer.vote_weight().detach().abs().sum(0) for path, layer in layers.items()}
    return Donor(config.run, model, {path: weigh[path] * how_often[path] for path in layers})


def clause_layers(model: nn.Module) -> dict[str, TMLayer | TeamCore]:
    """Every layer of clauses that votes, by its path."""
    return {path: part for path, part in model.named_modules() if isinstance(part, (TMLayer, TeamCore))}


@torch.no_grad()
def mean_strengths(model: nn.Module, split: ImageSplit, rows: int) -> dict[str, Tensor]:
    """How strongly each clause answers on average over images and places, (C) by the path of its layer; images drawn by class."""
    paths = {id(layer.bank): path for path, layer in clause_layers(model).items()}
    found = {name: site for name, site in sites(model).items() if id(site.bank) in paths}
    total: dict[str, Tensor] = {}
    images = 0

    def hear(site: Any, bits: Tensor, strength: Tensor) -> None:
        path, means = paths[id(site.bank)], site.by_place(strength, images).double().mean(1).sum(0)
        total[path] = total.get(path, torch.zeros_like(means)) + means

    some = split.sample(rows)
    with listening(found, hear):
        for batch in some.batches(BATCH):
            images = len(batch.labels)
            model(batch.inputs)
    return {path: (x / len(some)).float() for path, x in total.items()}


@torch.no_grad()
def hand_over(donor: Donor, student: nn.Module) -> dict[str, Tensor]:
    """Give a student the donor's best clauses, as many as it has, with their votes; all else as in the donor.

    What the student puts out is then what the donor would if its other clauses were silent.

    Args:
        donor: weighed.
        student: of the donor's kind, with as many clauses or fewer; changed in place.

    Returns:
        By the path of a layer, the numbers of the chosen clauses, ascending.

    Raises:
        InputError: layers, literals or anything but the number of clauses differ, each with both shapes; or the student has more
            clauses. Nothing has been changed then.
    """
    ours, theirs = clause_layers(student), clause_layers(donor.model)
    if list(ours) != list(theirs):
        raise InputError(
            f"start_from: expected layers of clauses at {', '.join(ours)} in {donor.source}, got {', '.join(theirs)}"
        )
    chosen, state = {}, dict(donor.model.state_dict())
    for path, layer in ours.items():
        _check_rules(path, layer, theirs[path], donor.source)
        picked = chosen[path] = _best(donor.worth[path], layer, theirs[path])
        state[f"{path}.bank.include_logits"] = state[f"{path}.bank.include_logits"][:, picked]
        if isinstance(layer, TeamCore):
            # a team's votes are divided by the root of its size: each clause keeps the vote that it had
            state[f"{path}.scale"] = state[f"{path}.scale"] * (layer.own / _team(theirs[path]).own) ** 0.5
            continue
        state[f"{path}.votes.weight"] = state[f"{path}.votes.weight"][:, picked]
        if layer.clause_bias is not None and f"{path}.clause_bias" in state:
            state[f"{path}.clause_bias"] = state[f"{path}.clause_bias"][picked]
    mine = {name: tuple(x.shape) for name, x in student.state_dict().items()}
    its = {name: tuple(x.shape) for name, x in state.items()}
    wrong = [
        f"{n} {mine.get(n, '(none)')} <- {its.get(n, '(none)')}" for n in {**mine, **its} if mine.get(n) != its.get(n)
    ]
    if wrong:
        raise InputError(
            f"start_from: expected {donor.source} to differ in the number of clauses alone, got {'; '.join(wrong[:4])}"
        )
    student.load_state_dict(state)
    return chosen


def _best(worth: Tensor, layer: TMLayer | TeamCore, wide: TMLayer | TeamCore) -> Tensor:
    """Numbers of the clauses that are worth most, ascending; of a team, as many of each class for it and against it."""
    if not isinstance(layer, TeamCore):
        return worth.topk(layer.bank.num_clauses).indices.sort().values
    groups = worth.unflatten(0, (-1, _team(wide).own))  # (2 K, clauses of a class on one side)
    best = groups.topk(layer.own, dim=1).indices.sort(dim=1).values
    return (best + _team(wide).own * torch.arange(len(groups))[:, None]).flatten()


def _check_rules(path: str, ours: TMLayer | TeamCore, theirs: TMLayer | TeamCore, source: str) -> None:
    for what, mine, its in (
        ("voting", type(ours).__name__, type(theirs).__name__),
        ("bits", ours.bank.num_bits, theirs.bank.num_bits),
        ("kind of literals", type(ours.bank).__name__, type(theirs.bank).__name__),
        ("rule.failures", ours.bank.failures, theirs.bank.failures),
        ("rule.operator", ours.bank.operator, theirs.bank.operator),
    ):
        if mine != its:
            raise InputError(f"start_from: {path}: {what}: the student has {mine}, {source} {its}; expected the same")
    if ours.bank.num_clauses > theirs.bank.num_clauses:
        raise InputError(
            f"start_from: {path}: expected at most the {theirs.bank.num_clauses} clauses of {source}, the student has "
            f"{ours.bank.num_clauses}"
        )


def _team(layer: TMLayer | TeamCore) -> TeamCore:
    assert isinstance(layer, TeamCore)
    return layer


def read_donor(load: Any, split: ImageSplit, config: ClauseTransferConfig) -> Donor:
    """The donor of a run's configuration.

    Raises:
        InputError: no student in the folder, or one without clauses.
    """
    from stillhouse.core.folder import student_folder

    return donor_of(load(student_folder(Path(config.run))), split, config)
