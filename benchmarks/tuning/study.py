"""Which settings is a student best at? Equal numbers of trials for untaught, taught and ordinary rivals, on validation rows.

    python -m benchmarks.tuning.study flat --data digits mnist fashion-mnist --root DATA --trials 16 --out runs/tuning
    python -m benchmarks.tuning.study vit --data digits --trials 16 --out runs/tuning
    python -m benchmarks.tuning.study pyramid-tm --data digits folder --folder PHOTOS --trials 8
    python -m benchmarks.tuning.study scorecard --data banking breast-cancer --trials 8

Each data set and arm is one `stillhouse sweep` with random draws by one seed, so that trial 7 is the same settings everywhere: the
mean over data sets ranks defaults, one data set alone its recipe. A killed study goes on with the same command. Written:
OUT/KIND.csv (all trials) and OUT/KIND.md (best trials, and what each value of a setting is worth). The test split is not scored.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stillhouse.cli.sweep import main as sweep
from stillhouse.core.config import load_yaml
from stillhouse.core.types import ImageSpec
from stillhouse.recipes import load
from stillhouse.tasks.classification.data.split import labelled_rows
from stillhouse.tasks.classification.plain import linear_features, reads_texts, scaled

HERE = Path(__file__).parent
DATA = {
    "digits": ["data.name=digits", "data.validation_fraction=0.3"],
    "mnist": ["data.name=mnist", "data.validation_fraction=0.05", "data.train_limit=6000"],
    "fashion-mnist": ["data.name=fashion-mnist", "data.validation_fraction=0.05", "data.train_limit=6000"],
    "folder": ["data.name=folder", "data.validation_fraction=0.3"],
    "banking": [
        "data.label_limit=300",
        "data.validation_fraction=0.667",
    ],  # a hundred to train with, the others to choose by
    "breast-cancer": ["data={name: table, root: TABLE, validation_fraction: 0.3}"],  # of scikit-learn, 569 rows
}
SMALL = ("digits", "folder")  # batches of 32
ARMS = ("untaught", "taught", "mlp")


@dataclass(frozen=True)
class Kind:
    """How a student is studied.

    Attributes:
        student: assignments of it.
        rival: an assignment that puts MLPs in the place of its clauses; empty: it has none.
        space: file of the settings that are drawn.
        recipe: that it starts from.
    """

    student: str
    rival: str = ""
    space: str = "images"
    recipe: str = "digits"


SMALL_VIT = "student={kind: tsetlin-vit, embed_dim: 32, depth: 2, heads: 2}"
CLAUSES = ("deep-tm", "hybrid-tm", "pyramid-tm", "resnet-tm", "swin-tm")
KINDS = {
    "flat": Kind("student.kind=flat-tm", "student.part=mlp", "flat"),
    "vit": Kind(SMALL_VIT, "student.feed_forward=mlp", "vit"),
    **{name: Kind(f"student.kind={name}", "student.part=mlp") for name in CLAUSES},
    "unified-tm": Kind("student.kind=unified-tm", "student.feed_forward=mlp"),
    **{name: Kind(f"student.kind={name}") for name in ("timm", "spiking")},
    **{name: Kind(f"student.kind={name}", "", name, "banking") for name in ("rules", "scorecard", "tf-idf", "tree")},
}


def settings_of(kind: str, data: str, arm: str, root: str | None, teacher: str | None) -> list[str]:
    """What all trials of one sweep have in common."""
    chosen, rows = KINDS[kind], [word.replace("TABLE", str(root)) for word in DATA[data]]
    fixed = [*rows, chosen.student, "training.threads=1", f"arms=[{'kd' if arm == 'taught' else 'no-kd'}]"]
    fixed += [f"training.batch_size={32 if data in SMALL else 128}"] if chosen.recipe == "digits" else []
    fixed += [f"data.root={root}"] if root and data in ("mnist", "fashion-mnist", "folder") else []
    if arm != "taught":
        return [*fixed, "teacher=null", "signals=[]", *([chosen.rival] if arm == "mlp" else [])]
    return fixed if data in ("digits", "banking") else [*fixed, f"teacher.source={teacher}"]


def place_of(data: str, options: argparse.Namespace) -> str | None:
    """Where the rows of a data set lie; the table of scikit-learn is written first."""
    if data != "breast-cancer":
        return str(options.folder) if data == "folder" else options.root
    from sklearn.datasets import load_breast_cancer

    table = load_breast_cancer(as_frame=True)
    path = options.out / "breast-cancer.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    table.data.assign(label=table.target_names[table.target]).to_csv(path, index=False)
    return str(path)


def swept(kind: str, data: str, arm: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One sweep, and its finished trials as rows of the table."""
    out = options.out / kind / f"{data}-{arm}"
    space = load_yaml(HERE / f"{KINDS[kind].space}.yaml") | (load_yaml(HERE / "taught.yaml") if arm == "taught" else {})
    out.parent.mkdir(parents=True, exist_ok=True)
    drawn = out.parent / f"{arm}.yaml"
    drawn.write_text(json.dumps(space))  # which is YAML too
    fixed = settings_of(kind, data, arm, place_of(data, options), options.teacher)
    drawing = ["--space", str(drawn), "--sampler", "random", "--trials", str(options.trials)]
    sweep([KINDS[kind].recipe, *fixed, *drawing, "--seeds", str(options.seeds), "--resume", "--out", str(out)])
    trials = json.loads((out / "sweep.json").read_text())["trials"]
    about = {"data": data, "arm": arm}
    return [
        {**about, "trial": t["number"], "score": t["score"], "seconds": t["seconds"], **t["settings"]}
        for t in trials
        if t["score"] is not None
    ]


def rivals(data: Any, trials: int, seed: int = 0) -> list[dict[str, Any]]:
    """Logistic regression, and of a table gradient boosting, as many draws as students have trials, scored on validation rows.

    Both are scikit-learn's: on pixels, TF-IDF, or the numbers of the table standardized.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    spec = data.input_spec
    table = not isinstance(spec, ImageSpec) and not reads_texts(spec)
    (x, y), (held, truth) = (
        (pd.DataFrame(split.raw) if table else linear_features(batch.inputs, spec), batch.labels.numpy())
        for split in (labelled_rows(data.train), data.validation)
        for batch in split.batches(len(split))
    )
    rng, found = np.random.default_rng(seed), []
    for number in range(trials):
        c, rate, leaves = 10 ** rng.uniform(-2.5, 1.5), 10 ** rng.uniform(-2, -0.5), int(rng.integers(4, 32))
        first = StandardScaler() if table else scaled(reads_texts(spec), centred=True)
        linear = LogisticRegression(C=100 * c if reads_texts(spec) else c, max_iter=1000)
        models = {"logistic regression": make_pipeline(first, linear)}
        if table:
            models["boosting"] = HistGradientBoostingClassifier(learning_rate=rate, max_leaf_nodes=leaves)
        for arm, model in models.items():
            score = model.fit(x, y).score(held, truth)
            found.append({"arm": arm, "trial": number, "C": linear.C, "rate": rate, "leaves": leaves, "score": score})
    return found


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
    keys = [key for key in (*space, "C", "rate", "leaves") if key in table]
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
    parser.add_argument("--data", nargs="+", default=["digits"], choices=DATA)
    parser.add_argument("--arms", nargs="+", default=ARMS, choices=ARMS)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--root", help="torchvision's folder of MNIST and Fashion-MNIST")
    parser.add_argument("--folder", help="pictures in folders of their classes")
    parser.add_argument(
        "--teacher", help="of data sets without a bundled one, as ckpt:FILE; without it they have no taught arm"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/tuning"))
    options = parser.parse_args(words)
    rows: list[dict[str, Any]] = []
    arms = [arm for arm in options.arms if arm != "mlp" or KINDS[options.kind].rival]
    for data in options.data:
        for arm in arms:
            if arm != "taught" or data in ("digits", "banking") or options.teacher:
                rows += swept(options.kind, data, arm, options)
        settings = settings_of(options.kind, data, "untaught", place_of(data, options), None)
        config = load(KINDS[options.kind].recipe, settings)[1]
        rows += [{"data": data, **row} for row in rivals(config.data.build(), options.trials)]
    table, space = pd.DataFrame(rows), load_yaml(HERE / f"{KINDS[options.kind].space}.yaml")
    table.to_csv(options.out / f"{options.kind}.csv", index=False, float_format="%.5g")
    (options.out / f"{options.kind}.md").write_text(pages(table, space))
    print(pages(table, space))


if __name__ == "__main__":
    main()
