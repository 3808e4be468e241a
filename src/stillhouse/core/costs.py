"""What a student costs, by kind: names for tables and fronts, bytes on disk. No torch."""

from __future__ import annotations

from pathlib import Path

COSTS = {
    "params": "parameters",
    "macs": "multiply-adds",
    "bytes": "bytes on disk",
    "state_bytes": "bytes of state",
    "ms": "ms, batch of 1",
}
"""Kinds of cost in words, the first that differs between students is what a Pareto front is drawn against."""

TIMED = (
    "Time of a batch: processor time by one thread, the smallest of the calls of a second, measured once a machine when the run "
    "ends."
)
"""The rule of this time on reports, comparisons and sweeps: `metrics.cost.fastest_ms`."""


def weight_bytes(folder: Path) -> dict[str, float]:
    """The size of a student's weights on disk, as an entry of `Task.cost`."""
    files = list(Path(folder).glob("*.safetensors"))
    return {"bytes": float(sum(file.stat().st_size for file in files))} if files else {}
