"""What a clause student costs as logic: word operations, sums, bytes and energy of its clauses, beside what stays dense.

Shapes: P places that a layer of clauses is asked at for one input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from stillhouse.families.clauses.lower import clause_layers, lower_parts, packed_evaluation
from stillhouse.families.clauses.students.clauses import ClauseBank
from stillhouse.families.clauses.students.core import Voted
from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.engine import has_numba
from stillhouse.logic.simplify import simplify
from stillhouse.metrics.cost import fastest_ms
from stillhouse.metrics.energy import LABEL, OperationEnergies

FULL_ADDER, WORD = 5, 64  # operations of a full adder (two XOR, two AND, one OR), and inputs that a word holds


@dataclass(frozen=True)
class LogicCost:
    """Of one input.

    Attributes:
        word_operations: on words of 64 bits; each serves 64 inputs, so this is a 64th of what a word of inputs takes.
        adds: whole numbers that are added to scores, if every clause speaks.
        multiplies: of a clause's worth with its vote, where the worth can be more than 1.
        bytes: of literals, capacities and votes, each in the smallest whole number that holds it.
    """

    word_operations: float
    adds: int
    multiplies: int
    bytes: int


def logic_cost(clauses: ClauseSet, places: int = 1) -> LogicCost:
    """Count what a clause set takes by bit-sliced counters, 64 inputs a word.

    A clause of n literals that one miss silences takes n - 1 AND. Another counts its misses: n bits are summed by n - 1 full adders
    at most, and the sum is taken from the capacity, one more a bit of it.

    Args:
        clauses: the set.
        places: how often an input asks it.

    Example:
        Three literals, all must hold, two votes: two AND for 64 inputs, and two sums.

        >>> one = ClauseSet.of([[0, 1, 2]], bits=3, capacity=[1], votes=[[1, -1]])
        >>> cost = logic_cost(one)
        >>> cost.word_operations * 64, cost.adds, cost.multiplies
        (2.0, 2, 0)
    """
    lengths, capacity = np.diff(clauses.starts), clauses.capacity.astype(np.int64)
    crisp = capacity <= 1
    widths = np.ceil(np.log2(capacity + 1)).astype(np.int64)
    fuzzy = FULL_ADDER * (np.maximum(lengths - 1, 0) + widths)
    operations = np.where(crisp, np.maximum(lengths - 1, 0), fuzzy).sum()
    votes = (clauses.votes != 0).sum(1)
    sizes = (
        len(clauses.literals) * _bytes(2 * clauses.bits)
        + clauses.num_clauses * (_bytes(int(lengths.max(initial=0))) + _bytes(int(capacity.max(initial=0))))
        + clauses.votes.size * _bytes(2 * int(np.abs(clauses.votes.astype(np.int64)).max(initial=0)))
        + 8 * clauses.outputs
    )
    return LogicCost(
        float(operations) * places / WORD, int(votes.sum()) * places, int(votes[~crisp].sum()) * places, int(sizes)
    )


def _bytes(largest: int) -> int:
    """Bytes of the smallest whole number that holds so much."""
    return next((size for size in (1, 2, 4) if largest < 2 ** (8 * size)), 8)


def add_packed_cost(cost: dict[str, Any], model: nn.Module, inputs: Callable[[int], Tensor]) -> None:
    """Put `packed_cost` into a network's cost as its entry `packed`, where its clauses can be logic."""
    banks = [part for part in model.modules() if isinstance(part, ClauseBank)]
    if banks and all(bank.operator == "capacity" for bank in banks):
        cost["packed"] = packed_cost(model.eval(), inputs)


@torch.no_grad()
def packed_cost(
    model: nn.Module, inputs: Callable[[int], Tensor], table: OperationEnergies | None = None
) -> dict[str, Any]:
    """A clause student with its clauses as logic: the logic part, the dense part, both together, and torch beside it.

    Args:
        model: in eval mode, with clauses of the capacity rule.
        inputs: makes a batch of so many.
        table: energies.

    Returns:
        `logic` {word_operations, adds, multiplies, bytes, clauses, literals} of the simplified sets, `dense` {flops, bytes},
        `bytes` of both, `torch_bytes`, `energy` and `torch_energy` {operations_pj, with_weight_traffic_pj} of one input at a
        time, `label`.

    Raises:
        InputError: no clauses, or clauses of the product rule.
    """
    table = OperationEnergies() if table is None else table
    parts = {name: simplify(part) for name, part in lower_parts(model).items()}
    layers = dict(clause_layers(model))
    places: dict[str, int] = dict.fromkeys(layers, 0)

    def count(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, args: Any, voted: Voted) -> None:
            places[name] += voted.votes.numel() // parts[name].outputs

        return hook

    hooks = [layer.register_forward_hook(count(name)) for name, layer in layers.items()]
    try:
        with FlopCounterMode(display=False) as counter:
            model(inputs(1))
    finally:
        for hook in hooks:
            hook.remove()
    flops = counter.get_flop_counts()
    inside = sum(sum(flops.get(f"{type(model).__name__}.{name}", {}).values()) for name in layers)
    found = [logic_cost(parts[name], places[name]) for name in layers]
    logic = LogicCost(
        sum(cost.word_operations for cost in found),
        sum(cost.adds for cost in found),
        sum(cost.multiplies for cost in found),
        sum(cost.bytes for cost in found),
    )
    own = {id(p) for layer in layers.values() for p in layer.parameters()}
    dense_flops = max(0, int(counter.get_total_flops()) - inside)
    dense_bytes = sum(p.numel() * p.element_size() for p in model.parameters() if id(p) not in own)
    operations = (
        logic.word_operations * table.word_operation
        + logic.adds * table.whole_addition
        + logic.multiplies * table.whole_multiplication
        + _dense_pj(dense_flops, table)
    )
    torch_flops = int(counter.get_total_flops())
    torch_bytes = sum(p.numel() * p.element_size() for p in model.parameters())
    return {
        "logic": {
            "word_operations": logic.word_operations,
            "adds": logic.adds,
            "multiplies": logic.multiplies,
            "bytes": logic.bytes,
            "clauses": sum(part.num_clauses for part in parts.values()),
            "literals": sum(len(part.literals) for part in parts.values()),
        },
        "dense": {"flops": dense_flops, "bytes": dense_bytes},
        "bytes": logic.bytes + dense_bytes,
        "torch_bytes": torch_bytes,
        "energy": _energy(operations, logic.bytes + dense_bytes, table),
        "torch_energy": _energy(_dense_pj(torch_flops, table), torch_bytes, table),
        "label": LABEL,
    }


def packed_times(model: nn.Module, inputs: Callable[[int], Tensor]) -> dict[str, float]:
    """`ms_batch_1` and `ms_batch_64` with clauses answered by bit operations where that is faster, the rest by torch; empty without
    numba.

    The first call compiles, which takes longer than a short training: it is for networks that are to be used.
    """
    if not has_numba():
        return {}
    import numba

    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        with packed_evaluation(model.eval()), torch.no_grad():
            for size in (1, 64):
                model(inputs(size))  # compiles, and finds the fastest kernel of that size
            return {f"ms_batch_{size}": fastest_ms(model, inputs, size) for size in (1, 64)}
    finally:
        numba.set_num_threads(threads)


def _dense_pj(flops: int, table: OperationEnergies) -> float:
    """Half of the operations are additions, half multiplications."""
    return flops / 2 * (table.addition + table.multiplication)


def _energy(operations: float, weight_bytes: int, table: OperationEnergies) -> dict[str, float]:
    return {
        "operations_pj": operations,
        "with_weight_traffic_pj": operations + weight_bytes * table.memory_byte,
    }
