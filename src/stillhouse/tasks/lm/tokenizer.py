"""Tokenizers behind one interface, all of them the Rust library's: bytes, a trained BPE, files of others, GGUF."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.core.records import write_atomically

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend

TOKENIZER_FILE, HUB = "tokenizer.json", "hub:"
PIECES = 2000  # lines that are cut at a time
# what two tokenizers must cut alike beside having equal vocabularies: cases in which pre-tokenizers differ
PROBE = (
    "The 1st token's 2,048 = x@-@y \n\n  don't\tSTOP; naïve café \N{GREEK SMALL LETTER ALPHA} <unk> 東京 http://a.b/c_d"
)


class Tokenizer:
    """Text to token ids and back.

    Args:
        backend: of the `tokenizers` library.
        name: for messages.

    Example:
        >>> bytes_ = byte_tokenizer()
        >>> bytes_.encode("Aé").tolist(), bytes_.decode([65, 195, 169]), bytes_.vocab_size
        ([65, 195, 169], 'Aé', 256)
    """

    def __init__(self, backend: Backend, name: str) -> None:
        self.backend, self.name = backend, name
        self.vocab_size: int = backend.get_vocab_size()

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what decides ids: the vocabulary, and how a text full of border cases is cut."""
        facts = [sorted(self.backend.get_vocab().items()), self.encode(PROBE).tolist()]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def encode(self, text: str) -> NDArray[np.int64]:
        """(N,) ids, without special tokens."""
        return np.asarray(self.backend.encode(text, add_special_tokens=False).ids, np.int64)

    def encode_lines(self, lines: Sequence[str]) -> NDArray[Any]:
        """(N,) ids of pieces of text, each cut on its own, in the smallest type that holds the vocabulary.

        Raises:
            InputError: ids beyond the size of the vocabulary.
        """
        kind, found = np.uint16 if self.vocab_size <= 2**16 else np.uint32, []
        for start in range(0, len(lines), PIECES):
            cut = self.backend.encode_batch_fast(lines[start : start + PIECES], add_special_tokens=False)
            found += [np.asarray(one.ids, np.uint32) for one in cut]
        ids = np.concatenate(found)
        if ids.max(initial=0) >= self.vocab_size:
            raise InputError(f"tokenizer {self.name}: expected ids of 0 to {self.vocab_size - 1}, got {ids.max()}")
        return ids.astype(kind)

    def decode(self, ids: Iterable[Any]) -> str:
        """Text of ids; bytes that are not UTF-8 become the replacement character."""
        return str(self.backend.decode([int(i) for i in ids], skip_special_tokens=False))

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` into a folder."""
        write_atomically(folder / TOKENIZER_FILE, lambda file: file.write(self.backend.to_str().encode()))


def byte_tokenizer() -> Tokenizer:
    """256 tokens, an id is a byte of UTF-8: nothing is out of its vocabulary."""
    from tokenizers import Tokenizer as Backend
    from tokenizers.models import BPE

    return Tokenizer(_byte_level(Backend(BPE(byte_alphabet(), [])), regex=False), "bytes")


def byte_alphabet() -> dict[str, int]:
    """The letter that stands for each byte in a byte-level vocabulary, GPT-2's: letter -> byte.

    A printable byte is itself, the others follow from 256 on.

    Example:
        >>> alphabet = byte_alphabet()
        >>> alphabet["A"], alphabet["\u0120"], len(alphabet)
        (65, 32, 256)
    """
    shown = [b for b in range(256) if chr(b).isprintable() and not chr(b).isspace() and b not in (0xAD,)]
    hidden = {b: chr(256 + i) for i, b in enumerate(b for b in range(256) if b not in set(shown))}
    return {hidden.get(b, chr(b)): b for b in range(256)}


def token_bytes(tokenizer: Tokenizer) -> list[bytes | None]:
    """The bytes that each token of a byte-level vocabulary stands for; None for special tokens, which stand for no text.

    Raises:
        InputError: another kind of vocabulary.
    """
    alphabet, vocabulary = byte_alphabet(), tokenizer.backend.get_vocab()
    if missing := len(alphabet.keys() - vocabulary.keys()):
        raise InputError(
            f"tokenizer {tokenizer.name}: expected a byte-level vocabulary (GPT-2's kind), got one without {missing} of 256 bytes"
        )
    special = set(tokenizer.backend.get_added_tokens_decoder())
    found: list[bytes | None] = [None] * (max(vocabulary.values()) + 1)
    for token, number in vocabulary.items():
        if number not in special and all(letter in alphabet for letter in token):
            found[number] = bytes(alphabet[letter] for letter in token)
    return found


def cut_bytes(tokenizer: Tokenizer, data: bytes) -> list[int]:
    """Ids of bytes that need not be whole UTF-8: what is not is cut into single bytes, the rest as the tokenizer cuts text.

    Example:
        >>> cut_bytes(byte_tokenizer(), b"A\\xff")
        [65, 255]
    """
    vocabulary, letters = tokenizer.backend.get_vocab(), {b: letter for letter, b in byte_alphabet().items()}
    found: list[int] = []
    for piece in re.split("([\udc80-\udcff])", data.decode("utf-8", "surrogateescape")):
        if len(piece) == 1 and "\udc80" <= piece <= "\udcff":
            found.append(vocabulary[letters[ord(piece) - 0xDC00]])
        elif piece:
            found.extend(int(i) for i in tokenizer.encode(piece))
    return found


def train_bpe(texts: Iterable[str], size: int) -> Tokenizer:
    """A byte-level BPE of exactly `size` tokens, or fewer if the text has no more pairs; the same for the same text."""
    from tokenizers import Tokenizer as Backend
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer

    backend = _byte_level(Backend(BPE()), regex=True)
    trainer = BpeTrainer(vocab_size=size, initial_alphabet=sorted(ByteLevel.alphabet()), show_progress=False)
    backend.train_from_iterator(texts, trainer)
    return Tokenizer(backend, f"bpe:{size}")


def load_tokenizer(source: str) -> Tokenizer:
    """The tokenizer of a name, folder or file.

    Args:
        source: `bytes`; a `tokenizer.json`, or a folder with one; a GGUF file; hub:NAME.

    Raises:
        InputError: nothing there that can be read.
    """
    if source == "bytes":
        return byte_tokenizer()
    path = Path(source).expanduser()
    file = path / TOKENIZER_FILE if path.is_dir() else path
    hub, gguf = source.startswith(HUB), path.suffix.lower() == ".gguf"
    if not hub and not file.is_file():
        raise InputError(
            f"tokenizer {source}: expected bytes, bpe:N, a folder with {TOKENIZER_FILE}, a GGUF file or hub:NAME; found none of "
            "them (`stillhouse train-teacher` makes a teacher's folder, which has its tokenizer)"
        )
    try:
        if hub or gguf:
            from transformers import AutoTokenizer

            where, how = (source.removeprefix(HUB), {}) if hub else (str(path.parent), {"gguf_file": path.name})
            return Tokenizer(AutoTokenizer.from_pretrained(where, **how).backend_tokenizer, path.name)
        from tokenizers import Tokenizer as Backend

        return Tokenizer(Backend.from_file(str(file)), source)
    except ImportError as error:
        raise InputError(f"tokenizer {source}: needs `pip install 'stillhouse[lm]'`: {error}") from None
    except Exception as error:  # the Rust side, gguf, the hub and the network fail in many ways
        raise InputError(f"tokenizer {source}: cannot be read: {error}") from None


def check_same_tokenizer(ours: Tokenizer, theirs: Tokenizer) -> None:
    """Refuse a teacher that cuts text otherwise: its answers would be about other tokens.

    Raises:
        InputError: unlike vocabularies or unlike cuts.
    """
    if ours.fingerprint != theirs.fingerprint:
        raise InputError(
            f"tokenizer: expected that of the teacher ({theirs.name}, {theirs.vocab_size} tokens), got another, {ours.name} "
            f"({ours.vocab_size} tokens, or a text is cut otherwise); set corpus.tokenizer to the teacher's"
        )


def _byte_level(backend: Backend, *, regex: bool) -> Backend:
    from tokenizers import decoders, pre_tokenizers

    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex)
    backend.decoder = decoders.ByteLevel()
    return backend
