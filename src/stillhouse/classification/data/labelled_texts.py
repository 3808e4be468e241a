"""Labelled texts in memory, as token ids: the same three splits as images have.

Legend: B batch, N rows, L tokens, K classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, TextTask


@dataclass(frozen=True)
class TextSplit:
    """One split, whole in memory.

    Attributes:
        ids: (N, L) int64 token ids, padded.
        labels: (N) int64.
    """

    ids: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: Tensor) -> Batch:
        """The rows of an index (B): ids (B, L), labels (B), and the index."""
        return Batch(self.ids.index_select(0, index), self.labels.index_select(0, index), index)

    def batches(self, size: int) -> Iterator[Batch]:
        """All rows in order, `size` at a time; the last batch may be smaller."""
        if size < 1:
            raise InputError(f"batch size: expected at least 1, got {size}")
        for start in range(0, len(self), size):
            yield self.batch(torch.arange(start, min(start + size, len(self))))


@dataclass(frozen=True)
class TextData:
    """Three splits of labelled texts and the task that they set; `run(config, out, data=...)` takes it.

    Attributes:
        name: of the data set.
        train: what is learned from.
        validation: on which the best epoch is picked.
        test: read once, at the end.
        task: classes, length, vocabulary.
    """

    name: str
    train: TextSplit
    validation: TextSplit
    test: TextSplit
    task: TextTask
    augmentation: str = "none"

    @property
    def changes(self) -> bool:
        """Texts are the same in every epoch."""
        return False

    @property
    def sizes(self) -> dict[str, int]:
        """Rows of every split."""
        return {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)}

    @cached_property
    def sha256(self) -> str:
        """Fingerprint of the ids and labels of all splits."""
        digest = hashlib.sha256()
        for split in (self.train, self.validation, self.test):
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
            InputError: not three splits, an empty one, texts and labels of unequal number, a label outside the classes, a
                text without tokens, or a token id outside the vocabulary.

        Example:
            >>> rows = (["a b", "b"], [0, 1])
            >>> data = TextData.from_texts([rows] * 3, lambda t: [ord(c) - 95 for c in t.split()], class_names=("x", "y"),
            ...                            vocabulary=4, length=2)
            >>> data.train.ids.tolist()
            [[2, 3], [3, 0]]
        """
        if len(splits) != 3:
            raise InputError(f"splits: expected train, validation and test, got {len(splits)}")
        made = []
        for word, (texts, labels) in zip(("train", "validation", "test"), splits):
            if len(texts) != len(labels) or not len(texts):
                raise InputError(
                    f"{word}: expected as many labels as texts and at least one, got {len(texts)} and {len(labels)}"
                )
            wrong = [label for label in labels if not 0 <= int(label) < len(class_names)]
            if wrong:
                raise InputError(f"{word} labels: expected 0 to {len(class_names) - 1}, got {wrong[0]}")
            ids = torch.full((len(texts), length), padding)
            for row, text in enumerate(texts):
                tokens = list(encode(text))[:length]
                if not tokens:
                    raise InputError(f"{word}, row {row}: expected a text with at least one token, got {text!r}")
                if not 0 <= min(tokens) <= max(tokens) < vocabulary:
                    raise InputError(
                        f"{word}, row {row}: token ids from 0 to {vocabulary - 1} expected, got {max(tokens)}"
                    )
                ids[row, : len(tokens)] = torch.tensor(tokens)
            made.append(TextSplit(ids, torch.tensor([int(label) for label in labels])))
        train, validation, test = made
        return cls(name, train, validation, test, TextTask(tuple(class_names), length, vocabulary, padding))
