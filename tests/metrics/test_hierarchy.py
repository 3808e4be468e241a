"""H-Coherence and H-Stability: closed forms, and perturbations that are what they are called."""

import math
import subprocess
import sys

import numpy as np
import pytest

from stillhouse.core.checks import InputError
from stillhouse.families.embed.metrics.hierarchy import (
    MAX_DRIFT,
    PARAGRAPH_TO_DOCUMENT,
    PERTURBATIONS,
    SENTENCE_TO_PARAGRAPH,
    h_coherence,
    h_stability,
    level_coherence,
    perturb,
)

TEXTS = [
    "A plane is taking off, they say.",
    "So it goes!",
    "Many words stand here without an end",
    "1 2 3",
    "ñandú crossing",
]


def rows(n=40, d=5, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def test_coherence_is_one_zero_and_minus_one_where_it_must_be():
    """A dot product in the place of the cosine would grow with the codes."""
    x = rows()
    assert h_coherence(3 * x, x) == pytest.approx(1.0)
    assert h_coherence(-x, 2 * x) == pytest.approx(-1.0)
    assert h_coherence(np.eye(5), np.roll(np.eye(5), 1, axis=0)) == 0.0
    assert h_coherence(np.zeros((1, 5)), x[:1]) == 0.0
    angle = np.stack([np.cos(np.linspace(0, 1, 7)), np.sin(np.linspace(0, 1, 7))], axis=1)
    assert h_coherence(angle, np.array([[1.0, 0]]), parent_of=[0] * 7) == pytest.approx(
        np.cos(np.linspace(0, 1, 7)).mean()
    )


def test_children_are_held_against_their_own_parents():
    """Rows in the wrong order would give chance."""
    parents = rows(4)
    which = np.array([3, 0, 1, 1, 2, 3])
    assert h_coherence(2 * parents[which], parents, parent_of=which) == pytest.approx(1.0)
    assert h_coherence(parents[which], parents, parent_of=which[::-1]) < 0.9


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: h_coherence(rows(3, 5), rows(3, 6)), "expected the children's width 5, got 6"),
        (lambda: h_coherence(rows(3), rows(4)), "expected 3 rows, or parent_of, got 4"),
        (lambda: h_coherence(rows(3), rows(4), parent_of=[0, 1, 4]), "parent_of: expected 3 rows of the 4"),
        (lambda: h_coherence(rows(3), rows(4), parent_of=[0, 1, -1]), "parent_of: expected"),
        (lambda: h_coherence(rows(3) * np.nan, rows(3)), "children: expected finite"),
        (lambda: level_coherence(rows(3, 29), levels=(5, 25)), "levels: expected 5, 25, 125"),
        (lambda: level_coherence(rows(3, 10), levels=(5, 5)), "levels: expected"),
        (lambda: h_stability(lambda t: rows(len(t)), []), "texts: expected at least one"),
        (lambda: h_stability(lambda t: rows(1), TEXTS), "encode: expected 5 rows, one a text, got 1"),
        (lambda: h_stability(lambda t: rows(len(t)), TEXTS, kinds=["colour"]), "kind: expected one of punctuation"),
        (lambda: h_stability(lambda t: rows(len(t)) * np.nan, TEXTS), "encode: expected finite"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_levels_that_repeat_and_levels_that_add():
    """Children are compared with their own parent's five numbers, not with the root's."""
    root, middle = rows(50), rows(50, 25, seed=1)
    leaf = np.repeat(middle.reshape(50, 5, 5), 5, axis=1).reshape(50, 125)
    said = level_coherence(np.concatenate([root, middle, 2 * leaf], axis=1))
    assert said["level 3 to 2"] == pytest.approx(1.0)
    assert abs(said["level 2 to 1"]) < 0.15
    assert level_coherence(root, levels=(5,)) == {}


def test_perturbations_are_what_they_are_called():
    """A "case" that also drops a comma would measure something else."""
    for seed in range(5):
        for text in TEXTS:
            words = text.split()
            assert perturb(text, "case", seed=seed).lower() == text.lower()
            assert perturb(text, "whitespace", seed=seed).split() == words
            assert perturb(text, "tokenization", seed=seed).replace("-", "") == text.replace("-", "")
            assert sorted(perturb(text, "noise", seed=seed)) == sorted(text)
            scratched = perturb(text, "punctuation", seed=seed)
            assert scratched != text
            assert scratched.rstrip(".!") == text.rstrip(".!")
    assert all(
        perturb("", kind) in {"", ".", "!", "...", "  ", "\t ", " ", "\t\n", " \n", "\n", "\t"}
        for kind in PERTURBATIONS
    )


def test_a_perturbation_is_the_same_in_every_process():
    """Python salts `hash` of a string: a generator seeded with it is no seed."""
    code = (
        "from stillhouse.families.embed.metrics.hierarchy import perturb\n"
        "print(perturb('Many words stand here', 'noise', seed=3))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == perturb("Many words stand here", "noise", seed=3)
    assert len({perturb("Many words stand here", "noise", seed=s) for s in range(9)}) > 1


def test_an_encoder_that_does_not_see_a_perturbation_does_not_drift():
    """And one that does, drifts: the metric must tell them apart."""

    def letters(texts):
        return np.array([[text.lower().count(c) + 1.0 for c in "aeiou"] for text in texts])

    said = h_stability(letters, TEXTS)
    assert {kind: said[kind]["max"] for kind in said} == dict.fromkeys(said, 0.0)
    assert all(said[kind]["stable"] == 1.0 for kind in said)
    assert said["case"]["texts"] == 4.0  # "1 2 3" has no case

    def capitals(texts):
        return np.array([[sum(c.isupper() for c in text), 1.0] for text in texts])

    seen = h_stability(capitals, TEXTS, kinds=["case", "noise"])
    assert seen["case"]["mean"] > MAX_DRIFT
    assert seen["case"]["stable"] < 1.0


def test_drift_is_one_minus_the_cosine():
    """By hand: a code that turns by 60 degrees drifts by 1/2, one that turns round by 2."""

    def turned(by):
        return lambda texts: np.array([[1.0, 0.0] if t in TEXTS else [math.cos(by), math.sin(by)] for t in texts])

    assert h_stability(turned(math.pi / 3), TEXTS)["punctuation"]["mean"] == pytest.approx(0.5)
    assert h_stability(turned(math.pi), TEXTS)["punctuation"]["max"] == pytest.approx(2.0)
    zero = h_stability(lambda texts: np.zeros((len(texts), 2)), TEXTS, kinds=["noise"])
    assert zero["noise"]["mean"] == 1.0


def test_no_text_that_changes_is_nan_not_perfect():
    """Digits have no case: "stable: 1.0" would be a claim about nothing."""
    said = h_stability(lambda texts: np.ones((len(texts), 2)), ["1 2 3"], kinds=["case"])["case"]
    assert said["texts"] == 0.0
    assert math.isnan(said["mean"])
    assert math.isnan(said["stable"])


def test_the_documented_targets():
    """Numbers of the specification."""
    assert (SENTENCE_TO_PARAGRAPH.target, SENTENCE_TO_PARAGRAPH.warn, SENTENCE_TO_PARAGRAPH.critical) == (
        0.78,
        0.70,
        0.65,
    )
    assert (PARAGRAPH_TO_DOCUMENT.target, PARAGRAPH_TO_DOCUMENT.warn, PARAGRAPH_TO_DOCUMENT.critical) == (
        0.80,
        0.72,
        0.68,
    )
    assert SENTENCE_TO_PARAGRAPH.judge(math.nan) == "critical"
