"""`stillhouse predict`: use a student of any task on photos, texts, vectors or radar lines."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from stillhouse.cli.options import Parser
from stillhouse.core.checks import InputError

ABOUT = "Use a student of any task on photos, texts, vectors or radar lines."
USAGE = "stillhouse predict RUN SOURCE [--out FILE] [--json]"
EPILOG = """what SOURCE may be, by task:
  images, clauses   photo.png, a folder, .npy (N, H, W[, C]), .csv that names files, -     class and probability of each
  texts, words      lines.txt, a .csv with the run's text column, - (lines), "a sentence"  class and probability of each
  tables            a .csv, .tsv, .jsonl or .parquet with the run's columns                class and probability of each
  lm                lines.txt, - (lines); --tokens N writes on                             bits a byte, continuation
  embed             vectors.npy, table.csv of numbers, texts, - (rows of numbers)          the code of each row
  sar               lines.npy (N, L) complex, - (such a file)                              focused lines, --out FILE.npy

examples:
  stillhouse predict runs/demo digit.png
  stillhouse predict runs/mine photos --out answers.csv
  stillhouse predict runs/bank "I forgot my pin"
  stillhouse predict runs/five table.csv --json                  - instead of a file: standard input

In Python: student = stillhouse.load("runs/mine"); student.predict(["photo.png"]); student.classes
"""


def main(arguments: Sequence[str]) -> int:
    """Parse, read, predict, print or write."""
    parser = Parser(prog="stillhouse predict", usage=USAGE, description=ABOUT, epilog=EPILOG)
    about = "a run, the folder of a student, or an export: packed, numpy, json, onnx"
    parser.add_argument("run", type=Path, metavar="RUN", help=about)
    parser.add_argument("source", metavar="SOURCE", help="a file, a folder, or - for standard input")
    parser.add_argument("--out", type=Path, metavar="FILE", help=".csv, .jsonl, or .npy for arrays [printed as CSV]")
    parser.add_argument("--json", action="store_true", help="a line of JSON each, with all probabilities")
    parser.add_argument("--tokens", type=int, metavar="N", help="lm: write so many tokens on")
    options = parser.parse(arguments)
    _check(options)
    from stillhouse.core.predict import as_csv
    from stillhouse.use import load

    student = load(options.run)
    if options.tokens is not None:
        if not hasattr(student, "tokens"):
            raise InputError("--tokens: is for language models")
        student.tokens = options.tokens
    if student.gives_array and not student.columns and (options.out is None or options.out.suffix != ".npy"):
        raise InputError("expected --out FILE.npy: the answers of this student are arrays, not a table")
    given = student.read(options.source)
    answers = student.predict(given.values)
    if options.out is not None and options.out.suffix == ".npy":
        if not student.gives_array:
            raise InputError(f"--out {options.out}: expected .csv or .jsonl, the answers of this student are no array")
        buffer = io.BytesIO()
        _save(buffer, answers)
        _write(options.out, buffer.getvalue())
        return 0
    rows = student.rows(given.names, answers)
    as_json = options.json or (options.out is not None and options.out.suffix == ".jsonl")
    lines: Iterable[str] = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows) if as_json else as_csv(rows)
    if options.out is None:
        for line in lines:
            sys.stdout.write(line)
        return 0
    _write(options.out, "".join(lines).encode())
    return 0


def _check(options: Any) -> None:
    """What can be seen to be wrong before torch is loaded."""
    if not options.run.exists():
        raise InputError(f"{options.run}: there is no such folder; expected a run or a student")
    sentence = " " in options.source  # of students of texts; others say that it is no file of theirs
    if options.source != "-" and not sentence and not Path(options.source).expanduser().exists():
        raise InputError(f"{options.source}: there is no such file or folder")
    if options.out is not None:
        from stillhouse.core.outputs import check_output

        check_output(options.out, suffixes=(".csv", ".jsonl", ".npy"), source=options.source)
    if options.tokens is not None and options.tokens < 1:
        raise InputError(f"--tokens: expected 1 or more, got {options.tokens}")


def _save(buffer: io.BytesIO, answers: Any) -> None:
    import numpy as np

    np.save(buffer, answers)


def _write(path: Path, content: bytes) -> None:
    from stillhouse.core.records import write_atomically

    write_atomically(path, lambda file: file.write(content))
    print(f"{path}: {len(content):,} bytes", file=sys.stderr)
