"""From the folders of all arms and seeds to `summary.json`: bits a byte with intervals, comparisons, the verdict. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core import records
from stillhouse.core.records import arm_folder, read_json, write_json
from stillhouse.core.verdict import Comparison, compare, mean_interval, seed_interval
from stillhouse.families.lm.plan import LmRunConfig

if TYPE_CHECKING:
    from stillhouse.families.lm.data.corpus import Corpus
    from stillhouse.families.lm.score import Examination

NLL = "nll.npz"
METRIC = "bits per byte"
COMPARISONS = (
    ("teacher", "kd", "no-kd"),
    ("teacher, dense", "dense", "dense-no-kd"),
    ("spikes", "kd", "dense"),
    ("recurrence", "kd", "scalar"),
)
NGRAM = "ngram"


def summarize(config: LmRunConfig, out: Path, corpus: Corpus, examination: Examination, command: str) -> dict[str, Any]:
    """Read what the arms left, compare them, write `summary.json` and return it.

    Windows are the items: a value is a window's bits a byte, with its sign turned, since larger is better in a verdict.
    """
    seeds = list(range(config.seeds))
    factor = examination.bits_of_nats
    saved = {arm: [np.load(arm_folder(out, arm, seed) / NLL) for seed in seeds] for arm in config.arms}
    bits = {arm: np.stack([one["windows"].mean(1) for one in found]) * factor for arm, found in saved.items()}
    references = {
        name: found for name in ("teacher", NGRAM) if (found := _reference(out, name, factor, len(seeds))) is not None
    }
    results: dict[str, Any] = {
        arm: [read_json(arm_folder(out, arm, seed) / records.RESULT) for seed in seeds] for arm in config.arms
    }
    known: dict[str, NDArray[np.float64]] = {arm: -values for arm, values in bits.items()}
    comparisons = [
        _entry(name, arm, control, compare(known.get(arm), known.get(control)))
        for name, arm, control in COMPARISONS
        if name == "teacher" or {arm, control} <= set(known)
    ]
    if NGRAM in references:
        for arm in config.arms:
            comparisons.append(_entry("n-gram", arm, NGRAM, compare(known[arm], -references[NGRAM])))
    summary = {
        "verdict": comparisons[0]["verdict"],
        "comparisons": comparisons,
        "gap": None if not {"kd", "dense"} <= set(bits) else float(bits["kd"].mean() / bits["dense"].mean() - 1),
        "arms": {arm: _arm(bits[arm], results[arm], saved[arm]) for arm in config.arms},
        "references": {name: _summary_of(out, name) for name in references},
        "window": examination.window,
        "stride": examination.stride,
        "tokens_scored": len(examination.ids) - 1,
        "command": command,
        "versions": records.versions(),
        "machine": records.machine(),
        "data": corpus.about,
        "seeds": seeds,
    }
    write_json(out / records.SUMMARY, summary)
    return summary


def _arm(bits: NDArray[np.float64], results: list[dict[str, Any]], saved: list[Any]) -> dict[str, Any]:
    interval = mean_interval(bits)
    names = results[0]["metrics"]
    spikes = [result["spikes"].get("density") for result in results]
    return {
        "windows": {"mean": interval.mean, "low": interval.low, "high": interval.high},
        **{name: _seeds([result["metrics"][name] for result in results]) for name in names},
        "seconds": _seeds([result["seconds"] for result in results]),
        "density": None if None in spikes else _seeds(spikes),
        "dead_channels": None if None in spikes else _seeds([r["spikes"]["dead_channels"] for r in results]),
        "params": results[0]["params"],
        "tokens_trained": results[0]["tokens_trained"],
        "positions": np.mean([one["positions"] for one in saved], 0).tolist(),
    }


def _seeds(values: list[float]) -> dict[str, Any]:
    found = seed_interval(values)
    return {"mean": found.mean, "low": found.low, "high": found.high, "values": values}


def _reference(out: Path, name: str, factor: float, seeds: int) -> NDArray[np.float64] | None:
    """(S, W) bits a byte of what has no seeds, repeated."""
    path = out / f"{name}-{NLL}"
    if not path.is_file():
        return None
    return np.repeat(np.load(path)["windows"].mean(1)[None] * factor, seeds, 0)


def _summary_of(out: Path, name: str) -> dict[str, Any]:
    about = read_json(out / (records.TEACHER if name == "teacher" else f"{name}.json"))
    return {**about, "positions": np.load(out / f"{name}-{NLL}")["positions"].tolist()}


def _entry(name: str, arm: str, control: str, found: Comparison) -> dict[str, Any]:
    """One comparison; the difference is that of bits a byte saved: above 0 the arm is better."""
    return {
        "name": name,
        "arm": arm,
        "control": control,
        "metric": METRIC,
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "verdict": found.verdict,
        "seeds": found.seeds,
        "items": found.items,
    }
