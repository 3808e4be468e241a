"""Which saved students are one network with other weights; those share one measured time. No torch.

A time of a network does not depend on what its weights are, but on what else the machine does at that moment: two measurements
of one network differ on a busy machine, which reads as if one student were faster. So a time is the smallest of the processor's
for many calls by one thread (`metrics.cost`), a run's own time is shown wherever the run is, and equal networks share theirs.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stillhouse.core.checks import InputError
from stillhouse.core.folder import run_above
from stillhouse.core.machine import machine
from stillhouse.core.records import CARD, SUMMARY, read_json
from stillhouse.core.seals import hash_of

LONGEST_HEADER = 100_000_000  # bytes: what the format allows
OF_MACHINE = ("cpu", "system")
OF_DATA = ("class_names", "pixel_mean", "pixel_std")  # of a task: a network is the same under others


def network_of(folder: Path) -> str | None:
    """A hash of a saved student's configuration, of the shape of its inputs and of the shapes of its weights.

    Args:
        folder: with `card.json` and safetensors files.

    Returns:
        The same for two students that differ in the values of their weights alone; None where it cannot be known.
    """
    files = sorted(Path(folder).glob("*.safetensors"))
    try:
        card = read_json(Path(folder) / CARD)
        shapes = {file.name: _shapes(file) for file in files}
    except (InputError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if not files or not isinstance(card, Mapping) or not isinstance(card.get("student"), Mapping):
        return None
    task = card.get("task")
    task = {key: value for key, value in task.items() if key not in OF_DATA} if isinstance(task, Mapping) else None
    return hash_of({"student": card["student"], "class": card.get("class"), "task": task, "shapes": shapes}, {})


def _shapes(file: Path) -> dict[str, Any]:
    """Type and shape of each tensor, from the head of a safetensors file."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if length > LONGEST_HEADER:
            raise ValueError(f"{file}: no safetensors file")
        header = json.loads(opened.read(length))
    return {name: [entry["dtype"], entry["shape"]] for name, entry in header.items() if name != "__metadata__"}


def share_times(
    costs: Sequence[Mapping[str, Any]], networks: Sequence[str | None], stored: Sequence[bool] = ()
) -> list[dict[str, Any]]:
    """Costs in which equal networks have one time: the smallest of their stored ones, else of all; the rest stays.

    Args:
        costs: of each student; keys that start with `ms` are times.
        networks: of each student (`network_of`).
        stored: of each student, whether its run shows that time already (`stored_time`); none is where not given.

    Example:
        >>> share_times([{"ms": 2.0, "params": 7}, {"ms": 1.0, "params": 7}, {"ms": 3.0}], ["a", "a", "b"])
        [{'ms': 1.0, 'params': 7}, {'ms': 1.0, 'params': 7}, {'ms': 3.0}]
        >>> share_times([{"ms": 2.0}, {"ms": 1.0}], ["a", "a"], [True, False])
        [{'ms': 2.0}, {'ms': 2.0}]
    """
    known = list(stored) or [False] * len(costs)
    times: dict[tuple[str, str], list[tuple[bool, float]]] = defaultdict(list)
    for cost, network, is_stored in zip(costs, networks, known, strict=True):
        for kind, value in cost.items():
            if network is not None and _is_time(kind, value):
                times[network, kind].append((not is_stored, value))
    return [
        {
            kind: min(times[network, kind])[1] if network and _is_time(kind, value) else value
            for kind, value in cost.items()
        }
        for cost, network in zip(costs, networks, strict=True)
    ]


def _is_time(kind: str, value: Any) -> bool:
    return kind.startswith("ms") and isinstance(value, (int, float))


def stored_time(folder: Path) -> float | None:
    """Milliseconds of a batch of one that the run of a student's folder shows in its report.

    Args:
        folder: `arms/ARM/seed-0` of a run.

    Returns:
        None where the run has none, or one of another machine, or one of a time when threads were not counted.
    """
    run = run_above(folder)
    try:
        summary = read_json(run / SUMMARY) if run is not None else {}
        cost, now = summary["costs"][Path(folder).parent.name], machine()
        same = all(summary["machine"].get(key) == now[key] for key in OF_MACHINE)
        return float(cost["ms_batch_1"]) if same and cost["threads"] == 1 else None
    except (InputError, KeyError, TypeError, AttributeError):
        return None
