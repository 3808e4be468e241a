"""`stillhouse sar simulate|stream|compare|compress`: what only radar has."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from stillhouse.cli.options import Parser, print_config
from stillhouse.core.checks import ConfigError, InputError


def main(arguments: Sequence[str]) -> int:
    """Run one of them."""
    chosen = {"simulate": _simulate, "stream": _stream, "compare": _compare, "compress": _compress}
    return chosen[arguments[0]](arguments[1:])


def _parser(command: Callable[[Sequence[str]], int], example: str) -> Parser:
    prog = f"stillhouse sar {command.__name__[1:]}"
    return Parser(prog=prog, description=command.__doc__, examples=f"\n  {prog} {example}\n")


def _simulate(words: Sequence[str]) -> int:
    """Write simulated lines to disk: one npz file, or Zarr products in the Maya4 layout."""
    parser = _parser(_simulate, "--out lines.npz --preset toy-128 train=64")
    parser.add_argument("--out", type=Path, required=True, help="FILE.npz, or a folder for Zarr products")
    parser.add_argument("--preset", help="toy-64, toy-128, toy-256 or sentinel-1 [toy-64]")
    parser.add_settings()
    options = parser.parse(words)
    from stillhouse.core.config import override, parse
    from stillhouse.tasks.sar.data import SarConfig

    mapping: dict[str, Any] = {} if options.preset is None else {"preset": options.preset}
    override(mapping, options.set)
    config = parse(SarConfig, mapping)
    if options.print_config:
        return print_config(config)
    _check_free(options.out)
    from stillhouse.tasks.sar.data.arrays import write_file
    from stillhouse.tasks.sar.data.products import write_products

    data = config.build()
    (write_file if options.out.suffix == ".npz" else write_products)(options.out, data)
    sizes = ", ".join(f"{count:,} {split}" for split, count in data.sizes.items())
    print(f"{options.out}: {sizes} lines of {data.length}\nsha256 {data.sha256}")
    return 0


def _compare(words: Sequence[str]) -> int:
    """The table of a run: teacher, students, truncation, filters; without a run: the documented sizes."""
    parser = _parser(_compare, "results/student")
    parser.add_argument("run", nargs="?", type=Path, help="folder of `stillhouse sar distill`")
    parser.add_argument("--length", type=int, default=1000, help="without a run: lines of a whole scene [1000]")
    options = parser.parse(words)
    from stillhouse.tasks.sar.compare import compare_run, compare_sizes

    log = partial(print, file=sys.stderr, flush=True)
    if options.run is not None:
        _print_rows(compare_run(options.run, log))
        from stillhouse.report.page import write_page
        from stillhouse.tasks.sar.light import LIGHT

        print(f"report: {write_page(LIGHT, options.run)}")
        return 0
    rows = compare_sizes(options.length, log)
    _print_rows(rows)
    for row in rows:
        print(
            f"{row['name']}: {row['parameters']:,} real parameters ({row['documented_parameters']:,} in the public code), "
            f"{row['fewer_parameters']:.1%} fewer than the teacher"
            + (f"; documented {row['documented']}" if "documented" in row else "")
        )
    return 0


def _print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Scores and costs on the terminal."""
    from rich.table import Table

    from stillhouse.cli.show import print_table
    from stillhouse.tasks.sar.report import COST_CAPTION, COSTS, SCORES, cells

    columns = {**SCORES, **COSTS}
    table = Table("", *columns)
    for row in cells(rows, columns):
        table.add_row(*row)
    print_table(table)
    print(COST_CAPTION)


def _stream(words: Sequence[str]) -> int:
    """Focus line by line in constant memory and print the latency."""
    parser = _parser(_stream, "results/student --input lines.npy --out focused.npy")
    parser.add_argument("folder", type=Path, help="a trained network (results/student/arms/kd/seed-0)")
    parser.add_argument("--lines", type=int, default=1000, help="lines of white noise to make up [1000]")
    parser.add_argument("--input", type=Path, help="instead: a .npy file of complex lines as `predict` takes, (N, L)")
    parser.add_argument("--out", "--output", dest="output", type=Path, help="a .npy file for the focused lines")
    parser.add_argument("--check", action="store_true", help="hold the result against the whole-scene form")
    options = parser.parse(words)
    from stillhouse.tasks.sar.use import stream

    given = {"lines": options.lines, "source": options.input, "out": options.output, "check": options.check}
    found = stream(options.folder, **given)
    print(f"{found.lines:,} lines of {found.bins:,} range bins, latency {found.latency_lines} lines")
    print(f"{found.median_ms:.4f} ms a line by the clock, {found.processor_ms:.4f} ms a line of processor time")
    print(f"state {found.state_bytes:,} bytes before, {found.state_bytes_end:,} after")
    if found.error is not None:
        print(f"largest difference from the whole-scene form: {found.error:.2e} of the output's RMS")
    return 0


def _compress(words: Sequence[str]) -> int:
    """Write a smaller network (8-bit weights, fewer weights, fewer states) and score both."""
    parser = _parser(_compress, "results/student --to sparse --share 0.25 --out results/student-sparse")
    parser.add_argument("folder", type=Path, help="a trained network (results/student)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the smaller one")
    parser.add_argument(
        "--to", required=True, choices=("int8", "sparse", "truncated"), help="int8, sparse or truncated"
    )
    parser.add_argument("--share", type=float, help="sparse: of the weights of each matrix that are zero, 0 to below 1")
    parser.add_argument("--state-dim", type=int, help="truncated: states that are left, even")
    options = parser.parse(words)
    wanted = {"sparse": "share", "truncated": "state_dim"}.get(options.to)
    for name in ("share", "state_dim"):
        if (getattr(options, name) is not None) != (name == wanted):
            verb = "wants" if name == wanted else "does not take"
            raise ConfigError(f"--to {options.to} {verb} --{name.replace('_', '-')}")
    _check_free(options.out)
    from stillhouse.tasks.sar.compare import compress

    amount = None if wanted is None else getattr(options, wanted)
    print(json.dumps(compress(options.folder, options.out, options.to, amount), indent=2))
    return 0


def _check_free(out: Path) -> None:
    if out.exists():
        raise InputError(f"cannot write {out}: it exists; choose another --out")
