"""Rows of counted features in memory: words of texts, thresholds and categories of tables; three splits.

Legend: B batch, N rows, F features, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.labels import MISSING, missing_labels, require_labels
from stillhouse.core.types import Batch, FeatureSpec
from stillhouse.tasks.classification.data.feature_config import TableDataConfig, WordDataConfig
from stillhouse.tasks.classification.data.label_draw import limit_labels
from stillhouse.tasks.classification.data.labelled_texts import TextData, TextSplit
from stillhouse.tasks.classification.data.readers import fit_table, fit_words, read_features, rows_of, table_names
from stillhouse.tasks.classification.data.splits import hold_out, limit
from stillhouse.tasks.classification.data.streamed import Rows

Rowed = WordDataConfig | TableDataConfig
BANKING, HERE = "builtin:banking", Path(__file__).parent / "banking"  # messages that come with the package


@dataclass(frozen=True)
class FeatureSplit(TextSplit):
    """One split, whole in memory.

    Attributes:
        ids: (N, F) uint8, how often each feature is there.
        labels: (N) int64; -1 where a training row has none.
        texts: (N) of words, the texts.
        numbers: (N) int64 of the rows: in their file, and those of a file of test rows after them.
        raw: (N) texts, or rows of the table as mappings.
    """

    raw: tuple[Any, ...] = ()

    def batch(self, index: Tensor) -> Batch:
        """The rows of an index (B): counts (B, F) as floats, labels (B), the index, and the numbers of the rows."""
        found = super().batch(index)
        return Batch(found.inputs.float(), found.labels, index, rows=found.rows)


@dataclass(frozen=True)
class FeatureData(TextData):
    """Three splits of counted features, classes, names of the features, and how raw rows become features."""

    input_spec: FeatureSpec  # type: ignore[assignment]


def load_features(config: Rowed) -> FeatureData:
    """The rows of a file, split and counted; see `features_of`."""
    path, test = Path(config.root).expanduser(), None if config.test is None else Path(config.test).expanduser()
    if config.root == BANKING:
        path, test = HERE / "train.csv", test or HERE / "test.csv"
    rows, labels = _labelled(path, config)
    given = None if test is None else _labelled(test, config)
    return features_of(
        config, rows, labels, given, where=str(path), name=path.stem if config.root != BANKING else "banking"
    )


def features_of(
    config: Rowed,
    rows: Sequence[Any],
    labels: Sequence[Any],
    test: tuple[Sequence[Any], Sequence[Any]] | None = None,
    *,
    where: str = "data",
    name: str = "rows",
) -> FeatureData:
    """Rows, split and counted by the words, thresholds and categories of the training rows; classes in alphabetical order.

    Args:
        config: how they are read and split; its files are not opened.
        rows: (N) texts, or mappings from columns to values.
        labels: (N); None, -1, NaN or empty where there is none.
        test: rows and labels; None: a share of the first is held out.
        where: the rows lie, for messages.
        name: what reports call the data.

    Raises:
        InputError: one class only, a test row without a label or of a class that no other row has, or rows that cannot be read.
    """
    missing = missing_labels(labels)
    words = [str(label) for label, none in zip(labels, missing) if not none]
    names = sorted(set(words))
    if len(names) < 2:
        raise InputError(
            f"{where}: expected at least 2 classes in {config.label_column!r}, got {', '.join(names) or 'none'}"
        )
    numbers = np.full(len(rows), MISSING)
    numbers[~missing] = np.searchsorted(names, words)
    whole = _rows(numbers, 0)
    if test is None:
        whole, held = hold_out(whole, config.test_fraction, config.split_seed, names, "test")
    else:
        held = _test_rows(config, test[1], names, len(rows))
        rows = [*rows, *test[0]]
    train, validation = hold_out(whole, config.validation_fraction, config.split_seed, names, "validation")
    train = limit(train, config.train_limit, config.split_seed, len(names), "train")
    held = limit(held, config.test_limit, config.split_seed, len(names), "test")
    spec = _spec(config, tuple(names), [rows[number] for number in _numbers(train)])
    splits = [_counted(spec, rows, part) for part in (train, validation, held)]
    data = FeatureData(name, splits[0], splits[1], splits[2], spec)
    return limit_labels(data, config.label_limit, config.validation_fraction, config.split_seed)


def _labelled(path: Path, config: Rowed) -> tuple[list[Any], list[Any]]:
    """Texts or rows of a file, and their labels."""
    rows = rows_of(path)
    columns = list(dict.fromkeys(str(name) for row in rows for name in row))
    read = (config.text_column,) if isinstance(config, WordDataConfig) else config.leave_out
    for column in (config.label_column, *read):
        if column not in columns:
            raise InputError(f"{path}: expected a column {column!r}; {nearest(column, columns)}")
    labels = [row.get(config.label_column) for row in rows]
    if isinstance(config, WordDataConfig):
        return [str(row.get(config.text_column) or "") for row in rows], labels
    left_out = {config.label_column, *read}
    return [{name: row.get(name) for name in columns if name not in left_out} for row in rows], labels


def _test_rows(config: Rowed, labels: Sequence[Any], names: Sequence[str], first: int) -> Rows:
    """Test rows that were given, numbered from `first`."""
    require_labels(missing_labels(labels), f"test rows, {config.label_column!r}", "test")
    unknown = [str(label) for label in labels if str(label) not in names]
    if unknown:
        more = f" and {len(names) - 9} more" if len(names) > 9 else ""
        raise InputError(
            f"test rows: {len(unknown)} of {len(labels)} are of a class without a labelled training row, as {unknown[0]!r}; "
            f"expected {', '.join(map(str, names[:9]))}{more}: label a row of it, or leave these test rows out"
        )
    return _rows(np.searchsorted(names, [str(label) for label in labels]), first)


def _rows(labels: Any, first: int) -> Rows:
    numbers = first + torch.arange(len(labels))
    return Rows(numbers[:, None], torch.from_numpy(np.asarray(labels, dtype=np.int64)), numbers)


def _numbers(part: Rows) -> list[int]:
    assert part.numbers is not None
    found: list[int] = part.numbers.tolist()
    return found


def _spec(config: Rowed, classes: tuple[str, ...], rows: Sequence[Any]) -> FeatureSpec:
    """What training rows make worth counting."""
    if isinstance(config, WordDataConfig):
        names, idf = fit_words(rows, ngrams=config.ngrams, most=config.max_words, least=config.min_texts)
        reading = {"kind": "words", "text_column": config.text_column, "ngrams": config.ngrams}
        return FeatureSpec(classes, tuple(names), tuple(idf), reading)
    columns = fit_table(rows, list(rows[0]), levels=config.levels, categories=config.categories, least=config.min_rows)
    features = tuple(table_names(columns))
    return FeatureSpec(classes, features, (1.0,) * len(features), {"kind": "table", "columns": columns})


def _counted(spec: FeatureSpec, rows: Sequence[Any], part: Rows) -> FeatureSplit:
    """One split, read as a saved student will read."""
    raw = tuple(rows[number] for number in _numbers(part))
    texts = raw if spec.reading["kind"] == "words" else ()
    counts = torch.from_numpy(read_features(spec.reading, spec.names, raw))
    return FeatureSplit(counts, part.labels, texts, part.numbers, raw)
