"""Few rows with defaults: what five numbers keep of digits and of 1 000 texts, beside every other way to five numbers or 20 bytes.

    python benchmarks/embedding_small.py --out runs/small                               scikit-learn's digits
    python benchmarks/embedding_small.py --out runs/small --vectors runs/notes          a capture, or any file of vectors
    python benchmarks/embedding_small.py --out runs/small --table                       what is there already

A seed is another split: a quarter of the rows is judged once, after training. Arms: the student as `stillhouse embed distill` ships
it, PCA, an autoencoder, UMAP (of five sizes of neighbourhood the one that keeps most of the ten nearest of validation rows, fitted
again on all), PaCMAP and LocalMAP (`pip install pacmap`), and product quantization with as many bytes as five float32 (which keeps
the teacher's width for whoever reads it). A figure that is there is not made again. Below the table stand differences student -
arm with 95 % intervals over splits and rows; of the Spearman of all pairs over splits alone.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

from stillhouse.core.experiment import run
from stillhouse.core.records import write_json
from stillhouse.core.verdict import mean_interval, seed_interval
from stillhouse.tasks.embed import score
from stillhouse.tasks.embed.config import EmbedRunConfig
from stillhouse.tasks.embed.material import EmbeddingData
from stillhouse.tasks.embed.metrics import K, figures_of
from stillhouse.tasks.embed.numpy_embedder import NumpyEmbedder
from stillhouse.tasks.embed.recipes import load_embedding
from stillhouse.tasks.embed.score import fit_anchor, share_kept
from stillhouse.tasks.embed.task import TASK

WIDTH, BYTES = 5, 20
PACMAPS = {"pacmap": "PaCMAP", "localmap": "LocalMAP"}
FITTED = ("pca", "product-quantization", "autoencoder", "umap", *PACMAPS)
ARMS = ("student", *FITTED)
FIGURES = ("knn_overlap@10", "knn_overlap@1", "spearman", "cka", "trustworthiness", "label_1nn", "fit_seconds")
ROW_BY_ROW = {"knn_overlap": "10 nearest", "row_spearman": "Spearman, row by row"}
UMAP_SIZES = (5, 10, 15, 30, 50)
Transform = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of all figures; a second call goes on")
    parser.add_argument("--vectors", help="file or capture [scikit-learn's digits]")
    parser.add_argument("--rows", type=int, default=1000, help="of --vectors, drawn by the seed [1000]")
    parser.add_argument("--draw", type=int, default=0, help="which rows: other numbers, other rows of the file [0]")
    parser.add_argument("--first-seed", type=int, default=0, help="number of the first split [0]")
    parser.add_argument("--seeds", type=int, default=3, help="splits [3]")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), help="[all that are installed]")
    parser.add_argument("--epochs", type=int, help="of the student [as shipped]")
    parser.add_argument("--table", action="store_true", help="print what is there and make nothing")
    options = parser.parse_args()
    name = "digits" if options.vectors is None else f"{Path(options.vectors).stem}-{options.rows}-{options.draw}"
    place = options.out / name
    if not options.table:
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            for arm in options.arms:
                if arm in PACMAPS and find_spec("pacmap") is None:
                    continue
                if not (place / f"{arm}-{seed}.json").is_file():
                    measure(arm, seed, place, options)
    print(table(place))


def measure(arm: str, seed: int, place: Path, options: argparse.Namespace) -> None:
    """Fit on training rows, judge on test rows, keep the figures."""
    config = configuration(arm, seed, place, options)
    material = EmbeddingData(config)
    started = time.process_time()
    trained = arm in ("student", "autoencoder")
    encode = student(config, place / f"{arm}-{seed}") if trained else fitted(arm, material, seed)
    seconds = time.process_time() - started
    wide, labels = material.store.read(material.test), material.store.labels
    labels = None if labels is None else labels[material.test]
    scores = figures_of(wide, encode(wide), metric=material.metric, labels=labels)
    known = {"arm": arm, "seed": seed, "epochs": config.training.epochs, "fit_seconds": seconds}
    found = {**known, **scores.scalars, **{name: scores.items[name].tolist() for name in ROW_BY_ROW}}
    write_json(place / f"{arm}-{seed}.json", found)
    print(arm, seed, {key: round(found[key], 3) for key in FIGURES if key in found}, flush=True)


def configuration(arm: str, seed: int, place: Path, options: argparse.Namespace) -> EmbedRunConfig:
    """The recipe `embedding` on these rows, with a split of the seed's own."""
    place.mkdir(parents=True, exist_ok=True)
    if options.vectors is None:
        path = place / "digits.npz"
        x, y = load_digits(return_X_y=True)
        if not path.is_file():
            np.savez(path, embeddings=x.astype(np.float32), labels=y)
        where = [str(path), "data.labels=labels"]
    else:
        # of a thousand rows three quarters are for training and validation; what is left of the file is not looked at
        path = some_rows(Path(options.vectors), options.rows, options.draw, place)
        with np.load(path) as held:
            where = [str(path), *(["data.labels=labels"] if "labels" in held else [])]
    changes = [f"data.split_seed={seed}", "data.test_fraction=0.25", "anchors=[]", "seeds=1", "training.threads=1"]
    if options.epochs is not None:
        changes += [f"training.epochs={options.epochs}", f"training.warmup_epochs={min(2.0, options.epochs / 2)}"]
    if arm == "autoencoder":
        changes += ["loss.neighbor_weight=0", "loss.global_weight=0", "loss.reconstruction_weight=1"]
    return load_embedding(where[0], [*where[1:], *changes])


def some_rows(source: Path, rows: int, draw: int, place: Path) -> Path:
    """So many rows of a file or capture as a file of its own, with labels where there are any; two draws share none."""
    from stillhouse.tasks.embed.data import VectorsConfig

    path = place / "rows.npz"
    if not path.is_file():
        key = "labels" if source.suffix == ".npz" and "labels" in np.load(source) else None
        data = VectorsConfig(path=str(source), labels=key).build()
        kept = np.setdiff1d(np.arange(len(data.store)), data.store.zero_rows)
        chosen = np.sort(np.random.default_rng(0).permutation(kept)[draw * rows :][:rows])
        labels = data.store.labels
        known = {} if labels is None else {"labels": np.unique(labels[chosen], return_inverse=True)[1]}
        np.savez(path, embeddings=data.store.read(chosen), **known)
    return path


def student(config: EmbedRunConfig, folder: Path) -> Transform:
    """The shipped student of a run."""
    run(TASK, config, folder, resume=(folder / "run.json").is_file())
    return NumpyEmbedder.load(folder / "student").encode


def fitted(arm: str, material: EmbeddingData, seed: int) -> Transform:
    """A control, fitted on training and validation rows, which it has no other use for."""
    rows = material.store.read(np.sort(np.concatenate([material.train.rows, material.validation.rows])))
    if arm == "product-quantization":
        return product_quantization(rows, seed, normalize=material.normalize)
    if arm in PACMAPS:  # its transform of new rows is approximate
        import pacmap

        basis = rows / np.linalg.norm(rows, axis=1, keepdims=True) if material.normalize else rows
        made = getattr(pacmap, PACMAPS[arm])(n_components=WIDTH, random_state=seed)
        made.fit(basis, init="pca")
        return lambda x: made.transform(
            x / np.linalg.norm(x, axis=1, keepdims=True) if material.normalize else x, basis=basis
        )
    if arm == "umap":
        return tuned_umap(rows, material, seed)
    return fit_anchor(arm, rows, WIDTH, seed=seed, normalize=material.normalize)


def tuned_umap(rows: np.ndarray, material: EmbeddingData, seed: int) -> Transform:
    """Of `UMAP_SIZES` neighbours the best on validation rows, fitted on all rows."""

    def fit(some: np.ndarray, neighbors: int) -> Transform:
        with patch.object(score, "UMAP_NEIGHBORS", neighbors):
            return fit_anchor("umap", some, WIDTH, seed=seed, normalize=material.normalize)

    train, held = (material.store.read(part.rows) for part in (material.train, material.validation))
    kept = {
        size: share_kept(held, [fit(train, size)(held)], min(K, len(held) // 2 - 1), material.metric).mean()
        for size in UMAP_SIZES
    }
    return fit(rows, max(kept, key=lambda size: kept[size]))


def product_quantization(rows: np.ndarray, seed: int, *, normalize: bool) -> Transform:
    """Principal axes, `BYTES` groups of them of nearly equal variance, a byte (the nearest of 256 centers) for each.

    Source: Jegou et al. 2011; the allocation after Ge et al. 2013 (optimized product quantization).
    """

    def scaled(x: np.ndarray) -> np.ndarray:
        x = np.asarray(x, np.float64)
        return x / np.linalg.norm(x, axis=1, keepdims=True) if normalize else x

    x = scaled(rows)
    mean = x.mean(0)
    values, axes = np.linalg.eigh(np.cov((x - mean).T))
    groups: list[list[int]] = [[] for _ in range(BYTES)]
    sums = np.zeros(BYTES)
    for axis in np.argsort(values)[::-1]:
        least = int(sums.argmin())
        groups[least].append(int(axis))
        sums[least] += values[axis]
    centers = min(256, len(rows) // 2)
    books = [
        KMeans(centers, n_init=1, random_state=seed).fit((x - mean) @ axes[:, group]) if group else None
        for group in groups
    ]

    def transform(vectors: np.ndarray) -> np.ndarray:
        y = (scaled(vectors) - mean) @ axes
        for group, book in zip(groups, books):
            if book is not None:
                y[:, group] = book.cluster_centers_[book.predict(y[:, group])]
        return y

    return transform


def table(place: Path) -> str:
    """Mean and range over seeds of every arm that is there, and its neighbours against PCA's."""
    found: dict[str, list[dict[str, Any]]] = {}
    for arm in ARMS:
        read = [json.loads(path.read_text()) for path in sorted(place.glob(f"{arm}-[0-9]*.json"))]
        if read:
            found[arm] = read
    lines = [
        f"| {place.name} | {' | '.join(FIGURES)} | 10 nearest against PCA | seeds |",
        "|---" * (len(FIGURES) + 3) + "|",
    ]
    for arm, runs in found.items():
        cells = []
        for key in FIGURES:
            values = [one[key] for one in runs if key in one]
            form = "{:.1f}" if key == "fit_seconds" else "{:.3f}"
            text = form.format(np.mean(values)) if values else "-"
            cells.append(
                text + (f" ({form.format(min(values))} to {form.format(max(values))})" if len(values) > 1 else "")
            )
        pca = {one["seed"]: one[FIGURES[0]] for one in found.get("pca", [])}
        ratios = [one[FIGURES[0]] / pca[one["seed"]] for one in runs if one["seed"] in pca]
        ratio = f"{np.mean(ratios):.2f} x" if ratios else "-"
        lines.append(f"| {arm} | {' | '.join(cells)} | {ratio} | {len(runs)} |")
    return "\n".join([*lines, *differences(found)])


def differences(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Student - arm, and the ratio of their ten nearest, paired by split and row."""
    ours, lines = {one["seed"]: one for one in found.get("student", [])}, []
    for arm, runs in found.items():
        pairs = [(ours[one["seed"]], one) for one in runs if one["seed"] in ours]
        if arm == "student" or len(pairs) < 2:
            continue
        near = [a[FIGURES[0]] / b[FIGURES[0]] for a, b in pairs]
        rows = min(len(one["knn_overlap"]) for _, one in pairs)  # equal rows of a file make splits of unequal size
        words = [f"student - {arm}, {len(pairs)} splits: 10 nearest {np.mean(near):.2f} x (least {min(near):.2f})"]
        intervals = {
            name: mean_interval([np.subtract(a[key], b[key])[:rows] for a, b in pairs])
            for key, name in ROW_BY_ROW.items()
        } | {"Spearman, all pairs": seed_interval([a["spearman"] - b["spearman"] for a, b in pairs])}
        words += [f"{name} {one.mean:+.3f} ({one.low:+.3f} to {one.high:+.3f})" for name, one in intervals.items()]
        lines.append("; ".join(words))
    return lines


if __name__ == "__main__":
    main()
