"""What is each distillation technique worth? One student, one budget, the same seeds; only the technique changes.

    python -m benchmarks.techniques.run fashion --root DATA --teacher TEACHER.safetensors --out runs/techniques
    python -m benchmarks.techniques.run published --root DATA --teacher TEACHER.safetensors --out runs/techniques
    python -m benchmarks.techniques.run spiking --root DATA --teacher TEACHER.safetensors --out runs/techniques
    python -m benchmarks.techniques.run digits-spiking --out runs/techniques     (digits-clauses, digits-targets: minutes)
    python -m benchmarks.techniques.run sentiment --root TEXTS --encoder DIR --teacher TEACHER.safetensors --out runs/techniques
                                        (and spikebert, distilbert)

Every technique is a run folder under OUT/TASK; a killed run goes on with the same command. At the end (or with --table, from
what is there) OUT/TASK.md and OUT/TASK.json hold one table: accuracy on the test split, difference from plain KD and from no KD
with 95 % intervals over seeds and items.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from benchmarks.techniques.arms import KD, Paths, filled, techniques

from stillhouse.core import records
from stillhouse.core.config import merge, parse, to_mapping
from stillhouse.core.experiment import run
from stillhouse.core.machine import machine, versions
from stillhouse.core.records import arm_folder, read_json, write_atomically, write_json
from stillhouse.core.types import Batch, Outputs, OutputSpec
from stillhouse.core.verdict import compare, mean_interval
from stillhouse.signals import teacher_features
from stillhouse.tasks.classification.plan import ClassificationRunConfig
from stillhouse.tasks.classification.task import TASK
from stillhouse.teachers.teacher import Teacher

PLANS = Path(__file__).with_name("tasks.yaml")


class Remembered(Teacher):
    """A teacher whose answers on fixed inputs are kept for all techniques: what it says does not depend on who learns from it."""

    def __init__(self, teacher: Teacher, features: tuple[str, ...], kept: dict[Any, Outputs]) -> None:
        self.teacher, self.kept = teacher, kept
        self.spec = OutputSpec(teacher.spec.num_classes, {name: teacher.spec.features[name] for name in features})
        self.name = teacher.name

    @property
    def params(self) -> int:
        """Those of the teacher."""
        return self.teacher.params

    def identity(self) -> str:
        """That of the teacher."""
        return self.teacher.identity()

    def __call__(self, batch: Batch) -> Outputs:
        key = hashlib.sha256(batch.inputs.contiguous().numpy().tobytes()).digest()
        if key not in self.kept:
            self.kept[key] = self.teacher(batch)
        told = self.kept[key]
        return Outputs(told.logits, {name: told.features[name] for name in self.spec.features})


@dataclass(frozen=True)
class Task:
    """A base run, its data, and a teacher that is asked for some features."""

    base: Any
    data: Any
    teacher: Callable[[tuple[str, ...]], Any]
    paths: Paths
    changes: Mapping[str, Mapping[str, Any]]
    config: Any
    control: str  # whom the rows are held against, beside no KD


TASKS: tuple[str, ...] = tuple(yaml.safe_load(re.sub(r"\$\w+", "x", PLANS.read_text())))


def task_of(options: argparse.Namespace) -> Task:
    """What tasks.yaml says of a task, with the data at hand."""
    values = {"root": str(options.root), "teacher": f"ckpt:{options.teacher}", "kd": KD}
    values |= {"encoder": str(options.encoder), "weights": str(options.teacher)}
    plan = filled(PLANS.read_text(), values)[options.task]
    texts = options.task in ("sentiment", "spikebert", "distilbert")
    change = {"training": {"epochs": options.epochs}} if options.epochs else {}
    if options.rows and not texts:
        change = merge(change, {"data": {"train_limit": options.rows}})
    kind: Any = ClassificationRunConfig
    if texts:
        from benchmarks.techniques.sentiment import HalfRunConfig, load_data, load_teacher

        kind = HalfRunConfig if options.task == "distilbert" else kind
        base = parse(kind, merge(plan["base"], change))
        short = {} if options.task == "sentiment" else {"rows": options.rows, "length": options.length}
        data: Any = load_data(options.root, options.encoder, **short)
        teacher = lambda f: load_teacher(data, options.encoder, options.teacher, f)  # noqa: E731
    else:
        base = parse(kind, merge(plan["base"], change))
        data, source = base.data.build(), base.teacher
        teacher = lambda f: source.build(data.input_spec, features=f)  # noqa: E731
    lists = {name: tuple(x) if isinstance(x, list) else x for name, x in plan["paths"].items()}
    paths = Paths(**lists)
    changes = {**techniques(paths, to_mapping(base.student), base.training.epochs), **plan.get("rows", {})}
    changes = {name: changes[name] for name in plan.get("order", changes)}
    return Task(base, data, teacher, paths, changes, kind, plan.get("control", "kd"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--root", type=Path, help="data folder (fashion, spiking) or folder of SST-2's tsv files")
    parser.add_argument("--teacher", type=Path, help="teacher.safetensors of the task; the digits' is in the package")
    parser.add_argument("--encoder", type=Path, help="sentiment: folder of all-MiniLM-L6-v2")
    parser.add_argument("--out", type=Path, required=True, help="where run folders and tables go")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="of every training [10]")
    parser.add_argument("--rows", type=int, help="training rows [fashion, spiking: 5000; texts: all]")
    parser.add_argument("--length", type=int, default=40, help="spikebert, distilbert: tokens of a sentence")
    parser.add_argument("--only", nargs="+", default=[], help="names of techniques; all if left out")
    parser.add_argument("--table", action="store_true", help="train nothing, make the table from what is there")
    options = parser.parse_args()
    task = task_of(options)
    changes = task.changes
    unknown = set(options.only) - set(changes)
    if unknown:
        parser.error(f"unknown techniques: {', '.join(sorted(unknown))}; there are {', '.join(changes)}")
    folder = options.out / options.task
    kept: dict[Any, Outputs] = {}
    whole = None if options.table else task.teacher((*task.paths.teacher, *task.paths.teacher_qkv))
    for name, change in changes.items():
        if options.table or (options.only and name not in options.only):
            continue
        started = time.perf_counter()
        config = parse(task.config, merge({**to_mapping(task.base), "name": name, "seeds": options.seeds}, change))
        train(config, task, folder / slug(name), whole, kept)
        print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
    write_table(folder, {name: slug(name) for name in changes}, options, task.control)


def train(config: Any, task: Task, out: Path, whole: Any, kept: dict[Any, Outputs]) -> None:
    """One technique, all seeds; finished ones are skipped."""
    if (out / records.SUMMARY).is_file():
        return
    own_teacher = config.teacher is not None and config.teacher.is_student
    wanted = tuple(dict.fromkeys(path for s in config.stages_of(True) for path in teacher_features(s.signals)))
    same = config.data == task.base.data
    data = task.data if same else config.data.build()
    if own_teacher:
        teacher = None
    elif same:
        teacher = Remembered(whole, wanted, kept)
    else:
        teacher = task.teacher(wanted)  # augmented inputs never come again
    resume = (out / records.RUN).is_file()
    run(TASK, config, out, resume=resume, data=data, teacher=teacher)


def slug(name: str) -> str:
    """A folder's name."""
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower())


def write_table(folder: Path, names: Mapping[str, str], options: argparse.Namespace, control: str = "kd") -> None:
    """Everything that is there, held against plain KD (or another control) and no KD (those with crops against crops)."""
    found = {
        name: _right(folder / place) for name, place in names.items() if (folder / place / records.SUMMARY).is_file()
    }
    rows = []
    for name, right in found.items():
        crops = name.startswith("crops")
        plain = found.get("crops, kd, same view" if crops else control)
        none = found.get("crops, no-kd" if crops else "no-kd")
        score = mean_interval(right)
        seconds = np.mean([r["seconds"] for r in _results(folder / names[name])])
        row: dict[str, Any] = {"technique": name, "accuracy": score.mean, "low": score.low, "high": score.high}
        row["seconds"] = float(seconds)
        for key, other in (("against kd", plain), ("against no-kd", none)):
            if other is not None and other is not right:
                verdict = compare(right, other)
                row[key] = {
                    "difference": verdict.difference,
                    "low": verdict.low,
                    "high": verdict.high,
                    "verdict": verdict.verdict,
                }
        rows.append(row)
    about = {"versions": versions(), "machine": machine(), "task": options.task, "rows": rows}
    write_json(folder.parent / f"{folder.name}.json", json.loads(json.dumps(about)))
    text = _markdown(rows, "plain KD" if control == "kd" else control)
    write_atomically(folder.parent / f"{folder.name}.md", lambda file: file.write(text.encode()))
    print(text)


def _arm(place: Path) -> tuple[str, int]:
    config = read_json(place / records.RUN)["config"]
    return config["arms"][0], config["seeds"]


def _results(place: Path) -> list[dict[str, Any]]:
    arm, seeds = _arm(place)
    return [read_json(arm_folder(place, arm, seed) / records.RESULT) for seed in range(seeds)]


def _right(place: Path) -> np.ndarray:
    arm, seeds = _arm(place)
    files = [np.load(arm_folder(place, arm, seed) / records.PREDICTIONS) for seed in range(seeds)]
    return np.stack([f["probabilities"].argmax(1) == f["labels"] for f in files]).astype(float)


def _markdown(rows: list[dict[str, Any]], control: str) -> str:
    def against(entry: dict[str, Any] | None) -> str:
        if entry is None:
            return "|"
        points = [100 * entry[key] for key in ("difference", "low", "high")]
        return "{:+.2f} ({:+.2f} to {:+.2f}) | {}".format(*points, entry["verdict"])

    lines = [f"| technique | test accuracy, % | against {control}, points | | against no KD, points | | s |"]
    lines.append("|---|---|---|---|---|---|---|")
    for row in rows:
        lines.append(
            f"| {row['technique']} | {100 * row['accuracy']:.2f} | {against(row.get('against kd'))} | "
            f"{against(row.get('against no-kd'))} | {row['seconds']:.0f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
