"""Texts -> token numbers for a student that reads words one by one: a teacher's pieces, or hashed words. No torch.

Legend: n texts, T tokens of all of them together, V size of the vocabulary.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError

WORD = re.compile(r"\w+|[^\w\s]")
TOKENIZER = "tokenizer.json"
GRAMS = (3, 4, 5)
REMEMBERED = 200_000


@dataclass(frozen=True)
class Bags:
    """Token numbers of n texts: those of text i are `ids[starts[i]:starts[i + 1]]`.

    Attributes:
        ids: (T,) int64.
        starts: (n + 1,) int64, from 0 to T.
    """

    ids: NDArray[np.int64]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, lists: Sequence[Sequence[int]]) -> Bags:
        """From a list of numbers a text."""
        starts = np.zeros(len(lists) + 1, np.int64)
        np.cumsum([len(one) for one in lists], out=starts[1:])
        ids = np.fromiter((token for one in lists for token in one), np.int64, int(starts[-1]))
        return cls(ids, starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def take(self, rows: NDArray[np.int64]) -> Bags:
        """The texts of some rows, in their order."""
        lengths = self.starts[rows + 1] - self.starts[rows]
        starts = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(lengths, out=starts[1:])
        within = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
        return Bags(self.ids[np.repeat(self.starts[rows], lengths) + within], starts)


class PieceTokenizer:
    """The word pieces of a pretrained model, from its `tokenizer.json`; no special tokens, no cut, no padding.

    Args:
        text: what `tokenizer.json` holds.

    Raises:
        InputError: the package tokenizers is not installed, or the text is no tokenizer.
    """

    def __init__(self, text: str) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise InputError("tokenizers: the package is not installed; pip install 'stillhouse[text]'") from None
        try:
            self._tokenizer = Tokenizer.from_str(text)
        except Exception as error:  # the package raises bare Exception
            raise InputError(f"{TOKENIZER}: expected a tokenizer, got {error}") from None
        self.text = text
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    @classmethod
    def from_folder(cls, folder: str | Path) -> PieceTokenizer:
        """Of a transformers or sentence-transformers folder.

        Raises:
            InputError: no `tokenizer.json` there.
        """
        return cls(_found(Path(folder), TOKENIZER).read_text(encoding="utf-8"))

    @property
    def vocabulary(self) -> int:
        """V: token numbers are below it."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    def pieces(self) -> list[str]:
        """(V) every token as a text, "" for special ones: what a teacher can be asked to embed."""
        special = {token.content for token in self._tokenizer.get_added_tokens_decoder().values() if token.special}
        words = [""] * self.vocabulary
        for word, number in self._tokenizer.get_vocab(with_added_tokens=True).items():
            # not the decoder, which cuts the first token's marks otherwise than the others'
            words[number] = "" if word in special else word.removeprefix("##").lstrip("▁Ġ")
        return words

    def bags(self, texts: Sequence[str]) -> Bags:
        """Token numbers of texts; a blank text has none."""
        return Bags.of([one.ids for one in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)])

    def to_mapping(self) -> dict[str, Any]:
        """What a card has of it; `tokenizer.json` lies beside the card."""
        return {"kind": "pieces"}


@dataclass
class HashTokenizer:
    """Lower-case words, and their letter groups, each at a place that a checksum gives: no file, no training, any language.

    Attributes:
        buckets: V; two words may share one.
        letters: also the groups of 3 to 5 letters inside "<word>", so that "planes" is near "plane" and a misspelt word is
            near the right one.

    Example:
        >>> tokens = HashTokenizer(buckets=1000, letters=False)
        >>> tokens.bags(["A plane.", "plane", ""]).starts.tolist()
        [0, 3, 4, 4]

    Source: Weinberger et al. 2009, arXiv:0902.2206 (hashing); Bojanowski et al. 2017, arXiv:1607.04606 (letter groups).
    """

    buckets: int = 1 << 15
    letters: bool = True
    _known: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.buckets < 1:
            raise InputError(f"buckets: expected at least 1, got {self.buckets}")

    @property
    def vocabulary(self) -> int:
        """V."""
        return self.buckets

    def bags(self, texts: Sequence[str]) -> Bags:
        """Token numbers of texts; a blank text has none."""
        return Bags.of([[token for word in WORD.findall(text.lower()) for token in self._word(word)] for text in texts])

    def to_mapping(self) -> dict[str, Any]:
        """What a card has of it."""
        return {"kind": "hash", "buckets": self.buckets, "letters": self.letters}

    def _word(self, word: str) -> tuple[int, ...]:
        known = self._known.get(word)
        if known is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = tuple(zlib.crc32(part.encode("utf-8", "replace")) % self.buckets for part in self._parts(word))
            self._known[word] = known
        return known

    def _parts(self, word: str) -> Iterator[str]:
        yield word
        if self.letters and len(word) > 1:
            yield from (f"={group}" for group in letter_groups(word))


@dataclass
class WordFeatures:
    """What single words say of a text: words as written and in lower case, pairs of neighbours, and groups of letters.

    Each once a text, at a place that a checksum gives: letter groups in the upper half of the buckets, the others in the lower.

    Attributes:
        buckets: V; even.

    Example:
        >>> bags = WordFeatures(1 << 20).bags(["A plane", ""])
        >>> bags.starts.tolist()  # both words as written and in lower case, their pair, a group of <a>, 12 of <plane>
        [0, 18, 18]

    Source: Weinberger et al. 2009, arXiv:0902.2206; Joulin et al. 2017, arXiv:1607.01759 (pairs of words, hashed).
    """

    buckets: int = 1 << 17
    _known: dict[str, tuple[int, tuple[int, ...]]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.buckets < 2 or self.buckets % 2:
            raise InputError(f"vote_buckets: expected an even number of at least 2, got {self.buckets}")

    def bags(self, texts: Sequence[str]) -> Bags:
        """Feature numbers of texts, each once a text, in the order in which they are met."""
        return Bags.of([tuple(dict.fromkeys(self._of(text))) for text in texts])

    def _of(self, text: str) -> Iterator[int]:
        half, before = self.buckets // 2, None
        for word in WORD.findall(text):
            this, places = self._word(word)
            yield from places
            if before is not None:
                yield (before * 1_000_003 + this) % half
            before = this

    def _word(self, word: str) -> tuple[int, tuple[int, ...]]:
        """The checksum of the word in lower case, for its pairs, and the places of the word."""
        known = self._known.get(word)
        if known is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            half, low = self.buckets // 2, word.lower()
            this = zlib.crc32(low.encode("utf-8", "replace"))
            written = zlib.crc32(f"={word}".encode("utf-8", "replace")) % half
            groups = (half + zlib.crc32(group.encode("utf-8", "replace")) % half for group in letter_groups(low))
            known = self._known[word] = (this, (written, this % half, *groups))
        return known


def letter_groups(word: str) -> Iterator[str]:
    """The groups of 3 to 5 letters inside "<word>", of its first 40 letters.

    Example:
        >>> list(letter_groups("ox"))
        ['<ox', 'ox>', '<ox>']
    """
    marked = f"<{word[:40]}>"
    for size in GRAMS:
        yield from (marked[i : i + size] for i in range(len(marked) - size + 1))


Tokenizer = PieceTokenizer | HashTokenizer


def tokenizer_from(about: Mapping[str, Any], folder: Path) -> Tokenizer:
    """The tokenizer that a card names.

    Raises:
        InputError: an unknown kind, or `tokenizer.json` is missing.
    """
    kind = about.get("kind")
    if kind == "pieces":
        return PieceTokenizer.from_folder(folder)
    if kind == "hash" and type(about.get("buckets")) is int and isinstance(about.get("letters"), bool):
        return HashTokenizer(about["buckets"], about["letters"])
    raise InputError(f"tokenizer: expected kind 'pieces', or 'hash' with buckets and letters, got {dict(about)}")


TABLES = ("word_embeddings.weight", "embed_tokens.weight", "wte.weight", "shared.weight", "word_embedding.weight")


def input_table(folder: str | Path) -> NDArray[np.float32]:
    """(V, width): the input embeddings of a transformers or sentence-transformers folder, read without building the model.

    Raises:
        InputError: no safetensors file there, or none or several tables in it.
    """
    from safetensors import SafetensorError, safe_open

    path = _found(Path(folder), "model.safetensors")
    try:
        with safe_open(path, framework="numpy") as file:
            names = [name for name in file.keys() if name.endswith(TABLES)]  # noqa: SIM118
            if len(names) != 1:
                raise InputError(f"{path}: expected one table of word embeddings, got {names or 'none'}")
            return np.asarray(file.get_tensor(names[0]), np.float32)
    except (SafetensorError, TypeError) as error:  # TypeError: bfloat16, which numpy does not have
        raise InputError(f"{path}: cannot read its word embeddings: {error}") from None


def _found(folder: Path, name: str) -> Path:
    """A file of a model folder, or of the transformer inside a sentence-transformers folder."""
    places, modules = [folder / name], folder / "modules.json"
    if modules.is_file():
        places += [folder / module.get("path", "") / name for module in json.loads(modules.read_text(encoding="utf-8"))]
    for place in places:
        if place.is_file():
            return place
    raise InputError(f"{folder}: expected a model folder with {name}, which is not there")
