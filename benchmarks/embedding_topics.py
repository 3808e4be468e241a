"""Topics with five numbers: BERTopic with `stillhouse.Reducer` in its `umap_model=` slot, beside UMAP there.

    pip install bertopic
    python benchmarks/embedding_topics.py --texts data/wikitext-2/train.txt --out runs/topics
    python benchmarks/embedding_topics.py --vectors runs/notes --out runs/topics          a capture: texts and vectors of its model

With `--texts` a paragraph is a text and its vector TF-IDF on 100 singular axes, scaled to length 1: no sentence encoder is read.
Both reducers get the same vectors and everything behind them (HDBSCAN, words of topics) is the same. Figures: share of texts in no
topic, number of topics, NPMI of the ten words of a topic over all texts (Bouma 2009; Lau et al. 2014), CPU seconds of fit, and rows
a CPU second of transform on rows that were not fitted, together and one at a time. A figure that is there is not made again.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.preprocessing import normalize

import stillhouse
from stillhouse.core.records import write_json
from stillhouse.tasks.embed.data.vectors import VectorsConfig

AXES, WIDTH, WORDS = 100, 5, 10
SINGLE = 20  # rows that are transformed one at a time
KINDS = ("stillhouse", "umap")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--texts", type=Path, help="a file of paragraphs")
    source.add_argument("--vectors", help="a capture folder")
    parser.add_argument("--out", type=Path, required=True, help="folder of all figures; a second call goes on")
    parser.add_argument("--rows", type=int, default=5000, help="texts that are fitted; a tenth as many are new [5000]")
    parser.add_argument("--seeds", type=int, default=3, help="of the reducers and the draw of texts [3]")
    parser.add_argument("--epochs", type=int, default=24, help="of the student [24]")
    options = parser.parse_args()
    texts, vectors = read(options)
    for seed in range(options.seeds):
        drawn = np.random.default_rng(seed).permutation(len(texts))
        fitted, new = drawn[: options.rows], drawn[options.rows :][: max(22, options.rows // 10)]
        for kind in KINDS:
            if not (options.out / f"{kind}-{seed}.json").is_file():
                some = [texts[row] for row in fitted]
                found = measure(kind, seed, some, vectors[fitted], vectors[new], options.epochs)
                write_json(options.out / f"{kind}-{seed}.json", found)
                print(kind, seed, {k: round(v, 4) for k, v in found.items()}, flush=True)
    print(table(options.out))


def read(options: argparse.Namespace) -> tuple[list[str], np.ndarray]:
    """Texts and their vectors (n, D) of length 1."""
    if options.vectors is not None:
        data = VectorsConfig(path=options.vectors).build()
        rows = np.sort(np.concatenate([data.train, data.validation, data.test]))
        if (texts := data.texts(rows)) is None:
            raise SystemExit(f"--vectors {options.vectors}: expected a capture folder with texts, got vectors alone")
        return texts, normalize(data.store.read(rows))
    lines = [" ".join(line.split()) for line in options.texts.read_text(encoding="utf-8").splitlines()]
    texts = [line for line in dict.fromkeys(lines) if len(line) >= 100 and not line.startswith("=")]
    texts = [texts[row] for row in np.random.default_rng(0).permutation(len(texts))[: 2 * options.rows]]
    features = TfidfVectorizer(stop_words="english", min_df=3, sublinear_tf=True).fit_transform(texts)
    axes = TruncatedSVD(min(AXES, features.shape[1] - 1), random_state=0).fit_transform(features)
    known = np.linalg.norm(axes, axis=1) > 0
    return [text for text, one in zip(texts, known) if one], normalize(axes[known]).astype(np.float32)


def measure(
    kind: str, seed: int, texts: list[str], vectors: np.ndarray, new: np.ndarray, epochs: int
) -> dict[str, float]:
    """BERTopic on one reducer."""
    from bertopic import BERTopic

    reducer = _reducer(kind, seed, epochs)
    topics = BERTopic(
        embedding_model=None,
        umap_model=reducer,
        vectorizer_model=CountVectorizer(stop_words="english", min_df=2),
        calculate_probabilities=False,
    )
    started = time.process_time()
    found, _ = topics.fit_transform(texts, vectors)
    seconds = time.process_time() - started
    reducer.transform(new[:1])  # UMAP compiles its search at the first call
    started = time.process_time()
    reducer.transform(new)
    per_row = (time.process_time() - started) / len(new)
    started = time.process_time()
    for row in new[:SINGLE]:
        reducer.transform(row[None])
    alone = (time.process_time() - started) / SINGLE
    words = [[word for word, _ in topics.get_topic(topic)] for topic in sorted(set(found) - {-1})]
    return {
        "outliers": float(np.mean(np.asarray(found) == -1)),
        "topics": float(len(words)),
        "npmi": npmi(words, texts),
        "fit_seconds": seconds,
        "transform_rows_a_second": 1.0 / per_row,
        "one_row_ms": 1000 * alone,
    }


def _reducer(kind: str, seed: int, epochs: int) -> Any:
    if kind == "stillhouse":
        return stillhouse.Reducer(WIDTH, epochs=epochs, random_state=seed)
    from umap import UMAP

    # BERTopic's own settings
    return UMAP(n_neighbors=15, n_components=WIDTH, min_dist=0.0, metric="cosine", random_state=seed, n_jobs=1)


def npmi(words: list[list[str]], texts: list[str]) -> float:
    """Mean over topics of the mean over pairs of their words: log(p(a, b) / p(a) p(b)) / -log p(a, b), by texts that have them.

    Example:
        >>> npmi([["a1", "b1"]], ["a1 b1", "c1"]), npmi([["a1", "c1"]], ["a1 b1", "c1"])
        (1.0, -1.0)
    """
    vocabulary = sorted({word for topic in words for word in topic[:WORDS] if word})
    if not vocabulary:
        return 0.0
    has = CountVectorizer(vocabulary=vocabulary, binary=True).transform(texts).astype(np.float64)
    together = np.asarray((has.T @ has).todense()) / len(texts)
    at = {word: number for number, word in enumerate(vocabulary)}
    scores = []
    for topic in words:
        pairs = list(combinations([at[word] for word in topic[:WORDS] if word], 2))
        scores.append(
            np.mean([_npmi(together[a, b], together[a, a], together[b, b]) for a, b in pairs]) if pairs else 0.0
        )
    return float(np.mean(scores)) if scores else 0.0


def _npmi(both: float, a: float, b: float) -> float:
    if both == 0:
        return -1.0
    return 1.0 if both == 1 else float(np.log(both / (a * b)) / -np.log(both))


def table(place: Path) -> str:
    """Mean and range over seeds."""
    keys = ("outliers", "topics", "npmi", "fit_seconds", "transform_rows_a_second", "one_row_ms")
    lines = [f"| | {' | '.join(keys)} | seeds |", "|---" * (len(keys) + 2) + "|"]
    for kind in KINDS:
        runs = [json.loads(path.read_text()) for path in sorted(place.glob(f"{kind}-*.json"))]
        if runs:
            cells = [_cell([run[key] for run in runs if key in run]) for key in keys]
            lines.append(f"| {kind} | {' | '.join(cells)} | {len(runs)} |")
    return "\n".join(lines)


def _cell(values: list[float]) -> str:
    if not values:
        return "-"
    form = "{:,.0f}" if max(values) >= 100 else "{:.3f}"
    return f"{form.format(np.mean(values))} ({form.format(min(values))} to {form.format(max(values))})"


if __name__ == "__main__":
    main()
