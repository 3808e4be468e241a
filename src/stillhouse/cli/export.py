"""`stillhouse export`: a trained student of any family in another form, checked against the network after it is written."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from stillhouse.cli.options import Parser
from stillhouse.core.exports import ExportChoices, write_export
from stillhouse.core.folder import student_folder
from stillhouse.families import family_at

TARGETS = ("packed", "c", "wasm", "verilog", "parts", "rules", "json", "onnx", "torch", "numpy")
EPILOG = """forms (a family that lacks one names those that it has):
  packed   one file of bits and whole numbers (flat-tm, deep-tm), or of ternary weights (lm)
  c, wasm, verilog, json   flat-tm and deep-tm as C99, WebAssembly, hardware, or a table for other programs
  parts    clause layers of a network that is not all clauses: packed, C, JSON and Verilog of each
  rules    a page, a text and JSON: the clauses that carry each class, drawn, and what they keep alone
  onnx, torch   the network for onnxruntime, or for torch.export.load
  numpy    a folder that needs numpy and nothing else (flat-tm, deep-tm, embed)

What is written is compared with the network on the test split; what answers otherwise is not kept
(with --vote-bits, which changes answers on purpose, it is compared with the rounded votes).

examples:
  stillhouse export runs/demo --to rules
  stillhouse export runs/clauses --to verilog --prove --out circuit
  stillhouse export runs/mine/arms/kd/seed-0 --to onnx --data-root DIR
"""


def main(arguments: Sequence[str]) -> int:
    """Parse, write, check, print where."""
    parser = Parser(
        prog="stillhouse export",
        description="Write a trained student in another form, and check what was written.",
        epilog=EPILOG,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder, the folder of a student, or its card.json")
    parser.add_argument("--to", required=True, choices=TARGETS, metavar="FORM", help=", ".join(TARGETS))
    parser.add_argument("--out", type=Path, help="file or folder [export/ in the student's folder]")
    parser.add_argument(
        "--prove", action="store_true", help="verilog, parts: prove that it equals the clauses for all inputs"
    )
    parser.add_argument("--vote-bits", type=int, metavar="N", help="votes rounded to N bits [as exact as they can be]")
    parser.add_argument("--data", help="data set of the check [the one of the run]")
    parser.add_argument("--data-root", metavar="DIR", help="where it lies [as in the run]")
    options = parser.parse(arguments)
    folder = student_folder(options.run.parent if options.run.is_file() else options.run)
    family = family_at(folder)
    from stillhouse.cli.show import bar

    started = time.perf_counter()
    with bar("proving") as on_progress:
        choices = ExportChoices(options.prove, options.vote_bits, options.data, options.data_root, on_progress)
        place, lines = write_export(family.exports(), options.to, folder, options.out, choices, family.kind)
    for line in lines:
        print(line)
    size = sum(file.stat().st_size for file in (place.rglob("*") if place.is_dir() else [place]) if file.is_file())
    print(f"{place}: {size:,} bytes, {time.perf_counter() - started:.1f} s")
    return 0
