"""Token ids of a text's splits, written once and memory-mapped, with a manifest that says of what they are.

FOLDER/tokenizer.json
FOLDER/train.npy        (N,) uint16 or uint32; also valid, test
FOLDER/manifest.json    hashes of texts, tokenizer and ids; written last: without it nothing of the folder is used
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.core.records import check_object, read_object, write_atomically, write_json
from stillhouse.families.lm.data import CorpusConfig
from stillhouse.families.lm.data.tokenizer import TOKENIZER_FILE, Tokenizer, load_tokenizer, train_bpe

FORMAT = "stillhouse-text-1"
MANIFEST = "manifest.json"
SPLITS = ("train", "valid", "test")
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
    def sizes(self) -> dict[str, int]:
        """Tokens of every split."""
        return {split.name: len(split) for split in (self.train, self.valid, self.test)}

    @property
    def sha256(self) -> str:
        """Fingerprint of the ids of all splits."""
        return hashlib.sha256(" ".join(x.sha256 for x in (self.train, self.valid, self.test)).encode()).hexdigest()

    @property
    def about(self) -> dict[str, Any]:
        """Name, sizes and fingerprints, for a run's record."""
        splits = {split.name: split for split in (self.train, self.valid, self.test)}
        return {
            "name": self.name,
            "tokenizer": self.tokenizer.name,
            "vocabulary": self.tokenizer.vocab_size,
            "tokenizer_sha256": self.tokenizer.fingerprint,
            "sizes": self.sizes,
            "bytes": {name: split.bytes for name, split in splits.items()},
            "sha256": self.sha256,
            "splits": {name: split.sha256 for name, split in splits.items()},
        }


def load_corpus(config: CorpusConfig) -> Corpus:
    """Tokenize the splits of a configuration, or open what was tokenized before.

    Raises:
        InputError: see `CorpusConfig.build`.
    """
    texts = read_splits(config)
    hashes = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    kind, _, size = config.tokenizer.partition(":")
    trained = kind == "bpe"
    if trained and not (size.isdecimal() and size.isascii()):
        raise InputError(f"tokenizer {config.tokenizer}: expected bpe:N with a whole number N")
    given = None if trained else load_tokenizer(config.tokenizer)
    content = f"{FORMAT} {sorted(hashes.items())} {config.tokenizer if given is None else given.fingerprint}"
    key = hashlib.sha256(content.encode()).hexdigest()[:16]
    folder = Path(config.cache).expanduser() / key if config.cache else _home() / key
    if not (folder / MANIFEST).is_file():
        tokenizer = given or train_bpe(texts["train"].splitlines(keepends=True), int(size))
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


def read_splits(config: CorpusConfig) -> dict[str, str]:
    """The text of each split.

    Raises:
        InputError: a file is missing, empty, or not UTF-8.
    """
    source = Path(config.source).expanduser()
    if source.is_dir():
        texts = {name: read_text(source / f"{name}.txt") for name in SPLITS}
    else:
        lines = read_text(source).splitlines(keepends=True)
        if len(lines) < 20:
            raise InputError(
                f"{source}: expected at least 20 lines to cut into train, valid and test, got {len(lines)}"
            )
        first, second = (round(share * len(lines)) for share in SHARES)
        texts = {"train": lines[:first], "valid": lines[first:second], "test": lines[second:]}  # type: ignore[dict-item]
        texts = {name: "".join(part) for name, part in texts.items()}
    most = {"train": config.most_bytes, "valid": config.most_test_bytes, "test": config.most_test_bytes}
    return {name: _first(text, most[name]) for name, text in texts.items()}


def read_text(path: Path) -> str:
    """A UTF-8 file, whole.

    Raises:
        InputError: missing, empty, or not UTF-8, with the place of the first wrong byte.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the text {path}: {error.strerror}") from None
    if not raw.strip():
        raise InputError(f"text {path}: expected some text, got an empty file")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"text {path}: expected UTF-8, got the byte 0x{raw[error.start]:02x} at {error.start:,}; convert it, as with"
            f" `iconv -f latin1 -t utf-8`"
        ) from None


def write_ids(path: Path, ids: NDArray[Any], vocab_size: int) -> None:
    """Write token ids as (N,) .npy in the smallest type that holds the vocabulary, atomically.

    Raises:
        InputError: no ids, or one outside of the vocabulary.
    """
    if ids.ndim != 1 or not len(ids):
        raise InputError(f"token ids: expected (N,) with at least one, got {ids.shape}")
    if int(ids.min()) < 0 or int(ids.max()) >= vocab_size:
        wrong = int(ids.min()) if int(ids.min()) < 0 else int(ids.max())
        raise InputError(f"token ids: expected 0 to {vocab_size - 1}, got {wrong}")
    kind = np.uint16 if vocab_size <= 2**16 else np.uint32
    write_atomically(path, lambda file: np.save(file, ids.astype(kind)))


def ids_sha256(ids: NDArray[Any]) -> str:
    """SHA-256 of ids as 32-bit numbers, the same whatever type they are stored in."""
    return hashlib.sha256(np.ascontiguousarray(ids, np.uint32).data).hexdigest()


def _write(folder: Path, name: str, text: str, tokenizer: Tokenizer) -> dict[str, Any]:
    pieces: Iterable[NDArray[np.int64]] = tokenizer.encode_lines(text.splitlines(keepends=True))
    ids = np.concatenate(list(pieces))
    write_ids(folder / f"{name}.npy", ids, tokenizer.vocab_size)
    return {"tokens": len(ids), "bytes": len(text.encode()), "sha256": ids_sha256(ids)}


def _open(folder: Path, name: str, facts: dict[str, Any], vocab_size: int) -> Split:
    path = folder / f"{name}.npy"
    try:
        ids = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"token ids {path}: cannot be read: {error}; delete {folder} to make them again") from None
    check_object(facts, {"bytes": int, "sha256": str}, f"{folder / MANIFEST}, {name}")
    if ids.ndim != 1 or ids.dtype.kind != "u" or ids_sha256(ids) != facts["sha256"]:
        raise InputError(f"token ids {path}: not those of the manifest; delete {folder} to make them again")
    if int(ids.max()) >= vocab_size:
        raise InputError(f"token ids {path}: expected 0 to {vocab_size - 1}, got {int(ids.max())}")
    return Split(name, ids, int(facts["bytes"]), str(facts["sha256"]))


def _first(text: str, most: int | None) -> str:
    """The first lines of a text that hold at least so many bytes."""
    if most is None:
        return text
    kept, size = [], 0
    for line in text.splitlines(keepends=True):
        kept.append(line)
        size += len(line.encode())
        if size >= most:
            break
    return "".join(kept)


def _home() -> Path:
    return Path(os.environ.get("STILLHOUSE_CACHE") or "~/.cache/stillhouse").expanduser() / "text"
