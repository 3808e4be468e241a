"""What clauses cost as logic, beside torch, in the report. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stillhouse.core import records
from stillhouse.report.blocks import Block, Cell, Table
from stillhouse.report.read import attempt, mapping, number
from stillhouse.report.words import NOTHING, plain, size


def cost_blocks(folder: Path) -> list[Block]:
    """A row for each arm with clauses as torch has it, and one with its clauses as logic; empty where no arm has clauses."""
    summary = mapping(attempt(folder / records.SUMMARY, records.read_json, []))
    rows: list[list[str | Cell]] = []
    dense = False
    for arm, cost in mapping(summary.get("costs")).items():
        packed = mapping(mapping(cost).get("packed"))
        if packed:
            rows += [_torch_row(str(arm), mapping(cost), packed), _packed_row(packed)]
            dense = dense or bool(mapping(packed.get("dense")).get("flops"))
    if not rows:
        return []
    head = ["", "operations an input", "weights", "energy, operations", "energy, weights read too", "ms, batch of 1"]
    mixed = " The dense part is what stays in floating point (attention, projections, convolutions)." if dense else ""
    caption = (
        "One input. Word operations are on 64 bits at once, for 64 inputs at once: a 64th of them is counted. Sums and products "
        "are of votes, if every clause speaks. Energy: counted operations times published energies (45 nm; Horowitz 2014, Han et "
        "al. 2016), once without and once with every weight read from memory; counted, not measured." + mixed
    )
    return [Table("Clauses as logic", head, rows, caption)]


def _torch_row(arm: str, cost: Mapping[str, Any], packed: Mapping[str, Any]) -> list[str | Cell]:
    energy = mapping(packed.get("torch_energy"))
    return [
        Cell(arm, "torch, float32"),
        f"{plain(cost.get('flops'), 7)} in floating point",
        size(packed.get("torch_bytes")),
        _joules(energy.get("operations_pj")),
        _joules(energy.get("with_weight_traffic_pj")),
        plain(cost.get("ms_batch_1")),
    ]


def _packed_row(packed: Mapping[str, Any]) -> list[str | Cell]:
    logic, dense, energy = (mapping(packed.get(name)) for name in ("logic", "dense", "energy"))
    operations = (
        f"{plain(logic.get('word_operations'))} word operations, {plain(logic.get('adds'), 7)} sums, "
        f"{plain(logic.get('multiplies'), 7)} products"
    )
    kept = f"{plain(dense.get('flops'), 7)} in floating point" if dense.get("flops") else ""
    shares = f"logic {size(logic.get('bytes'))}, dense {size(dense.get('bytes'))}" if dense.get("flops") else ""
    return [
        Cell("as logic", f"{plain(logic.get('clauses'))} clauses, {plain(logic.get('literals'), 7)} literals"),
        Cell(operations, kept),
        Cell(size(packed.get("bytes")), shares),
        _joules(energy.get("operations_pj")),
        _joules(energy.get("with_weight_traffic_pj")),
        plain(packed.get("ms_batch_1")),
    ]


def _joules(picojoules: Any) -> str:
    """In the unit that leaves few digits.

    Example:
        >>> _joules(16334), _joules(9_594_574), _joules(None) == NOTHING
        ('16.3 nJ', '9.59 \u00b5J', True)
    """
    value = number(picojoules)
    if value is None:
        return NOTHING
    for unit, name in ((1e6, "\u00b5J"), (1e3, "nJ")):
        if value >= unit:
            return f"{plain(value / unit)} {name}"
    return f"{plain(value)} pJ"
