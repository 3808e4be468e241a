"""Which saved students are one network with other weights; those share one measured time. No torch.

A time of a network does not depend on what its weights are, but on what else the machine does at that moment: two measurements
of one network differ by a factor of two on a busy machine, which reads as if one student were faster.
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stillhouse.core.checks import InputError
from stillhouse.core.records import CARD, read_json
from stillhouse.core.seals import hash_of

LONGEST_HEADER = 100_000_000  # bytes: what the format allows
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


def share_times(costs: Sequence[Mapping[str, Any]], networks: Sequence[str | None]) -> list[dict[str, Any]]:
    """Costs in which equal networks have one time: the median of their measurements; all else stays.

    Args:
        costs: of each student; keys that start with `ms` are times.
        networks: of each student (`network_of`).

    Example:
        >>> share_times([{"ms": 2.0, "params": 7}, {"ms": 1.0, "params": 7}, {"ms": 1.0}], ["a", "a", "b"])
        [{'ms': 1.5, 'params': 7}, {'ms': 1.5, 'params': 7}, {'ms': 1.0}]
    """
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for cost, network in zip(costs, networks, strict=True):
        for kind, value in cost.items():
            if network is not None and _is_time(kind, value):
                times[network, kind].append(value)
    return [
        {
            kind: statistics.median(times[network, kind]) if network and _is_time(kind, value) else value
            for kind, value in cost.items()
        }
        for cost, network in zip(costs, networks, strict=True)
    ]


def _is_time(kind: str, value: Any) -> bool:
    return kind.startswith("ms") and isinstance(value, (int, float))
