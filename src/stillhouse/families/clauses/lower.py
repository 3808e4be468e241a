"""From trained clause networks to logic: a whole `Machine` where all of it is clauses, else one `ClauseSet` for every clause layer.

Shapes: F bits, C clauses, O outputs, I channels, R side of a patch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.families.clauses.students.clauses import ClauseBank
from stillhouse.families.clauses.students.conv import ConvClauses
from stillhouse.families.clauses.students.core import DeepTM, TMLayer, Voted
from stillhouse.families.clauses.students.feed_forward import ClauseFeedForward
from stillhouse.families.clauses.students.flat import DeepTMClassifier, FlatTM, TeamCore, Thermometer
from stillhouse.families.clauses.students.pyramid import Scale
from stillhouse.logic.clause_set import WIDEST_SCORE, ClauseSet, whole_votes
from stillhouse.logic.engine import Evaluator
from stillhouse.logic.machine import FRACTION, Join, Machine


@torch.no_grad()
def lower(model: nn.Module, class_names: Sequence[str] = ()) -> Machine:
    """The machine of a network that is clauses from the pixels to the class: `FlatTM` or `DeepTMClassifier`.

    Every clause value is the network's own. Scores differ from its logits times `scale` by rounding: of votes to whole numbers
    (`whole_votes`), and of torch's float32 sums.

    Args:
        model: trained.
        class_names: K; by default their numbers.

    Raises:
        InputError: a network with parts that are no clauses, a control, clauses of the product rule.
    """
    if not isinstance(model, (FlatTM, DeepTMClassifier)) or not isinstance(model.core, (TeamCore, DeepTM)):
        raise InputError(
            "a machine of logic: expected a flat or deep clause network (flat-tm, deep-tm) with its clauses, got "
            f"{type(model).__name__}, of which only parts are logic at most (see `lower_parts`)"
        )
    if not isinstance(model.bits, Thermometer):
        raise InputError(
            "a machine of logic: expected clauses over pixels, got clauses over filters (student.filters), which are sums; the "
            "clauses alone are logic (see `lower_parts`)"
        )
    core, joins = model.core, list[Join]()
    if isinstance(core, TeamCore):
        layers = [_lowered(core)]
    else:
        layers, joins = _lowered_deep(core)
    machine = Machine(
        image_shape=model.image_shape,
        edges=model.bits.edges.flatten().cpu().numpy().astype(np.float32),
        layers=tuple(layers),
        joins=tuple(joins),
        class_names=tuple(class_names) or tuple(map(str, range(layers[-1].outputs))),
    )
    machine.check()
    return machine


@torch.no_grad()
def lower_parts(model: nn.Module) -> dict[str, ClauseSet]:
    """The clause set of every clause layer in a network, by the path of its module: gates and heads too.

    A convolution's set reads 2 I R R bits a patch: for each bit whether it is 1 (or beyond the border), then for each whether it
    is 0 (or beyond): padding satisfies both literals, which no single bit could.

    Raises:
        InputError: no clauses, or clauses of the product rule.
    """
    found = {name: _lowered(module) for name, module in clause_layers(model)}
    if not found:
        raise InputError(f"clauses: expected a network with clause layers, got {type(model).__name__} without one")
    return found


def clause_layers(model: nn.Module) -> Iterator[tuple[str, TMLayer | TeamCore | ConvClauses]]:
    """Every clause layer with its path; a convolution stands for the layer inside it."""
    inside: set[int] = set()
    for name, module in model.named_modules():
        if isinstance(module, ConvClauses):
            inside.add(id(module.layer))
        if isinstance(module, (TMLayer, TeamCore, ConvClauses)) and id(module) not in inside:
            yield name, module


def literals_of(bank: ClauseBank) -> list[np.ndarray]:
    """The literals of every clause, ascending: f asks for bit f, F + f for its negation."""
    training = bank.training
    bank.eval()  # masks of use, not those of a training step
    try:
        masks = torch.cat([mask.detach() for mask in bank.masks()], dim=1)
    finally:
        bank.train(training)
    return [np.flatnonzero(row) for row in (masks > 0.5).cpu().numpy()]


@contextmanager
def packed_evaluation(model: nn.Module, engine: str | None = None) -> Iterator[nn.Module]:
    """Within it, clause layers of a network answer from their clause sets: votes by bit operations, everything else as before.

    Where no engine is named, a layer keeps its own product unless an engine is a tenth faster in its place, which is measured at
    the first input of each size. By an engine, strengths are not made: they come as NaN. A layer whose strengths something reads
    (clause attention, routing, fusion of scales) is left as it is. For evaluation: no gradient passes.

    Args:
        model: in eval mode.
        engine: of `stillhouse.logic.engine`; None for the fastest, the layer's own form included.

    Raises:
        InputError: a network in training mode; what `lower_parts` raises.
    """
    with answered_by(model, lambda name, clauses: Evaluator(clauses, engine)):
        yield model


@contextmanager
def answered_by(model: nn.Module, evaluator_of: Callable[[str, ClauseSet], Evaluator]) -> Iterator[nn.Module]:
    """Within it, clause layers answer from an evaluator each; see `packed_evaluation`.

    Args:
        model: in eval mode.
        evaluator_of: (path of the layer, its clauses) to what evaluates them.

    Raises:
        InputError: a network in training mode; clauses that are no logic.
    """
    if model.training:
        raise InputError("packed evaluation: expected a network in eval mode, got one in training mode")
    kept = []
    for name, layer in votes_alone(model):
        evaluator = evaluator_of(name, _lowered(layer))
        kept.append(layer)
        layer.forward = _answer(layer, evaluator)  # type: ignore[method-assign, assignment]
    try:
        yield model
    finally:
        for layer in kept:
            del layer.forward  # the class's own again


def votes_alone(model: nn.Module) -> list[tuple[str, TMLayer | TeamCore | ConvClauses]]:
    """The clause layers of whose clauses only the votes are read."""
    return [
        (name, layer)
        for name, layer in clause_layers(model)
        if not (isinstance(layer, TMLayer) and _reads_strengths(model, name))
    ]


def _reads_strengths(model: nn.Module, name: str) -> bool:
    """Whether something beside the votes listens to the clauses of a layer: then they must all be made."""
    whole, _, inner = name.partition(".core.")
    owner = model.get_submodule(whole) if inner else None
    if isinstance(owner, ClauseFeedForward):
        return owner.attention is not None or owner.routing is not None
    return isinstance(owner, Scale)


def _answer(layer: TMLayer | TeamCore | ConvClauses, evaluator: Evaluator) -> Callable[[Tensor], Voted]:
    """A forward pass that counts bits, where that is faster."""
    own, clauses = layer.forward, evaluator.clauses

    def voted(rows: Tensor, engine: str) -> Tensor:
        flat = rows.detach().reshape(-1, rows.shape[-1])
        votes = torch.from_numpy(evaluator.scores_by(engine, (flat > 0).cpu().numpy()) / clauses.scale)
        return votes.to(rows.device, rows.dtype).reshape(*rows.shape[:-1], clauses.outputs)

    def over_patches(numbers: Tensor, engine: str) -> Voted:
        assert isinstance(layer, ConvClauses)
        patches, (height, width) = patch_literals(layer, numbers)
        votes = voted(patches.transpose(1, 2), engine).transpose(1, 2)
        votes = votes.unflatten(2, (height, width)).to(numbers.dtype)
        return Voted(votes, unmade(votes).expand(len(votes), clauses.num_clauses, height, width))

    def over_rows(rows: Tensor, engine: str) -> Voted:
        votes = voted(rows, engine)
        return Voted(votes, unmade(votes).expand(*votes.shape[:-1], clauses.num_clauses))

    def unmade(votes: Tensor) -> Tensor:
        return votes.new_full((), float("nan"))

    def forward(numbers: Tensor) -> Voted:
        packed = over_patches if isinstance(layer, ConvClauses) else over_rows
        if evaluator.engine is not None:
            return packed(numbers, evaluator.engine)
        rows = (
            numbers.shape[0] * numbers.shape[2] * numbers.shape[3]
            if isinstance(layer, ConvClauses)
            else numbers[..., 0].numel()
        )
        own_key = (type(layer), str(numbers.device), numbers.dtype, torch.get_num_threads())
        return evaluator.beside(lambda: own(numbers), lambda engine: packed(numbers, engine), rows, own_key)

    return forward


def patch_literals(layer: ConvClauses, numbers: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """(B, 2 I R R, patches) truth of both literals of every bit, as float, of numbers (B, I, H, W); and the map's sides."""
    side, around = layer.side, layer.side // 2
    bits = (numbers > 0).to(torch.float32)
    both = torch.stack([bits, 1 - bits], 1).flatten(1, 2)
    padded = nn.functional.pad(both, (around,) * 4, value=1.0)
    sides = [(n + 2 * around - side) // layer.stride + 1 for n in numbers.shape[2:]]
    return nn.functional.unfold(padded, side, stride=layer.stride), (sides[0], sides[1])


def _lowered(layer: TMLayer | TeamCore | ConvClauses) -> ClauseSet:
    """One clause layer: votes divided by LF, since a unit of a clause is 1 / LF of its strength."""
    bank = layer.layer.bank if isinstance(layer, ConvClauses) else layer.bank
    clauses, capacity = _clauses_of(bank)
    if isinstance(layer, TeamCore):  # every vote is one number, for or against: ones, and the number in the scale
        own = layer.vote_weight().detach().cpu().double().numpy() / bank.failures
        size, votes = float(np.abs(own).max()), np.sign(own.T).astype(np.int32)
        return ClauseSet.of(clauses, bits=bank.num_bits, capacity=capacity, votes=votes, scale=1 / max(size, 1e-30))
    voting = layer.layer if isinstance(layer, ConvClauses) else layer
    weights, bias = _votes_of(voting, bank.failures)
    votes, whole_bias, scale = whole_votes(weights.T, bias, capacity)
    bits = bank.num_bits * (2 if isinstance(layer, ConvClauses) else 1)
    return ClauseSet.of(clauses, bits=bits, capacity=capacity, votes=votes, bias=whole_bias, scale=scale)


def _clauses_of(bank: ClauseBank) -> tuple[list[np.ndarray], np.ndarray]:
    """Literals and capacities."""
    if bank.operator != "capacity":
        raise InputError(
            f"logic: expected clauses of the operator 'capacity', got {bank.operator!r}, whose strengths are exponentials "
            "and never 0: no logic is equal to them"
        )
    clauses = literals_of(bank)
    return clauses, np.minimum([len(c) for c in clauses], bank.failures).astype(np.int32)


def _votes_of(layer: TMLayer, failures: int) -> tuple[np.ndarray, np.ndarray]:
    """(O, C) what one unit of a clause adds, and (O) what is added besides; float64."""
    weight = layer.vote_weight().detach().cpu().double().numpy()
    bias = np.zeros(len(weight))
    if layer.votes.bias is not None:
        bias = bias + layer.votes.bias.detach().cpu().double().numpy()
    if layer.clause_bias is not None:
        bias = bias + weight @ layer.clause_bias.detach().cpu().double().numpy()
    return weight / failures, bias


def _lowered_deep(core: DeepTM) -> tuple[list[ClauseSet], list[Join]]:
    layers, joins = [], []
    fraction, reach = 1, 1.0  # numbers of the first layer are bit - 1/2: whole after one bit of fraction
    for layer, norm, path in zip(core.layers, core.norms, core.paths):
        assert isinstance(layer, TMLayer)
        assert isinstance(norm, nn.LayerNorm)
        clauses, join = _lowered_hidden(layer, norm, path, fraction, reach)
        layers.append(clauses)
        joins.append(join)
        fraction, reach = FRACTION, float(np.abs(join.gain).max() + np.abs(join.offset).max() + 1)
    return [*layers, _lowered(core.last)], joins


def _lowered_hidden(
    layer: TMLayer, norm: nn.LayerNorm, path: nn.Module, fraction: int, reach: float
) -> tuple[ClauseSet, Join]:
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
    join = Join(
        path=np.rint(around * 2.0**path_bits).astype(np.int32),
        shift=path_bits + fraction - bits,
        gain=np.rint(gain * width**0.5 * 2**FRACTION).astype(np.int64),
        offset=np.rint(offset * 2**FRACTION).astype(np.int64),
        epsilon=max(1, round(width * norm.eps * scale**2)),
    )
    return made, join


__all__ = [
    "answered_by",
    "clause_layers",
    "literals_of",
    "lower",
    "lower_parts",
    "packed_evaluation",
    "patch_literals",
    "votes_alone",
]
