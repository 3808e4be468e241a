"""The student that reads texts: a ridge regression on TF-IDF, against scikit-learn's dense closed form of named features."""

import json
import subprocess
import sys

import numpy as np
import pytest

from stillhouse.core.checks import InputError
from stillhouse.tasks.embed.text import TextEmbedder, fit_text_student

WORDS = [a + b for a in ("ka", "lo", "mi", "nu", "re", "so") for b in ("dan", "fel", "gim", "hop", "jut", "pex", "tav")]
CARD = {"levels": [5], "output": "euclidean", "teacher": {"name": "t"}}


def made(n=400, seed=0):
    """Texts of a few words; a code is the mean of hidden word vectors."""
    rng = np.random.default_rng(seed)
    meaning = np.random.default_rng(7).normal(size=(len(WORDS), 5))
    rows = [rng.choice(len(WORDS), size=rng.integers(3, 9), replace=False) for _ in range(n)]
    codes = np.stack([meaning[row].mean(0) for row in rows]).astype(np.float32)
    return [" ".join(WORDS[i] for i in row) for row in rows], codes


def fitted(texts, codes, *, features=1 << 14, strengths=(0.1, 1.0), **card):
    held = np.arange(len(texts)) % 5 == 0
    return fit_text_student(texts, codes, held, features=features, strengths=strengths, card={**CARD, **card})


def test_codes_are_a_ridge_regression_on_tf_idf():
    """Without hashing, dense, by the normal equations: so weights, rarity, lengths and the constant are right."""
    from sklearn.feature_extraction.text import CountVectorizer

    texts, codes = made(150)
    kinds = [
        CountVectorizer(ngram_range=(1, 2), token_pattern=r"\S+"),
        CountVectorizer(analyzer="char_wb", ngram_range=(3, 5)),
    ]
    words, letters = ((kind.fit_transform(texts).toarray() > 0).astype(float) for kind in kinds)
    counts = np.hstack([words, letters])
    rarity = np.log((1 + 150) / (1 + counts.sum(0))) + 1
    x = counts * rarity * np.repeat([1.0, 0.35], [words.shape[1], letters.shape[1]])
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    centered, target = x - x.mean(0), codes - codes.mean(0)
    dual = np.linalg.solve(centered @ centered.T + 0.5 * np.eye(150), target)
    expected = centered @ (centered.T @ dual) + codes.mean(0)
    student = fitted(texts, codes, features=1 << 20, strengths=(0.5,))
    np.testing.assert_allclose(student.encode(texts), expected, atol=5e-3)


def test_held_out_texts_choose_and_what_they_show_is_kept(tmp_path):
    """The strength that keeps most neighbours; codes of new texts are near the true ones; a saved student gives the same."""
    texts, codes = made()
    student = fitted(texts, codes, strengths=(1e4, 0.1))
    assert student.card["metrics"]["strength"] == 0.1
    assert student.facts["rank"][1] > 0.8
    more, true = made(100, seed=1)
    wrong = np.square(student.encode(more) - true).sum() / np.square(true - true.mean(0)).sum()
    assert wrong < 0.2
    student.save(tmp_path)
    code = (
        "import json, sys\nfrom stillhouse.tasks.embed.text import TextEmbedder\n"
        f"found = TextEmbedder.load({str(tmp_path)!r}).encode({more[:2]!r}).tolist()\n"
        "print(json.dumps(found)); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    np.testing.assert_allclose(json.loads(done.stdout), student.encode(more[:2]), rtol=1e-6)
    assert student.encode([]).shape == (0, 5)


def test_a_damaged_folder_and_bad_texts_are_named(tmp_path):
    student = fitted(*made(60))
    with pytest.raises(InputError, match="expected a list of texts"):
        student.encode("one text")
    student.save(tmp_path)
    TextEmbedder(student.card, {**student.weights, "intercept": np.zeros(4, np.float32)}).save(tmp_path)
    with pytest.raises(InputError, match="does not go with its card"):
        TextEmbedder.load(tmp_path)
    (tmp_path / "card.json").write_text('{"format": "stillhouse-text-embedder-1"}')
    with pytest.raises(InputError, match="expected format 'stillhouse-text-embedder-2'"):
        TextEmbedder.load(tmp_path)
