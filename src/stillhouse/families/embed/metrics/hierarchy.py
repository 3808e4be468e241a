"""Does a hierarchy of codes hang together, and does a code stay where it is when its text is scratched?

H-Coherence is the mean cosine of a child's code with its parent's: of a sentence with its paragraph, of a paragraph with its
document. Both must be codes of one width and one space. It is no measure of the levels of one code, whose later levels are
corrections and need not point where the first does; `level_coherence` is given to see whether they repeat it (near 1: the
level adds nothing) or add to it (near 0).

H-Stability is drift = 1 - cos(code, code of the perturbed text).
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.families.embed.metrics.neighbourhood import checked_vectors

MAX_DRIFT, WARN_DRIFT, TEXTS = 0.08, 0.06, 500


@dataclass(frozen=True)
class Target:
    """A documented threshold: reached, below it a warning, below that a fault.

    Example:
        >>> [SENTENCE_TO_PARAGRAPH.judge(value) for value in (0.8, 0.72, 0.66, 0.5)]
        ['reached', 'below target', 'warning', 'critical']
    """

    target: float
    warn: float
    critical: float

    def judge(self, value: float) -> str:
        """`reached`, `below target`, `warning` or `critical`; NaN is critical."""
        if value >= self.target:
            return "reached"
        return "below target" if value >= self.warn else "warning" if value >= self.critical else "critical"


SENTENCE_TO_PARAGRAPH = Target(0.78, 0.70, 0.65)
PARAGRAPH_TO_DOCUMENT = Target(0.80, 0.72, 0.68)


def h_coherence(
    children: np.ndarray, parents: np.ndarray, *, parent_of: Sequence[int] | np.ndarray | None = None
) -> float:
    """Mean cosine of every child's code with its parent's.

    Args:
        children: (n, d).
        parents: (n, d) row by row, or (m, d) with `parent_of`.
        parent_of: (n) rows of `parents`.

    Returns:
        In [-1, 1]; a zero code has cosine 0 with everything.

    Raises:
        InputError: widths differ (codes of two spaces have no cosine), rows do not go together, NaN.

    Example:
        One child along its parent, one at 60 degrees: (1 + 1/2) / 2.

        >>> round(h_coherence(np.array([[2.0, 0.0], [0.5, 0.75**0.5]]), np.array([[1.0, 0.0]]), parent_of=[0, 0]), 6)
        0.75
    """
    children, parents = checked_vectors("children", children), checked_vectors("parents", parents)
    if children.shape[1] != parents.shape[1]:
        raise InputError(
            f"parents: expected the children's width {children.shape[1]}, got {parents.shape[1]}: "
            "codes of two widths have no cosine"
        )
    if parent_of is not None:
        rows = np.asarray(parent_of)
        if (
            rows.shape != (len(children),)
            or rows.dtype.kind not in "iu"
            or rows.min() < 0
            or rows.max() >= len(parents)
        ):
            raise InputError(f"parent_of: expected {len(children)} rows of the {len(parents)} parents, got {rows}")
        parents = parents[rows]
    if len(children) != len(parents):
        raise InputError(f"parents: expected {len(children)} rows, or parent_of, got {len(parents)}")
    return float(_cosine(children, parents).mean())


def level_coherence(codes: np.ndarray, levels: Sequence[int] = (5, 25, 125)) -> dict[str, float]:
    """Mean cosine of each five numbers of a level with the five above them, level by level.

    Args:
        codes: (n, sum of levels).
        levels: numbers of each level, each five times the one before.

    Returns:
        `level 2 to 1`, `level 3 to 2`, ...: near 1, a level repeats the one above; near 0, it adds to it.

    Raises:
        InputError: levels that are not 5, 25, 125, ..., or codes of another width.

    Example:
        >>> level_coherence(np.array([[1.0, 0, 0, 0, 0] * 6]), levels=(5, 25))
        {'level 2 to 1': 1.0}
    """
    codes = checked_vectors("codes", codes)
    if list(levels) != [5 ** (n + 1) for n in range(len(levels))] or codes.shape[1] != sum(levels):
        raise InputError(f"levels: expected 5, 25, 125, ... that sum to {codes.shape[1]} numbers, got {list(levels)}")
    parts = [part.reshape(len(codes), -1, 5) for part in np.split(codes, np.cumsum(levels)[:-1], axis=1)]
    return {
        f"level {n + 2} to {n + 1}": float(_cosine(below, np.repeat(above, 5, axis=1)).mean())
        for n, (above, below) in enumerate(pairwise(parts))
    }


# --------------------------------------------------------------------------------------------------- perturbations


def _punctuation(text: str, rng: random.Random) -> str:
    """Without end marks if there are any, else with one."""
    bare = text.rstrip(string.punctuation + " ")
    return (bare if bare else text) if bare != text else text + rng.choice((".", "!", "..."))


def _case(text: str, rng: random.Random) -> str:
    others = [form for form in (text.upper(), text.lower(), text.title()) if form != text]
    return rng.choice(others) if others else text


def _whitespace(text: str, rng: random.Random) -> str:
    return (
        rng.choice((" ", "\t", ""))
        + re.sub(r"\s+", lambda gap: gap[0] * rng.randint(2, 3), text)
        + rng.choice((" ", "\n"))
    )


def _tokenization(text: str, rng: random.Random) -> str:
    """A hyphen inside the longest word."""
    words = list(re.finditer(r"[^\W\d_]{4,}", text))
    if not words:
        return text
    longest = max(words, key=lambda word: len(word[0]))
    cut = longest.start() + rng.randint(2, len(longest[0]) - 2)
    return f"{text[:cut]}-{text[cut:]}"


def _noise(text: str, rng: random.Random) -> str:
    """Two neighbouring letters swapped, in one word of ten and at least one."""
    places = [m.start() for m in re.finditer(r"[^\W\d_](?=[^\W\d_])", text) if text[m.start()] != text[m.start() + 1]]
    letters = list(text)
    for place in rng.sample(places, min(len(places), max(1, len(text.split()) // 10))):
        letters[place], letters[place + 1] = letters[place + 1], letters[place]
    return "".join(letters)


PERTURBATIONS: dict[str, Callable[[str, random.Random], str]] = {
    "punctuation": _punctuation,
    "case": _case,
    "whitespace": _whitespace,
    "tokenization": _tokenization,
    "noise": _noise,
}


def perturb(text: str, kind: str, *, seed: int = 0) -> str:
    """One text, scratched: `punctuation`, `case`, `whitespace`, `tokenization` (a hyphen in a word) or `noise` (letters swapped).

    Example:
        >>> perturb("So it goes.", "punctuation"), perturb("wonderful", "tokenization")
        ('So it goes', 'wonder-ful')
    """
    if kind not in PERTURBATIONS:
        raise InputError(f"kind: expected one of {', '.join(PERTURBATIONS)}, got {kind!r}")
    return PERTURBATIONS[kind](text, random.Random(f"{seed} {kind} {text}"))  # str: a fixed hash, on every run


def h_stability(
    encode: Callable[[list[str]], Any],
    texts: Sequence[str],
    *,
    kinds: Sequence[str] = tuple(PERTURBATIONS),
    limit: float = MAX_DRIFT,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """How far codes move when their texts are scratched in ways that do not change the meaning.

    Args:
        encode: texts -> (n, d) codes; a list in, an array out.
        texts: some hundreds (500 is the documented number).
        kinds: of perturbation.
        limit: largest drift that counts as stable.
        seed: of what is drawn; the same for the same text.

    Returns:
        For each kind: `mean`, `p95` and `max` drift (1 - cosine about the origin, in [0, 2]), `stable` (share of texts with
        drift up to `limit`) and `texts` (those that the perturbation changes: a text without letters has no case). A text
        whose code is zero before or after drifts by 1. With no text changed all but `texts` are NaN.

    Raises:
        InputError: no texts, an unknown kind, an encoder that returns something else than a finite row a text.

    Example:
        An encoder that counts letters does not see case, and sees one hyphen among others.

        >>> found = h_stability(lambda some: np.array([[len(t), 1.0] for t in some]), ["Hello there"], kinds=["case"])
        >>> found["case"]["max"], found["case"]["stable"]
        (0.0, 1.0)
    """
    texts = list(texts)
    if not texts:
        raise InputError("texts: expected at least one")
    before = _encoded(encode, texts)
    found = {}
    for kind in kinds:
        scratched = [perturb(text, kind, seed=seed) for text in texts]
        changed = [row for row, (old, new) in enumerate(zip(texts, scratched)) if old != new]
        if not changed:
            found[kind] = dict.fromkeys(("mean", "p95", "max", "stable"), float("nan")) | {"texts": 0.0}
            continue
        after = _encoded(encode, [scratched[row] for row in changed])
        # rounding puts the cosine of a vector with itself a hair beside 1
        drift = np.round(1.0 - _cosine(before[changed], after), 12) + 0.0
        found[kind] = {
            "mean": float(drift.mean()),
            "p95": float(np.quantile(drift, 0.95)),
            "max": float(drift.max()),
            "stable": float((drift <= limit).mean()),
            "texts": float(len(changed)),
        }
    return found


def _encoded(encode: Callable[[list[str]], Any], texts: list[str]) -> np.ndarray:
    codes = checked_vectors("encode", np.asarray(encode(texts)))
    if len(codes) != len(texts):
        raise InputError(f"encode: expected {len(texts)} rows, one a text, got {len(codes)}")
    return codes


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Along the last axis; 0 where one side is zero."""
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.einsum("...d,...d->...", a, b) / np.where(lengths > 0, lengths, 1.0)
