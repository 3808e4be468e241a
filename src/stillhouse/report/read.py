"""A run folder as plain values: what is missing or broken becomes a note, never a crash.

Axes: S seeds, N test images, K classes, M clause pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from stillhouse.core import records
from stillhouse.core.checks import InputError

T = TypeVar("T")
Array = NDArray[Any]


@dataclass(frozen=True)
class Predictions:
    """What a model said of the test split: labels (N,) and probabilities (N, K)."""

    labels: Array
    probabilities: Array

    @property
    def choices(self) -> Array:
        """(N,) the most probable class."""
        return self.probabilities.argmax(axis=1)


@dataclass(frozen=True)
class SeedRun:
    """One arm under one seed: records by split, and what was written at its end (None before that)."""

    seed: int
    records: Mapping[str, list[dict[str, Any]]]
    result: Mapping[str, Any] | None
    predictions: Predictions | None


@dataclass(frozen=True)
class Clause:
    """A clause that votes for a class, with pictures: pairs of an image (H, W) in [0, 1] and its vote map (H, W)."""

    block: int
    number: int
    share: float
    positive: int
    negated: int
    pictures: list[tuple[Array, Array]]


@dataclass(frozen=True)
class RunFolder:
    """All that a report needs. Mappings are as written (see `stillhouse.core.records`), empty where the file is missing."""

    path: Path
    run: Mapping[str, Any]
    teacher: Mapping[str, Any]
    summary: Mapping[str, Any]
    arms: Mapping[str, list[SeedRun]]
    teacher_probabilities: Array | None
    clauses: list[tuple[str, list[Clause]]]
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

    @property
    def class_names(self) -> list[str]:
        """Names of the classes; numbers where run.json has none."""
        names = self.data.get("class_names")
        if isinstance(names, list) and names:
            return [str(name) for name in names]
        known = [seed.predictions for runs in self.arms.values() for seed in runs if seed.predictions]
        return [str(number) for number in range(known[0].probabilities.shape[1])] if known else []

    @property
    def predicted(self) -> dict[str, list[Predictions]]:
        """By arm, the test predictions of the seeds that have them; arms without any are left out."""
        found = {arm: [seed.predictions for seed in runs if seed.predictions] for arm, runs in self.arms.items()}
        return {arm: runs for arm, runs in found.items() if runs}

    @property
    def teacher_predictions(self) -> Predictions | None:
        """The teacher on the test split, with the labels that the arms wrote; None where the rows do not agree."""
        labels = [runs[0].labels for runs in self.predicted.values()]
        if self.teacher_probabilities is None or not labels or len(labels[0]) != len(self.teacher_probabilities):
            return None
        return Predictions(labels[0], self.teacher_probabilities)


def read_run(out: Path) -> RunFolder:
    """Read a run folder, finished or not.

    Raises:
        InputError: `out` is no run folder.
    """
    if not any((out / name).is_file() for name in (records.RUN, records.SUMMARY)):
        raise InputError(f"{out} is not a run folder: expected a {records.RUN} in it")
    faults: list[str] = []

    def json_of(name: str) -> Mapping[str, Any]:
        found = _attempt(out / name, records.read_json, faults)
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
        teacher_probabilities=_attempt(out / records.TEACHER_PREDICTIONS, _probabilities, faults),
        clauses=_attempt(out / records.CLAUSES, _read_clauses, faults) or [],
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
            for record in (
                _attempt(seed_folder / records.RECORDS, lambda p: list(records.read_records(p)), faults) or []
            ):
                if isinstance(record, dict) and number(record.get("epoch")) is not None:
                    split.setdefault(str(record.get("split")), []).append(record)
            result = _attempt(seed_folder / records.RESULT, records.read_json, faults)
            predictions = _attempt(seed_folder / records.PREDICTIONS, _predictions, faults)
            found.append(SeedRun(int(seed), split, mapping(result) or None, predictions))
    return sorted(found, key=lambda run: run.seed)


def _attempt(path: Path, read: Callable[[Path], T], faults: list[str]) -> T | None:
    """What `read` makes of the file; None where it is missing, None and a fault where it is broken."""
    if not path.is_file():
        return None
    try:
        return read(path)
    except (InputError, OSError, ValueError, KeyError, IndexError, TypeError, EOFError, BadZipFile) as error:
        faults.append(f"{'/'.join(path.parts[-3:])} is left out: {error}")
        return None


def _probabilities(path: Path) -> Array:
    with np.load(path) as file:
        found = np.asarray(file["probabilities"])
    if found.ndim != 2 or 0 in found.shape:
        raise InputError(f"probabilities: expected two axes, got shape {found.shape}")
    if not np.isfinite(found).all():
        raise InputError("probabilities: expected finite numbers")
    return found


def _predictions(path: Path) -> Predictions:
    probabilities = _probabilities(path)
    with np.load(path) as file:
        labels = np.asarray(file["labels"])
    if labels.shape != probabilities.shape[:1]:
        raise InputError(f"labels: expected shape {probabilities.shape[:1]}, got {labels.shape}")
    return Predictions(labels, probabilities)


def _read_clauses(path: Path) -> list[tuple[str, list[Clause]]]:
    with np.load(path.with_name(records.CLAUSE_IMAGES)) as file:
        images, maps = np.asarray(file["images"]), np.asarray(file["maps"])
    if images.ndim != 4 or maps.shape != (len(images), *images.shape[2:]):
        raise InputError(f"maps: expected shape (M, H, W) of images {images.shape}, got {maps.shape}")
    gray, maps = images.mean(axis=1) / 255.0, np.nan_to_num(maps)
    return [
        (str(entry["class"]), [_clause(clause, gray, maps) for clause in entry["clauses"]])
        for entry in records.read_json(path)["classes"]
    ]


def _clause(entry: Mapping[str, Any], gray: Array, maps: Array) -> Clause:
    return Clause(
        block=int(entry["block"]),
        number=int(entry["clause"]),
        share=float(entry["share"]),
        positive=int(entry["positive_literals"]),
        negated=int(entry["negated_literals"]),
        pictures=[(gray[row], maps[row]) for row in entry["images"]],
    )
