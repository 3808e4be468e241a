"""Texts and rows of tables in memory: token ids, counted words, thresholds and categories, in three splits.

Legend: B batch, N rows, L tokens, F features, K classes.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.labels import MISSING, missing_labels, require_labels
from stillhouse.core.types import Batch, FeatureSpec, TextSpec
from stillhouse.tasks.classification.data.config import TableDataConfig, TextDataConfig, WordDataConfig
from stillhouse.tasks.classification.data.readers import fit_table, fit_words, read_features, rows_of, table_names
from stillhouse.tasks.classification.data.split import Split, SplitData, hold_out, limit, limit_labels

Config = TextDataConfig | WordDataConfig | TableDataConfig
BANKING, HERE = "builtin:banking", Path(__file__).parent / "banking"  # messages that come with the package


@dataclass(frozen=True)
class RowSplit(Split):
    """One split, whole in memory.

    Attributes:
        ids: (N, L) int64 token ids, padded; or (N, F) uint8, how often each feature is there.
        labels: (N) int64; -1 where a training row has none.
        raw: (N) texts, or rows of a table as mappings.
        numbers: (N) int64 of the rows in their file, those of a file of test rows after them; None: not known.
    """

    ids: Tensor
    labels: Tensor
    raw: tuple[Any, ...] = ()
    numbers: Tensor | None = None

    @property
    def held(self) -> Tensor:
        """(N, ...) what it is made of."""
        return self.ids

    def batch(self, index: Tensor) -> Batch:
        """The rows of an index (B): ids (B, L) or counts (B, F) as floats, labels (B), the index, and the numbers of the rows."""
        ids = self.ids.index_select(0, index)
        rows = None if self.numbers is None else self.numbers.index_select(0, index)
        return Batch(
            ids.float() if ids.dtype == torch.uint8 else ids, self.labels.index_select(0, index), index, rows=rows
        )


@dataclass(frozen=True)
class RowData(SplitData):
    """Three splits of rows and the task that they set; `run(task, config, out, data=...)` takes it."""

    @classmethod
    def from_texts(
        cls,
        splits: Sequence[tuple[Sequence[str], Sequence[Any]]],
        encode: Callable[[str], Sequence[int]],
        *,
        class_names: Sequence[str],
        vocabulary: int,
        length: int = 64,
        name: str = "texts",
    ) -> RowData:
        """Tokenize train, validation and test.

        Args:
            splits: (texts, class numbers) of train, validation and test, in this order; -1 or None where a training text has none.
            encode: text -> token ids, as `tokenizer.encode`; cut at `length`; 0 is padding.
            class_names: (K).
            vocabulary: V.
            length: L.
            name: what reports call it.

        Raises:
            InputError: a label that is missing or outside the classes, a text without tokens, or a token id outside the vocabulary.

        Example:
            >>> rows = (["a b", "b"], [0, 1])
            >>> data = RowData.from_texts([rows] * 3, lambda t: [ord(c) - 95 for c in t.split()], class_names=("x", "y"),
            ...                           vocabulary=4, length=2)
            >>> data.train.ids.tolist()
            [[2, 3], [3, 0]]
        """
        input_spec = TextSpec(tuple(class_names), length, vocabulary)
        made = []
        for word, (texts, labels) in zip(("train", "validation", "test"), splits, strict=True):
            missing = missing_labels(labels)
            if word != "train":
                require_labels(missing, f"{word} labels", word)
            numbers = torch.tensor([MISSING if none else int(label) for label, none in zip(labels, missing)])
            if len(texts) != len(numbers) or numbers.max() >= len(class_names):
                raise InputError(
                    f"{word} labels: expected 0 to {len(class_names) - 1} for each of {len(texts)} texts, got {len(numbers)} up to "
                    f"{int(numbers.max())}"
                )
            made.append(RowSplit(_encoded(word, texts, encode, input_spec), numbers, tuple(texts)))
        return cls(name, made[0], made[1], made[2], input_spec)


def load_rows(config: Config) -> RowData:
    """The rows of a file, split and read by what the training rows teach; classes are the labels in alphabetical order.

    Raises:
        InputError: a file that cannot be read or lacks a column, one class only, a test row without a label or of a class that
            no other row has, or a text without tokens.
    """
    path, test = Path(config.root).expanduser(), None if config.test is None else Path(config.test).expanduser()
    if config.root == BANKING:
        path, test = HERE / "train.csv", test or HERE / "test.csv"
    raw, given = _labelled(path, config)
    missing = missing_labels(given)
    words = [str(label) for label, none in zip(given, missing) if not none]
    names = sorted(set(words))
    if len(names) < 2:
        raise InputError(
            f"{path}: expected at least 2 classes in {config.label_column!r}, got {', '.join(names) or 'none'}"
        )
    labels = torch.full((len(raw),), MISSING)
    labels[torch.from_numpy(~missing)] = torch.from_numpy(np.searchsorted(names, words))
    seed, rows = config.split_seed, torch.arange(len(raw))
    if test is None:
        rows, tested = hold_out(labels, config.test_fraction, seed, names, "test")
    else:
        more, marks = _labelled(test, config)
        tested = len(raw) + torch.arange(len(more))
        raw, labels = [*raw, *more], torch.cat([labels, _test_labels(config, marks, names)])
    left, held = hold_out(labels[rows], config.validation_fraction, seed, names, "validation")
    train, validation = rows[left], rows[held]
    train = train[limit(labels[train], config.train_limit, seed, len(names), "train")]
    tested = tested[limit(labels[tested], config.test_limit, seed, len(names), "test")]
    spec, read = _reading(config, tuple(names), [raw[row] for row in train.tolist()])

    def split(numbers: Tensor) -> RowSplit:
        some = tuple(raw[row] for row in numbers.tolist())
        return RowSplit(read(some), labels[numbers], some, numbers)

    name = "banking" if config.root == BANKING else path.stem
    data: RowData = limit_labels(
        RowData(name, split(train), split(validation), split(tested), spec),
        config.label_limit,
        config.validation_fraction,
        seed,
    )
    return data


def _labelled(path: Path, config: Config) -> tuple[list[Any], list[Any]]:
    """Texts or rows of a file, and their labels."""
    rows = rows_of(path)
    columns = list(dict.fromkeys(str(name) for row in rows for name in row))  # of .jsonl, a row may lack some
    read = config.leave_out if isinstance(config, TableDataConfig) else (config.text_column,)
    for column in (config.label_column, *read):
        if column not in columns:
            raise InputError(f"{path}: expected a column {column!r}; {nearest(column, columns)}")
    found = (row.get(config.label_column) for row in rows)
    labels = [label.strip() if isinstance(label, str) else label for label in found]
    if not isinstance(config, TableDataConfig):
        return [str(row.get(config.text_column) or "") for row in rows], labels
    kept = [name for name in columns if name not in {config.label_column, *read}]
    return [{name: row.get(name) for name in kept} for row in rows], labels


def _test_labels(config: Config, labels: Sequence[Any], names: Sequence[str]) -> Tensor:
    """Class numbers of test rows that were given."""
    require_labels(missing_labels(labels), f"test rows, {config.label_column!r}", "test")
    unknown = [str(label) for label in labels if str(label) not in names]
    if unknown:
        raise InputError(
            f"test rows: {len(unknown)} of {len(labels)} are of a class without a labelled training row, as {unknown[0]!r}; "
            f"expected {', '.join(names[:9])}: label a row of it, or leave these test rows out"
        )
    return torch.from_numpy(np.searchsorted(names, [str(label) for label in labels]))


def _reading(config: Config, classes: tuple[str, ...], rows: Sequence[Any]) -> tuple[Any, Callable[[Any], Tensor]]:
    """What training rows make worth reading, and how rows become numbers: as a saved student will read them."""
    if isinstance(config, TextDataConfig):
        encode, vocabulary = tokenizer_of(config)
        tokens = TextSpec(classes, config.length, vocabulary)
        return tokens, lambda raw: _encoded(config.root, raw, encode, tokens)
    if isinstance(config, WordDataConfig):
        names, idf = fit_words(rows, ngrams=config.ngrams, most=config.max_words, least=config.min_texts)
        reading: dict[str, Any] = {"kind": "words", "text_column": config.text_column, "ngrams": config.ngrams}
    else:
        columns = fit_table(
            rows, list(rows[0]), levels=config.levels, categories=config.categories, least=config.min_rows
        )
        reading, names = {"kind": "table", "columns": columns}, table_names(columns)
        idf = [1.0] * len(names)
    spec = FeatureSpec(classes, tuple(names), tuple(idf), reading)
    return spec, lambda raw: torch.from_numpy(read_features(spec.reading, spec.names, raw))


def hashed_words(vocabulary: int) -> Callable[[str], list[int]]:
    """Words and signs as numbers from 1 to vocabulary - 1, the same on every machine; 0 is padding.

    Example:
        >>> encode = hashed_words(1000)
        >>> encode("A cat.") == encode("a  CAT .")
        True
    """
    return lambda text: [
        1 + zlib.crc32(word.encode()) % (vocabulary - 1) for word in re.findall(r"\w+|[^\w\s]", text.lower())
    ]


def tokenizer_of(config: TextDataConfig) -> tuple[Callable[[str], list[int]], int]:
    """Text -> ids from 1 up (0 is padding), and how many ids there are."""
    if config.tokenizer is None:
        return hashed_words(config.vocabulary), config.vocabulary
    from tokenizers import Tokenizer

    try:
        found = Tokenizer.from_file(str(Path(config.tokenizer).expanduser()))
    except Exception as error:  # the package raises a bare Exception
        raise InputError(f"data.tokenizer: cannot read {config.tokenizer}: {error}") from None
    return lambda text: [1 + number for number in found.encode(text).ids], found.get_vocab_size() + 1


def _encoded(where: str, texts: Sequence[str], encode: Callable[[str], Sequence[int]], spec: TextSpec) -> Tensor:
    """(N, L) token ids, cut and padded."""
    ids = torch.full((len(texts), spec.length), spec.padding)
    for row, text in enumerate(texts):
        tokens = list(encode(text))[: spec.length]
        if not tokens or not 0 <= min(tokens) <= max(tokens) < spec.vocabulary:
            raise InputError(
                f"{where}: expected a text of tokens from 0 to {spec.vocabulary - 1}, got {text!r:.60} with {tokens[:9]}"
            )
        ids[row, : len(tokens)] = torch.tensor(tokens)
    return ids
