"""`stillhouse sar simulate|stream|compare|compress`: what only radar has."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from stillhouse.cli.options import Parser, print_config
from stillhouse.compat.aliases import dashed
from stillhouse.core.checks import ConfigError
from stillhouse.tasks.sar.tables import COSTS, LEGEND, SCORES, Row, cells

ABOUT = {
    "simulate": "Write simulated lines to disk: one npz file, or Zarr products in the Maya4 layout.",
    "stream": "Focus line by line in constant memory and print the latency.",
    "compare": "The table: teacher, students, truncation, filters; without runs: the documented sizes.",
    "compress": "Write a smaller network (8-bit weights, fewer weights, fewer states) and score both.",
}


def main(arguments: Sequence[str]) -> int:
    """Run one of them."""
    words = [dashed(word) for word in arguments]
    chosen = {"simulate": _simulate, "stream": _stream, "compare": _compare, "compress": _compress}
    return chosen[words[0]](words[1:])


def _simulate(words: Sequence[str]) -> int:
    examples = """
  stillhouse sar simulate --out lines.npz
  stillhouse sar simulate --out lines.npz --preset toy-128 train=64
  stillhouse sar simulate --out products --preset sentinel-1      a folder of Zarr products
"""
    parser = Parser(prog="stillhouse sar simulate", description=ABOUT["simulate"], examples=examples)
    parser.add_argument("--out", type=Path, required=True, help="FILE.npz, or a folder for Zarr products")
    parser.add_argument("--preset", help="toy-64, toy-128, toy-256 or sentinel-1 [toy-64]")
    parser.add_settings()
    options = parser.parse(words)
    from stillhouse.core.config import override, parse
    from stillhouse.tasks.sar.data import SarConfig

    mapping: dict[str, object] = {} if options.preset is None else {"preset": options.preset}
    override(mapping, options.set)
    config = parse(SarConfig, mapping)
    if options.print_config:
        return print_config(config)
    from stillhouse.tasks.sar.simulate import simulate

    about = simulate(config, options.out)
    print(
        f"{options.out}: {', '.join(f'{n:,} {split}' for split, n in about['sizes'].items())} lines of {about['length']}"
    )
    print(f"sha256 {about['sha256']}")
    return 0


def _compare(words: Sequence[str]) -> int:
    examples = """
  stillhouse sar compare results/student results/other
  stillhouse sar compare results/student --out results/table
  stillhouse sar compare --length 4000                            sizes as documented, nothing trained
"""
    parser = Parser(prog="stillhouse sar compare", description=ABOUT["compare"], examples=examples)
    parser.add_argument("runs", nargs="*", type=Path, help="folders of `stillhouse sar distill` on the same data")
    parser.add_argument("--out", type=Path, help="folder for comparison.json")
    parser.add_argument("--length", type=int, default=1000, help="without runs: lines of a whole scene [1000]")
    options = parser.parse(words)
    from stillhouse.tasks.sar.compare import compare_runs, compare_sizes

    log = partial(print, file=sys.stderr, flush=True)
    if options.runs:
        _print_rows(compare_runs(options.runs, options.out, log))
        return 0
    rows = compare_sizes(options.length, log)
    _print_rows(rows)
    for row in rows:
        documented = row.get("documented") or {}
        print(
            f"{row['name']}: {row['parameters']:,} real parameters ({row['documented_parameters']:,} in the public code), "
            f"{row['fewer_parameters']:.1%} fewer than the teacher"
            + (f"; documented {documented['fewer_parameters']}" if documented else "")
        )
    return 0


def _print_rows(rows: Sequence[Row]) -> None:
    """Scores and costs on the terminal."""
    from rich.table import Table

    from stillhouse.cli.show import print_table

    columns = {**SCORES, **COSTS}
    table = Table("", *columns)
    for row in cells(rows, columns):
        table.add_row(*row)
    print_table(table)
    print(LEGEND)


def _stream(words: Sequence[str]) -> int:
    examples = """
  stillhouse sar stream results/student/arms/kd/seed-0 --lines 2000 --check
  stillhouse sar stream results/student/arms/kd/seed-0 --input lines.npy --out focused.npy
  stillhouse sar stream results/teacher --lines 500
"""
    parser = Parser(prog="stillhouse sar stream", description=ABOUT["stream"], examples=examples)
    parser.add_argument("folder", type=Path, help="a trained network (results/student/arms/kd/seed-0)")
    parser.add_argument("--lines", type=int, default=1000, help="lines of white noise to make up [1000]")
    parser.add_argument(
        "--input",
        type=Path,
        help="instead: a .npy file of complex lines, (N, L) as `predict` takes: N range bins, L azimuth samples; (L) for one bin",
    )
    parser.add_argument("--out", "--output", dest="output", type=Path, help="a .npy file for the focused lines")
    parser.add_argument("--check", action="store_true", help="hold the result against the whole-scene form")
    parser.add_argument(
        "--columns",
        nargs=2,
        type=float,
        default=(0.0, 1.0),
        metavar=("NEAR", "FAR"),
        help="networks that read a position code: where the first and last bin lie, 0 to 1 across the swath [0 1]",
    )
    options = parser.parse(words)
    from stillhouse.tasks.sar.stream import CHUNK, stream

    found = stream(
        options.folder,
        lines=options.lines,
        source=options.input,
        out=options.output,
        check=options.check,
        columns=tuple(options.columns),
    )
    print(f"{found.lines:,} lines, latency {found.latency_lines} lines")
    print(f"{found.median_ms:.4f} ms a line by the clock, {found.processor_ms:.4f} ms a line of processor time")
    if found.first_ms is not None:
        print(
            f"by the clock: {found.first_ms:.4f} ms a line in the first {CHUNK:,} lines, {found.last_ms:.4f} ms in the last"
        )
    bins = f"of {found.bins:,} range bin{'s' * (found.bins != 1)}"
    print(
        f"state {bins} {found.state_bytes:,} bytes before, {found.state_bytes_end:,} after; peak memory grew by "
        f"{found.peak_growth_bytes:,}"
    )
    if found.error is not None:
        print(f"largest difference from the whole-scene form: {found.error:.2e} of the output's RMS")
    return 0


def _compress(words: Sequence[str]) -> int:
    examples = """
  stillhouse sar compress results/student --to int8 --out results/student-int8
  stillhouse sar compress results/student --to sparse --share 0.25 --out results/student-sparse
  stillhouse sar compress results/student --to truncated --state-dim 128 --out results/student-short
"""
    parser = Parser(prog="stillhouse sar compress", description=ABOUT["compress"], examples=examples)
    parser.add_argument("folder", type=Path, help="a trained network (results/student)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the smaller one")
    parser.add_argument(
        "--to", required=True, choices=("int8", "sparse", "truncated"), help="int8, sparse or truncated"
    )
    parser.add_argument("--share", type=float, help="sparse: of the weights of each matrix that are zero, 0 to below 1")
    parser.add_argument("--state-dim", type=int, help="truncated: states that are left, even")
    parser.add_argument("--config", help="YAML file or recipe whose data are meant [those of its run]")
    options = parser.parse(words)
    wanted = {"sparse": "share", "truncated": "state_dim"}.get(options.to)
    for name in ("share", "state_dim"):
        if (getattr(options, name) is not None) != (name == wanted):
            verb = "wants" if name == wanted else "does not take"
            raise ConfigError(f"--to {options.to} {verb} --{name.replace('_', '-')}")
    from stillhouse.tasks.sar.compress import compress
    from stillhouse.tasks.sar.documented import read_teacher
    from stillhouse.tasks.sar.recipes import recipe_path

    amount = None if wanted is None else getattr(options, wanted)
    data = None if options.config is None else read_teacher(recipe_path(options.config)).data
    print(json.dumps(compress(options.folder, options.out, options.to, amount, data), indent=2))
    return 0
