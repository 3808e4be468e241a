"""Rules of a trained student: into its run folder, onto the screen, and into other programs, each checked on the test split.

Legend: N rows, F features, K classes.
"""

from __future__ import annotations

import ctypes
import runpy
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.core.exports import compare_answers
from stillhouse.core.folder import run_above
from stillhouse.core.records import read_json
from stillhouse.core.types import FeatureSpec
from stillhouse.logic.c import C_FLAGS
from stillhouse.report.page import write_blocks
from stillhouse.tasks.classification import readable_exports
from stillhouse.tasks.classification.data.split import Part
from stillhouse.tasks.classification.programs import ROUNDING, logits_of
from stillhouse.tasks.classification.readable import ReadableModel, Rule
from stillhouse.tasks.classification.readable_report import blocks_of
from stillhouse.tasks.classification.readable_text import FILE, SCREEN, Screen, read_screen, screen, write_screen

PAGE = "rules.html"


def is_readable(network: Any) -> bool:
    """Whether a network is rules, or points for words that are there."""
    return hasattr(network, "readable") or hasattr(network, "points")


def readable_of(network: Any, input_spec: FeatureSpec) -> ReadableModel:
    """The model that people read.

    Args:
        network: with `readable()`; or a scorecard in eval mode: `points()` (K, F) times what is there, plus `bias` (K).
        input_spec: names of its features and classes.

    Raises:
        InputError: a network that is neither.
    """
    if hasattr(network, "readable"):
        found: ReadableModel = network.readable()
        return found
    if not is_readable(network):
        raise InputError(f"rules: expected a student of rules or a scorecard, got {type(network).__name__}")
    weight, bias = (x.detach().double().cpu().numpy() for x in (network.points(), network.bias))
    used = np.flatnonzero((weight != 0).any(0))
    rules = tuple(Rule(((input_spec.names[place], True),), tuple(weight[:, place].tolist())) for place in used)
    return ReadableModel(
        input_spec.class_names, dict(input_spec.reading), input_spec.names, rules, tuple(bias.tolist())
    )


def screen_of(model: ReadableModel, data: Any, lines: int = SCREEN) -> Screen:
    """What is shown of a model, counted on validation and test rows."""
    held = [_counted(split) for split in (data.validation, data.test)]
    return screen(
        model,
        _counted(data.train)[0],
        np.concatenate([counts for counts, _, _ in held]),
        np.concatenate([labels for _, labels, _ in held]),
        [row for _, _, raw in held for row in raw],
        lines=lines,
    )


def _counted(split: Any) -> tuple[NDArray[Any], NDArray[Any], Sequence[Any]]:
    """Counts (N, F), labels (N) and raw rows of a split, or of a part of one."""
    whole, rows = (split.split, split.rows.numpy()) if isinstance(split, Part) else (split, np.arange(len(split)))
    return whole.ids.numpy()[rows], split.labels.numpy(), [whole.raw[row] for row in rows]


def write_shipped(task: Any, context: Any, summary: dict[str, Any]) -> None:
    """Rules of the shipped student into the run folder, and what a screen of them keeps into the summary."""
    shipped = summary["shipped"]
    model = readable_of(task.load(context.place(shipped["arm"], shipped["seed"])), context.data.input_spec)
    found = screen_of(model, task.of_seed(context, shipped["seed"]).data)
    write_screen(context.folder.path, model, found, student=dict(shipped))
    summary["rules"] = {"shown": found.shown, "full": found.full, "rows": found.rows, "count": found.rules}


def rules_of_folder(folder: Path, network: Any, input_spec: FeatureSpec, lines: int | None = None) -> str:
    """What `rules()` of a loaded student gives: what its run found, or found now on its run's data.

    Args:
        folder: of the student.
        network: of the student.
        input_spec: of the student.
        lines: at most so many; None: what its run found, where it is the student that the run ships.
    """
    run = run_above(folder)
    if not is_readable(network):
        raise InputError(f"rules: expected a student of rules or a scorecard, got {type(network).__name__}")
    if run is None:
        raise InputError(f"{folder}: rules are counted on the test rows of a run, and this student lies in none")
    if lines is None and (run / FILE).is_file() and _is_of(folder, run):
        return read_screen(run / FILE)[1].text()
    from stillhouse.tasks.classification.evaluation import data_of

    return screen_of(readable_of(network, input_spec), data_of(folder), lines or SCREEN).text()


def _is_of(folder: Path, run: Path) -> bool:
    shipped = read_json(run / FILE).get("student") or {}
    place = run / "arms" / str(shipped.get("arm")) / f"seed-{shipped.get('seed')}"
    return folder.resolve() in {(run / "student").resolve(), place.resolve()}


# ------------------------------------------------------------------------------------------------ other programs


def export(form: str, network: Any, data: Any, out: Path) -> Sequence[str]:
    """Write a student in a form, and run what was written on every test row.

    Args:
        form: python, sql, json, c or rules.
        network: the student.
        data: of its run.
        out: file or folder.

    Raises:
        InputError: a form that it has not, or other answers than the student's.
    """
    model = readable_of(network, data.input_spec)
    if form == "rules":
        out.mkdir()
        found = screen_of(model, data)
        write_screen(out, model, found)
        write_blocks(
            out / PAGE,
            blocks_of(found),
            title="Rules",
            kicker="stillhouse rules",
            headline="What decides",
            lead=found.kept(),
        )
        return [found.kept()]
    model = model.compact()
    writer, answer = {
        "python": (readable_exports.python_text, _answers_of_python),
        "sql": (readable_exports.sql_text, _answers_of_sql),
        "json": (readable_exports.json_text, _answers_of_json),
        "c": (readable_exports.c_text, _answers_of_c),
    }[form]
    out.write_text(writer(model), encoding="utf-8")
    expected = logits_of(network, data.test).astype(np.float64)
    bound = ROUNDING * max(1.0, float(np.abs(expected).max()))
    return [compare_answers(expected, answer(out, model, data.test), out.name, bound=bound)]


def _answers_of_python(path: Path, model: ReadableModel, split: Any) -> NDArray[Any]:
    """(N, K) of the program, which is run."""
    program = runpy.run_path(str(path))
    scores = np.array([program["scores"](row) for row in split.raw], dtype=np.float64)
    named = [model.class_names.index(program["predict"](row)) for row in split.raw]
    return _agreeing(scores, named, path.name)


def _answers_of_json(path: Path, model: ReadableModel, split: Any) -> NDArray[Any]:
    from stillhouse.core.checks import InputError as Refused
    from stillhouse.tasks.classification.data.readers import read_features

    read = ReadableModel.from_mapping(read_json(path))
    if read != model:
        raise Refused(f"{path.name}: expected the model that was written, got another one")
    return read.scores(read_features(read.reading, read.names, split.raw))


def _answers_of_sql(path: Path, model: ReadableModel, split: Any) -> NDArray[Any]:
    """(N, K) of SQLite over a table of the raw rows."""
    from stillhouse.tasks.classification.data.readers import is_missing, number_in

    columns = model.reading["columns"]
    quoted = [readable_exports.quoted_name(column["name"]) for column in columns]
    kinds = ["REAL" if "cuts" in column else "TEXT" for column in columns]
    base = sqlite3.connect(":memory:")
    try:
        base.execute(f"CREATE TABLE rows ({', '.join(f'{name} {kind}' for name, kind in zip(quoted, kinds))})")
        rows = []
        for row in split.raw:
            cells = [row[column["name"]] for column in columns]
            rows.append(
                [
                    None if is_missing(cell) else number_in(cell) if "cuts" in column else str(cell)
                    for cell, column in zip(cells, columns)
                ]
            )
        base.executemany(f"INSERT INTO rows VALUES ({', '.join('?' * len(columns))})", rows)
        found = base.execute(path.read_text(encoding="utf-8")).fetchall()
    except sqlite3.Error as error:
        raise InputError(f"{path.name}: SQLite refuses it: {error}") from None
    finally:
        base.close()
    count = len(model.class_names)
    scores = np.array([row[len(columns) : len(columns) + count] for row in found], dtype=np.float64)
    return _agreeing(scores, [model.class_names.index(row[-1]) for row in found], path.name)


def _answers_of_c(path: Path, model: ReadableModel, split: Any) -> NDArray[Any]:
    """(N, K) of the compiled file; of its JSON's reader where there is no compiler."""
    from stillhouse.tasks.classification.data.readers import read_features

    compiler = shutil.which("cc")
    if compiler is None:
        raise InputError("C compiler: expected cc on the path, which checks what was written, got none; install one")
    counts = read_features(model.reading, model.names, split.raw)
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "student.so"
        built = subprocess.run(
            [compiler, *C_FLAGS, "-shared", "-fPIC", "-o", library, "-x", "c", path], capture_output=True, text=True
        )
        if built.returncode:
            raise InputError(f"{path.name}: expected C that compiles, got {built.stderr.strip()[-500:]}")
        program = ctypes.CDLL(str(library))
        scores = np.zeros((len(counts), len(model.class_names)))
        named = []
        for row, found in zip(np.ascontiguousarray(counts), scores):
            program.student_scores(row.ctypes.data_as(ctypes.c_char_p), found.ctypes.data_as(ctypes.c_void_p))
            named.append(int(program.student_predict(row.ctypes.data_as(ctypes.c_char_p))))
    return _agreeing(scores, named, path.name)


def _agreeing(scores: NDArray[Any], named: Sequence[int], name: str) -> NDArray[Any]:
    """The scores, if the class that a program names has the largest of them."""
    wrong = int((scores.argmax(1) != np.array(named)).sum())
    if wrong:
        raise InputError(f"{name}: expected the class with the largest score, got another one on {wrong:,} rows")
    return scores
