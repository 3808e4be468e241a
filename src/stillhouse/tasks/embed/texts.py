"""Text files -> texts: lines, columns of tables, fields of JSON lines. A source is a path, with what to read of it behind a colon:

notes.txt                     a text a line
stsb-en-train.csv:0,1         columns of a table, by number from 0 or by name
reviews.jsonl:body            a field
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stillhouse.core.checks import InputError, nearest

Column = int | str


def parse_source(text: str) -> tuple[Path, tuple[Column, ...]]:
    """Path and columns of `PATH`, `PATH:0,1` or `PATH:name`; a path that exists as it stands is taken whole.

    Example:
        >>> parse_source("pairs.csv:0,1")[1], parse_source("reviews.jsonl:body")[1]
        ((0, 1), ('body',))
    """
    place, colon, rest = text.rpartition(":")
    if not colon or Path(text).expanduser().exists():
        return Path(text).expanduser(), ()
    words = [word.strip() for word in rest.split(",")]
    if not place or not all(words):
        raise InputError(f"{text}: expected PATH:COLUMNS (0,1 or names)")
    return Path(place).expanduser(), tuple(int(word) if word.isdigit() else word for word in words)


def gather(
    sources: Sequence[str], *, min_chars: int = 1, max_chars: int | None = None, limit: int | None = None
) -> tuple[list[str], list[str]]:
    """All texts of some sources, each once, and the name of the file that each came from first.

    Two texts that differ only in case or white space count as one: else a model that reads lower case would see a training
    text again in the test split.

    Args:
        sources: see above.
        min_chars: shorter texts are dropped.
        max_chars: longer texts are dropped, not cut.
        limit: take at most so many of each source.

    Returns:
        (n) texts and (n) names: the file's, with its folder's where two files have the same.

    Raises:
        InputError: as `read_table`; a source without a text.
    """
    kept: dict[str, tuple[str, str]] = {}
    parsed = [parse_source(source) for source in sources]
    stems = [path.stem for path, _ in parsed]
    for path, columns in parsed:
        name = path.stem if stems.count(path.stem) == 1 else f"{path.resolve().parent.name}/{path.stem}"
        fitting = [
            text
            for text in dict.fromkeys(_texts(path, columns))
            if min_chars <= len(text) and (max_chars is None or len(text) <= max_chars)
        ]
        if not fitting:
            raise InputError(
                f"{path}: expected texts of {min_chars} to {max_chars or 'any number of'} characters, got none"
            )
        for text in fitting[:limit]:
            kept.setdefault(text.casefold(), (text, name))
    return [text for text, _ in kept.values()], [name for _, name in kept.values()]


def _texts(path: Path, columns: Sequence[Column]) -> Iterator[str]:
    """The texts of a file, stripped, with runs of white space made one space; the first column or field where none is named."""
    lines = path.suffix.lower() == ".txt"
    rows: Any = zip(_content(path).split("\n")) if lines else read_table(path, columns or (0,))
    texts = (" ".join(str(value).split()) for row in rows for value in row)
    return (text for text in texts if text)


def read_table(path: str | Path, columns: Sequence[Column]) -> Iterator[tuple[Any, ...]]:
    """The named columns of every line of a .csv (quoted), .tsv (unquoted) or .jsonl file (an object a line, 0: its `text`).

    A column by number means a table without a header, by name one with it.

    Raises:
        InputError: no such file, an unknown format, invalid UTF-8 (with the byte's place), or a line without the column.
    """
    path = Path(path).expanduser()
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        names: Sequence[Any] = [column or "text" for column in columns]
        rows: Iterator[Any] = _json_lines(path)
    elif suffix in (".csv", ".tsv"):
        lines = io.StringIO(_content(path), newline="")  # splits at line ends alone, not at others that texts may hold
        style: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if suffix == ".tsv" else {}
        rows = filter(None, csv.reader(lines, **style))
        header = next(rows) if any(isinstance(column, str) for column in columns) else []
        if unknown := [column for column in columns if isinstance(column, str) and column not in header]:
            raise InputError(f"{path}: no column {unknown[0]!r} in the header; {nearest(unknown[0], header)}")
        names = [header.index(column) if isinstance(column, str) else column for column in columns]
    else:
        raise InputError(f"{path}: expected .txt, .csv, .tsv or .jsonl, got {suffix!r}")
    for number, row in enumerate(rows, 1):
        try:
            yield tuple(row[name] for name in names)
        except (IndexError, KeyError, TypeError):
            raise InputError(f"{path}: row {number}: expected {list(columns)}, got {row!r:.80}") from None


def read_lines(path: Path) -> list[str]:
    """One text a row for vectors that are there already: nothing is dropped, stripped or joined.

    Args:
        path: .txt (the line), or .jsonl (its `text`).

    Raises:
        InputError: as `read_table`.
    """
    path = path.expanduser()
    if path.suffix.lower() == ".jsonl":
        return [str(text) for (text,) in read_table(path, (0,))]
    # not splitlines(): it also splits at form feeds and Unicode separators, which texts may hold
    return _content(path).replace("\r\n", "\n").removesuffix("\n").split("\n")


def _content(path: Path) -> str:
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8").removeprefix("\ufeff")  # Excel's byte order mark is no letter of the first text
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}: expected UTF-8, got byte 0x{raw[error.start]:02x} in line {line}") from None
    if not text.strip():
        raise InputError(f"{path}: expected text, got an empty file")
    return text


def _json_lines(path: Path) -> Iterator[Any]:
    for number, line in enumerate(_content(path).split("\n"), 1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise InputError(f"{path}: line {number}: expected JSON, got {line[:60]!r} ({error})") from None
