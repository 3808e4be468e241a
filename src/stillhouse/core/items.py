"""Per-item scores of anyone's runs, from JSON or CSV, matched by id and seed, ready for `core.verdict`. No torch.

A file is one seed of one side, unless it has a column (or key) `seed`:

    seed-0.json    {"seed": 0, "scores": {"img-1": 1, "img-2": 0}}
                   [{"id": "img-1", "score": 1, "seed": 0}, {"id": "img-2", "score": 0, "seed": 0}]
    seed-0.csv     id,score          or        seed,id,score
                   img-1,1                     0,img-1,1

The seed of a file that does not name one is the last number in its name (`run_3.csv`: 3), else its place in the list.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.core.checks import InputError, nearest

Table = dict[str, float]  # id -> score


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
            if missing := [key for key in ("id", score) if row.get(key) in (None, "")]:
                raise InputError(
                    f"{where}: expected a value under {missing[0]!r}; {nearest(missing[0], map(str, row))}"
                )
            own = row.get("seed")
            table, one = found.setdefault(str(seed if own in (None, "") else own), {}), str(row["id"])
            if one in table:
                raise InputError(f"{where}: id {one} is there twice under its seed; name files by their seeds")
            try:
                table[one] = float(row[score])
            except (TypeError, ValueError):
                raise InputError(f"{where}: expected a number as score, got {str(row[score])[:40]!r}") from None
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
    if len(first) != len(second) or not (any_seeds or set(first) == set(second)):
        raise InputError(
            f"seeds differ (A: {', '.join(first)}; B: {', '.join(second)}); --any-seeds pairs as many in order"
        )
    ids = list(next(iter(first.values()), {}))
    for name, side in (("A", first), ("B", second)):
        for seed, table in side.items():
            if unlike := sorted(set(ids) ^ set(table)):
                word = "lacks" if unlike[0] in ids else "has also"
                raise InputError(f"ids differ: {name}, seed {seed} {word} {unlike[0]} ({len(unlike)} in all)")
    if len(ids) < 2:
        raise InputError(f"expected two items or more on both sides, got {len(ids)}")
    seeds = list(first) if any_seeds else sorted(first, key=lambda seed: (len(seed), seed))
    others = list(second) if any_seeds else seeds
    tables = [
        [[side[seed][one] for one in ids] for seed in names] for side, names in ((first, seeds), (second, others))
    ]
    return Paired(np.array(tables[0]), np.array(tables[1]), tuple(seeds), tuple(ids))


def _rows(file: Path, score: str) -> list[Mapping[str, Any]]:
    """Rows with id, score and maybe seed."""
    try:
        text = file.read_text(encoding="utf-8-sig")
        whole = list(csv.DictReader(text.splitlines())) if file.suffix.lower() == ".csv" else json.loads(text)
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from None
    except (ValueError, RecursionError, csv.Error) as error:
        raise InputError(f"{file} is neither CSV nor JSON in UTF-8: {error}") from None
    if isinstance(whole, dict) and isinstance(scores := whole.get("scores"), dict):
        whole = [{"id": one, score: value, "seed": whole.get("seed")} for one, value in scores.items()]
    if not isinstance(whole, list) or not whole or not all(isinstance(row, Mapping) for row in whole):
        raise InputError(f'{file}: expected {{"scores": {{id: score}}}}, or rows of id and {score}')
    return whole
