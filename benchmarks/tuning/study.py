"""Which settings is a student best at? Equal numbers of trials for untaught, taught and ordinary rivals, on validation rows.

    python -m benchmarks.tuning.study flat --data digits mnist fashion-mnist --root DATA --trials 16 --out runs/tuning
    python -m benchmarks.tuning.study vit --data digits --trials 16 --out runs/tuning

Each data set and arm is one `stillhouse sweep` with random draws by one seed, so that trial 7 is the same settings everywhere: the
mean over data sets ranks defaults, one data set alone its recipe. A killed study goes on with the same command. Written:
OUT/KIND.csv (all trials) and OUT/KIND.md (best trials, and what each value of a setting is worth). The test split is not scored.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stillhouse.cli.sweep import main as sweep
from stillhouse.core.config import load_yaml
from stillhouse.recipes import load
from stillhouse.tasks.classification.plain import linear_features

HERE = Path(__file__).parent
ROWS = {"digits": [], "mnist": ["data.train_limit=6000"], "fashion-mnist": ["data.train_limit=6000"]}
BATCH = {"digits": 32}
KINDS = {
    "flat": ("student.kind=flat-tm", "student.part=mlp"),
    "vit": ("student={kind: tsetlin-vit, embed_dim: 32, depth: 2, heads: 2}", "student.feed_forward=mlp"),
}
ARMS = ("untaught", "taught", "mlp")


def settings_of(kind: str, data: str, arm: str, root: str | None, teacher: str | None) -> list[str]:
    """What all trials of one sweep have in common."""
    student, rival = KINDS[kind]
    fraction = 0.3 if data == "digits" else 0.05
    fixed = [f"data.name={data}", f"data.validation_fraction={fraction}", *ROWS[data], student]
    fixed += [f"training.batch_size={BATCH.get(data, 128)}", f"arms=[{'kd' if arm == 'taught' else 'no-kd'}]"]
    fixed += [f"data.root={root}"] if root and data != "digits" else []
    if arm != "taught":
        return [*fixed, "teacher=null", "signals=[]", *([rival] if arm == "mlp" else [])]
    return fixed if data == "digits" else [*fixed, f"teacher.source={teacher}"]


def swept(kind: str, data: str, arm: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One sweep, and its finished trials as rows of the table."""
    out = options.out / kind / f"{data}-{arm}"
    space = load_yaml(HERE / f"{kind}.yaml") | (load_yaml(HERE / "taught.yaml") if arm == "taught" else {})
    out.parent.mkdir(parents=True, exist_ok=True)
    drawn = out.parent / f"{arm}.yaml"
    drawn.write_text(json.dumps(space))  # which is YAML too
    fixed = settings_of(kind, data, arm, options.root, options.teacher)
    drawing = ["--space", str(drawn), "--sampler", "random", "--trials", str(options.trials)]
    sweep(
        ["digits", *fixed, *drawing, "--seeds", str(options.seeds), "training.threads=1", "--resume", "--out", str(out)]
    )
    trials = json.loads((out / "sweep.json").read_text())["trials"]
    about = {"data": data, "arm": arm}
    return [
        {**about, "trial": t["number"], "score": t["score"], "seconds": t["seconds"], **t["settings"]}
        for t in trials
        if t["score"] is not None
    ]


def logistic(data: Any, trials: int, seed: int = 0) -> list[dict[str, Any]]:
    """Logistic regression of scikit-learn on the pixels, as many draws of C as students have trials, scored on validation rows."""
    from sklearn.linear_model import LogisticRegression

    (x, y), (held, truth) = (
        (linear_features(batch.inputs, data.input_spec), batch.labels.numpy())
        for batch in (next(split.batches(len(split))) for split in (data.train, data.validation))
    )
    drawn = 10 ** np.random.default_rng(seed).uniform(-2.5, 1.5, trials)
    return [
        {
            "arm": "logistic regression",
            "trial": number,
            "C": c,
            "score": LogisticRegression(C=c).fit(x, y).score(held, truth),
        }
        for number, c in enumerate(drawn)
    ]


def worth(table: pd.DataFrame, space: Sequence[str]) -> pd.DataFrame:
    """How flat the optimum is: best and median score of the trials at each value of a setting; ranges are cut in four.

    Example:
        >>> trials = pd.DataFrame({"score": [0.5, 0.7, 0.9], "depth": [1, 1, 2]})
        >>> worth(trials, ["depth"])["best"].tolist()
        [0.7, 0.9]
    """
    parts = []
    for key in space:
        values = table[key]
        if values.nunique() > 4:
            values = pd.qcut(values, 4, precision=2)
        found = table.groupby(values.astype(object).fillna("none").astype(str), sort=False)["score"]
        part = found.agg(trials="count", best="max", median="median").sort_index().reset_index(names="value")
        parts.append(part.assign(setting=key))
    return pd.concat(parts)[["setting", "value", "trials", "best", "median"]].reset_index(drop=True)


def everywhere(table: pd.DataFrame) -> pd.DataFrame:
    """Trials by their mean over data sets, best first: what a default is chosen by."""
    return table.groupby(["arm", "trial"])["score"].agg(["mean", "min", "count"]).sort_values("mean", ascending=False)


def pages(table: pd.DataFrame, space: Mapping[str, Any]) -> str:
    """The study as Markdown: winners a data set and arm, defaults by their mean, and how flat the optimum is."""
    keys = [key for key in (*space, "C") if key in table]
    best = table.sort_values("score", ascending=False).groupby(["data", "arm"], sort=True)
    spread = best["score"].agg(best="max", fifth=lambda s: s.nlargest(5).min(), median="median", trials="count")
    untaught = table[table["arm"] == "untaught"]
    parts = ["## Best on validation rows", markdown(spread.reset_index())]
    parts += ["## Settings of the winners", markdown(best.head(1)[["data", "arm", "score", *keys]])]
    parts += ["## By the mean over data sets", markdown(everywhere(table).groupby("arm").head(3).reset_index())]
    return "\n\n".join([*parts, "## What values are worth, untaught", markdown(worth(untaught, list(space))), ""])


def markdown(table: pd.DataFrame) -> str:
    """A table as Markdown, numbers in four digits."""
    shown = table.map(lambda v: f"{v:.4g}" if isinstance(v, float) else str(v))
    rows = [list(shown.columns), ["---"] * shown.shape[1], *shown.values.tolist()]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


def main(words: Sequence[str] | None = None) -> None:
    """Run the sweeps that are not done, and write table and page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--data", nargs="+", default=["digits"], choices=ROWS)
    parser.add_argument("--arms", nargs="+", default=ARMS, choices=ARMS)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--root", help="torchvision's folder of MNIST and Fashion-MNIST")
    parser.add_argument(
        "--teacher", help="of data sets without a bundled one, as ckpt:FILE; without it they have no taught arm"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/tuning"))
    options = parser.parse_args(words)
    rows: list[dict[str, Any]] = []
    for data in options.data:
        for arm in options.arms:
            if arm != "taught" or data == "digits" or options.teacher:
                rows += swept(options.kind, data, arm, options)
        config = load("digits", settings_of(options.kind, data, "untaught", options.root, None))[1]
        rows += [{"data": data, **row} for row in logistic(config.data.build(), options.trials)]
    table, space = pd.DataFrame(rows), load_yaml(HERE / f"{options.kind}.yaml")
    table.to_csv(options.out / f"{options.kind}.csv", index=False, float_format="%.5g")
    (options.out / f"{options.kind}.md").write_text(pages(table, space))
    print(pages(table, space))


if __name__ == "__main__":
    main()
