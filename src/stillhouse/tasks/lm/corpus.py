"""A text as token ids: three splits of it, cut once and kept on disk, and windows of them for training.

FOLDER/tokenizer.json, then train.npy, valid.npy, test.npy (N,) uint16 or uint32; the last is written last. No torch before windows.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass
from stillhouse.core.hashes import hash_of
from stillhouse.core.labels import sample_rows
from stillhouse.core.records import write_atomically
from stillhouse.tasks.lm.tokenizer import Tokenizer, load_tokenizer, train_bpe

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "stillhouse-text-3"
SPLITS = ("train", "valid", "test")
SHARES = (0.9, 0.95)  # ends of train and valid in a single file


@configclass
class CorpusConfig:
    """Where the text is and how it is cut into tokens."""

    source: str = Field(
        min_length=1,
        description="folder with train.txt, valid.txt and test.txt, or one text file (cut 90 : 5 : 5 in order)",
    )
    tokenizer: str = Field(
        default="bpe:2048",
        min_length=1,
        description="bytes, bpe:N (N tokens, trained on the train split), a folder with tokenizer.json, a GGUF file or hub:NAME",
    )
    most_bytes: int | None = Field(default=None, gt=0, description="of the train split, from its start [all]")
    cache: str | None = Field(
        default=None, description="folder for token ids [STILLHOUSE_CACHE or ~/.cache/stillhouse, then text/KEY]"
    )


@dataclass(frozen=True)
class Corpus:
    """A tokenized text of three splits.

    Attributes:
        name: of its source.
        tokenizer: that cut it.
        train: (N,) token ids of what is learned from, memory-mapped.
        valid: of what is looked at while learning.
        test: of what is read once.
        scored: window and number of the test tokens that a run scores; empty where none does.
    """

    name: str
    tokenizer: Tokenizer
    train: NDArray[Any]
    valid: NDArray[Any]
    test: NDArray[Any]
    scored: tuple[int | None, ...] = ()

    @cached_property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of the ids of every split, the same whatever type they are stored in."""
        wide = {name: np.ascontiguousarray(getattr(self, name), np.uint32) for name in SPLITS}
        return {name: hashlib.sha256(ids.data).hexdigest() for name, ids in wide.items()}

    @property
    def sizes(self) -> dict[str, int]:
        """Tokens of every split."""
        return {name: len(getattr(self, name)) for name in SPLITS}

    @property
    def sha256(self) -> str:
        """Fingerprint of the ids of all splits."""
        return hashlib.sha256(" ".join(self.hashes.values()).encode()).hexdigest()

    @property
    def facts(self) -> dict[str, Any]:
        """Tokenizer and fingerprints, that of the scored windows too, for a run's record."""
        tokens = self.tokenizer.fingerprint
        return {
            "tokenizer": self.tokenizer.name,
            "vocabulary": self.tokenizer.vocab_size,
            "tokenizer_sha256": tokens,
            "splits": self.hashes,
            "test_sha256": hash_of({"text": self.hashes["test"], "tokens": tokens, "scored": list(self.scored)}),
        }


def load_corpus(config: CorpusConfig) -> Corpus:
    """Tokenize the splits of a configuration, or open what was tokenized before.

    Raises:
        InputError: a file is missing, empty or not UTF-8, two splits are one text, or the tokenizer cannot be read.
    """
    texts = read_splits(config)
    hashes = {name: hashlib.sha256("".join(lines).encode()).hexdigest() for name, lines in texts.items()}
    for one, other in combinations(SPLITS, 2):  # the parts of one file may be alike, as its lines are
        if hashes[one] == hashes[other] and Path(config.source).expanduser().is_dir():
            raise InputError(
                f"text {config.source}: {one} and {other} are the same text; each split needs one of its own"
            )
    kind, _, size = config.tokenizer.partition(":")
    if kind == "bpe" and not (size.isdecimal() and size.isascii() and int(size) > 256):
        raise InputError(f"tokenizer {config.tokenizer}: expected bpe:N with a whole number N from 257 (256 are bytes)")
    given = None if kind == "bpe" else load_tokenizer(config.tokenizer)
    content = f"{FORMAT} {sorted(hashes.items())} {config.tokenizer if given is None else given.fingerprint}"
    home = config.cache or Path(os.environ.get("STILLHOUSE_CACHE") or "~/.cache/stillhouse") / "text"
    folder = Path(home).expanduser() / hashlib.sha256(content.encode()).hexdigest()[:16]
    if not (folder / "test.npy").is_file():
        tokenizer = given or train_bpe(texts["train"], int(size))
        tokenizer.save(folder)
        for name, lines in texts.items():
            write_atomically(folder / f"{name}.npy", partial(np.save, arr=tokenizer.encode_lines(lines)))
    tokenizer = given or load_tokenizer(str(folder))
    tokenizer.name = config.tokenizer
    return Corpus(
        Path(config.source).stem, tokenizer, *(np.load(folder / f"{name}.npy", mmap_mode="r") for name in SPLITS)
    )


def read_splits(config: CorpusConfig) -> dict[str, list[str]]:
    """The lines of each split.

    Raises:
        InputError: a file that is missing, empty, not UTF-8, or of too few lines to be cut.
    """
    source = Path(config.source).expanduser()
    if source.is_dir():
        texts = {name: read_lines(source / f"{name}.txt") for name in SPLITS}
    else:
        lines = read_lines(source)
        if len(lines) < 20:
            raise InputError(
                f"{source}: expected at least 20 lines to cut into train, valid and test, got {len(lines)}"
            )
        first, second = (round(share * len(lines)) for share in SHARES)
        texts = dict(zip(SPLITS, (lines[:first], lines[first:second], lines[second:])))
    return {**texts, "train": _first(texts["train"], config.most_bytes)}


def read_lines(path: Path) -> list[str]:
    """The lines of a text, each with its end.

    Raises:
        InputError: see `read_splits`.
    """
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise InputError(
            f"cannot read the text {path}: {error.strerror}; name a text file, or a folder with train.txt, valid.txt, test.txt"
        ) from None
    except UnicodeDecodeError as error:
        wrong = f"the byte 0x{error.object[error.start]:02x} at {error.start:,}"
        raise InputError(
            f"text {path}: expected UTF-8, got {wrong}; convert it, as with `iconv -f latin1 -t utf-8`"
        ) from None
    if not text.strip():
        raise InputError(f"text {path}: expected some text, got an empty file")
    return text.splitlines(keepends=True)


def _first(lines: list[str], most_bytes: int | None) -> list[str]:
    """The first lines that hold at least so many bytes."""
    if most_bytes is None:
        return lines
    ends = np.cumsum([len(line.encode()) for line in lines])
    return lines[: int(np.searchsorted(ends, most_bytes)) + 1]


class Windows:
    """Non-overlapping rows of a text for training: row i reads tokens i L to i L + L - 1; its targets are the ones after each.

    Args:
        ids: (N,) token ids, memory-mapped or not.
        length: L.

    Raises:
        InputError: a text shorter than one row and its next token.

    Example:
        >>> rows = Windows(np.arange(10, dtype=np.uint16), 4)
        >>> len(rows), rows(np.array([1]))[0].tolist(), rows(np.array([1]))[1].tolist()
        (2, [[4, 5, 6, 7]], [[5, 6, 7, 8]])
    """

    def __init__(self, ids: NDArray[Any], length: int) -> None:
        if len(ids) < length + 1:
            raise InputError(
                f"text: expected at least {length + 1} tokens (a window and the one after it), got {len(ids)}"
            )
        self.ids, self.length = ids, length

    def __len__(self) -> int:
        return (len(self.ids) - 1) // self.length

    def __call__(self, rows: NDArray[Any] | Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets (B, L) int64 of row numbers (B,)."""
        import torch

        at = np.asarray(rows, np.int64)[:, None] * self.length + np.arange(self.length + 1)
        both = torch.from_numpy(self.ids[at].astype(np.int64))
        return both[:, :-1], both[:, 1:]

    def sample(self, count: int) -> Tensor:
        """Inputs (B, L) of `count` rows from anywhere in the text, drawn by a fixed seed."""
        return self(sample_rows(len(self), count))[0]
