"""Labelled texts in memory, as token ids: the same three splits as images have; from a file, or from lists.

Legend: B batch, N rows, L tokens, K classes.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.labels import MISSING, missing_labels, require_labels
from stillhouse.core.types import Batch, TextSpec
from stillhouse.tasks.classification.data.config import TextDataConfig
from stillhouse.tasks.classification.data.label_draw import Hidden, limit_labels, whole_splits
from stillhouse.tasks.classification.data.readers import read_rows
from stillhouse.tasks.classification.data.split import Split
from stillhouse.tasks.classification.data.splits import hold_out, limit
from stillhouse.tasks.classification.data.streamed import Rows


@dataclass(frozen=True)
class TextSplit(Split):
    """One split, whole in memory.

    Attributes:
        ids: (N, L) int64 token ids, padded.
        labels: (N) int64; -1 where a training row has none.
        texts: (N) what was tokenized; () where it is not known.
        numbers: (N) int64 of the rows in their file; None: not known.
    """

    ids: Tensor
    labels: Tensor
    texts: tuple[str, ...] = ()
    numbers: Tensor | None = None

    def batch(self, index: Tensor) -> Batch:
        """The rows of an index (B): ids (B, L), labels (B), the index, and the numbers of the rows."""
        rows = None if self.numbers is None else self.numbers.index_select(0, index)
        return Batch(self.ids.index_select(0, index), self.labels.index_select(0, index), index, rows=rows)


@dataclass(frozen=True)
class TextData:
    """Three splits of labelled texts and the task that they set; `run(task, config, out, data=...)` takes it.

    Attributes:
        name: of the data set.
        train: what is learned from.
        validation: on which the best epoch is picked.
        test: read once, at the end.
        input_spec: classes, length, vocabulary.
        hidden: labels behind a limit, of which each seed of a run has some; None: every label is used.
    """

    name: str
    train: TextSplit
    validation: TextSplit
    test: TextSplit
    input_spec: TextSpec
    augmentation: str = "none"
    hidden: Hidden | None = None

    @property
    def changes(self) -> bool:
        """Texts are the same in every epoch."""
        return False

    @property
    def for_teachers(self) -> TextData:
        """Teachers read the same token ids."""
        return self

    @property
    def sizes(self) -> dict[str, int]:
        """Rows of every split."""
        return {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)}

    @cached_property
    def sha256(self) -> str:
        """Fingerprint of the ids and labels of all splits."""
        digest = hashlib.sha256()
        for split in whole_splits(self).values():
            for tensor in (split.ids, split.labels):
                digest.update(repr(tuple(tensor.shape)).encode())
                digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def augment(self, inputs: Tensor, *, seed: int) -> Tensor:
        """Texts are not changed."""
        return inputs

    @classmethod
    def from_texts(
        cls,
        splits: Sequence[tuple[Sequence[str], Sequence[int]]],
        encode: Callable[[str], Sequence[int]],
        *,
        class_names: Sequence[str],
        vocabulary: int,
        length: int = 64,
        padding: int = 0,
        name: str = "texts",
    ) -> TextData:
        """Tokenize train, validation and test.

        Args:
            splits: (texts, labels) of train, validation and test, in this order.
            encode: text -> token ids, as `tokenizer.encode`; cut at `length`.
            class_names: (K).
            vocabulary: V.
            length: L.
            padding: id that fills short rows.
            name: what reports call it.

        Raises:
            InputError: not three splits, an empty one, texts and labels of unequal number, a label that is missing or outside
                the classes, a text without tokens, or a token id outside the vocabulary.

        Example:
            >>> rows = (["a b", "b"], [0, 1])
            >>> data = TextData.from_texts([rows] * 3, lambda t: [ord(c) - 95 for c in t.split()], class_names=("x", "y"),
            ...                            vocabulary=4, length=2)
            >>> data.train.ids.tolist()
            [[2, 3], [3, 0]]
        """
        if len(splits) != 3:
            raise InputError(f"splits: expected train, validation and test, got {len(splits)}")
        input_spec = TextSpec(tuple(class_names), length, vocabulary, padding)
        made = []
        for word, (texts, labels) in zip(("train", "validation", "test"), splits):
            if len(texts) != len(labels) or not len(texts):
                raise InputError(
                    f"{word}: expected as many labels as texts and at least one, got {len(texts)} and {len(labels)}"
                )
            missing = missing_labels(labels)
            if word != "train":
                require_labels(missing, f"{word} labels", word)
            numbers = [MISSING if none else int(label) for label, none in zip(labels, missing)]
            wrong = [one for one in numbers if not MISSING <= one < len(class_names)]
            if wrong:
                raise InputError(f"{word} labels: expected 0 to {len(class_names) - 1}, got {wrong[0]}")
            made.append(TextSplit(_encoded(word, texts, encode, input_spec), torch.tensor(numbers), tuple(texts)))
        train, validation, test = made
        return cls(name, train, validation, test, input_spec)


def load_texts(config: TextDataConfig) -> TextData:
    """The rows of a file, tokenized and split; classes are the different labels in alphabetical order.

    Raises:
        InputError: the file cannot be read, lacks a column, has one class only, or a text without tokens.
    """
    path = Path(config.root).expanduser()
    rows = read_rows(path)
    columns = dict.fromkeys(str(name) for row in rows for name in row)  # of .jsonl, a row may lack some
    for column in (config.text_column, config.label_column):
        if column not in columns:
            raise InputError(f"{path}: expected a column {column!r}; {nearest(column, columns)}")
    texts = [str(row.get(config.text_column) or "") for row in rows]
    labels = [row.get(config.label_column) for row in rows]
    words = [None if missing else str(label) for label, missing in zip(labels, missing_labels(labels))]
    names = sorted({word for word in words if word is not None})
    if len(names) < 2:
        raise InputError(f"{path}: expected at least 2 classes in {config.label_column!r}, got {', '.join(names)}")
    encode, vocabulary = tokenizer_of(config)
    input_spec = TextSpec(tuple(names), config.length, vocabulary)
    numbers = torch.tensor([MISSING if word is None else names.index(word) for word in words])
    whole = Rows(_encoded(path.name, texts, encode, input_spec), numbers, torch.arange(len(texts)))
    train, test = hold_out(whole, config.test_fraction, config.split_seed, names, "test")
    train, validation = hold_out(train, config.validation_fraction, config.split_seed, names, "validation")
    train = limit(train, config.train_limit, config.split_seed, len(names), "train")
    test = limit(test, config.test_limit, config.split_seed, len(names), "test")
    splits = [
        TextSplit(
            cast(Tensor, rows.images), rows.labels, tuple(texts[row] for row in rows.numbers.tolist()), rows.numbers
        )
        for rows in (train, validation, test)
        if rows.numbers is not None
    ]
    data = TextData(path.stem, splits[0], splits[1], splits[2], input_spec)
    return limit_labels(data, config.label_limit, config.validation_fraction, config.split_seed)


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


def _encoded(where: str, texts: Sequence[str], encode: Callable[[str], Sequence[int]], input_spec: TextSpec) -> Tensor:
    """(N, L) token ids, cut and padded."""
    ids = torch.full((len(texts), input_spec.length), input_spec.padding)
    for row, text in enumerate(texts):
        tokens = list(encode(text))[: input_spec.length]
        if not tokens:
            raise InputError(f"{where}, row {row}: expected a text with at least one token, got {text!r}")
        if not 0 <= min(tokens) <= max(tokens) < input_spec.vocabulary:
            raise InputError(
                f"{where}, row {row}: token ids from 0 to {input_spec.vocabulary - 1} expected, got {max(tokens)}"
            )
        ids[row, : len(tokens)] = torch.tensor(tokens)
    return ids
