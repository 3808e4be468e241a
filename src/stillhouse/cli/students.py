"""`stillhouse evaluate`, `predict`, `export` and `report`: what is done with the student or the folder of a finished run."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from stillhouse.cli.options import Parser, help_texts
from stillhouse.core.checks import ConfigError, InputError


def evaluate(arguments: Sequence[str]) -> int:
    """Print the scores of a saved student on the test split as JSON."""
    parser = Parser("evaluate")
    parser.add_argument("folder", type=Path, help="a run folder, or one with student.safetensors and card.json")
    of_task = help_texts()["verbs"]["evaluate"]["flags"]
    parser.add_flags({flag: row for rows in of_task.values() for flag, row in rows.items()})
    options = parser.parse(arguments)
    from stillhouse.core.folder import student_folder
    from stillhouse.tasks import task_at

    folder = student_folder(options.folder)
    task, choices = task_at(folder), parser.given(options)
    taken = of_task.get(task.kind, {})
    if choices.keys() - {name for name, _ in taken.values()}:
        raise ConfigError(f"a student of {task.kind} takes {', '.join(taken) or 'no flags'}, got {', '.join(choices)}")
    if "config" in choices:
        from stillhouse.tasks.sar.documented import read_teacher
        from stillhouse.tasks.sar.recipes import recipe_path

        choices = {"data": read_teacher(recipe_path(choices["config"])).data}
    print(json.dumps(task.evaluate(folder, **choices)))
    return 0


def predict(arguments: Sequence[str]) -> int:
    """Use a student of any task on photos, texts, vectors or radar lines."""
    parser = Parser("predict")
    text = "a run, the folder of a student, or an export: packed, numpy, onnx"
    parser.add_argument("run", type=Path, metavar="RUN", help=text)
    parser.add_argument("source", metavar="SOURCE", help="a file, a folder, or - for standard input")
    parser.add_argument("--out", type=Path, metavar="FILE", help=".csv, .jsonl, or .npy for arrays [printed as CSV]")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE where it is there already")
    parser.add_argument("--json", action="store_true", help="a line of JSON each, with all probabilities")
    parser.add_argument("--tokens", type=int, metavar="N", help="lm: write so many tokens on")
    options = parser.parse(arguments)
    path, out = Path(options.source).expanduser(), options.out
    if not options.run.exists():
        raise InputError(f"{options.run}: there is no such folder; expected a run or a student")
    if options.source != "-" and " " not in options.source and not path.exists():  # a sentence has blanks
        raise InputError(f"{options.source}: there is no such file or folder")
    if out is not None:
        from stillhouse.core.records import check_output

        check_output(out, suffixes=(".csv", ".jsonl", ".npy"), source=options.source)
        if out.exists() and not options.overwrite:
            raise InputError(f"--out {out}: is there already; --overwrite replaces it")
    from stillhouse.core.predict import as_csv
    from stillhouse.core.records import write_atomically
    from stillhouse.tasks import load

    student = load(options.run)
    if options.tokens is not None:
        if not hasattr(student, "tokens") or options.tokens < 1:
            raise InputError(f"--tokens: is for language models, and 1 or more; got {options.tokens}")
        student.tokens = options.tokens
    ending = "" if out is None else out.suffix
    if ending == ".npy" and not student.gives_array:
        raise InputError(f"--out {out}: expected .csv or .jsonl, the answers of this student are no array")
    if ending != ".npy" and student.gives_array and not student.columns:
        raise InputError("expected --out FILE.npy: the answers of this student are arrays, not a table")
    given = student.read(options.source)
    answers = student.predict(given.values)
    buffer = io.BytesIO()
    if ending == ".npy":
        import numpy as np

        np.save(buffer, answers)
    else:
        rows = student.rows(given.names, answers)
        as_json = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        lines = as_json if options.json or ending == ".jsonl" else as_csv(rows)
        if out is None:
            sys.stdout.writelines(lines)
            return 0
        buffer.writelines(line.encode() for line in lines)
    write_atomically(out, lambda file: file.write(buffer.getvalue()))
    print(f"{out}: {buffer.tell():,} bytes", file=sys.stderr)
    return 0


def export(arguments: Sequence[str]) -> int:
    """Write a trained student in another form, checked against the network after it is written."""
    parser = Parser("export")
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder, the folder of a student, or its card.json")
    parser.add_argument("--to", required=True, metavar="FORM", help="see below")
    parser.add_argument("--out", type=Path, help="file or folder [export/ in the student's folder]")
    parser.add_argument("--data", help="data set of the check [the one of the run]")
    parser.add_argument("--data-root", metavar="DIR", help="where it lies [as in the run]")
    parser.add_argument("--license", metavar="NAME", help="hub: apache-2.0, mit, ... [of the run, else other]")
    options = parser.parse(arguments)
    from stillhouse.core.exports import ExportChoices, write_export
    from stillhouse.core.folder import student_folder
    from stillhouse.core.model_card import HUB, hub_target
    from stillhouse.tasks import task_at

    folder = student_folder(options.run.parent if options.run.is_file() else options.run)
    task, started = task_at(folder), time.perf_counter()
    choices = ExportChoices(options.data, options.data_root, options.license)
    targets = {**task.exports(), HUB: hub_target(task)}
    written, lines = write_export(targets, options.to, folder, options.out, choices, task.kind)
    size = sum(
        file.stat().st_size for file in (written.rglob("*") if written.is_dir() else [written]) if file.is_file()
    )
    print("\n".join([*lines, f"{written}: {size:,} bytes, {time.perf_counter() - started:.1f} s"]))
    if options.to == HUB:
        print(f"nothing was sent; to push it: hf upload USER/NAME {written}")
    return 0


def report(arguments: Sequence[str]) -> int:
    """The HTML page of a run folder, made again."""
    parser = Parser("report")
    parser.add_argument("folder", type=Path, metavar="RUN", help="run folder, for example runs/demo")
    options = parser.parse(arguments)
    from stillhouse.core import records
    from stillhouse.report.page import write_page
    from stillhouse.tasks import results_at

    for folder in sorted(path.parent for path in options.folder.glob(f"*/{records.RUN}")) or [options.folder]:
        if not (folder / records.RUN).is_file():
            raise InputError(f"{folder} is not a run folder: expected a {records.RUN} in it")
        faults: list[str] = []
        print(write_page(results_at(folder), folder, log=faults.append))
        for fault in faults:
            print(f"  {fault}", file=sys.stderr)
    return 0
