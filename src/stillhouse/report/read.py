"""A run folder as plain values: what is missing or broken becomes a note, never a crash."""

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
Records = dict[str, list[dict[str, Any]]]  # of one seed, by split


@dataclass(frozen=True)
class RunFolder:
    """All that a report needs. Mappings are as written (see `stillhouse.core.records`), empty where the file is missing."""

    path: Path
    run: Mapping[str, Any]
    teacher: Mapping[str, Any]
    summary: Mapping[str, Any]
    arms: Mapping[str, list[Records]]
    faults: list[str] = field(default_factory=list)


def read_run(out: Path) -> RunFolder:
    """Read a run folder, finished or not.

    Raises:
        InputError: `out` is no run folder.
    """
    if not any((out / name).is_file() for name in (records.RUN, records.SUMMARY)):
        raise InputError(f"{out} is not a run folder: expected a {records.RUN} in it")
    faults: list[str] = []

    def json_of(name: str) -> Mapping[str, Any]:
        return mapping(attempt(out / name, records.read_json, faults))

    summary, run = json_of(records.SUMMARY), json_of(records.RUN)
    order = list(mapping(summary.get("arms"))) or mapping(run.get("config")).get("arms") or []
    folders = sorted(
        (out / "arms").glob("*/"), key=lambda place: order.index(place.name) if place.name in order else 99
    )
    arms = {folder.name: found for folder in folders if (found := _read_arm(folder, faults))}
    return RunFolder(out, run, json_of(records.TEACHER) or mapping(summary.get("teacher")), summary, arms, faults)


def _read_arm(folder: Path, faults: list[str]) -> list[Records]:
    found = []
    for place in sorted(folder.glob("seed-*"), key=lambda place: int(place.name.removeprefix("seed-"))):
        split: Records = {}
        for record in attempt(place / records.RECORDS, lambda path: list(records.read_records(path)), faults) or ():
            if number(record.get("epoch")) is not None:
                split.setdefault(str(record.get("split")), []).append(record)
        found.append(split)
    return found


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is a mapping, else an empty one: a report survives whatever JSON holds."""
    return value if isinstance(value, Mapping) else {}


def number(value: Any) -> float | None:
    """The value if it is a finite number (and no bool), else None."""
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return value if fits else None


def attempt(path: Path, read: Callable[[Path], T], faults: list[str]) -> T | None:
    """What `read` makes of a file; None where it is missing, None and a line in `faults` where it is broken."""
    if not path.is_file():
        return None
    try:
        check_file(path)
        return read(path)
    except (InputError, OSError, ValueError, KeyError, IndexError, TypeError, EOFError, BadZipFile) as error:
        faults.append(f"{'/'.join(path.parts[-3:])} is left out: {error}")
        return None
