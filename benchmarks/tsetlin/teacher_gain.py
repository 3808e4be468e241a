"""The teacher's gain against the size of a flat clause machine: 2, 20, 200 clauses a class, taught and on labels alone, drawn.

    python -m benchmarks.tsetlin.teacher_gain --teachers FOLDER --out benchmarks/results

Each size is an ordinary run (`runs/teacher-gain/DATA-CLAUSES`), gone on with where it was stopped; teachers are asked once
(`stillhouse cache`). FOLDER holds `mnist-teacher` and `fashion-mnist-teacher` of `stillhouse train-teacher`.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from stillhouse.cli.runs import cache
from stillhouse.core.config import dump_yaml
from stillhouse.core.experiment import run
from stillhouse.core.machine import machine
from stillhouse.core.records import RESULT, RUN, arm_folder, read_json
from stillhouse.signals import LogitsConfig
from stillhouse.tasks.classification.data.config import DataConfig
from stillhouse.tasks.classification.plan import ClassificationRunConfig, ClassificationTrainingConfig
from stillhouse.tasks.classification.students.config import FlatTMConfig
from stillhouse.tasks.classification.task import TASK
from stillhouse.teachers.config import TeacherConfig

CLASSES = 10
LEVELS = {"mnist": 1, "fashion-mnist": 3}


def config_of(
    options: argparse.Namespace, name: str, clauses: int, source: str, temperature: float
) -> ClassificationRunConfig:
    """The run of one size; `clauses` a class."""
    return ClassificationRunConfig(
        name=f"{name}-{clauses}-T{temperature:g}",
        data=DataConfig(name=name, train_limit=options.train_limit),
        teacher=TeacherConfig(source=source),
        student=FlatTMConfig(clauses=CLASSES * clauses, levels=LEVELS[name]),
        signals=(LogitsConfig(temperature=temperature, weight=1.0),),
        training=ClassificationTrainingConfig(
            epochs=options.epochs, batch_size=128, learning_rate=3e-3, warmup_epochs=0.1, threads=1, keep="last"
        ),
        arms=("kd",),
        seeds=1,
    )


def answers(options: argparse.Namespace, name: str) -> str:
    """The folder of the teacher's answers to the rows of a data set, as a source; asked for where it is not there."""
    folder = options.runs / f"answers-{name}"
    if not (folder / "manifest.json").is_file():
        options.runs.mkdir(parents=True, exist_ok=True)
        source = f"ckpt:{options.teachers / name}-teacher/teacher.safetensors"
        file = options.runs / f"answers-{name}.yaml"
        file.write_text(dump_yaml(config_of(options, name, options.sizes[0], source, 1.0)))
        cache([str(file), "--out", str(folder), "--quiet"])
    return f"cache:{folder}"


def trained(options: argparse.Namespace, config: ClassificationRunConfig) -> dict[str, Any]:
    """The summary of a run."""
    out: Path = options.runs / config.name
    return run(TASK, config, out, resume=(out / RUN).is_file())


def measured(options: argparse.Namespace, name: str, clauses: int) -> dict[str, Any]:
    """Both arms of one size at the temperature that is best on validation images under seed 0.

    Accuracies and their difference on the test split have intervals over seeds and test images.
    """
    source, tried = answers(options, name), {}
    for temperature in options.temperatures:
        config = config_of(options, name, clauses, source, temperature)
        result = arm_folder(options.runs / config.name, "kd", 0) / RESULT
        if not result.is_file():  # a run that has grown since to more seeds is not opened as a smaller one
            trained(options, config)
        tried[temperature] = (read_json(result)["validation"]["accuracy"], config)
    best = max(tried, key=lambda temperature: tried[temperature][0])
    config = replace(tried[best][1], arms=("kd", "no-kd"), seeds=options.seeds)
    summary = trained(options, config)
    return {
        "temperature": best,
        "validation": {temperature: accuracy for temperature, (accuracy, _) in tried.items()},
        "arms": {arm: summary["arms"][arm]["accuracy"] for arm in config.arms},
        "gain": next(one for one in summary["comparisons"] if one["name"] == "teacher"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teachers", type=Path, default=Path("runs"))
    parser.add_argument("--runs", type=Path, default=Path("runs/teacher-gain"))
    parser.add_argument("--out", type=Path, required=True, help="folder of the plot")
    parser.add_argument("--data", nargs="+", default=list(LEVELS), choices=list(LEVELS))
    parser.add_argument("--sizes", nargs="+", type=int, default=[2, 20, 200], help="clauses a class")
    parser.add_argument(
        "--temperatures", nargs="+", type=float, default=[1.0, 4.0], help="validation images choose one for each size"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train-limit", type=int, default=6_000)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    found: dict[str, dict[int, dict[str, Any]]] = {}
    print(
        "| data | clauses a class | T (its validation accuracy) | taught | labels alone | gain, points | 95 % interval | verdict |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for name in options.data:
        for clauses in options.sizes:
            one = found.setdefault(name, {})[clauses] = measured(options, name, clauses)
            tried = ", ".join(f"{t:g} ({accuracy:.2%})" for t, accuracy in one["validation"].items())
            gain, (taught, alone) = one["gain"], one["arms"].values()
            print(
                f"| {name} | {clauses} | {one['temperature']:g} of {tried} | {taught['mean']:.2%} "
                f"| {alone['mean']:.2%} | {100 * gain['difference']:+.2f} "
                f"| {100 * gain['low']:+.2f} to {100 * gain['high']:+.2f} | {gain['verdict']} |",
                flush=True,
            )
    print(machine())
    draw(found, options.out / "tsetlin-teacher-gain.svg")


def draw(found: dict[str, dict[int, dict[str, Any]]], path: Path) -> None:
    """The gain with its interval against clauses a class, a line a data set."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.axhline(0, color="0.6", linewidth=1)
    for place, (name, sizes) in enumerate(found.items()):
        gains = [one["gain"] for one in sizes.values()]
        middle = [100 * g["difference"] for g in gains]
        ends = [
            [100 * (g["difference"] - g["low"]) for g in gains],
            [100 * (g["high"] - g["difference"]) for g in gains],
        ]
        at = [size * 1.06**place for size in sizes]  # beside one another, so that both intervals are seen
        axes.errorbar(at, middle, ends, fmt="os"[place % 2] + "-", capsize=3, label=name)
    axes.set(xscale="log", xlabel="clauses a class", ylabel="taught minus labels alone, points of accuracy")
    ticks = sorted({size for sizes in found.values() for size in sizes})
    axes.set_xticks(ticks, [f"{size:,}" for size in ticks])
    axes.minorticks_off()
    axes.legend()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
