"""Rules of a trained student: into its run folder, onto the screen, and into other programs, each checked on the test split.

Legend: N rows, F features, K classes.
"""

from __future__ import annotations

import ctypes
import json
import runpy
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.core.exports import ExportChoices, compare_answers
from stillhouse.core.folder import run_above
from stillhouse.core.records import read_json
from stillhouse.core.types import FeatureSpec
from stillhouse.logic.c import compiled
from stillhouse.report.page import write_blocks
from stillhouse.tasks.classification import exports, predict
from stillhouse.tasks.classification.data.readers import EMPTY, WORD, is_missing, number_in, read_features
from stillhouse.tasks.classification.data.split import Part
from stillhouse.tasks.classification.exports import ROUNDING, is_of, logits_of
from stillhouse.tasks.classification.readable import ReadableModel, Rule
from stillhouse.tasks.classification.readable_text import FILE, SCREEN, Screen, read_screen, screen, write_screen
from stillhouse.tasks.classification.report import readable_blocks

FORMS = ("python", "sql", "json", "c")


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
    if not is_readable(network):
        raise InputError(f"rules: expected a student of rules or a scorecard, got {type(network).__name__}")
    if hasattr(network, "readable"):
        found: ReadableModel = network.readable()
        return found
    weight, bias = (x.detach().double().cpu().numpy() for x in (network.points(), network.bias))
    used = np.flatnonzero((weight != 0).any(0))
    rules = tuple(Rule(((input_spec.names[place], True),), tuple(weight[:, place].tolist())) for place in used)
    return ReadableModel(
        input_spec.class_names, dict(input_spec.reading), input_spec.names, rules, tuple(bias.tolist())
    )


def screen_of(model: ReadableModel, data: Any, lines: int = SCREEN) -> Screen:
    """What is shown of a model, counted on validation and test rows."""
    held = [_counted(split) for split in (data.validation, data.test)]
    counts, labels = (np.concatenate([one[place] for one in held]) for place in (0, 1))
    raw = [row for one in held for row in one[2]]
    return screen(model, _counted(data.train)[0], counts, labels, raw, lines=lines)


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
    model, run = readable_of(network, input_spec), run_above(folder)
    if run is None:
        raise InputError(f"{folder}: rules are counted on the test rows of a run, and this student lies in none")
    if lines is None and (run / FILE).is_file() and is_of(folder, run, read_json(run / FILE)):
        return read_screen(run / FILE)[1].text()
    return screen_of(model, predict.data_of(folder), lines or SCREEN).text()


def write(form: str, load: Callable[[Path], Any], folder: Path, out: Path, choices: ExportChoices) -> Sequence[str]:
    """Write the student of a folder in a form; lines that say what was checked.

    Raises:
        InputError: a form that the student has not, or other answers than the student's.
    """
    model, data = load(folder), predict.data_of(folder, choices.data, choices.data_root)
    if form in ("rules", *FORMS) and is_readable(model):
        return export(form, model, data, out)
    if form in ("python", "sql"):
        raise InputError(f"--to {form}: expected a student of rules or a scorecard, got {type(model).__name__}")
    if form == "rules":
        return exports.export_rules(model, data, folder, out)
    if form == "onnx":
        return [exports.write_onnx(model, data.test, out, data.input_spec)]
    if form == "torch":
        return [exports.write_program(model, data.test, out)]
    return exports.export_machine(form, model, data, out)


def export(form: str, network: Any, data: Any, out: Path) -> Sequence[str]:
    """Write a student in a form (python, sql, json, c, rules), and run what was written on every test row.

    Raises:
        InputError: other answers than the student's.
    """
    model = readable_of(network, data.input_spec)
    if form == "rules":
        out.mkdir()
        found = screen_of(model, data)
        write_screen(out, model, found)
        head = {"title": "Rules", "kicker": "stillhouse rules", "headline": "What decides", "lead": found.kept()}
        write_blocks(out / "rules.html", readable_blocks(found), **head)
        return [found.kept()]
    model = model.compact()
    out.write_text(text_of(model, form), encoding="utf-8")
    expected = logits_of(network, data.test).astype(np.float64)
    bound = ROUNDING * max(1.0, float(np.abs(expected).max()))
    return [compare_answers(expected, answers_of(form, out, model, data.test.raw), out.name, bound=bound)]


# ------------------------------------------------------------------------------------------------ programs


def text_of(model: ReadableModel, form: str) -> str:
    """A model in one of `FORMS`; see `templates` for how each is called.

    SQL is one SELECT over a table `rows` with the columns of the training rows: all of it, and the class as `answer`. A number is
    a column of numbers, empty cells are NULL, as a database has them.
    """
    if form == "json":
        return json.dumps(model.to_mapping(), indent=1, ensure_ascii=False) + "\n"
    values = {"python": _python, "c": _c, "sql": _sql}[form](model)
    loader = FileSystemLoader(Path(__file__).parent / "templates")
    made = Environment(loader=loader, undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    name = f"student.{ {'python': 'py'}.get(form, form) }.jinja"
    title = f"{len(model.rules)} rules for {len(model.class_names)} classes"
    return made.get_template(name).render(title=title, **values)


def _python(model: ReadableModel) -> dict[str, Any]:
    words = model.reading["kind"] == "words"
    rules = []
    for rule in model.rules:
        wanted, unwanted = (tuple(name for name, there in rule.literals if there == side) for side in (True, False))
        rules.append(
            (repr(wanted), repr(unwanted), {number: value for number, value in enumerate(rule.votes) if value})
        )
    columns = model.reading.get("columns", ())
    named = "{" + ", ".join(f'"{column["name"]}": ...' for column in columns[:2]) + "}"
    return {
        "example": '"the text of a message"' if words else named.replace('"""', "'''"),
        "classes": list(model.class_names),
        "bias": list(model.bias),
        "rules": rules,
        "words": words,
        "ngrams": model.reading.get("ngrams"),
        "word": repr(WORD),
        "columns": columns,
        "empty": sorted(EMPTY),
    }


def _c(model: ReadableModel) -> dict[str, Any]:
    place = {feature: number for number, feature in enumerate(model.names)}
    literals, starts, points = [], [0], []
    for number, rule in enumerate(model.rules):
        literals += [place[one] if there else -1 - place[one] for one, there in rule.literals]
        starts.append(len(literals))
        points += [(value, kind, number) for kind, value in enumerate(rule.votes) if value]
    names, classes = ([_c_string(one) for one in some] for some in (model.names, model.class_names))
    tables = {"literals": literals or [0], "starts": starts, "points": points or [(0.0, 0, 0)]}
    return {"names": names, "classes": classes, "bias": model.bias, **tables}


def _c_string(text: str) -> str:
    """Bytes that are not ASCII in octal, whose length is fixed."""
    found = "".join(chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in text.encode("utf-8"))
    return f'"{found}"'


def _sql(model: ReadableModel) -> dict[str, Any]:
    if "columns" not in model.reading:
        raise InputError("--to sql: expected a student of a table, got one of words; take --to python, c or json")
    conditions = _conditions(model.reading["columns"])
    sums = []
    for number, bias in enumerate(model.bias):
        terms = [f"{bias!r}"]
        for rule in model.rules:
            if rule.votes[number]:
                asked = [conditions[name] if there else f"NOT {conditions[name]}" for name, there in rule.literals]
                terms.append(f"CASE WHEN {' AND '.join(asked)} THEN {rule.votes[number]!r} ELSE 0 END")
        sums.append(terms)
    picks = []
    for number, name in enumerate(model.class_names):
        others = [other for other in range(len(model.class_names)) if other != number]
        beats = [f"score_{number} {'>' if other < number else '>='} score_{other}" for other in others]
        picks.append((_quoted(name, "'"), beats))
    return {"sums": sums, "picks": picks}


def _conditions(columns: Sequence[Any]) -> dict[str, str]:
    """What each feature of a table is in SQL; never NULL, so that it can be negated."""
    found = {}
    for column in columns:
        name, quoted = column["name"], _quoted(column["name"])
        for cut in column.get("cuts", ()):
            found[f"{name} > {cut:.15g}"] = f"COALESCE({quoted} > {cut!r}, 0)"
        for value in column.get("categories", ()):
            found[f"{name} = {value}"] = f"COALESCE(CAST({quoted} AS TEXT) = {_quoted(value, chr(39))}, 0)"
        found[f"{name} is missing"] = f"({quoted} IS NULL)"
    return found


def _quoted(text: str, mark: str = '"') -> str:
    """A name of a column or table in SQL, or a text."""
    return mark + text.replace(mark, mark * 2) + mark


# ------------------------------------------------------------------------------------------------ what was written, run


def answers_of(form: str, path: Path, model: ReadableModel, raw: Sequence[Any]) -> NDArray[Any]:
    """(N, K) scores of a written form on raw rows.

    Raises:
        InputError: it does not run, or names a class that has not the largest score.
    """
    if form == "json":
        read = ReadableModel.from_mapping(read_json(path))
        return read.scores(read_features(read.reading, read.names, raw))
    scores, named = {"python": _run_python, "sql": _run_sql, "c": _run_c}[form](path, model, raw)
    wrong = int((scores.argmax(1) != np.array(named)).sum())
    if wrong:
        raise InputError(f"{path.name}: expected the class with the largest score, got another one on {wrong:,} rows")
    return scores


def _run_python(path: Path, model: ReadableModel, raw: Sequence[Any]) -> tuple[NDArray[Any], list[int]]:
    program = runpy.run_path(str(path))
    named = [model.class_names.index(program["predict"](row)) for row in raw]
    return np.array([program["scores"](row) for row in raw], dtype=np.float64), named


def _run_sql(path: Path, model: ReadableModel, raw: Sequence[Any]) -> tuple[NDArray[Any], list[int]]:
    """By SQLite, over a table of the raw rows."""

    def cell(value: Any, column: Any) -> Any:
        if is_missing(value):
            return None
        return number_in(value) if "cuts" in column else str(value)

    columns = model.reading["columns"]
    kinds = [f"{_quoted(column['name'])} {'REAL' if 'cuts' in column else 'TEXT'}" for column in columns]
    rows = [[cell(row[column["name"]], column) for column in columns] for row in raw]
    base = sqlite3.connect(":memory:")
    base.execute(f"CREATE TABLE rows ({', '.join(kinds)})")
    base.executemany(f"INSERT INTO rows VALUES ({', '.join('?' * len(columns))})", rows)
    found = base.execute(path.read_text(encoding="utf-8")).fetchall()
    base.close()
    scores = np.array([row[len(columns) : -1] for row in found], dtype=np.float64)
    return scores, [model.class_names.index(row[-1]) for row in found]


def _run_c(path: Path, model: ReadableModel, raw: Sequence[Any]) -> tuple[NDArray[Any], list[int]]:
    """Compiled, with every warning an error."""
    counts, program = np.ascontiguousarray(read_features(model.reading, model.names, raw)), compiled(path)
    scores, named = np.zeros((len(counts), len(model.class_names))), []
    for row, found in zip(counts, scores):
        program.student_scores(row.ctypes.data_as(ctypes.c_char_p), found.ctypes.data_as(ctypes.c_void_p))
        named.append(int(program.student_predict(row.ctypes.data_as(ctypes.c_char_p))))
    return scores, named
