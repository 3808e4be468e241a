"""Token ids of a text's splits, written once and memory-mapped, with a manifest of their source; windows of them for training.

FOLDER/tokenizer.json
FOLDER/train.ids        (N,) uint16 or uint32, plain; also valid, test
FOLDER/manifest.json    hashes of texts, tokenizer and ids; written last: without it nothing of the folder is used
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.core.records import check_object, read_object, write_atomically, write_json
from stillhouse.core.sample import sample_rows
from stillhouse.tasks.lm.data import CorpusConfig
from stillhouse.tasks.lm.data.tokenizer import TOKENIZER_FILE, Tokenizer, load_tokenizer, train_bpe

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "stillhouse-text-2"
MANIFEST = "manifest.json"
SPLITS = ("train", "valid", "test")
PIECE = 1 << 20  # bytes of a text, or ids, at a time
SHARES = (0.9, 0.95)  # ends of train and valid in a single file


@dataclass(frozen=True)
class Split:
    """Token ids of one split.

    Attributes:
        name: train, valid or test.
        ids: (N,) unsigned, memory-mapped.
        bytes: of the UTF-8 text that they are.
        sha256: of the ids.
    """

    name: str
    ids: NDArray[np.unsignedinteger[Any]]
    bytes: int
    sha256: str

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Corpus:
    """A tokenized text of three splits.

    Attributes:
        name: of its source.
        tokenizer: that cut it.
        train: what is learned from.
        valid: what is looked at while learning.
        test: what is read once.
        folder: where the ids lie.
    """

    name: str
    tokenizer: Tokenizer
    train: Split
    valid: Split
    test: Split
    folder: Path

    @property
    def splits(self) -> dict[str, Split]:
        """All of them, by name."""
        return {split.name: split for split in (self.train, self.valid, self.test)}

    @property
    def sizes(self) -> dict[str, int]:
        """Tokens of every split."""
        return {name: len(split) for name, split in self.splits.items()}

    @property
    def sha256(self) -> str:
        """Fingerprint of the ids of all splits."""
        return hashlib.sha256(" ".join(x.sha256 for x in self.splits.values()).encode()).hexdigest()

    @property
    def about(self) -> dict[str, Any]:
        """Name, sizes and fingerprints, for a run's record."""
        return {
            "name": self.name,
            "tokenizer": self.tokenizer.name,
            "vocabulary": self.tokenizer.vocab_size,
            "tokenizer_sha256": self.tokenizer.fingerprint,
            "sizes": self.sizes,
            "bytes": {name: split.bytes for name, split in self.splits.items()},
            "sha256": self.sha256,
            "splits": {name: split.sha256 for name, split in self.splits.items()},
        }


def load_corpus(config: CorpusConfig) -> Corpus:
    """Tokenize the splits of a configuration, or open what was tokenized before.

    Raises:
        InputError: see `CorpusConfig.build`.
    """
    texts = read_splits(config)
    hashes = {name: text.sha256() for name, text in texts.items()}
    if Path(config.source).expanduser().is_dir():  # the parts of one file may be alike, as its lines are
        check_apart(texts, hashes)
    kind, _, size = config.tokenizer.partition(":")
    trained = kind == "bpe"
    if trained and not (size.isdecimal() and size.isascii()):
        raise InputError(f"tokenizer {config.tokenizer}: expected bpe:N with a whole number N")
    given = None if trained else load_tokenizer(config.tokenizer)
    content = f"{FORMAT} {sorted(hashes.items())} {config.tokenizer if given is None else given.fingerprint}"
    key = hashlib.sha256(content.encode()).hexdigest()[:16]
    folder = Path(config.cache).expanduser() / key if config.cache else _home() / key
    if not (folder / MANIFEST).is_file():
        tokenizer = given or train_bpe(iter(texts["train"]), int(size))
        tokenizer.save(folder)
        facts = {name: _write(folder, name, text, tokenizer) for name, text in texts.items()}
        write_json(folder / MANIFEST, {"format": FORMAT, "tokenizer": tokenizer.fingerprint, "splits": facts})
    tokenizer = given or load_tokenizer(str(folder / TOKENIZER_FILE))
    if given is None:
        tokenizer.name = config.tokenizer
    manifest = read_object(folder / MANIFEST, {"tokenizer": str, "splits": dict[str, Any]})
    if tokenizer.fingerprint != manifest["tokenizer"]:
        raise InputError(f"{folder / TOKENIZER_FILE}: not that of the manifest; delete {folder} to make it again")
    check_object(manifest["splits"], dict.fromkeys(SPLITS, dict[str, Any]), f"{folder / MANIFEST}, splits")
    train, valid, test = (_open(folder, name, manifest["splits"][name], tokenizer.vocab_size) for name in SPLITS)
    return Corpus(Path(config.source).stem, tokenizer, train, valid, test, folder)


@dataclass(frozen=True)
class Lines:
    """Some lines of a UTF-8 file, read anew and a piece at a time whenever they are gone through: texts may exceed the memory.

    Attributes:
        path: the file.
        start: number of the first line.
        stop: the line before which it ends; None: to the end.
        most_bytes: the first lines that hold at least so many; None: all.
    """

    path: Path
    start: int = 0
    stop: int | None = None
    most_bytes: int | None = None

    def __iter__(self) -> Iterator[str]:
        size = 0
        for line in islice(_lines(self.path), self.start, self.stop):
            if self.most_bytes is not None and size >= self.most_bytes:
                return
            size += len(line.encode())
            yield line

    def sha256(self) -> str:
        """Of the text, as UTF-8.

        Raises:
            InputError: no text, or one that cannot be read.
        """
        digest, something = hashlib.sha256(), False
        for line in self:
            digest.update(line.encode())
            something = something or bool(line.strip())
        if not something:
            raise InputError(f"text {self.path}: expected some text, got an empty file")
        return digest.hexdigest()


def check_apart(texts: Mapping[str, Lines], hashes: Mapping[str, str]) -> None:
    """Refuse a text that is two splits: a student would be tested on what it was trained on.

    Raises:
        InputError: two splits of equal bytes, whatever their files are called.
    """
    first: dict[str, str] = {}
    for name, sha256 in hashes.items():
        other = first.setdefault(sha256, name)
        if other != name:
            raise InputError(
                f"text {texts[name].path}: {name} and {other} are the same text; each split needs one of its own"
            )


def read_splits(config: CorpusConfig) -> dict[str, Lines]:
    """The text of each split.

    Raises:
        InputError: a single file that is missing, not UTF-8, or of too few lines.
    """
    source = Path(config.source).expanduser()
    most = {"train": config.most_bytes, "valid": config.most_test_bytes, "test": config.most_test_bytes}
    if source.is_dir():
        return {name: Lines(source / f"{name}.txt", most_bytes=most[name]) for name in SPLITS}
    count = sum(1 for _ in _lines(source))
    if count < 20:
        raise InputError(f"{source}: expected at least 20 lines to cut into train, valid and test, got {count}")
    first, second = (round(share * count) for share in SHARES)
    ends = {"train": (0, first), "valid": (first, second), "test": (second, count)}
    return {name: Lines(source, *ends[name], most_bytes=most[name]) for name in SPLITS}


def whole_text(path: Path, tokenizer: Tokenizer, tokens: int | None = None) -> Corpus:
    """A text file that is all test, from its first token on: what is scored, not learned from.

    Args:
        path: of the file.
        tokenizer: that cuts it.
        tokens: read no further than these; None: all.

    Raises:
        InputError: missing, empty, or not UTF-8.
    """
    pieces = islice((token for piece in tokenizer.encode_lines(Lines(path)) for token in piece), tokens)
    ids = np.fromiter(pieces, np.uint32)
    if not len(ids):
        raise InputError(f"text {path}: expected some text, got an empty file")
    size = len(tokenizer.decode(ids).encode())
    none, all_of_it = (Split(name, x, n, ids_sha256(x)) for name, x, n in (("none", ids[:0], 0), ("test", ids, size)))
    return Corpus(path.stem, tokenizer, none, none, all_of_it, path.parent)


def _lines(path: Path) -> Iterator[str]:
    """The lines of a file as `str.splitlines(keepends=True)` has them, a piece of it at a time."""
    done = 0
    try:
        with path.open("rb") as file:
            while piece := b"".join(file.readlines(PIECE)):  # ends with a newline, which ends a line of any kind
                try:
                    text = piece.decode("utf-8")
                except UnicodeDecodeError as error:
                    raise InputError(
                        f"text {path}: expected UTF-8, got the byte 0x{piece[error.start]:02x} at {done + error.start:,}; convert "
                        f"it, as with `iconv -f latin1 -t utf-8`"
                    ) from None
                done += len(piece)
                yield from text.splitlines(keepends=True)
    except OSError as error:
        names = "; name a text file, or a folder with train.txt, valid.txt, test.txt" * isinstance(
            error, FileNotFoundError
        )
        raise InputError(f"cannot read the text {path}: {error.strerror}{names}") from None


def ids_sha256(ids: NDArray[Any]) -> str:
    """SHA-256 of ids as 32-bit numbers, the same whatever type they are stored in."""
    digest = hashlib.sha256()
    for start in range(0, len(ids), PIECE):
        digest.update(np.ascontiguousarray(ids[start : start + PIECE], np.uint32).data)
    return digest.hexdigest()


def _map(path: Path, vocab_size: int) -> NDArray[np.unsignedinteger[Any]]:
    return np.memmap(path, np.uint16 if vocab_size <= 2**16 else np.uint32, "r")


def _write(folder: Path, name: str, text: Lines, tokenizer: Tokenizer) -> dict[str, Any]:
    """Write a split's ids, which need not fit into memory, in the smallest type that holds the vocabulary, atomically."""
    path, size, kind = folder / f"{name}.ids", 0, np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32

    def counted() -> Iterator[str]:
        nonlocal size
        for line in text:
            size += len(line.encode())
            yield line

    def write(file: IO[bytes]) -> None:
        for ids in tokenizer.encode_lines(counted()):
            if int(ids.max(initial=0)) >= tokenizer.vocab_size:
                raise InputError(f"token ids: expected 0 to {tokenizer.vocab_size - 1}, got {ids.max()}")
            file.write(ids.astype(kind).tobytes())

    write_atomically(path, write)
    ids = _map(path, tokenizer.vocab_size)
    return {"tokens": len(ids), "bytes": size, "sha256": ids_sha256(ids)}


def _open(folder: Path, name: str, facts: dict[str, Any], vocab_size: int) -> Split:
    path = folder / f"{name}.ids"
    check_object(facts, {"bytes": int, "sha256": str}, f"{folder / MANIFEST}, {name}")
    try:
        ids = _map(path, vocab_size)
    except (OSError, ValueError) as error:
        raise InputError(f"token ids {path}: cannot be read: {error}; delete {folder} to make them again") from None
    if ids_sha256(ids) != facts["sha256"]:
        raise InputError(f"token ids {path}: not those of the manifest; delete {folder} to make them again")
    return Split(name, ids, facts["bytes"], facts["sha256"])


def _home() -> Path:
    return Path(os.environ.get("STILLHOUSE_CACHE") or "~/.cache/stillhouse").expanduser() / "text"


class Windows:
    """Non-overlapping rows of a text for training: row i reads tokens i L to i L + L - 1; its targets are the ones after each.

    Args:
        ids: (N,) token ids, memory-mapped or not.
        length: L.

    Raises:
        InputError: a length below 1, or a text shorter than one row and its next token.

    Example:
        >>> rows = Windows(np.arange(10, dtype=np.uint16), 4)
        >>> len(rows), rows(np.array([1]))[0].tolist(), rows(np.array([1]))[1].tolist()
        (2, [[4, 5, 6, 7]], [[5, 6, 7, 8]])
    """

    def __init__(self, ids: NDArray[Any], length: int) -> None:
        check_length(len(ids), length)
        self.ids, self.length = ids, length

    def __len__(self) -> int:
        return (len(self.ids) - 1) // self.length

    def __call__(self, rows: NDArray[Any] | Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets (B, L) int64 of row numbers (B,)."""
        import torch

        at = np.asarray(rows, np.int64)[:, None] * self.length + np.arange(self.length + 1)
        both = torch.from_numpy(self.ids[at].astype(np.int64))
        return both[:, :-1], both[:, 1:]

    def sample(self, count: int, batch: int = 16) -> Iterator[Tensor]:
        """Inputs (B, L) of `count` rows from anywhere in the text, drawn by a fixed seed, some at a time."""
        rows = sample_rows(len(self), count)
        return (self(some)[0] for some in np.split(rows, range(batch, len(rows), batch)))


def check_length(tokens: int, length: int) -> None:
    """Refuse a text without a single whole window.

    Raises:
        InputError: it has fewer tokens than a window and the token after it.
    """
    if length < 1:
        raise InputError(f"window: expected at least 1 token, got {length}")
    if tokens < length + 1:
        raise InputError(f"text: expected at least {length + 1} tokens (a window and the one after it), got {tokens}")
