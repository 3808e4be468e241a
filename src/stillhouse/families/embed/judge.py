"""Every student and every control on the same held-out rows: local and global figures apart, intervals, verdict.

Files of an arm and seed: `codes.npz` (test (n, d)), `rows.npz` (knn_overlap (n,), row_spearman (n,)), `result.json`, written last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core import records
from stillhouse.core.records import arm_folder, read_json, write_arrays, write_json
from stillhouse.core.verdict import Comparison, Interval, compare, mean_interval, seed_interval
from stillhouse.families.embed.material import Material
from stillhouse.families.embed.metrics.neighbourhood import judge
from stillhouse.families.embed.metrics.rowwise import row_quality
from stillhouse.families.embed.metrics.similarity import sts_spearman
from stillhouse.families.embed.plan import STUDENT, TEXT, EmbedRunConfig

ROWS, CODES = "rows.npz", "codes.npz"
KS = (1, 10, 100)
NEAR, FAR = "knn_overlap", "row_spearman"  # what verdicts are drawn from
Encode = Callable[[NDArray[np.int64]], np.ndarray]  # rows of the store -> codes


def write_result(
    folder: Path, arm: str, seed: int, encode: Encode, material: Material, config: EmbedRunConfig, **more: Any
) -> None:
    """Code the test rows, judge them, and write the arm's files; `result.json` last: it says that the arm is finished.

    Args:
        folder: of the arm and seed.
        arm: its name.
        seed: its number.
        encode: row numbers of the store -> codes; all levels side by side.
        material: the run's data.
        config: the run.
        more: further entries of `result.json`.
    """
    codes = np.asarray(encode(material.test), np.float32)
    first = codes[:, : config.student.levels[0]]
    rows = row_quality(material.test_vectors, first, k=_k(len(first)))
    metrics = {**figures(material, first, encode, config), **levels(material, codes, config)}
    write_arrays(folder / ROWS, **rows)
    write_arrays(folder / CODES, test=codes)
    result = {"arm": arm, "seed": seed, "metrics": {**metrics, **{n: float(v.mean()) for n, v in rows.items()}}, **more}
    write_json(folder / records.RESULT, result)


def figures(material: Material, codes: np.ndarray, encode: Encode, config: EmbedRunConfig) -> dict[str, float]:
    """All of `metrics.neighbourhood.judge` on the test rows; with pairs `sts`, with poles `poles_right` (test and validation)."""
    n = len(codes)
    labels = material.data.labels(material.test)
    ks = tuple(k for k in KS if k < n / 2)
    said = judge(material.test_vectors, codes, ks=ks, labels=labels, k=_k(n))
    wide = config.student.levels[0]
    if material.pairs is not None:
        pairs = material.pairs
        a, b = encode(pairs.first)[:, :wide], encode(pairs.second)[:, :wide]
        said["sts"] = sts_spearman(a, b, pairs.gold, metric="euclidean")
    if material.poles is not None:
        unseen = material.poles.outside(material.data.train)
        if len(unseen.rows):
            values = encode(unseen.rows)[np.arange(len(unseen.rows)), unseen.axes]
            said["poles_right"] = float((np.sign(values) == unseen.signs).mean())
    return said


def levels(material: Material, codes: np.ndarray, config: EmbedRunConfig) -> dict[str, float]:
    """Overlap and Spearman of every longer prefix, as `knn_overlap@10/30`: what each level adds."""
    said: dict[str, float] = {}
    widths = np.cumsum(config.student.levels)[1:]
    for width in (int(w) for w in widths if w <= codes.shape[1]):
        found = judge(material.test_vectors, codes[:, :width], ks=(_k(len(codes)),), k=_k(len(codes)))
        said[f"knn_overlap@10/{width}"] = found[f"knn_overlap@{_k(len(codes))}"]
        said[f"spearman/{width}"] = found["spearman"]
    return said


def teacher_figures(material: Material) -> dict[str, float]:
    """The ceiling: what the teacher itself says of pairs and labels."""
    said: dict[str, float] = {}
    if material.pairs is not None:
        read, pairs = material.data.store.read, material.pairs
        said["sts"] = sts_spearman(read(pairs.first), read(pairs.second), pairs.gold)
    return said


def summarize(config: EmbedRunConfig, out: Path, told: Mapping[str, float]) -> dict[str, Any]:
    """Means over seeds with intervals, the student against every control, near and far apart."""
    arms: dict[str, dict[str, Any]] = {}
    tables: dict[str, dict[str, NDArray[np.float64]]] = {}
    for arm in config.arms:
        folders = [arm_folder(out, arm, seed) for seed in range(config.seeds_of(arm))]
        results = [read_json(folder / records.RESULT) for folder in folders]
        saved = [dict(np.load(folder / ROWS)) for folder in folders]
        tables[arm] = {name: np.stack([one[name] for one in saved]) for name in (NEAR, FAR)}
        arms[arm] = {}
        for name in results[0]["metrics"]:
            values = [result["metrics"].get(name) for result in results]
            numbers = [float(value) for value in values if value is not None]
            if numbers:
                interval = mean_interval(tables[arm][name]) if name in (NEAR, FAR) else seed_interval(numbers)
                arms[arm][name] = {**_plain(interval), "values": numbers}
        seconds = [float(result.get("seconds", 0.0)) for result in results]
        arms[arm]["seconds"] = {**_plain(seed_interval(seconds)), "values": seconds}
    learned = [arm for arm in (STUDENT, TEXT) if arm in arms]
    comparisons = [
        {
            "name": what,
            "arm": arm,
            "control": control,
            "metric": metric,
            **_plain(_compare(tables, arm, control, metric)),
        }
        for arm in learned
        for control in (*config.anchors, *((STUDENT,) if arm == TEXT else ()))
        for what, metric in (("near", NEAR), ("far", FAR))
    ]
    return {
        "verdict": _verdict(config, comparisons),
        "comparisons": comparisons,
        "arms": arms,
        "teacher": dict(told),
        "seeds": list(range(config.seeds)),
    }


def best_seed(config: EmbedRunConfig, out: Path, arm: str) -> int:
    """The seed with the best validation score: the one that is shipped. The test rows have no say in it."""
    ranks = [read_json(arm_folder(out, arm, seed) / records.RESULT)["rank"] for seed in range(config.seeds_of(arm))]
    return int(max(range(len(ranks)), key=lambda seed: ranks[seed]))


def _compare(
    tables: Mapping[str, Mapping[str, NDArray[np.float64]]], arm: str, control: str, metric: str
) -> Comparison:
    ours, theirs = tables[arm][metric], tables[control][metric]
    # what is fitted once is the same for every seed of the other side
    theirs = np.repeat(theirs, len(ours), axis=0) if len(theirs) == 1 else theirs[: len(ours)]
    return compare(ours, theirs)


def _verdict(config: EmbedRunConfig, comparisons: list[dict[str, Any]]) -> str:
    """Of the student against the first anchor: `helps` where one of near and far is better and none is worse."""
    if not config.anchors:
        return "not tested"
    said = [c["verdict"] for c in comparisons if (c["arm"], c["control"]) == (STUDENT, config.anchors[0])]
    return next((word for word in ("not tested", "hurts", "helps") if word in said), "no difference shown")


def _k(n: int) -> int:
    """Neighbours that are compared: 10, or fewer where there are not 22 rows."""
    return max(1, min(10, (n - 1) // 2))


def _plain(value: Interval | Comparison) -> dict[str, Any]:
    return asdict(value)
