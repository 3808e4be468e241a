"""From trained clause networks to logic: a `PackedModel` where all of it is clauses, a `ClauseSet` of one layer.

Shapes: F bits, C clauses, O outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from stillhouse.core.checks import InputError
from stillhouse.logic.clause_set import WIDEST_SCORE, ClauseSet, whole_votes
from stillhouse.logic.machine import FRACTION, IntegerLayerNorm, PackedModel
from stillhouse.tasks.classification.students.clauses import ClauseBank
from stillhouse.tasks.classification.students.core import DeepTM, TMLayer
from stillhouse.tasks.classification.students.flat import DeepTMClassifier, FilterBits, FlatTM, Thermometer


@torch.no_grad()
def lower(model: nn.Module, class_names: Sequence[str] = ()) -> PackedModel:
    """The machine of a network that is clauses from the pixels to the class: `FlatTM` or `DeepTMClassifier`.

    Every clause value is the network's own. Scores differ from its logits times `scale` by rounding: of votes to whole numbers
    (`whole_votes`), and of torch's float32 sums.

    Args:
        model: trained.
        class_names: K; by default their numbers.

    Raises:
        InputError: a network with parts that are no clauses, a control.
    """
    if not isinstance(model, (FlatTM, DeepTMClassifier)) or not isinstance(model.core, DeepTM):
        raise InputError(
            "a machine of logic: expected a flat or deep clause network (flat-tm, deep-tm) with its clauses, got "
            f"{type(model).__name__}"
        )
    edges = model.bits.edges.flatten().cpu().numpy() if isinstance(model.bits, Thermometer) else np.zeros(0)
    layers, joins = _lowered_deep(model.core)
    machine = PackedModel(
        image_shape=model.image_shape,
        edges=edges.astype(np.float32),
        layers=tuple(layers),
        joins=tuple(joins),
        class_names=tuple(class_names) or tuple(map(str, range(layers[-1].outputs))),
        square=min(model.bits.square, max(model.image_shape[1:])) if isinstance(model.bits, FilterBits) else 0,
    )
    machine.check()
    return machine


def literals_of(bank: ClauseBank) -> list[np.ndarray]:
    """The literals of every clause, ascending: f asks for bit f, F + f for its negation."""
    training = bank.training
    bank.eval()  # masks of use, not those of a training step
    try:
        masks = torch.cat([mask.detach() for mask in bank.masks()], dim=1)
    finally:
        bank.train(training)
    return [np.flatnonzero(row) for row in (masks > 0.5).cpu().numpy()]


@torch.no_grad()
def lower_layer(layer: TMLayer) -> ClauseSet:
    """One clause layer: votes divided by LF, since a unit of a clause is 1 / LF of its strength."""
    bank = layer.bank
    clauses, capacity = _clauses_of(bank)
    weights, bias = _votes_of(layer, bank.failures)
    votes, whole_bias, scale = whole_votes(weights.T, bias, capacity)
    return ClauseSet.of(clauses, bits=bank.num_bits, capacity=capacity, votes=votes, bias=whole_bias, scale=scale)


def _clauses_of(bank: ClauseBank) -> tuple[list[np.ndarray], np.ndarray]:
    """Literals and capacities."""
    clauses = literals_of(bank)
    return clauses, np.minimum([len(c) for c in clauses], bank.failures).astype(np.int32)


def _votes_of(layer: TMLayer, failures: int) -> tuple[np.ndarray, np.ndarray]:
    """(O, C) what one unit of a clause adds, and (O) what is added besides; float64."""
    weight = layer.votes.weight.detach().cpu().double().numpy()
    bias = np.zeros(len(weight))
    if layer.votes.bias is not None:
        bias = bias + layer.votes.bias.detach().cpu().double().numpy()
    if layer.clause_bias is not None:
        bias = bias + weight @ layer.clause_bias.detach().cpu().double().numpy()
    return weight / failures, bias


def _lowered_deep(core: DeepTM) -> tuple[list[ClauseSet], list[IntegerLayerNorm]]:
    layers, joins = [], []
    fraction, reach = 1, 1.0  # numbers of the first layer are bit - 1/2: whole after one bit of fraction
    for layer, norm, path in zip(core.layers, core.norms, core.paths):
        assert isinstance(layer, TMLayer)
        assert isinstance(norm, nn.LayerNorm)
        clauses, join = _lowered_hidden(layer, norm, path, fraction, reach)
        layers.append(clauses)
        joins.append(join)
        fraction, reach = FRACTION, float(np.abs(join.gain).max() + np.abs(join.offset).max() + 1)
    return [*layers, lower_layer(core.last)], joins


def _lowered_hidden(
    layer: TMLayer, norm: nn.LayerNorm, path: nn.Module, fraction: int, reach: float
) -> tuple[ClauseSet, IntegerLayerNorm]:
    """A hidden layer and what follows it, votes and path in one scale: the finest whose squares stay within 62 bits.

    Args:
        layer: the clauses.
        norm: over its outputs.
        path: of the numbers before it.
        fraction: bits after the point of those numbers.
        reach: the largest of them, as a whole number.
    """
    clauses, capacity = _clauses_of(layer.bank)
    votes, bias = _votes_of(layer, layer.bank.failures)
    width = len(bias)
    around = path.weight.detach().cpu().double().numpy() if isinstance(path, nn.Linear) else np.eye(width)
    votes, bias, around = (
        votes - votes.mean(0),
        bias - bias.mean(),
        around - around.mean(0),
    )  # LayerNorm takes the mean off
    most = (np.abs(votes) @ capacity + np.abs(bias) + np.abs(around).sum(1) * reach / 2**fraction).max()
    limit = min(2.0 ** ((60 - np.log2(width)) / 2), WIDEST_SCORE) - capacity.sum() - 4
    room = min(2.0**30 / max(np.abs(around).max(), 1e-9), 2.0**52 / max(np.abs(around).sum(1).max() * reach, 1e-9))
    path_bits = int(min(np.floor(np.log2(room)), 40))
    bits = int(min(np.floor(np.log2(limit / max(most, 1e-9))), path_bits + fraction, 30))
    scale = 2.0**bits
    gain = (norm.weight if norm.elementwise_affine else torch.ones(width)).detach().cpu().double().numpy()
    offset = np.zeros(width) if norm.bias is None else norm.bias.detach().cpu().double().numpy()
    made = ClauseSet.of(
        clauses,
        bits=layer.bank.num_bits,
        capacity=capacity,
        votes=np.rint(votes.T * scale).astype(np.int32),
        bias=np.rint(bias * scale).astype(np.int64),
        scale=scale,
    )
    join = IntegerLayerNorm(
        path=np.rint(around * 2.0**path_bits).astype(np.int32),
        shift=path_bits + fraction - bits,
        gain=np.rint(gain * width**0.5 * 2**FRACTION).astype(np.int64),
        offset=np.rint(offset * 2**FRACTION).astype(np.int64),
        epsilon=max(1, round(width * norm.eps * scale**2)),
    )
    return made, join
