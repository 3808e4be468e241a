"""A run folder as plain values: what is missing or broken becomes a note, never a crash.

Axes: S seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

from numpy.typing import NDArray

from stillhouse.core import records
from stillhouse.core.checks import InputError
from stillhouse.core.manifest import check_file

T = TypeVar("T")
Array = NDArray[Any]


@dataclass(frozen=True)
class SeedRun:
    """One arm under one seed: records by split, and what was written at its end (None before that)."""

    seed: int
    records: Mapping[str, list[dict[str, Any]]]
    result: Mapping[str, Any] | None


@dataclass(frozen=True)
class RunFolder:
    """All that a report needs. Mappings are as written (see `stillhouse.core.records`), empty where the file is missing."""

    path: Path
    run: Mapping[str, Any]
    teacher: Mapping[str, Any]
    summary: Mapping[str, Any]
    arms: Mapping[str, list[SeedRun]]
    faults: list[str] = field(default_factory=list)

    @property
    def data(self) -> Mapping[str, Any]:
        """The data section of run.json, else of summary.json."""
        return mapping(self.run.get("data")) or mapping(self.summary.get("data"))

    @property
    def comparisons(self) -> list[Mapping[str, Any]]:
        """The comparisons of summary.json."""
        rows = self.summary.get("comparisons")
        return [mapping(row) for row in rows] if isinstance(rows, list) else []


def read_run(out: Path) -> RunFolder:
    """Read a run folder, finished or not.

    Raises:
        InputError: `out` is no run folder.
    """
    if not any((out / name).is_file() for name in (records.RUN, records.SUMMARY)):
        raise InputError(f"{out} is not a run folder: expected a {records.RUN} in it")
    faults: list[str] = []

    def json_of(name: str) -> Mapping[str, Any]:
        found = attempt(out / name, records.read_json, faults)
        if found is not None and not isinstance(found, Mapping):
            faults.append(f"{name} holds no mapping and is left out")
        return mapping(found)

    summary, run = json_of(records.SUMMARY), json_of(records.RUN)
    planned = mapping(run.get("config")).get("arms")
    order = list(mapping(summary.get("arms"))) or (planned if isinstance(planned, list) else [])
    folders = sorted(folder for folder in (out / "arms").glob("*") if folder.is_dir())
    folders.sort(key=lambda folder: order.index(folder.name) if folder.name in order else len(order))
    arms = {folder.name: _read_arm(folder, faults) for folder in folders}
    return RunFolder(
        path=out,
        run=run,
        teacher=json_of(records.TEACHER) or mapping(summary.get("teacher")),
        summary=summary,
        arms={arm: runs for arm, runs in arms.items() if runs},
        faults=faults,
    )


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is a mapping, else an empty one: a report survives whatever JSON holds."""
    return value if isinstance(value, Mapping) else {}


def number(value: Any) -> float | None:
    """The value if it is a finite number (and no bool), else None."""
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return value if fits else None


def _read_arm(folder: Path, faults: list[str]) -> list[SeedRun]:
    found = []
    for seed_folder in folder.glob("seed-*"):
        seed = seed_folder.name.removeprefix("seed-")
        if seed.isdigit():
            split: dict[str, list[dict[str, Any]]] = {"train": [], "validation": []}
            lines = attempt(seed_folder / records.RECORDS, lambda p: list(records.read_records(p)), faults, needed=True)
            for record in lines or []:
                if isinstance(record, dict) and number(record.get("epoch")) is not None:
                    split.setdefault(str(record.get("split")), []).append(record)
            result = attempt(seed_folder / records.RESULT, records.read_json, faults)
            found.append(SeedRun(int(seed), split, mapping(result) or None))
    return sorted(found, key=lambda run: run.seed)


def attempt(path: Path, read: Callable[[Path], T], faults: list[str], *, needed: bool = False) -> T | None:
    """What `read` makes of a file; None where it is missing, None and a line in `faults` where it is broken.

    Of a file that is `needed`, `read` says itself what its absence means.
    """
    if not needed and not path.is_file():
        return None
    try:
        check_file(path)
        return read(path)
    except (InputError, OSError, ValueError, KeyError, IndexError, TypeError, EOFError, BadZipFile) as error:
        faults.append(f"{'/'.join(path.parts[-3:])} is left out: {error}")
        return None
