"""What each term of the loss did in a run: its value, its pull on the student, the doctor's findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stillhouse.report.blocks import Table
from stillhouse.report.read import RunFolder, mapping, number
from stillhouse.report.words import NOTHING, plain

MOST_FINDINGS = 20
READ = {"ratio": "gradient, of the task's", "cosine": "cosine with the task's"}  # what the doctor reads of a term


def signals_table(run: RunFolder) -> Table | None:
    """A row a term of the shipped arm's first seed: first and last value, and the median of the doctor's readings."""
    train, readings = _taught(run) or ([], [])
    rows: list[list[str]] = []
    for kind in ("terms", "figures"):
        for name in dict.fromkeys(name for record in train for name in mapping(record.get(kind))):
            values = [v for r in train if (v := number(mapping(r.get(kind)).get(name))) is not None]
            if values or kind == "terms":
                ends = [plain(values[0]), plain(values[-1])] if values else [NOTHING] * 2
                rows.append([name, *ends, *(_median(readings, name, key) if kind == "terms" else "" for key in READ)])
    caption = (
        "Terms of the loss of the taught arm, first seed, unweighted. Gradients are those of the weighted terms at the "
        "student's weights (written where training.doctor is set): 1 pulls as strongly as the task's own loss, a "
        "cosine below 0 pulls against it."
    )
    head = ["", "first value", "last value", *READ.values()]
    return Table("What each signal did", head, rows, caption) if rows else None


def _median(readings: Sequence[Mapping[str, Any]], name: str, key: str) -> str:
    pulls = [number(mapping(mapping(r.get("readings")).get(name)).get(key)) for r in readings]
    known = [pull for pull in pulls if pull is not None]
    return f"{np.median(known):.3g}" if known else NOTHING


def findings(run: RunFolder) -> list[str]:
    """The doctor's findings with the step, once each."""
    taught = _taught(run)
    found: dict[str, Any] = {}
    for record in taught[1] if taught else []:
        for text in record.get("findings") or []:
            found.setdefault(str(text), record.get("step"))
    return [f"step {step}: {text}" for text, step in list(found.items())[:MOST_FINDINGS]]


def _taught(run: RunFolder) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]] | None:
    """Records of the arm that is shipped, which is taught if any is; before the end of a run, of the first one begun."""
    shipped = str(mapping(run.summary.get("shipped")).get("arm", "kd"))
    for arm in (shipped, *run.arms):
        for seed in run.arms.get(arm, []):
            train = seed.records.get("train", [])
            if train:
                return list(train), list(seed.records.get("doctor", []))
    return None
