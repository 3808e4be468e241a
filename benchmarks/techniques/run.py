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
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.techniques.arms import KD, Paths, techniques

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
from stillhouse.teachers import Teacher, TeacherConfig


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
    more: Mapping[str, Mapping[str, Any]]
    task: Any = TASK
    config: Any = ClassificationRunConfig
    order: Sequence[str] = ()  # of these rows alone, where the others do not fit the student
    control: str = "kd"  # whom the others are held against, beside no KD


def fashion(options: argparse.Namespace) -> Task:
    """Fashion-MNIST: a CNN taught by 54 000 augmented images; a student of 64 000 weights that sees 5 000."""
    student = {"kind": "timm", "architecture": "test_resnet", "arguments": {"channels": [8, 16, 24, 32]}}
    base = parse(
        ClassificationRunConfig,
        {
            "data": {"name": "fashion-mnist", "root": str(options.root), "train_limit": options.rows or 5000},
            "teacher": {"source": f"ckpt:{options.teacher}"},
            "student": student,
            "arms": ["kd"],
            "training": {
                "epochs": options.epochs or 10,
                "batch_size": 64,
                "learning_rate": 4e-3,
                "threads": 1,
                "keep": "last",
            },
        },
    )
    data = base.data.build()
    source = TeacherConfig(source=f"ckpt:{options.teacher}")
    paths = Paths(tuple(f"network.layer{i}" for i in (1, 2, 3, 4)), tuple(f"layer{i}" for i in (1, 2, 3, 4)))
    crops = {"data": {"augment": "crop-flip"}, "signals": [{"kind": "logits", "temperature": 4.0}]}
    views = {
        "crops, no-kd": {**crops, "arms": ["no-kd"]},
        **{
            f"crops, kd, {view} view": {**crops, "training": {"teacher_view": view}}
            for view in ("same", "independent", "clean")
        },
    }
    middle = {"kind": "timm", "architecture": "test_resnet", "arguments": {"channels": [16, 32, 48, 64]}}
    more = {
        **views,
        "teacher assistant": {"signals": [{"kind": "logits", "temperature": 4.0}], "teacher_assistants": [middle]},
    }
    return Task(base, data, lambda features: source.build(data.input_spec, features=features), paths, more)


def published(options: argparse.Namespace) -> Task:
    """ResNet-56 to ResNet-20 on CIFAR-100 in a smaller form: its losses, weights and optimizer on data and networks of `fashion`.

    There (Zhao et al. 2022, arXiv:2203.08679) 240 epochs end at 69.06 % without a teacher, 70.66 % with KD, 71.97 % with DKD.
    Here the rate falls by a cosine, not in three steps, and DKD has no warm-up.
    """
    task = fashion(options)
    sgd = {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.05, "weight_decay": 5e-4}
    base = parse(
        ClassificationRunConfig, merge(to_mapping(task.base), {"training": {**sgd, "epochs": options.epochs or 30}})
    )
    dkd = {"kind": "logits", "loss": "dkd", "temperature": 4.0}
    rows: dict[str, Any] = {
        "no-kd": {"arms": ["no-kd"]},
        "kd": {"signals": [{**KD, "weight": 0.9}], "training": {"label_weight": 0.1}},
        "DKD, 2 for the other classes": {"signals": [{**dkd, "nontarget_weight": 2.0}]},
        "DKD, 8 for the other classes": {"signals": [{**dkd, "nontarget_weight": 8.0}]},
    }
    return replace(task, base=base, more=rows, order=tuple(rows))


def spiking(options: argparse.Namespace) -> Task:
    """The teacher of `fashion` and its 5 000 images; a student of another kind, spiking neurons over four time steps."""
    student = {"kind": "spiking", "width": 16, "depth": 3, "steps": 4}
    base = parse(
        ClassificationRunConfig,
        {
            "data": {"name": "fashion-mnist", "root": str(options.root), "train_limit": options.rows or 5000},
            "teacher": {"source": f"ckpt:{options.teacher}"},
            "student": student,
            "arms": ["kd"],
            "training": {
                "epochs": options.epochs or 10,
                "batch_size": 64,
                "learning_rate": 4e-3,
                "threads": 1,
                "keep": "last",
            },
        },
    )
    source = TeacherConfig(source=f"ckpt:{options.teacher}")
    blocks = tuple(f"network.blocks.{i}" for i in (0, 1, 2))
    paths = Paths(blocks, ("layer1", "layer2", "layer3"), student_layout="btchw", student_scores="network.head")
    data = base.data.build()
    return Task(base, data, lambda features: source.build(data.input_spec, features=features), paths, {})


UNLIKE = (  # the rows of the techniques for students of another kind, and their controls
    "no-kd",
    "kd",
    "kd, T 1",
    "feature MSE (FitNets)",
    "RKD",
    "DIST",
    "OFA-KD",
    "OFA-KD, exits beside kd",
    "TAID",
    "TAID, the line alone",
    "MLLD",
    "activation maps (AT)",
    "scores a time step",
    "scores a time step, own mean",
)
DIGITS: dict[str, Any] = {
    "data": {"name": "digits", "train_limit": 300},
    "teacher": {"source": "builtin:digits"},
    "arms": ["kd"],
    "training": {"epochs": 30, "batch_size": 32, "learning_rate": 4e-3, "threads": 1, "keep": "last"},
}


def digits_spiking(options: argparse.Namespace) -> Task:
    """300 digits of 8 x 8 and the teacher in the package, a residual CNN; four time steps of spiking neurons."""
    student = {"kind": "spiking", "width": 12, "depth": 2, "steps": 4}
    blocks = ("network.blocks.0", "network.blocks.1")
    paths = Paths(blocks, ("layer1", "layer2"), student_layout="btchw", student_scores="network.head")
    return _digits(options, parse(ClassificationRunConfig, {**DIGITS, "student": student}), paths, {}, order=UNLIKE)


def digits_clauses(options: argparse.Namespace) -> Task:
    """The same digits and teacher; a flat machine of 4 clauses a class."""
    student: dict[str, Any] = {"kind": "flat-tm", "clauses": 40, "levels": 3}
    training = {**DIGITS["training"], "learning_rate": 2e-3}
    base = parse(ClassificationRunConfig, {**DIGITS, "student": student, "training": training})
    more = {"OFA loss of the scores": {"signals": [{"kind": "logits", "loss": "ofa", "gamma": 1.4}]}}
    order = ("no-kd", "kd", "kd, T 1", "DIST", "TAID", "TAID, the line alone", "MLLD", *more)
    return _digits(options, base, Paths(("core",), ("layer2",)), more, TASK, ClassificationRunConfig, order)


def digits_targets(options: argparse.Namespace) -> Task:
    """1 000 digits and the same teacher; a transformer with clauses in its blocks, whose last bank has targets of its own."""
    student: dict[str, Any] = {"kind": "unified-tm", "patch_size": 2, "embed_dim": 32, "depths": 2, "num_heads": 2}
    training = {**DIGITS["training"], "learning_rate": 2e-3, "clause_learning_rate_factor": 1.0, "warmup_epochs": 2}
    base = parse(ClassificationRunConfig, {**DIGITS, "student": {**student, "tm_clauses": 32}, "training": training})
    bank = "blocks.1.feed_forward.core.layers.0.bank"
    targets = {"kind": "clause-targets", "student": bank, "teacher": "layer2"}
    cool = {"kind": "logits", "temperature": 1.0}
    more: dict[str, Any] = {
        **{f"clause targets alone, weight {w}": {"signals": [{**targets, "weight": w}]} for w in (0.5, 5.0)},
        **{f"kd and clause targets, weight {w}": {"signals": [KD, {**targets, "weight": w}]} for w in (0.5, 5.0)},
        "kd, T 1, and clause targets, weight 0.5": {"signals": [cool, {**targets, "weight": 0.5}]},
    }
    order = ("no-kd", "kd", "kd, T 1", *more)
    options.rows = options.rows or 1000
    return _digits(options, base, Paths(("blocks.1",), ("layer2",)), more, TASK, ClassificationRunConfig, order)


def _digits(
    options: argparse.Namespace,
    base: Any,
    paths: Paths,
    more: Mapping[str, Any],
    task: Any = TASK,
    config: Any = ClassificationRunConfig,
    order: Sequence[str] = (),
) -> Task:
    changes = {"data": {"train_limit": options.rows or 300}, "training": {"epochs": options.epochs or 30}}
    base = parse(config, merge(to_mapping(base), changes))
    data, source = base.data.build(), TeacherConfig(source="builtin:digits")
    return Task(base, data, lambda f: source.build(data.input_spec, features=f), paths, more, task, config, order)


def sentiment(options: argparse.Namespace) -> Task:
    """SST-2: MiniLM fine-tuned on it teaches a two-layer transformer that starts from random weights."""
    from benchmarks.techniques.sentiment import load_data, load_teacher

    data = load_data(options.root, options.encoder)
    base = parse(
        ClassificationRunConfig,
        {
            "student": {"kind": "text-transformer", "width": 64, "depth": 2, "heads": 2, "dropout": 0.2},
            "arms": ["kd"],
            "training": {
                "epochs": options.epochs or 10,
                "batch_size": 64,
                "learning_rate": 2e-3,
                "threads": 1,
                "keep": "last",
            },
        },
    )
    layer = "encoder.encoder.layer"
    paths = Paths(
        ("blocks.0", "blocks.1"),
        (f"{layer}.2", f"{layer}.5"),
        student_qkv=("blocks.1.attention.qkv",),
        teacher_qkv=tuple(f"{layer}.5.attention.self.{part}" for part in ("query", "key", "value")),
        student_heads=2,
        teacher_heads=12,
    )
    return Task(base, data, lambda f: load_teacher(data, options.encoder, options.teacher, f), paths, {})


def _sentences(
    options: argparse.Namespace, student: Mapping[str, Any], config: Any, **training: Any
) -> tuple[Any, Any]:
    """A base run on SST-2 and its data."""
    from benchmarks.techniques.sentiment import load_data

    settings = {"batch_size": 32, "threads": 1, "keep": "last", **training}
    base = parse(config, {"student": student, "arms": ["kd"], "training": settings})
    return base, load_data(options.root, options.encoder, options.rows, options.length)


def spikebert(options: argparse.Namespace) -> Task:
    """SpikeBERT's two stages, on a spiking transformer of two blocks; a third of the epochs is the first stage."""
    from benchmarks.techniques.sentiment import load_teacher

    epochs = options.epochs or 9
    student = {"kind": "spiking-text", "width": 32, "depth": 2, "heads": 2, "steps": 4}
    base, data = _sentences(options, student, ClassificationRunConfig, epochs=epochs, learning_rate=2e-3)
    layers = tuple(f"encoder.encoder.layer.{n}" for n in (2, 5))
    inside: dict[str, Any] = {
        "kind": "hidden",
        "student": ["layers.0", "layers.1"],
        "teacher": list(layers),
        "distance": "mse",
    }
    inside |= {"pool": "none", "normalize": False}
    scores = {"kind": "logits", "temperature": 1.0}
    second = [scores, {**inside, "weight": 0.5}]
    first = epochs // 3
    rows = {
        "no-kd": {"arms": ["no-kd"]},
        "scores alone": {"signals": [scores]},
        "stage two alone": {"signals": second},
        "stage two alone, without the steps of stage one": {
            "signals": second,
            "training": {"epochs": epochs - first},
        },
        "two stages (SpikeBERT)": {
            "stages": [
                {"name": "layers", "epochs": first, "label_weight": 0.0, "signals": [inside]},
                {"name": "task", "epochs": epochs - first, "signals": second},
            ]
        },
    }
    paths = Paths(("layers.0", "layers.1"), layers)
    teacher = lambda f: load_teacher(data, options.encoder, options.teacher, f)  # noqa: E731
    return Task(base, data, teacher, paths, rows, order=tuple(rows), control="stage two alone")


def distilbert(options: argparse.Namespace) -> Task:
    """DistilBERT's form: half of the teacher's blocks with their weights; scores at T = 2, labels, cosine of the last block."""
    from benchmarks.techniques.sentiment import HalfRunConfig, load_teacher

    student = {"kind": "half-encoder", "encoder": str(options.encoder), "weights": str(options.teacher)}
    base, data = _sentences(
        options, student, HalfRunConfig, epochs=options.epochs or 2, learning_rate=8e-5, weight_decay=0.01
    )
    last = "encoder.encoder.layer.5"
    cosine: dict[str, Any] = {
        "kind": "hidden",
        "student": ["encoder.encoder.layer.2"],
        "teacher": [last],
        "distance": "cosine",
    }
    cosine |= {"map": "last-only", "pool": "none", "projector": "none", "normalize": False}
    scores = {"kind": "logits", "temperature": 2.0, "weight": 2.5}
    rows = {
        "no-kd": {"arms": ["no-kd"]},
        "kd": {"signals": [KD]},
        "triple loss (DistilBERT)": {"signals": [scores, cosine]},
    }
    paths = Paths(("encoder.encoder.layer.2",), (last,))
    teacher = lambda f: load_teacher(data, options.encoder, options.teacher, f)  # noqa: E731
    return Task(base, data, teacher, paths, rows, config=HalfRunConfig, order=tuple(rows))


TASKS: dict[str, Callable[[argparse.Namespace], Task]] = {
    "fashion": fashion,
    "published": published,
    "spiking": spiking,
    "sentiment": sentiment,
    "digits-spiking": digits_spiking,
    "digits-clauses": digits_clauses,
    "digits-targets": digits_targets,
    "spikebert": spikebert,
    "distilbert": distilbert,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=list(TASKS))
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
    task = TASKS[options.task](options)
    changes = {**techniques(task.paths, to_mapping(task.base.student), task.base.training.epochs), **task.more}
    if task.order:
        changes = {name: changes[name] for name in task.order}
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
    run(task.task, config, out, resume=resume, data=data, teacher=teacher, command="benchmarks.techniques")


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
