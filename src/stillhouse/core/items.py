"""Per-item scores of anyone's runs, from JSON or CSV, matched by id and seed, ready for `core.verdict`. No torch.

A file is one seed of one side, unless it has a column (or key) `seed`:

    seed-0.json    {"seed": 0, "scores": {"img-1": 1, "img-2": 0}}
                   {"seed": 0, "ids": ["img-1", "img-2"], "scores": [1, 0]}
                   [{"id": "img-1", "score": 1, "seed": 0}, {"id": "img-2", "score": 0, "seed": 0}]
    seed-0.csv     id,score          or        seed,id,score
                   img-1,1                     0,img-1,1

The seed of a file that does not name one is the last number in its name (`run_3.csv`: 3), else its place in the list.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.core.checks import InputError, nearest

SHOWN = 3
LARGEST = 1e100  # of a score: squares of differences are numbers then
Table = dict[str, float]  # id -> score
TRUTH = {"true": 1.0, "false": 0.0}


@dataclass(frozen=True)
class Paired:
    """Two sides on the same items under the same seeds.

    Attributes:
        first: (S, N).
        second: (S, N), the same rows and columns.
        seeds: (S) names.
        ids: (N).
    """

    first: np.ndarray
    second: np.ndarray
    seeds: tuple[str, ...]
    ids: tuple[str, ...]


def read_side(files: Sequence[Path], *, score: str = "score") -> dict[str, Table]:
    """Seed -> (id -> score) of one side.

    Args:
        files: of the side.
        score: column or key of the score, in rows.

    Raises:
        InputError: a file that cannot be read, has another form, an id or a seed twice, a score that is no finite number.
    """
    found: dict[str, Table] = {}
    for place, file in enumerate(files):
        for seed, table in _read(Path(file), score, place).items():
            if seed in found:
                raise InputError(
                    f"{file}: seed {seed} is there twice among {len(files)} files; name them by their seeds"
                )
            found[seed] = table
    return found


def pair(first: Mapping[str, Table], second: Mapping[str, Table], *, any_seeds: bool = False) -> Paired:
    """Bring two sides into one order of seeds and ids.

    Args:
        first: seed -> (id -> score).
        second: the same seeds and ids, in any order.
        any_seeds: seeds of the two sides have nothing to do with each other: pair them in order.

    Raises:
        InputError: a seed or an id of one side is missing on the other; the first ones are named.

    Example:
        >>> both = pair({"0": {"a": 1.0, "b": 0.0}}, {"0": {"b": 0.5, "a": 0.25}})
        >>> both.second.tolist(), both.ids
        ([[0.25, 0.5]], ('a', 'b'))
    """
    if not first or not second:
        raise InputError("expected scores on both sides, got none on one")
    rows = _seeds(first, second, any_seeds)
    ids = list(next(iter(first.values())))
    for name, side in (("A", first), ("B", second)):
        for seed, table in side.items():
            _same_ids(ids, table, f"{name}, seed {seed}")
    if len(ids) < 2:
        raise InputError(f"expected two items or more, got {len(ids)}")
    tables = [[[side[seed][one] for one in ids] for seed in seeds] for side, seeds in zip((first, second), zip(*rows))]
    return Paired(np.array(tables[0]), np.array(tables[1]), tuple(a for a, _ in rows), tuple(ids))


def _seeds(first: Mapping[str, Table], second: Mapping[str, Table], any_seeds: bool) -> list[tuple[str, str]]:
    """Pairs of seeds."""
    if any_seeds:
        if len(first) != len(second):
            raise InputError(f"expected as many seeds on both sides, got {len(first)} and {len(second)}")
        return list(zip(first, second))
    missing = {"B": [s for s in first if s not in second], "A": [s for s in second if s not in first]}
    faults = [f"{side} has no seed {', '.join(seeds[:SHOWN])}" for side, seeds in missing.items() if seeds]
    if faults:
        raise InputError(
            f"seeds differ: {'; '.join(faults)} (A: {', '.join(first)}; B: {', '.join(second)}); --any-seeds pairs them in order"
        )
    return [(seed, seed) for seed in sorted(first, key=_by_number)]


def _same_ids(ids: Iterable[str], table: Table, where: str) -> None:
    expected = dict.fromkeys(ids)
    missing, more = [x for x in expected if x not in table], [x for x in table if x not in expected]
    if missing or more:
        words = [f"lacks {', '.join(missing[:SHOWN])}" + _rest(missing)] if missing else []
        words += [f"has also {', '.join(more[:SHOWN])}" + _rest(more)] if more else []
        raise InputError(f"ids differ: {where} {' and '.join(words)}")


def _rest(names: Sequence[str]) -> str:
    return f" ({len(names)} in all)" if len(names) > SHOWN else ""


def _by_number(seed: str) -> tuple[float, str]:
    return (float(seed), "") if seed.isdigit() else (math.inf, seed)


def _read(file: Path, score: str, place: int) -> dict[str, Table]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{file}: expected JSON or CSV in UTF-8, got other bytes") from None
    numbers = re.findall(r"\d+", file.stem)
    seed = str(int(numbers[-1])) if numbers else str(place)
    if file.suffix.lower() in (".csv", ".tsv"):
        return _rows(file, _csv_rows(file, text), score, seed)
    try:
        found = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        reason = "a number has more digits than can be read" if "integer string conversion" in str(error) else error
        raise InputError(f"{file} is neither .csv nor JSON: {reason}") from None
    if isinstance(found, list):
        return _rows(file, found, score, seed)
    if not isinstance(found, dict) or "scores" not in found:
        raise InputError(f'{file}: expected {{"scores": {{id: score}}}}, ids and scores as lists, or a list of rows')
    scores, ids = found["scores"], found.get("ids")
    if isinstance(scores, list) and isinstance(ids, list):
        if len(scores) != len(ids):
            raise InputError(f"{file}: expected as many scores as ids, got {len(scores)} and {len(ids)}")
        pairs = list(zip(ids, scores))
    elif isinstance(scores, dict):
        pairs = list(scores.items())
    else:
        raise InputError(f"{file}: expected scores by id, or lists ids and scores, got {type(scores).__name__} alone")
    return _rows(file, [{"id": one, score: value} for one, value in pairs], score, str(found.get("seed", seed)))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys stand once: Python would take the last one and say nothing."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(name for name in names if names.count(name) > 1)!r} stands twice in one object")
    return found


def _csv_rows(file: Path, text: str) -> list[dict[str, Any]]:
    try:
        reader = csv.DictReader(
            io.StringIO(text), delimiter="\t" if file.suffix.lower() == ".tsv" else ",", strict=True
        )
        return list(reader)
    except csv.Error as error:
        raise InputError(f"{file} is not CSV: {error}") from None


def _rows(file: Path, rows: Sequence[Any], score: str, seed: str) -> dict[str, Table]:
    """Rows with id, score and maybe seed."""
    found: dict[str, Table] = {}
    for number, row in enumerate(rows, 1):
        where = f"{file}, row {number}"
        if not isinstance(row, Mapping):
            raise InputError(f"{where}: expected id and {score}, got {row!r}")
        for key in ("id", score):
            if key in row and row[key] in (None, ""):
                raise InputError(f"{where}: expected a value under {key!r}, got none")
            if key not in row:
                names = [str(name) for name in row if name]
                raise InputError(f"{where}: expected a column {key!r}; {nearest(key, names)}")
        table = found.setdefault(str(row.get("seed") or seed) if row.get("seed") != 0 else "0", {})
        one = str(row["id"])
        if one in table:
            raise InputError(f"{where}: id {one} is there twice")
        table[one] = _number(row[score], where)
    if not found:
        raise InputError(f"{file}: expected rows of id and {score}, got none")
    return found


def _number(value: Any, where: str) -> float:
    if isinstance(value, str):
        value = TRUTH.get(value.strip().lower(), value)
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{where}: expected a finite score, got {str(value)[:40]!r}")
    if abs(number) > LARGEST:
        raise InputError(f"{where}: expected a score up to {LARGEST:.0e} in size, got {number:.6g}")
    return number
