"""What a student with classes can be written as, and checked on the test split: rules, programs, machines of logic, networks.

Legend: N rows, B rows of a batch, F features, K classes.
"""

from __future__ import annotations

import ctypes
import json
import runpy
import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray
from torch import nn

from stillhouse.core.checks import InputError
from stillhouse.core.exports import ExportChoices, compare_answers
from stillhouse.core.manifest import run_above
from stillhouse.core.records import read_json, write_atomically
from stillhouse.core.types import FeatureSpec, ImageSpec
from stillhouse.export import first_line, quiet, trace_network
from stillhouse.logic.c import c_text, compile_c_library, run_c_program
from stillhouse.logic.machine import PackedModel
from stillhouse.logic.packed import load_packed, save_packed
from stillhouse.logic.simplify import simplify
from stillhouse.report.page import write_blocks
from stillhouse.tasks.classification import predict
from stillhouse.tasks.classification.data.readers import EMPTY, WORD, is_missing, number_in, read_features
from stillhouse.tasks.classification.data.split import Part
from stillhouse.tasks.classification.lower import lower
from stillhouse.tasks.classification.photos import KEY
from stillhouse.tasks.classification.readable import ReadableModel, readable_of
from stillhouse.tasks.classification.readable_text import FILE, SCREEN, Screen, read_screen, screen, write_screen
from stillhouse.tasks.classification.report import readable_blocks
from stillhouse.tasks.classification.rules_file import RULES, blocks_of, decided, heading, read_rules, write_rules
from stillhouse.tasks.classification.students.flat import DeepTMClassifier, FlatTM
from stillhouse.tasks.classification.students.rules import rules_of

OPSET, ROUNDING, BATCH = 18, 1e-3, 256


def write(form: str, load: Callable[[Path], Any], folder: Path, out: Path, choices: ExportChoices) -> Sequence[str]:
    """Write the student of a folder in a form; lines that say what was checked.

    Raises:
        InputError: a form that the student has not, or other answers than the student's.
    """
    model, data = load(folder), predict.data_of(folder, choices.data, choices.data_root)
    if form == "onnx":
        return [write_onnx(model, data.test, out, data.input_spec)]
    if form == "torch":
        return [write_program(model, data.test, out)]
    if isinstance(data.input_spec, FeatureSpec) or form in ("python", "sql"):
        return export_readable(form, model, data, out)
    if form == "json":
        raise InputError("--to json: expected a student of words or a table, got one of images; take packed or rules")
    if form == "rules":
        return export_rules(model, data, folder, out)
    return export_machine(form, model, data, out)


# ------------------------------------------------------------------------------------------------ rules that people read


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


def export_readable(form: str, network: Any, data: Any, out: Path) -> Sequence[str]:
    """Write a student of rules or a scorecard (python, sql, json, c, rules), and run what was written on every test row.

    Raises:
        InputError: another student, or other answers than the student's.
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
    return [compare_answers(expected, _answers_of(form, out, model, data.test.raw), out.name, bound=bound)]


def text_of(model: ReadableModel, form: str) -> str:
    """A model as json, python, c or sql; see `templates` for how the programs are called.

    SQL is one SELECT over a table `rows` with the columns of the training rows: all of it, `score_0`, `score_1`, ..., and the class
    as `answer`. A number is a column of numbers, empty cells are NULL.
    """
    if form == "json":
        return json.dumps(model.to_mapping(), indent=1, ensure_ascii=False) + "\n"
    if form == "sql":
        return _sql(model)
    if form not in ("python", "c"):
        raise InputError(
            f"--to {form}: not a form of rules and scorecards; take python, sql, json, c, rules, onnx or torch"
        )
    values = _python(model) if form == "python" else _c(model)
    loader = FileSystemLoader(Path(__file__).parent / "templates")
    made = Environment(loader=loader, undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    title = f"{len(model.rules)} rules for {len(model.class_names)} classes"
    return made.get_template(f"student.{form}.jinja").render(title=title, **values)


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


def _sql(model: ReadableModel) -> str:
    """Conditions are never NULL, so that they can be negated; of equal scores the first class is the answer."""
    if "columns" not in model.reading:
        raise InputError("--to sql: expected a student of a table, got one of words; take python, json or c")
    asked = {}
    for column in model.reading["columns"]:
        name, quoted = column["name"], _quoted(column["name"])
        asked[f"{name} is missing"] = f"({quoted} IS NULL)"
        asked |= {f"{name} > {cut:.15g}": f"COALESCE({quoted} > {cut!r}, 0)" for cut in column.get("cuts", ())}
        for value in column.get("categories", ()):
            asked[f"{name} = {value}"] = f"COALESCE(CAST({quoted} AS TEXT) = {_quoted(value, chr(39))}, 0)"
    literals = [[("" if there else "NOT ") + asked[name] for name, there in rule.literals] for rule in model.rules]
    holds = [" AND ".join(some) or "1 = 1" for some in literals]
    sums, picks = [], []
    for number, (name, bias) in enumerate(zip(model.class_names, model.bias)):
        points = [
            f"CASE WHEN {a} THEN {r.votes[number]!r} ELSE 0 END" for a, r in zip(holds, model.rules) if r.votes[number]
        ]
        sums.append("\n    + ".join([repr(bias), *points]) + f" AS score_{number}")
        above = [f"score_{number} >= score_{other}" for other in range(len(model.bias)) if other != number]
        picks.append(f"    WHEN {' AND '.join(above)} THEN {_quoted(name, chr(39))}")
    table = 'SELECT "rows".*,\n    ' + ",\n    ".join(sums) + '\n  FROM "rows"'
    return "SELECT scored.*,\n  CASE\n" + "\n".join(picks) + f"\n  END AS answer\nFROM (\n  {table}\n) AS scored;\n"


def _quoted(text: str, mark: str = '"') -> str:
    """A name of a column in SQL, or a text."""
    return mark + text.replace(mark, mark * 2) + mark


def _answers_of(form: str, path: Path, model: ReadableModel, raw: Sequence[Any]) -> NDArray[Any]:
    """(N, K) scores of a written form on raw rows.

    Raises:
        InputError: it names a class that has not the largest score.
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
    columns = {column["name"]: number_in if "cuts" in column else str for column in model.reading["columns"]}
    cells = [[None if is_missing(row[name]) else read(row[name]) for name, read in columns.items()] for row in raw]
    kinds = [f"{_quoted(name)} {'TEXT' if read is str else 'REAL'}" for name, read in columns.items()]
    base = sqlite3.connect(":memory:")
    base.execute(f"CREATE TABLE rows ({', '.join(kinds)})")
    base.executemany(f"INSERT INTO rows VALUES ({', '.join('?' * len(columns))})", cells)
    rows = base.execute(path.read_text(encoding="utf-8")).fetchall()
    base.close()
    scores = np.array([row[len(columns) : -1] for row in rows], dtype=np.float64)
    return scores, [model.class_names.index(row[-1]) for row in rows]


def _run_c(path: Path, model: ReadableModel, raw: Sequence[Any]) -> tuple[NDArray[Any], list[int]]:
    """Compiled, with every warning an error."""
    counts, program = np.ascontiguousarray(read_features(model.reading, model.names, raw)), compile_c_library(path)
    scores, named = np.zeros((len(counts), len(model.class_names))), []
    for row, found in zip(counts, scores):
        program.student_scores(row.ctypes.data_as(ctypes.c_char_p), found.ctypes.data_as(ctypes.c_void_p))
        named.append(int(program.student_predict(row.ctypes.data_as(ctypes.c_char_p))))
    return scores, named


# ------------------------------------------------------------------------------------------------ clauses


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
    if run is not None and (run / RULES).is_file() and is_of(folder, run, read_json(run / RULES)):
        saved = read_rules(run / RULES)
        for name in ("rules.json", "rules.npz", "rules.txt"):
            shutil.copyfile(run / name, out / name)
    else:
        saved = rules_of(model, data)
        write_rules(out, saved)
    line, headline = decided(saved.index), f"{folder.resolve().name}: {heading(saved.index)}"
    page = out / "rules.html"
    write_blocks(page, blocks_of(saved), title="Rules", kicker="stillhouse rules", headline=headline, lead=line)
    return [line]


def is_of(folder: Path, run: Path, index: Mapping[str, Any]) -> bool:
    """Whether what a run wrote of its student is of this one: it is the shipped one, or the training that is shipped."""
    shipped = index.get("student") or {}
    place = run / "arms" / str(shipped.get("arm")) / f"seed-{shipped.get('seed')}"
    return folder.resolve() in {(run / "student").resolve(), place.resolve()}


def export_machine(form: str, model: Any, data: Any, out: Path) -> Sequence[str]:
    """A student that is clauses from the pixels to the class as logic, simplified; read back and run on the split.

    packed: one safetensors file that predicts with numpy alone, and faster with numba. c: C99, compiled here with every warning
    an error.

    Raises:
        InputError: a student of which only parts are clauses, or what was written answers otherwise than the student.
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
    scores = _scores(lambda rows: machine.scores(rows, definition=True), data.test)
    note = compare_on(model, data.test, lambda rows: machine.scores(rows) / machine.scale, "the clauses as logic")
    got = _written(form, machine, data.test, out)
    if got.shape != scores.shape or (got != scores).any():
        raise InputError(f"{out.name}: expected the scores of the clauses on {len(scores):,} rows, got other ones")
    return [size, f"logic against torch: {note}", f"{out.name}: every score of {len(scores):,} rows equal, to the bit"]


def _written(form: str, machine: PackedModel, split: Any, out: Path) -> np.ndarray:
    """(N, K) whole-numbered scores of what was written."""
    if form == "c":
        if split.images.dtype != torch.uint8:
            raise InputError(f"expected a test split of bytes (uint8), which C reads, got {split.images.dtype}")
        out.write_text(c_text(machine))
        return run_c_program(out, split.images.numpy(), len(machine.class_names))[1]
    save_packed(machine, out)
    return _scores(load_packed(out).scores, split)


def _scores(answer: Callable[[np.ndarray], np.ndarray], split: Any) -> np.ndarray:
    return np.concatenate([answer(batch.inputs.numpy()) for batch in split.batches(BATCH)])


# ------------------------------------------------------------------------------------------------ networks


@torch.no_grad()
def logits_of(model: nn.Module, split: Any) -> np.ndarray:
    """(N, K) of a network in eval mode, in order."""
    return np.concatenate([model(batch.inputs).float().numpy() for batch in split.batches(BATCH)])


def compare_on(model: nn.Module, split: Any, answer: Callable[[np.ndarray], np.ndarray], name: str) -> str:
    """What was written against the network on a split.

    Args:
        model: the network, in eval mode.
        split: N rows.
        answer: scores (B, K) of inputs (B, ...), as the written file gives them.
        name: of the file.

    Returns:
        "10,000 of 10,000 answers equal; ...".

    Raises:
        InputError: other answers.
    """
    expected = logits_of(model, split)
    bound = ROUNDING * max(1.0, float(np.abs(expected).max()))
    return compare_answers(expected, _scores(answer, split), name, bound=bound)


def write_onnx(model: nn.Module, split: Any, out: Path, input_spec: Any = None) -> str:
    """One ONNX file, input `inputs` (B, ...), output `logits` (B, K), B free; compared on the split.

    Of images it names the classes and the shape, so that `stillhouse predict` can use the file.

    Raises:
        InputError: onnx, onnxscript or onnxruntime is not installed, torch cannot express the network, or other answers.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  torch's exporter needs it
    except ImportError as error:
        raise InputError(f"onnx: {error.name} is not installed; pip install 'stillhouse[export]'") from None
    free = {0: torch.export.Dim("rows", min=1, max=2**20)}
    with quiet(), torch.no_grad():
        try:
            made: Any = torch.onnx.export(
                model,
                (split.batch(torch.arange(2)).inputs,),
                input_names=["inputs"],
                output_names=["logits"],
                dynamic_shapes=(free,),
                opset_version=OPSET,
                dynamo=True,
            )
            written = made.model_proto
            if isinstance(input_spec, ImageSpec):
                about = {"class_names": list(input_spec.class_names), "shape": list(input_spec.shape)}
                written.metadata_props.add(key=KEY, value=json.dumps(about))
            content = written.SerializeToString()
        except Exception as error:  # whatever a network of anyone's does to a tracer; protobuf takes 2 GiB
            raise InputError(f"onnx: torch cannot export this network: {first_line(error)}") from None
    write_atomically(out, lambda file: file.write(content))
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return compare_on(model, split, lambda x: session.run(["logits"], {"inputs": x})[0], out.name)


def write_program(model: nn.Module, split: Any, out: Path) -> str:
    """A program of `torch.export`, B free, that loads without this library; compared on the split.

    Raises:
        InputError: torch cannot trace the network, or other answers.
    """
    raw, loaded = trace_network(model, split.batch(torch.arange(2)).inputs)
    write_atomically(out, lambda file: file.write(raw))

    @torch.no_grad()
    def answer(inputs: np.ndarray) -> np.ndarray:
        found: np.ndarray = loaded(torch.from_numpy(inputs)).numpy()
        return found

    return compare_on(model, split, answer, out.name)
