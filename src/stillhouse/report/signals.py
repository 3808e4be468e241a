"""What each term of the loss did in a run: its value, its pull on the student, what the doctor said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from stillhouse.report.read import RunFolder, mapping, number
from stillhouse.report.tables import Cell, Row, Table
from stillhouse.report.words import NOTHING, plain

MOST_FINDINGS = 20


def signals_table(run: RunFolder) -> Table | None:
    """A row a term of the first taught arm's first seed: first and last value, and the median of the doctor's readings."""
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
        rows.append(Row(name, "", -1, cells))
    figures = list(dict.fromkeys(name for record in train for name in mapping(record.get("figures"))))
    for name in figures:
        values = [v for r in train if (v := number(mapping(r.get("figures")).get(name))) is not None]
        if values:
            rows.append(Row(name, "figure", -1, [Cell(plain(values[0])), Cell(plain(values[-1])), Cell(""), Cell("")]))
    if not rows:
        return None
    return Table(["", "first value", "last value", "gradient, of the labels'", "cosine with the labels'"], rows)


def findings(run: RunFolder) -> list[str]:
    """What the doctor said, with the step, once each."""
    taught = _taught(run)
    said: dict[str, Any] = {}
    for record in taught[1] if taught else []:
        for text in record.get("findings") or []:
            said.setdefault(str(text), record.get("step"))
    return [f"step {step}: {text}" for text, step in list(said.items())[:MOST_FINDINGS]]


def without_effect(run: RunFolder) -> list[str]:
    """Settings of the run that did nothing."""
    lines = run.run.get("without_effect")
    return [str(line) for line in lines] if isinstance(lines, list) else []


def _taught(run: RunFolder) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]] | None:
    for arm in ("kd", "direct"):
        for seed in run.arms.get(arm, []):
            train = seed.records.get("train", [])
            if train:
                return list(train), list(seed.records.get("doctor", []))
    return None
