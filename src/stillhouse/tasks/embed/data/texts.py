"""Text files -> texts: lines, columns of tables, fields of JSON lines.

A source is a path, with what to read of it behind a colon:

    notes.txt                     a text a line
    stsb-en-train.csv:0,1         columns of a table, by number from 0 or by name
    reviews.jsonl:body            a field
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillhouse.core.checks import InputError, nearest

Column = int | str
TABLES = (".txt", ".csv", ".tsv", ".jsonl")


@dataclass(frozen=True)
class Source:
    """One file and what to read of it."""

    path: Path
    columns: tuple[Column, ...] | None = None

    @classmethod
    def parse(cls, text: str) -> Source:
        """`PATH`, `PATH:0,1` or `PATH:name`; a path that exists as it stands is taken whole.

        Example:
            >>> Source.parse("pairs.csv:0,1").columns, Source.parse("reviews.jsonl:body").columns
            ((0, 1), ('body',))
        """
        if Path(text).expanduser().exists() or ":" not in text:
            return cls(Path(text).expanduser())
        place, _, rest = text.rpartition(":")
        words = [word.strip() for word in rest.split(",")]
        if not place or not all(words):
            raise InputError(f"{text}: expected PATH:COLUMNS (0,1 or names)")
        return cls(Path(place).expanduser(), tuple(int(word) if word.isdigit() else word for word in words))


def gather(
    sources: Sequence[str], *, min_chars: int = 1, max_chars: int | None = None, limit: int | None = None
) -> tuple[list[str], list[str]]:
    """All texts of some sources, each once, and the name of the file that each came from first.

    Two texts that differ only in case or white space count as one: else a model that reads lower case would see a training
    text again in the test split.

    Args:
        sources: see above.
        min_chars: shorter texts are dropped.
        max_chars: longer texts are dropped.
        limit: take at most so many of each source.

    Returns:
        (n) texts and (n) names: the file's, with its folder's where two files have the same.

    Raises:
        InputError: as `read_texts`, no sources.
    """
    for name, given in (("min_chars", min_chars), ("max_chars", max_chars), ("limit", limit)):
        if given is not None and given < 1:
            raise InputError(f"{name}: expected at least 1, got {given}")
    if not sources:
        raise InputError("texts: expected at least one file (FILE, FILE:COLUMNS)")
    kept: dict[str, tuple[str, str]] = {}
    parsed = [Source.parse(source) for source in sources]
    stems = [source.path.stem for source in parsed]
    for source in parsed:
        stem = source.path.stem
        name = stem if stems.count(stem) == 1 else f"{source.path.resolve().parent.name}/{stem}"
        found = read_texts(source.path, columns=source.columns, min_chars=min_chars, max_chars=max_chars, limit=limit)
        for text in found:
            kept.setdefault(text.casefold(), (text, name))
    return [text for text, _ in kept.values()], [name for _, name in kept.values()]


def read_texts(
    path: str | Path,
    *,
    columns: Sequence[Column] | None = None,
    min_chars: int = 1,
    max_chars: int | None = None,
    limit: int | None = None,
    deduplicate: bool = True,
) -> list[str]:
    """The texts of a file, stripped, with runs of white space made one space.

    Args:
        path: .txt (a text a line), .csv (quoted), .tsv (unquoted), .jsonl (an object a line).
        columns: of a table, by number from 0 (no header) or by name (the first line is a header); of .jsonl, field names.
            [0 of a table, "text" of .jsonl]
        min_chars: shorter texts are dropped.
        max_chars: longer texts are dropped, not cut.
        limit: stop after that many.
        deduplicate: keep the first of equal texts.

    Returns:
        The texts in the order of the file.

    Raises:
        InputError: no such file, an unknown format, invalid UTF-8 (with the byte's place), a line without the column, or
            nothing left.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(f"{folder}/pairs.csv").write_text('"Hello,  you.",Hi.\\nHi.,Bye.\\n')
        ...     read_texts(f"{folder}/pairs.csv", columns=(0, 1))
        ['Hello, you.', 'Hi.', 'Bye.']
    """
    path = Path(path).expanduser()
    if path.suffix.lower() == ".txt":
        if columns is not None:
            raise InputError(f"columns: a .txt file has none, got {list(columns)}")
        found: Iterable[str] = _text(path).split("\n")
    else:
        found = (str(value) for row in read_table(path, columns) for value in row)
    kept: dict[Any, str] = {}
    for text in found:
        text = " ".join(text.split())
        if len(text) < max(1, min_chars) or (max_chars is not None and len(text) > max_chars):
            continue
        kept.setdefault(text if deduplicate else len(kept), text)
        if limit is not None and len(kept) >= limit:
            break
    if not kept:
        raise InputError(
            f"{path}: expected texts of {min_chars} to {max_chars or 'any number of'} characters, got none"
        )
    return list(kept.values())


def read_table(path: str | Path, columns: Sequence[Column] | None = None) -> Iterator[tuple[Any, ...]]:
    """The named columns of every line of a .csv, .tsv or .jsonl file: values as they are (strings in tables).

    For pairs with a gold score (STS-B: 0, 1, 2) and sentences with a class (SST-2: 0, 1).

    Raises:
        InputError: as `read_texts`.
    """
    path = Path(path).expanduser()
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        wanted = ("text",) if columns is None else tuple(columns)
        return _fields(path, _json_lines(path), wanted)
    if suffix in (".csv", ".tsv"):
        return _cells(path, _rows(path), (0,) if columns is None else tuple(columns))
    raise InputError(f"{path}: expected .txt, .csv, .tsv or .jsonl, got {suffix!r}")


def read_pairs(path: str | Path, *, columns: Sequence[Column] = (0, 1, 2)) -> tuple[list[str], list[str], list[float]]:
    """Sentence pairs and their gold similarity, as STS-B has them.

    Returns:
        First sentences, second sentences, scores; equal in length, nothing dropped.

    Raises:
        InputError: as `read_texts`; a score that is not a number.
    """
    if len(columns) != 3:
        raise InputError(f"columns: expected three (first, second, score), got {list(columns)}")
    first, second, gold = [], [], []
    for number, (a, b, score) in enumerate(read_table(path, columns), 1):
        try:
            if not math.isfinite(float(score)):
                raise ValueError
            gold.append(float(score))
        except (TypeError, ValueError):
            raise InputError(f"{path}: row {number}: expected a score, got {score!r}") from None
        first.append(" ".join(str(a).split()))
        second.append(" ".join(str(b).split()))
    if not gold:
        raise InputError(f"{path}: expected pairs, got an empty file")
    return first, second, gold


def read_lines(path: str | Path) -> list[str]:
    """One text a row for vectors that are there already: nothing is dropped, stripped or joined.

    Args:
        path: .txt (the line), or .jsonl (a string, or an object with "text").

    Raises:
        InputError: as `read_texts`.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() == ".jsonl":
        found = [entry if isinstance(entry, str) else entry.get("text") for entry in _json_lines(path)]
        for number, text in enumerate(found, 1):
            if not isinstance(text, str):
                raise InputError(f"{path}: line {number}: expected a string or an object with 'text', got {text!r}")
        return found
    # not splitlines(): it also splits at form feeds and Unicode separators, which texts may hold
    lines = _text(path).replace("\r\n", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    try:
        text = raw.decode("utf-8").removeprefix("\ufeff")  # Excel's byte order mark is no letter of the first text
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}: expected UTF-8, got byte 0x{raw[error.start]:02x} at offset {error.start} (line {line})"
        ) from None
    if not text.strip():
        raise InputError(f"{path}: expected text, got an empty file")
    return text


def _rows(path: Path) -> Iterator[list[str]]:
    lines = io.StringIO(
        _text(path), newline=""
    )  # splits at line ends only, not at other separators that texts may hold
    if path.suffix.lower() == ".tsv":
        return csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    return csv.reader(lines)


def _cells(path: Path, rows: Iterator[list[str]], columns: tuple[Column, ...]) -> Iterator[tuple[str, ...]]:
    places = list(columns)
    if any(isinstance(column, str) for column in columns):
        header = next(rows)
        for at, column in enumerate(columns):
            if isinstance(column, str):
                if column not in header:
                    raise InputError(f"{path}: no column {column!r} in the header; {nearest(column, header)}")
                places[at] = header.index(column)
    for number, row in enumerate(rows, 1):
        if not row:
            continue
        try:
            yield tuple(row[int(place)] for place in places)
        except IndexError:
            raise InputError(
                f"{path}: row {number}: expected column {max(map(int, places))}, got {len(row)} columns"
            ) from None


def _json_lines(path: Path) -> Iterator[Any]:
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}: line {number}: expected JSON, got {line[:60]!r} ({error})") from None
        if not isinstance(entry, (str, dict)):
            raise InputError(f"{path}: line {number}: expected a string or an object, got {type(entry).__name__}")
        yield entry


def _fields(path: Path, entries: Iterator[Any], fields: tuple[Column, ...]) -> Iterator[tuple[Any, ...]]:
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or not set(fields) <= set(entry):
            raise InputError(f"{path}: row {number}: expected an object with {list(fields)}, got {entry!r:.80}")
        yield tuple(entry[field] for field in fields)
