"""A readable model as a program: plain Python, C and SQL without dependencies, and JSON, each run on every test row. No torch.

Legend: N rows, F features, K classes, J rules.
"""

from __future__ import annotations

import ctypes
import json
import runpy
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.core.records import read_json
from stillhouse.logic.c import compiled
from stillhouse.tasks.classification.data.readers import EMPTY, WORD, is_missing, number_in, read_features
from stillhouse.tasks.classification.readable import ReadableModel

FORMS = ("python", "sql", "json", "c")


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
