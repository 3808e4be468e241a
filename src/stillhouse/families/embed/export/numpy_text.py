"""Text -> codes without teacher and without torch: tokens, rows of a table added up, two small products.

NumpyTextEmbedder.load(FOLDER).encode(["A plane is taking off."])     # (1, d) float32

FOLDER/
  text_student.safetensors   table (V, h) with the token weights in it, skip (d, h), bias (d), w1 (m, h), b1 (m), w2 (d, m);
                             with votes also votes (F, d), rarity (F)
  card.json                  levels, output, scale, tokenizer, what was measured
  tokenizer.json             of a student that reads its teacher's word pieces
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.families.embed.export.numpy_embedder import (
    CARD,
    OUTPUTS,
    ExactWeight,
    Floats,
    gelu,
    placed,
    read_card,
    read_safetensors,
    verify,
)
from stillhouse.families.embed.students.text_config import FORMAT, VOTES, WEIGHTS
from stillhouse.families.embed.students.words import (
    TOKENIZER,
    Bags,
    PieceTokenizer,
    Tokenizer,
    WordFeatures,
    tokenizer_from,
)

NAMES = ("table", "skip", "bias", "w1", "b1", "w2")


@dataclass(frozen=True)
class NumpyTextEmbedder:
    """A text student as `load` reads it from a folder.

    Attributes:
        card: what stands there of it.
        weights: arrays by name; the table may be float16.
        tokenizer: texts -> token numbers.
        features: texts -> word features, of a student with votes.
    """

    card: dict[str, Any]
    weights: dict[str, NDArray[Any]]
    tokenizer: Tokenizer
    features: WordFeatures | None = None

    @classmethod
    def load(cls, folder: str | Path) -> NumpyTextEmbedder:
        """Read a folder; a pickle is never opened.

        Raises:
            InputError: a file is missing, of another format or changed since it was written, or weights, card and tokenizer
                disagree.
        """
        folder = Path(folder)
        card = _checked_card(read_card(folder / CARD), folder / CARD)
        verify(folder, card, (WEIGHTS,))
        weights = read_safetensors(folder / WEIGHTS)
        tokenizer = tokenizer_from(card["tokenizer"], folder)
        if isinstance(tokenizer, PieceTokenizer):
            verify(folder, card, (TOKENIZER,))
        features = WordFeatures(card["vote_buckets"]) if "vote_buckets" in card else None
        size = 0 if features is None else features.buckets
        _check_weights(weights, sum(card["levels"]), tokenizer.vocabulary, size, folder / WEIGHTS)
        large = ("table", *VOTES)
        kept = {name: array if name in large else array.astype(np.float32) for name, array in weights.items()}
        return cls(card, kept, tokenizer, features)

    @cached_property
    def exact(self) -> dict[str, ExactWeight]:
        """The matrices, made ready for products that do not depend on the other rows; without a hidden layer, one."""
        names = ("skip", "w1", "w2") if len(self.weights["b1"]) else ("skip",)
        return {name: ExactWeight.of(self.weights[name]) for name in names}

    @property
    def levels(self) -> tuple[int, ...]:
        """Numbers of each level: (5,), or (5, 25, 125)."""
        return tuple(self.card["levels"])

    def encode(self, texts: Sequence[str], *, batch_size: int = 1024, level: int | None = None) -> Floats:
        """Codes of texts; a text's code does not depend on which texts come with it.

        Args:
            texts: (n); all texts without a token get one code.
            batch_size: texts at once.
            level: how many levels to return. [all]

        Returns:
            (n, d) float32.

        Raises:
            InputError: one text in the place of a list, something that is no text, no such level.
        """
        if isinstance(texts, str):
            raise InputError("texts: expected a list of texts, got one text")
        wrong = next((row for row, text in enumerate(texts) if not isinstance(text, str)), None)
        if wrong is not None:
            raise InputError(f"texts: expected texts, got {type(texts[wrong]).__name__} in row {wrong}")
        if batch_size < 1:
            raise InputError(f"batch_size: expected at least 1, got {batch_size}")
        if level is not None and not 1 <= level <= len(self.levels):
            raise InputError(f"level: expected 1 to {len(self.levels)}, got {level}")
        parts = [np.zeros((0, sum(self.levels)), np.float32)]
        for start in range(0, len(texts), batch_size):
            some = texts[start : start + batch_size]
            voted = None if self.features is None else self._voted(self.features.bags(some))
            parts.append(self._coded(self.tokenizer.bags(some), voted))
        return np.concatenate(parts)[:, : sum(self.levels[:level])]

    def _voted(self, bags: Bags) -> Floats:
        """(n, d): the votes of each text's word features, over the length of their weights."""
        rarity = self.weights["rarity"][bags.ids].astype(np.float32)
        votes = self.weights["votes"][bags.ids].astype(np.float32) * rarity[:, None]
        total, square = np.zeros((len(bags), votes.shape[1]), np.float32), np.zeros(len(bags), np.float32)
        some = np.flatnonzero(np.diff(bags.starts))
        if len(some):
            total[some] = np.add.reduceat(votes, bags.starts[some], axis=0)
            square[some] = np.add.reduceat(np.square(rarity), bags.starts[some])
        return np.asarray(total / np.maximum(np.sqrt(square), np.float32(1e-12))[:, None], np.float32)

    def _coded(self, bags: Bags, voted: Floats | None = None) -> Floats:
        w = self.weights
        x = np.zeros((len(bags), w["table"].shape[1]), np.float32)
        some = np.flatnonzero(np.diff(bags.starts))  # reduceat gives an empty text its neighbour's first token
        if len(some):
            x[some] = np.add.reduceat(w["table"][bags.ids].astype(np.float32), bags.starts[some], axis=0)
        x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.float32(1e-12))
        codes: Floats = x @ self.exact["skip"] + w["bias"]
        if len(w["b1"]):
            codes += gelu(x @ self.exact["w1"] + w["b1"]) @ self.exact["w2"]
        if voted is not None:
            codes += voted
        first = self.levels[0]
        codes[:, :first] = placed(codes[:, :first], self.card["output"], self.card.get("scale"))
        return codes


def _checked_card(card: Any, path: Path) -> dict[str, Any]:
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        got = card.get("format") if isinstance(card, dict) else type(card).__name__
        raise InputError(f"{path}: expected format {FORMAT!r}, got {got!r}")
    levels, scale = card.get("levels"), card.get("scale")
    if not isinstance(levels, list) or not levels or not all(type(n) is int and n > 0 for n in levels):
        raise InputError(f"{path}: levels: expected whole numbers such as [5] or [5, 25, 125], got {levels!r}")
    if card.get("output") not in OUTPUTS:
        raise InputError(f"{path}: output: expected one of {', '.join(OUTPUTS)}, got {card.get('output')!r}")
    if card["output"] == "tanh" and not (isinstance(scale, (int, float)) and 0 < scale < math.inf):
        raise InputError(f"{path}: scale: expected a number above 0 for output tanh, got {scale!r}")
    buckets = card.get("vote_buckets", 2)
    if type(buckets) is not int or buckets < 2 or buckets % 2:
        raise InputError(f"{path}: vote_buckets: expected an even whole number, got {buckets!r}")
    if not isinstance(card.get("tokenizer"), dict):
        raise InputError(f"{path}: tokenizer: expected a mapping, got {card.get('tokenizer')!r}")
    return card


def _check_weights(weights: dict[str, np.ndarray], d: int, vocabulary: int, features: int, path: Path) -> None:
    names = NAMES + VOTES * bool(features)
    missing = [name for name in names if name not in weights]
    if missing:
        raise InputError(f"{path}: expected arrays {', '.join(names)}; missing: {', '.join(missing)}")
    h, m = weights["table"].shape[-1], weights["b1"].size
    sizes = [(vocabulary, h), (d, h), (d,), (m, h), (m,), (d, m), (features, d), (features,)]
    shapes = dict(zip(names, sizes))  # without votes the last two are left out
    wrong = [f"{n}: expected {s}, got {weights[n].shape}" for n, s in shapes.items() if weights[n].shape != s]
    wrong += [f"{n}: holds NaN or infinite numbers" for n in names if not np.isfinite(weights[n]).all()]
    if wrong:
        raise InputError(f"{path} does not go with its card: {'; '.join(wrong)}")
