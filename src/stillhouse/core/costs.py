"""What a student costs, by kind: names for tables and fronts, counts of the packed form, bytes on disk. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

COSTS = {
    "params": "parameters",
    "macs": "multiply-adds",
    "bytes": "bytes on disk",
    "state_bytes": "bytes of state",
    "energy_pj": "energy a token, counted",
    "ms": "ms, batch of 1",
}
"""Kinds of cost in words, the first that differs between students is what a Pareto front is drawn against."""

TIMED = (
    "Time of a batch: processor time by one thread, the smallest of the calls of a second, measured once a machine when the run "
    "ends."
)
"""The rule of this time on reports, comparisons and sweeps: `metrics.cost.fastest_ms`."""

PACKED_COSTS = {
    "packed_operations": "operations, packed",
    "torch_operations": "operations, torch",
    "packed_bytes": "bytes, packed",
    "torch_bytes": "bytes, torch",
    "packed_pj": "energy, packed",
    "torch_pj": "energy, torch",
}
"""Counted of one input of a student that has clauses: as logic, and by torch beside it.

Operations of the packed form are those on words of 64 bits, sums and products of votes, and those of what stays dense.
"""


def packed_costs(cost: Mapping[str, Any]) -> dict[str, float]:
    """`PACKED_COSTS` from the costs of an arm in `summary.json`; empty where it has no packed form.

    Example:
        >>> packed_costs({"flops": 9, "packed": {"logic": {"word_operations": 2.0, "adds": 3, "multiplies": 0},
        ... "dense": {"flops": 4}, "bytes": 5, "torch_bytes": 8, "energy": {"with_weight_traffic_pj": 1.0},
        ... "torch_energy": {"with_weight_traffic_pj": 6.0}}})["packed_operations"]
        9.0
    """
    packed = cost.get("packed")
    if not isinstance(packed, Mapping):
        return {}
    logic, dense = packed["logic"], packed["dense"]
    found = {
        "packed_operations": logic["word_operations"] + logic["adds"] + logic["multiplies"] + dense["flops"],
        "torch_operations": cost["flops"],
        "packed_bytes": packed["bytes"],
        "torch_bytes": packed["torch_bytes"],
        "packed_pj": packed["energy"]["with_weight_traffic_pj"],
        "torch_pj": packed["torch_energy"]["with_weight_traffic_pj"],
    }
    return {kind: float(value) for kind, value in found.items()}


def weight_bytes(folder: Path) -> dict[str, float]:
    """The size of a student's weights on disk, as an entry of `Family.cost`."""
    files = list(Path(folder).glob("*.safetensors"))
    return {"bytes": float(sum(file.stat().st_size for file in files))} if files else {}
