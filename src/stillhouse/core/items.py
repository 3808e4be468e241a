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
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.core.checks import InputError, nearest

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
        InputError: a file that cannot be read or has another form, an id twice under a seed, a score that is no finite number.
    """
    found: dict[str, Table] = {}
    for place, file in enumerate(files):
        numbers = re.findall(r"\d+", Path(file).stem)
        seed = str(int(numbers[-1])) if numbers else str(place)
        for number, row in enumerate(_rows(Path(file), score), 1):
            where = f"{file}, row {number}"
            for key in ("id", score):
                if row.get(key) in (None, ""):
                    raise InputError(
                        f"{where}: expected a value under {key!r}; {nearest(key, [str(n) for n in row if n])}"
                    )
            table = found.setdefault(str(seed if row.get("seed") in (None, "") else row["seed"]), {})
            one = str(row["id"])
            if one in table:
                raise InputError(f"{where}: id {one} is there twice under its seed; name files by their seeds")
            table[one] = _number(row[score], where)
    return found


def pair(first: Mapping[str, Table], second: Mapping[str, Table]) -> Paired:
    """Bring two sides into one order of seeds and ids.

    Args:
        first: seed -> (id -> score).
        second: the same seeds and ids, in any order.

    Raises:
        InputError: a seed or an id of one side is missing on the other; the first ones are named.

    Example:
        >>> both = pair({"0": {"a": 1.0, "b": 0.0}}, {"0": {"b": 0.5, "a": 0.25}})
        >>> both.second.tolist(), both.ids
        ([[0.25, 0.5]], ('a', 'b'))
    """
    if not first or not second:
        raise InputError("expected scores on both sides, got none on one")
    if set(first) != set(second):
        raise InputError(f"seeds differ (A: {', '.join(first)}; B: {', '.join(second)})")
    seeds = sorted(first, key=_by_number)
    ids = list(next(iter(first.values())))
    for name, side in (("A", first), ("B", second)):
        for seed, table in side.items():
            if unlike := sorted(set(ids) ^ set(table)):
                word = "lacks" if unlike[0] in ids else "has also"
                raise InputError(f"ids differ: {name}, seed {seed} {word} {unlike[0]} ({len(unlike)} in all)")
    if len(ids) < 2:
        raise InputError(f"expected two items or more, got {len(ids)}")
    tables = [np.array([[side[seed][one] for one in ids] for seed in seeds]) for side in (first, second)]
    return Paired(tables[0], tables[1], tuple(seeds), tuple(ids))


def _by_number(seed: str) -> tuple[float, str]:
    return (float(seed), "") if seed.isdigit() else (math.inf, seed)


def _rows(file: Path, score: str) -> list[Mapping[str, Any]]:
    """Rows with id, score and maybe seed."""
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix.lower() in (".csv", ".tsv"):
            separator = "\t" if file.suffix.lower() == ".tsv" else ","
            found: Any = list(csv.DictReader(text.splitlines(), delimiter=separator, strict=True))
        else:
            found = json.loads(text, object_pairs_hook=_once)
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from None
    except (ValueError, RecursionError, csv.Error) as error:
        raise InputError(f"{file} is neither CSV nor JSON in UTF-8: {error}") from None
    if isinstance(found, dict):
        scores, ids, seed = found.get("scores"), found.get("ids"), found.get("seed")
        pairs = scores.items() if isinstance(scores, dict) else ()
        if isinstance(scores, list) and isinstance(ids, list) and len(scores) == len(ids):
            pairs = zip(ids, scores)  # type: ignore[assignment]
        found = [{"id": one, score: value, "seed": seed} for one, value in pairs]
    if not isinstance(found, list) or not found or not all(isinstance(row, Mapping) for row in found):
        raise InputError(
            f'{file}: expected {{"scores": {{id: score}}}}, as many ids as scores in lists, or rows of id and {score}'
        )
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys stand once: Python would take the last one and say nothing."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _number(value: Any, where: str) -> float:
    if isinstance(value, str):
        value = TRUTH.get(value.strip().lower(), value)
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not abs(number) < 1e100:  # squares of differences are numbers then
        raise InputError(f"{where}: expected a finite score, got {str(value)[:40]!r}")
    return number
