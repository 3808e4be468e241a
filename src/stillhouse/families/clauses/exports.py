"""Forms of a clause student: rules for people, and where all of it is clauses, machines for programs and hardware."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.classification.export import compare_on
from stillhouse.core.checks import InputError
from stillhouse.core.exports import ExportChoices
from stillhouse.core.folder import run_above
from stillhouse.core.records import read_json, write_arrays, write_atomically
from stillhouse.families.clauses import numpy_machine
from stillhouse.families.clauses.lower import lower
from stillhouse.families.clauses.rules_file import RULES, SavedRules, read_rules, write_rules
from stillhouse.families.clauses.rules_report import blocks_of
from stillhouse.families.clauses.students.flat import DeepTMClassifier, FlatTM
from stillhouse.logic.machine import Machine
from stillhouse.report.page import render_blocks
from stillhouse.report.words import percent

PAGE, PROGRAM = "rules.html", "predict.py"


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
        from stillhouse.families.clauses.students.rules import rules_of

        found = rules_of(model, data)
        names = list(data.task.class_names)
        write_rules(out, found, class_names=names)
        saved = SavedRules({**found.index(), "class_names": names}, found.arrays)
    index: Mapping[str, Any] = saved.index
    line = (
        f"{len(index['rules'])} rules alone: {percent(index['shown'])} of {index['judged_on']:,} test images right; the whole "
        f"network: {percent(index['full'])}"
    )
    page = render_blocks(
        "Rules", f"What carries each class of {folder.resolve().name}", line, blocks_of(saved)
    ).encode()
    write_atomically(out / PAGE, lambda file: file.write(page))
    return [line]


def _is_shipped(folder: Path, run: Path) -> bool:
    """Whether the rules of a run are those of this student: it is the shipped one, or the training that is shipped."""
    folder = folder.resolve()
    shipped = read_json(run / RULES).get("student", {}) if (run / RULES).is_file() else {}
    place = run / "arms" / str(shipped.get("arm")) / f"seed-{shipped.get('seed')}"
    return folder in {(run / "student").resolve(), place.resolve()}


def machine_of(model: Any, class_names: Sequence[str], choices: ExportChoices) -> Machine:
    """The whole student as logic, its votes rounded if that is wanted.

    Raises:
        InputError: a student of which only parts are clauses.
    """
    if not isinstance(model, (FlatTM, DeepTMClassifier)) or not model.config.part == "clauses":
        raise InputError(
            "expected a student that is clauses from the pixels to the class (flat-tm, deep-tm), got "
            f"{type(model).__name__}; forms for it: rules, onnx, torch"
        )
    return lower(model, class_names)


def export_numpy(model: Any, split: Any, machine: Machine, out: Path) -> Sequence[str]:
    """A folder with `predict.py`, which needs numpy alone, and the clauses as arrays; run once on the split."""
    out.mkdir()
    shutil.copyfile(numpy_machine.__file__, out / PROGRAM)
    write_arrays(out / numpy_machine.FILE, **arrays_of(machine))
    spec = importlib.util.spec_from_file_location("exported_predict", out / PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    copy = program.ClauseMachine(out)
    return [compare_on(model, split, lambda x: copy.scores(x) / copy.scale, PROGRAM)]


def arrays_of(machine: Machine) -> dict[str, np.ndarray]:
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
