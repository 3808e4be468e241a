"""A student that reads texts: hashed words and groups of letters -> codes, by ridge regression; neither teacher nor torch.

Shapes: n texts, d numbers of a code, V hashed features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from stillhouse.core.checks import InputError
from stillhouse.core.hashes import verify_files, with_hashes
from stillhouse.core.machine import versions
from stillhouse.core.records import CARD, read_json, write_atomically, write_json
from stillhouse.tasks.embed.export.numpy_embedder import placed
from stillhouse.tasks.embed.metrics.neighbourhood import kept_neighbors, nearest_neighbors

FORMAT, WEIGHTS = "stillhouse-text-embedder-2", "text_student.safetensors"
NAMES = ("coefficients", "intercept", "rarity")
LETTERS = 0.35  # weight of a group of letters beside a word: a word has some ten of them
NEIGHBORS = 10
SCORED = 4000  # held-out texts whose neighbours are compared


@dataclass(frozen=True)
class TextEmbedder:
    """A linear map of TF-IDF; `rarity` is the inverse document frequency.

    Attributes:
        card: `levels`, `output`, `scale`, what is known of teacher and data.
        weights: `coefficients` (d, V), `intercept` (d), `rarity` (V).
        facts: of a student that was just fitted: its figures on held-out texts.
    """

    card: Mapping[str, Any]
    weights: Mapping[str, NDArray[np.float32]]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def levels(self) -> tuple[int, ...]:
        """Numbers of each level."""
        return tuple(self.card["levels"])

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, d) codes of texts."""
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise InputError("texts: expected a list of texts")
        coefficients, first = self.weights["coefficients"], self.levels[0]
        codes = np.empty((len(texts), len(coefficients)), np.float32)
        if len(texts):
            found = weighted(text_features(texts, coefficients.shape[1]), self.weights["rarity"])
            codes[:] = found @ coefficients.T + self.weights["intercept"]
        if self.card["output"] == "sphere":
            codes[:, :first] = placed(codes[:, :first], "sphere", None)
        elif self.card["output"] == "tanh":
            codes[:, :first] = codes[:, :first].clip(-1, 1)
        return codes

    def save(self, folder: Path) -> None:
        """Weights, then the card with their hash: its being there means that all is there."""
        packed = save(dict(self.weights))
        write_atomically(folder / WEIGHTS, lambda file: file.write(packed))
        write_json(folder / CARD, with_hashes({**self.card, "versions": versions()}, folder, (WEIGHTS,)))

    @classmethod
    def load(cls, folder: str | Path) -> TextEmbedder:
        """A fitted student from its folder.

        Raises:
            InputError: a file is missing, of another format or changed since it was written.
        """
        path = Path(folder) / CARD
        card = read_json(path)
        if not isinstance(card, dict) or card.get("format") != FORMAT:
            raise InputError(f"{path}: expected format {FORMAT!r}; students of other versions are fitted again")
        verify_files(Path(folder), card, (WEIGHTS,))
        try:
            weights = load((path.parent / WEIGHTS).read_bytes())
        except (OSError, SafetensorError, ValueError) as error:
            raise InputError(f"{path.parent / WEIGHTS} cannot be read: {error}") from None
        shapes = [weights[name].shape for name in NAMES if name in weights]
        d = sum(card["levels"])
        if len(shapes) < len(NAMES) or shapes != [(d, shapes[0][-1]), (d,), (shapes[0][-1],)]:
            raise InputError(f"{path.parent / WEIGHTS} does not go with its card: got arrays of {shapes}")
        return cls(card, weights)


def fit_text_student(
    texts: Sequence[str],
    codes: NDArray[np.float32],
    held: NDArray[np.bool_],
    *,
    features: int,
    strengths: Sequence[float],
    card: Mapping[str, Any],
) -> TextEmbedder:
    """Ridge regression of codes on TF-IDF; held-out texts choose its strength, then all of them teach.

    Args:
        texts: (n).
        codes: (n, d) what the vector student makes of them.
        held: (n) those that choose.
        features: V.
        strengths: of the penalty, to choose from.
        card: `levels`, `output`, and what else the card is to say.

    Source: Hoerl & Kennard 1970 (ridge); Spärck Jones 1972 (inverse document frequency); Weinberger et al. 2009,
        arXiv:0902.2206 (hashed features).
    """
    from sklearn.feature_extraction.text import TfidfTransformer

    counts = text_features(texts, features)
    whole = {**card, "format": FORMAT}
    first = slice(0, whole["levels"][0])

    def fitted(rows: NDArray[np.bool_], strength: float) -> TextEmbedder:
        from sklearn.linear_model import Ridge

        rarity = TfidfTransformer().fit(counts[rows]).idf_
        model = Ridge(strength, solver="sparse_cg").fit(weighted(counts[rows], rarity), codes[rows])
        arrays = dict(zip(NAMES, (np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_), rarity)))
        return TextEmbedder(whole, {name: np.ascontiguousarray(x, np.float32) for name, x in arrays.items()})

    def figures(strength: float) -> tuple[float, float, float]:
        guess, truth = fitted(~held, strength).encode([text for text, out in zip(texts, held) if out]), codes[held]
        wrong, spread = (
            np.square(guess[:, first] - truth[:, first]),
            np.square(truth[:, first] - truth[:, first].mean(0)),
        )
        r2 = float(1.0 - wrong.sum() / spread.sum()) if spread.any() else 0.0
        if held.sum() <= 2 * NEIGHBORS:
            return r2, r2, strength
        near = [nearest_neighbors(x[:SCORED, first], NEIGHBORS, metric="euclidean") for x in (truth, guess)]
        return float(kept_neighbors(*near).mean()), r2, strength

    overlap, r2, strength = max(map(figures, strengths))
    facts = {"validation": {f"knn_overlap@{NEIGHBORS}": overlap, "r2": r2, "strength": strength}, "rank": [overlap, r2]}
    best = fitted(np.ones(len(texts), bool), strength)
    return TextEmbedder({**whole, "metrics": facts["validation"]}, best.weights, facts)


def text_features(texts: Sequence[str], features: int) -> Any:
    """(n, V) sparse counts: words and pairs of words in the first half, groups of 3 to 5 letters in the other, at 0.35.

    Example:
        >>> float(text_features(["red plane"], 1 << 10).sum().round(2))
        9.3
    """
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.pipeline import FeatureUnion

    plain = {"n_features": features // 2, "alternate_sign": False, "norm": None, "binary": True}
    words = HashingVectorizer(ngram_range=(1, 2), token_pattern=r"\S+", **plain)
    letters = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), **plain)
    both = FeatureUnion([("words", words), ("letters", letters)], transformer_weights={"letters": LETTERS})
    return both.transform(texts).tocsr()


def weighted(counts: Any, rarity: NDArray[Any]) -> Any:
    """(n, V) counts times rarity, each row of length 1."""
    from sklearn.preprocessing import normalize

    return normalize(counts.multiply(rarity).tocsr())
