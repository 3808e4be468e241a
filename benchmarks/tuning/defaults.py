"""Is each student kind level with logistic regression, with no setting but the data?

    python -m benchmarks.tuning.defaults --data digits mnist folder --root ROOT --folder PHOTOS --out runs/defaults
    python -m benchmarks.tuning.defaults --data digits folder --folder PHOTOS --seeds 3 --test --out runs/defaults-test

Each kind is trained untaught as a file has it that names data and kind alone, beside the run's own logistic regression (on pixels,
the best C by validation rows). Without `--test` validation rows are scored and no test row is; with it whole runs, with intervals.
MNIST is 6,000 pictures; of digits and a folder 30 % are validation rows. What is finished is kept, and the same command goes on.
OUT/NAME.csv has a line for each data set and kind; `--set` tries other settings, under a `--name` of their own.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from stillhouse.core.config import dump_yaml, kinds
from stillhouse.core.experiment import run
from stillhouse.recipes import load
from stillhouse.sweeps.study import train_trial
from stillhouse.tasks.classification.plain import linear
from stillhouse.tasks.classification.students import StudentConfig

DATA: Mapping[str, Mapping[str, Any]] = {
    "digits": {"name": "digits", "validation_fraction": 0.3},
    "mnist": {"name": "mnist", "validation_fraction": 0.05, "train_limit": 6000},
    "fashion-mnist": {"name": "fashion-mnist", "validation_fraction": 0.05, "train_limit": 6000},
    "folder": {"name": "folder", "validation_fraction": 0.3},
}
KINDS = [kind for kind, config in kinds(StudentConfig).items() if getattr(config, "reads", "images") == "images"]


def plain_run(data: str, kind: str, options: argparse.Namespace) -> tuple[Any, Any]:
    """Task and configuration of a run that names data and kind, no teacher, and one thread."""
    root = {"folder": options.folder, "digits": None}.get(data, options.root)
    mapping = {
        "data": {**DATA[data], **({"root": root} if root else {})},
        "student": {"kind": kind},
        "teacher": None,
        "arms": ["no-kd"],
        "training": {"threads": 1},
        "seeds": options.seeds,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / f"{data}-{kind}.yaml"
    file.write_text(dump_yaml(mapping), encoding="utf-8")
    return load(str(file), options.set)


def by_validation(data: str, kind: str, options: argparse.Namespace) -> dict[str, Any]:
    """Validation accuracy of a kind at its defaults, the mean over seeds, and of logistic regression."""
    task, config = plain_run(data, kind, options)
    rows = config.data.build()
    whole = next(rows.validation.batches(len(rows.validation)))
    known = float((linear(rows)(whole).argmax(1) == whole.labels).float().mean())
    begun = time.process_time()
    found = train_trial(task, config, options.out / options.name / f"{data}-{kind}", seeds=options.seeds, command="")
    return {"accuracy": found["score"], "logistic regression": known, "cpu_seconds": time.process_time() - begun}


def by_test(data: str, kind: str, options: argparse.Namespace) -> dict[str, Any]:
    """Test accuracy of a whole run, and its difference from logistic regression, both with 95 % intervals."""
    task, config = plain_run(data, kind, options)
    folder = options.out / options.name / f"{data}-{kind}"
    begun = time.process_time()
    summary = run(task, config, folder, resume=(folder / "run.json").is_file())
    score = summary["arms"]["no-kd"]["accuracy"]
    row = next(one for one in summary["comparisons"] if one["control"] == "linear")
    found = {"accuracy": score["mean"], "low": score["low"], "high": score["high"]}
    found |= {"logistic regression": summary["arms"]["linear"]["accuracy"]["mean"]}
    found |= {"ahead": row["difference"], "ahead_low": row["low"], "ahead_high": row["high"]}
    return {**found, "cpu_seconds": time.process_time() - begun}


def main(words: Sequence[str] | None = None) -> None:
    """Measure what is not measured yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["digits"], choices=DATA)
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--root", help="torchvision's folder of MNIST and Fashion-MNIST")
    parser.add_argument("--folder", help="pictures in folders of their classes")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--test", action="store_true", help="whole runs, scored on the test split")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="other settings than the defaults")
    parser.add_argument("--name", default="defaults", help="of the table")
    parser.add_argument("--out", type=Path, default=Path("runs/defaults"))
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    table = []
    for data in options.data:
        for kind in options.kinds:
            kept = options.out / options.name / f"{data}-{kind}.json"
            if not kept.is_file():
                try:
                    found = (by_test if options.test else by_validation)(data, kind, options)
                except ValueError as error:  # a configuration that does not fit the pictures
                    found = {"error": str(error)}
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps({"data": data, "kind": kind, "seeds": options.seeds, **found}))
            table.append(json.loads(kept.read_text()))
            print({key: round(x, 4) if isinstance(x, float) else x for key, x in table[-1].items()}, flush=True)
    pd.DataFrame(table).to_csv(options.out / f"{options.name}.csv", index=False, float_format="%.5g")


if __name__ == "__main__":
    main()
