"""What each term of the loss did in a run: its value, its pull on the student, the doctor's findings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from stillhouse.report.blocks import Cell
from stillhouse.report.read import RunFolder, mapping, number
from stillhouse.report.words import NOTHING, plain

MOST_FINDINGS = 20


@dataclass(frozen=True)
class Row:
    """A term, or a figure of a signal."""

    name: str
    cells: list[Cell]


@dataclass(frozen=True)
class Terms:
    """Head and rows."""

    head: list[str]
    rows: list[Row]


def signals_table(run: RunFolder) -> Terms | None:
    """A row a term of the shipped arm's first seed: first and last value, and the median of the doctor's readings."""
    taught = _taught(run)
    if taught is None:
        return None
    train, readings = taught
    names = list(dict.fromkeys(name for record in train for name in mapping(record.get("terms"))))
    rows = []
    for name in names:
        values = [v for r in train if (v := number(mapping(r.get("terms")).get(name))) is not None]
        pull = [mapping(mapping(r.get("readings")).get(name)) for r in readings]
        ratios = [v for p in pull if (v := number(p.get("ratio"))) is not None]
        cosines = [v for p in pull if (v := number(p.get("cosine"))) is not None]
        cells = [Cell(plain(values[0]) if values else NOTHING), Cell(plain(values[-1]) if values else NOTHING)]
        cells += [Cell(f"{np.median(v):.3g}" if v else NOTHING) for v in (ratios, cosines)]
        rows.append(Row(name, cells))
    figures = list(dict.fromkeys(name for record in train for name in mapping(record.get("figures"))))
    for name in figures:
        values = [v for r in train if (v := number(mapping(r.get("figures")).get(name))) is not None]
        if values:
            rows.append(Row(name, [Cell(plain(values[0])), Cell(plain(values[-1])), Cell(""), Cell("")]))
    if not rows:
        return None
    return Terms(["", "first value", "last value", "gradient, of the task's", "cosine with the task's"], rows)


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
