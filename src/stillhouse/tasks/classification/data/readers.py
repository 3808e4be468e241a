"""Raw texts and rows of tables as counted features: what a student of words or thresholds reads. No torch.

A reader is plain data, so that a student's card, its exports and this module read the same: `{"kind": "words", ...}` or
`{"kind": "table", ...}`, beside the names of the features.

Legend: N rows, F features.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError, nearest

WORD = r"(?u)\b\w\w+\b"  # of scikit-learn: two letters, digits or underscores, and more
EMPTY = frozenset({"", "na", "nan", "none", "null", "?"})  # cells of tables without a value, in small letters
MOST = 255  # a feature is counted up to here: a byte


def fit_words(texts: Sequence[str], *, ngrams: int, most: int, least: int) -> tuple[list[str], list[float]]:
    """The vocabulary of training texts, and how rare each word is.

    Args:
        texts: of the training split alone, with or without labels.
        ngrams: longest run of words that is a feature.
        most: features that are kept, the commonest first.
        least: texts that a feature must be in.

    Returns:
        (F) words in alphabetical order, (F) inverse document frequencies.

    Raises:
        InputError: no word is in so many texts.

    Example:
        >>> fit_words(["my card", "my pin", "the pin"], ngrams=2, most=9, least=2)[0]
        ['my', 'pin']
    """
    from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer

    made = CountVectorizer(ngram_range=(1, ngrams), max_features=most, min_df=least, token_pattern=WORD)
    try:
        counts = made.fit_transform(texts)
    except ValueError as error:
        raise InputError(
            f"words: expected some in at least {least} of {len(texts):,} training texts (data.min_texts): {error}"
        ) from None
    return list(made.get_feature_names_out()), TfidfTransformer().fit(counts).idf_.tolist()


def fit_table(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, levels: int, categories: int, least: int
) -> list[dict[str, Any]]:
    """What is asked of each column of training rows: quantile thresholds of numbers, the commonest values of others.

    Args:
        rows: of the training split alone.
        columns: that are read.
        levels: thresholds of a number at most; a number with fewer values has one between each two.
        categories: values of a category that are features, the commonest first.
        least: training rows that a feature must hold for, and must not hold for.

    Returns:
        One mapping a column: `name`, and `cuts` or `categories`; `missing` where its absence is a feature.

    Example:
        >>> rows = [{"age": n, "job": "clerk" if n % 2 else "cook"} for n in range(8)]
        >>> fit_table(rows, ["age", "job"], levels=3, categories=9, least=1)
        [{'name': 'age', 'cuts': [1.0, 3.0, 5.0]}, {'name': 'job', 'categories': ['clerk', 'cook']}]
    """
    found = []
    for name in columns:
        there = [row.get(name) for row in rows if not is_missing(row.get(name))]
        column: dict[str, Any] = {"name": name}
        numbers = [number_in(cell) for cell in there]
        if there and None not in numbers:
            column["cuts"] = _cuts(np.array(numbers, dtype=np.float64), levels, least)
        else:
            values, counts = np.unique([str(cell) for cell in there], return_counts=True)
            kept = [i for i in np.argsort(-counts, kind="stable") if least <= counts[i] <= len(rows) - least]
            column["categories"] = sorted(str(values[i]) for i in kept[:categories])
        if least <= len(rows) - len(there) <= len(rows) - least:
            column["missing"] = True
        if column.get("cuts") or column.get("categories") or column.get("missing"):
            found.append(column)
    if not found:
        raise InputError(f"table: expected a column that tells rows apart, got {', '.join(columns) or 'none'}")
    return found


def _cuts(numbers: NDArray[np.float64], levels: int, least: int) -> list[float]:
    """Thresholds that are values of the column, so that they read well; the largest value is never one."""
    values = np.unique(numbers)
    places = np.arange(1, levels + 1) / (levels + 1)
    chosen = values[:-1] if len(values) <= levels + 1 else np.unique(np.quantile(numbers, places, method="lower"))
    return [float(cut) for cut in chosen if least <= (numbers > cut).sum() <= len(numbers) - least]


def table_names(columns: Sequence[Mapping[str, Any]]) -> list[str]:
    """(F) what each feature of a table is called.

    Example:
        >>> table_names([{"name": "age", "cuts": [37.0]}, {"name": "job", "categories": ["cook"], "missing": True}])
        ['age > 37', 'job = cook', 'job is missing']
    """
    names = []
    for column in columns:
        names += [f"{column['name']} > {cut:.15g}" for cut in column.get("cuts", ())]
        names += [f"{column['name']} = {value}" for value in column.get("categories", ())]
        names += [f"{column['name']} is missing"] if column.get("missing") else []
    return names


def read_features(reading: Mapping[str, Any], names: Sequence[str], raw: Sequence[Any]) -> NDArray[np.uint8]:
    """Raw inputs as counts; a text without a known word, and a value that no training row had, count nothing.

    Args:
        reading: a reader.
        names: (F) its features.
        raw: (N) texts, or mappings from columns to values.

    Returns:
        (N, F) how often each feature is there, at most 255; of tables 0 or 1.

    Raises:
        InputError: another kind of input, a row that lacks a column, or a text where a number was.
    """
    kind, called = (str, "a text") if reading["kind"] == "words" else (Mapping, "named values")
    for number, one in enumerate(raw):
        if not isinstance(one, kind):
            raise InputError(f"row {number + 1}: expected {called}, got {type(one).__name__}")
    if reading["kind"] == "words":
        from sklearn.feature_extraction.text import CountVectorizer

        made = CountVectorizer(ngram_range=(1, reading["ngrams"]), vocabulary=list(names), token_pattern=WORD)
        counts: NDArray[np.uint8] = np.minimum(made.transform(raw).toarray(), MOST).astype(np.uint8)
        return counts
    bits = [
        [bit for column in reading["columns"] for bit in _bits(column, row, place)] for place, row in enumerate(raw)
    ]
    return np.array(bits, dtype=np.uint8).reshape(len(raw), len(names))


def _bits(column: Mapping[str, Any], row: Mapping[str, Any], number: int) -> list[bool]:
    """The features of one column in one row."""
    name = column["name"]
    if name not in row:
        raise InputError(f"row {number + 1}: expected a column {name!r}; {nearest(name, [str(key) for key in row])}")
    cell = row[name]
    absent = is_missing(cell)
    value = None if absent or "cuts" not in column else number_in(cell)
    if "cuts" in column and value is None and not absent:
        raise InputError(f"row {number + 1}, column {name!r}: expected a number, got {str(cell)[:40]!r}")
    bits = [value is not None and value > cut for cut in column.get("cuts", ())]
    bits += [not absent and str(cell) == one for one in column.get("categories", ())]
    return [*bits, absent] if column.get("missing") else bits


def number_in(cell: Any) -> float | None:
    """The cell as a number; None where it is none. True and False are categories."""
    if isinstance(cell, bool):
        return None
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None


def is_missing(cell: Any) -> bool:
    """Whether a cell of a table holds nothing: empty, a word for that, or no finite number."""
    if cell is None or (isinstance(cell, str) and cell.strip().lower() in EMPTY):
        return True
    number = number_in(cell)
    return number is not None and not math.isfinite(number)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a .csv, .tsv, .jsonl or .parquet file as mappings.

    Raises:
        InputError: another file, or one that cannot be read.
    """
    kind = path.suffix.lower()
    if kind not in (".csv", ".tsv", ".jsonl", ".parquet"):
        raise InputError(f"{path}: expected a .csv, .tsv, .jsonl or .parquet file")
    try:
        if kind == ".parquet":
            from pyarrow.parquet import read_table

            rows = read_table(path).to_pylist()
        else:
            with path.open(encoding="utf-8", newline="") as file:
                if kind == ".jsonl":
                    rows = [json.loads(line) for line in file if line.strip()]
                else:
                    rows = list(csv.DictReader(file, delimiter="," if kind == ".csv" else "\t"))
    except ImportError:
        raise InputError(f"{path}: .parquet needs pyarrow; pip install pyarrow") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected a table in UTF-8: {error}") from None
    except (ValueError, csv.Error) as error:  # those of pyarrow too
        raise InputError(f"{path}: not {kind}: {str(error).splitlines()[0]}") from None
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: expected rows with named columns, got {len(rows)} rows")
    return rows
