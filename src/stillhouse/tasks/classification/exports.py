"""Forms of a clause student: rules for people, and where all of it is clauses, machines for programs and hardware."""

from __future__ import annotations

import importlib.util
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stillhouse.core.checks import InputError
from stillhouse.core.exports import compare_answers
from stillhouse.core.folder import run_above
from stillhouse.core.records import read_json, write_arrays
from stillhouse.logic.machine import PackedModel
from stillhouse.logic.packed import load_packed, save_packed
from stillhouse.logic.simplify import simplify
from stillhouse.report.page import write_blocks
from stillhouse.tasks.classification import numpy_machine
from stillhouse.tasks.classification.lower import lower
from stillhouse.tasks.classification.programs import ROUNDING, logits_of
from stillhouse.tasks.classification.rules_file import RULES, decided, heading, read_rules, write_rules
from stillhouse.tasks.classification.rules_report import blocks_of
from stillhouse.tasks.classification.students.flat import DeepTMClassifier, FlatTM

PAGE, PROGRAM, ROWS = "rules.html", "predict.py", 512


def export_rules(model: Any, data: Any, folder: Path, out: Path) -> Sequence[str]:
    """A folder with the rules as a page, as text, as JSON and as arrays.

    Args:
        model: the student.
        data: of its run, or other data; rules are chosen on its validation split.
        folder: of the student; the rules of its run are taken where they are this student's.
        out: a new folder.
    """
    out.mkdir()
    run = run_above(folder)
    known = None if run is None or not _is_shipped(folder, run) else run / RULES
    if known is not None and known.is_file():
        saved = read_rules(known)
        for name in ("rules.json", "rules.npz", "rules.txt"):
            shutil.copyfile(known.with_name(name), out / name)
    else:
        from stillhouse.tasks.classification.students.rules import rules_of

        saved = rules_of(model, data)
        write_rules(out, saved)
    line, headline = decided(saved.index), f"{folder.resolve().name}: {heading(saved.index)}"
    write_blocks(out / PAGE, blocks_of(saved), title="Rules", kicker="stillhouse rules", headline=headline, lead=line)
    return [line]


def _is_shipped(folder: Path, run: Path) -> bool:
    """Whether the rules of a run are those of this student: it is the shipped one, or the training that is shipped."""
    folder = folder.resolve()
    shipped = read_json(run / RULES).get("student", {}) if (run / RULES).is_file() else {}
    place = run / "arms" / str(shipped.get("arm")) / f"seed-{shipped.get('seed')}"
    return folder in {(run / "student").resolve(), place.resolve()}


@dataclass(frozen=True, eq=False)
class Job:
    """What every form of a machine is made from, and held against.

    Attributes:
        model: the student.
        split: rows of the check.
        machine: the whole student as logic, simplified.
        notes: what was already found: its size, and that it answers as the student does.
    """

    model: Any
    split: Any
    machine: PackedModel
    notes: tuple[str, ...]

    @property
    def images(self) -> np.ndarray:
        """(N, ...) bytes of the split.

        Raises:
            InputError: images that are no bytes.
        """
        images: np.ndarray = self.split.images.numpy()
        if images.dtype != np.uint8:
            raise InputError(f"expected a test split of bytes (uint8), which this form reads, got {images.dtype}")
        return images

    @cached_property
    def scores(self) -> np.ndarray:
        """(N, K) int64 of the machine on the split, by its definition."""
        return np.concatenate(
            [self.machine.scores(batch.inputs.numpy(), definition=True) for batch in self.split.batches(ROWS)]
        )

    def holds(self, scores: np.ndarray, classes: np.ndarray, name: str) -> str:
        """What was written, against the machine: whole numbers, so equal or wrong.

        Raises:
            InputError: another class or score.
        """
        expected = self.scores
        if scores.shape != expected.shape:
            raise InputError(
                f"{name}: expected scores of shape {expected.shape}, got {scores.shape}; nothing was written"
            )
        wrong = int((classes != expected.argmax(1)).sum())
        if wrong or (scores != expected).any():
            raise InputError(
                f"{name}: expected the scores of the clauses on {len(expected):,} rows, got {wrong:,} other classes; nothing "
                "was written"
            )
        return f"{name}: every class and score of {len(classes):,} rows equal, to the bit"


def job(model: Any, data: Any) -> Job:
    """Lower a student to logic, simplify it, and hold it against the network.

    Raises:
        InputError: a student of which only parts are clauses, or a machine that answers otherwise.
    """
    if not isinstance(model, (FlatTM, DeepTMClassifier)) or model.config.part != "clauses":
        raise InputError(
            "expected a student that is clauses from the pixels to the class (flat-tm, deep-tm), got "
            f"{type(model).__name__}; forms for it: rules, onnx, torch"
        )
    plain = lower(model, data.input_spec.class_names)
    machine = replace(plain, layers=tuple(simplify(layer) for layer in plain.layers))
    before, after = (
        (sum(x.num_clauses for x in one.layers), sum(len(x.literals) for x in one.layers)) for one in (plain, machine)
    )
    size = f"{before[0]:,} clauses of {before[1]:,} literals, simplified {after[0]:,} of {after[1]:,}"
    found = Job(model, data.test, machine, ())
    expected = logits_of(model, data.test)
    bound = ROUNDING * max(1.0, float(np.abs(expected).max()))
    note = compare_answers(expected, found.scores / machine.scale, "the clauses as logic", bound=bound)
    return replace(found, notes=(size, f"logic against torch: {note}"))


def export_packed(job: Job, out: Path) -> Sequence[str]:
    """One safetensors file that predicts with numpy alone, and faster with numba; read back and run on the split."""
    save_packed(job.machine, out)
    started = time.perf_counter()
    read = load_packed(out)
    loaded = 1000 * (time.perf_counter() - started)
    scores = np.concatenate([read.scores(batch.inputs.numpy()) for batch in job.split.batches(ROWS)])
    started = time.perf_counter()
    images = job.split.batch(torch.arange(len(job.split))).inputs.numpy()
    read.predict(images)
    rate = len(images) / (time.perf_counter() - started)
    note = job.holds(scores, scores.argmax(1), out.name)
    return [*job.notes, note, f"read in {loaded:.1f} ms; {rate:,.0f} rows/s on this machine"]


def export_c(job: Job, out: Path) -> Sequence[str]:
    """C99 in one file, compiled here with every warning an error and run on the split."""
    from stillhouse.logic.c import answers, c_text

    out.write_text(c_text(job.machine))
    classes, scores = answers(out, job.images)
    return [*job.notes, job.holds(scores, classes, out.name)]


def export_json(job: Job, out: Path) -> Sequence[str]:
    """Literals, capacities and votes as JSON, read back and run on the split."""
    from stillhouse.logic.json_file import read_json as read_machine
    from stillhouse.logic.json_file import write_json as write_machine

    write_machine(job.machine, out)
    read = read_machine(out)
    scores = np.concatenate([read.scores(batch.inputs.numpy()) for batch in job.split.batches(ROWS)])
    return [*job.notes, job.holds(scores, scores.argmax(1), out.name)]


def export_numpy(job: Job, out: Path) -> Sequence[str]:
    """A folder with `predict.py`, which needs numpy alone, and the clauses as arrays; run once on the split."""
    out.mkdir()
    shutil.copyfile(numpy_machine.__file__, out / PROGRAM)
    write_arrays(out / numpy_machine.FILE, **arrays_of(job.machine))
    spec = importlib.util.spec_from_file_location("exported_predict", out / PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    copy = program.ClauseMachine(out)
    scores = np.concatenate([copy.scores(batch.inputs.numpy()) for batch in job.split.batches(ROWS)])
    return [*job.notes, job.holds(scores, scores.argmax(1), PROGRAM)]


def arrays_of(machine: PackedModel) -> dict[str, np.ndarray]:
    """A machine as arrays with names; see `numpy_machine`."""
    found: dict[str, Any] = {
        "image_shape": np.array(machine.image_shape),
        "edges": machine.edges,
        "class_names": np.array(machine.class_names),
        "scale": np.array(machine.scale),
    }
    for number, layer in enumerate(machine.layers):
        for name in ("starts", "literals", "capacity", "votes", "bias"):
            found[f"{name}_{number}"] = getattr(layer, name)
    for number, join in enumerate(machine.joins):
        for name in ("path", "shift", "gain", "offset", "epsilon"):
            found[f"{name}_{number}"] = np.asarray(getattr(join, name))
    return found
