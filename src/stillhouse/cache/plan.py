"""What a cache holds: its parts and arrays, and the shards in which they are written. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.cache.array_file import bytes_of
from stillhouse.core.checks import InputError
from stillhouse.core.records import as_json, check_object, read_json

FORMAT = "stillhouse-cache-2"
SMALLEST, LARGEST, SHARDS = 2**23, 2**28, 256  # bytes of a shard, and about how many there are in between


@dataclass(frozen=True)
class Plan:
    """What a cache holds.

    Attributes:
        key: what decides every byte: teacher, preprocessing, data, labels, augmentation, content; compared by name.
        parts: rows of each part ("train", "view-0", "validation").
        arrays: of each part, by name: shape of a row, and NumPy's word for its type.
        shard_rows: of each part.
        about: of the teacher, its licence, the data: shown, not compared.
    """

    key: Mapping[str, Any]
    parts: Mapping[str, int]
    arrays: Mapping[str, Mapping[str, tuple[tuple[int, ...], str]]]
    shard_rows: Mapping[str, int]
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shards(self) -> list[Shard]:
        """All shards, in the order in which they are written."""
        return [
            Shard(part, number, start, min(start + self.shard_rows[part], rows))
            for part, rows in self.parts.items()
            for number, start in enumerate(range(0, rows, self.shard_rows[part]))
        ]

    def row_bytes(self, part: str) -> int:
        """Of one row of a part, without the headers of files."""
        return sum(bytes_of(shape, kind) for shape, kind in self.arrays[part].values())

    @property
    def bytes(self) -> int:
        """Of all rows."""
        return sum(rows * self.row_bytes(part) for part, rows in self.parts.items())

    def identity(self) -> dict[str, Any]:
        """What two writers of one folder must agree on, as JSON gives it back."""
        arrays = {
            part: {n: [list(shape), kind] for n, (shape, kind) in found.items()} for part, found in self.arrays.items()
        }
        named = {"key": self.key, "parts": self.parts, "arrays": arrays, "shard_rows": self.shard_rows}
        found: dict[str, Any] = json.loads(json.dumps(as_json(named)))
        return found

    def to_mapping(self) -> dict[str, Any]:
        """`plan.json`."""
        return {"format": FORMAT, **self.identity(), "about": as_json(self.about)}

    @classmethod
    def read(cls, path: Path) -> Plan:
        """From `plan.json` or `manifest.json`.

        Raises:
            InputError: it is none.
        """
        found = read_json(path)
        known = found.get("format") if isinstance(found, dict) else None
        if known != FORMAT:
            raise InputError(f"{path}: expected a cache of format {FORMAT!r}, got {known!r}; write it again")
        kinds = {
            "key": dict[str, Any],
            "parts": dict[str, int],
            "arrays": dict[str, dict[str, list[Any]]],
            "shard_rows": dict[str, int],
            "about": dict[str, Any],
        }
        check_object(found, kinds, str(path))
        if found["parts"].keys() != found["arrays"].keys() or min(found["shard_rows"].values(), default=0) < 1:
            raise InputError(f"{path}: expected arrays and rows a shard for each of its parts, got others")
        try:
            arrays = {
                part: {n: (tuple(map(int, shape)), np.dtype(kind).str) for n, (shape, kind) in some.items()}
                for part, some in found["arrays"].items()
            }
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}: expected shapes and types of arrays, got others: {error}") from None
        return cls(found["key"], found["parts"], arrays, found["shard_rows"], found["about"])


@dataclass(frozen=True)
class Shard:
    """Some rows of a part, written by one process."""

    part: str
    number: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """Beginning of its files' names."""
        return f"{self.part}-{self.number:05d}"

    def file(self, array: str) -> str:
        """Of one of its arrays."""
        return f"{self.name}.{array}.npy"

    @property
    def record(self) -> str:
        """The file that says it is finished."""
        return f"{self.name}.json"


def shard_bytes_of(total: int) -> int:
    """Of a cache of so many bytes: a kill costs a shard, and a folder of a million files is no good either.

    Example:
        >>> shard_bytes_of(10**6), shard_bytes_of(10**10), shard_bytes_of(10**12)
        (8388608, 39062500, 268435456)
    """
    return min(LARGEST, max(SMALLEST, total // SHARDS))


def rows_a_shard(row_bytes: int, batch: int, most: int) -> int:
    """Whole batches, so that every row is asked for beside the same others whoever writes the shard.

    Example:
        >>> rows_a_shard(row_bytes=1000, batch=64, most=1_000_000)
        960
    """
    return max(1, most // max(1, row_bytes) // batch) * batch
