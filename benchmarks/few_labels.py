"""Where a teacher helps: few labels, many rows without one. Students of words, taught by a head on an encoder's vectors.

Each set is a pair of files: NAME.csv with columns text and label, NAME-test.csv likewise, and NAME.npz with arrays `train` and
`test`, a vector a text. The teacher is a logistic head on these vectors, fitted to the labels of each draw.

    python -m benchmarks.few_labels RUNS SETS/*.csv --kinds tf-idf scorecard rules --seeds 5 --table few-labels.md

Each set and kind is a run in RUNS, continued where it was left; test rows are scored once and choose nothing. The table is made
of what the runs wrote.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.core import records
from stillhouse.core.experiment import run
from stillhouse.core.folder import RunFolder, read_arrays
from stillhouse.core.verdict import Interval, compare, mean_interval, seed_interval
from stillhouse.recipes import load

ARMS = ("no-kd", "self-trained", "kd")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is not there yet, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder of the runs")
    parser.add_argument("sets", type=Path, nargs="+", help="NAME.csv of each set, beside NAME-test.csv and NAME.npz")
    parser.add_argument("--kinds", nargs="+", default=["tf-idf", "scorecard"], help="students [tf-idf scorecard]")
    parser.add_argument("--seeds", type=int, default=5, help="draws of labels [5]")
    parser.add_argument("--labels", type=int, default=100, help="of training and validation together [100]")
    parser.add_argument("--table", type=Path, help="file of the table [print it]")
    options = parser.parse_args(arguments)
    rows = []
    for path in options.sets:
        for kind in options.kinds:
            out = options.out / f"{path.stem}-{kind}"
            train(path, kind, out, options.labels, options.seeds)
            rows.append(row_of(path.stem, kind, RunFolder(out), options.seeds))
            print(line(rows[-1]), flush=True)
    text = "\n".join([*HEAD, *map(line, rows)]) + "\n"
    if options.table is None:
        print(text)
    else:
        options.table.write_text(text, encoding="utf-8")


def train(path: Path, kind: str, out: Path, labels: int, seeds: int) -> None:
    """One set and kind by the defaults of the kind; a finished run is left as it is."""
    if (out / records.SUMMARY).is_file():
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    test = path.with_name(f"{path.stem}-test.csv")
    file = out.parent / f"{out.name}.yaml"
    file.write_text(
        f"data: {{name: words, root: '{path}', test: '{test}', label_limit: {labels}}}\n"
        f"teacher: {{source: 'vectors:{path.with_suffix('.npz')}'}}\n"
        f"student: {{kind: {kind}}}\nseeds: {seeds}\n"
    )
    task, config = load(str(file))
    run(task, config, out, resume=(out / records.RUN).is_file(), force=True)  # a weak teacher is a result too


def row_of(name: str, kind: str, folder: RunFolder, seeds: int) -> dict[str, Any]:
    """What one run has found: accuracy (intervals over draws and rows) and macro-F1 (over draws) of every arm."""
    right = {arm: np.stack([folder.scores(arm, n)["accuracy"] for n in range(seeds)]) for arm in (*ARMS, "linear")}
    f1 = {arm: np.array([f1_of(folder, arm, n) for n in range(seeds)]) for arm in ARMS}
    about = records.read_object(folder.path / records.TEACHER, {})
    gain, beyond = compare(right["kd"], right["no-kd"]), compare(right["kd"], right["self-trained"])
    return {
        "set": name,
        "kind": kind,
        "teacher": about.get("test_score"),
        "forecast": str(about.get("forecast", "-")).partition(":")[0],
        **{arm: mean_interval(values).mean for arm, values in right.items()},
        "gain": Interval(gain.difference, gain.low, gain.high),
        "beyond": Interval(beyond.difference, beyond.low, beyond.high),
        "f1": seed_interval(f1["kd"] - f1["no-kd"]),  # over draws alone: no row has an F1
        "f1 of both": (f1["no-kd"].mean(), f1["kd"].mean()),
    }


def f1_of(folder: RunFolder, arm: str, seed: int) -> float:
    """Macro-F1 of the test rows."""
    from sklearn.metrics import f1_score

    found = read_arrays(folder.arm(arm, seed) / records.PREDICTIONS)
    return float(f1_score(found["labels"], found["probabilities"].argmax(1), average="macro"))


HEAD = (
    "| set | student | teacher | logistic regression | control | self-trained | taught | taught - control | "
    "taught - self-trained | macro-F1: control, taught, gain | forecast |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
)


def line(row: dict[str, Any]) -> str:
    """One line of the table, in percent and points."""

    def percent(x: float | None) -> str:
        return "-" if x is None else f"{100 * x:.1f}"

    def points(x: Interval) -> str:
        return f"{100 * x.mean:+.1f} [{100 * x.low:.1f}, {100 * x.high:.1f}]"

    scores = (row["teacher"], row["linear"], row["no-kd"], row["self-trained"], row["kd"])
    f1 = f"{percent(row['f1 of both'][0])}, {percent(row['f1 of both'][1])}, {points(row['f1'])}"
    cells = (
        row["set"],
        row["kind"],
        *map(percent, scores),
        f"**{points(row['gain'])}**",
        points(row["beyond"]),
        f1,
        row["forecast"],
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
