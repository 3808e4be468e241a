"""`stillhouse sar simulate|stream|compare|compress`: what only radar has."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from stillhouse.cli.options import Parser, print_config
from stillhouse.core.checks import ConfigError, InputError


def simulate(words: Sequence[str]) -> int:
    """Write simulated lines to disk: one npz file, or Zarr products in the Maya4 layout."""
    parser = Parser("sar simulate")
    parser.add_argument("--out", type=Path, required=True, help="FILE.npz, or a folder for Zarr products")
    parser.add_argument("--preset", help="toy-64, toy-128, toy-256 or sentinel-1 [toy-64]")
    parser.add_settings()
    options = parser.parse(words)
    from stillhouse.core.config import apply_override, parse
    from stillhouse.tasks.sar.data import SarConfig

    mapping: dict[str, Any] = {} if options.preset is None else {"preset": options.preset}
    apply_override(mapping, options.set)
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


def compare(words: Sequence[str]) -> int:
    """The documented sizes: parameters, state, operations and times, beside what the document expects."""
    parser = Parser("sar compare")
    parser.add_argument("--length", type=int, default=1000, help="lines of a whole scene [1000]")
    options = parser.parse(words)
    from rich.table import Table

    from stillhouse.cli.show import print_table
    from stillhouse.report.words import format_decimal, percent, size
    from stillhouse.tasks.sar.compare import compare_sizes

    table = Table(
        "", "parameters", "fewer", "documented", "public code", "state", "real multiply-adds", "ms", "ms, scene"
    )
    for row in compare_sizes(options.length, partial(print, file=sys.stderr, flush=True)):
        macs = 4 * row["complex_macs"] + row["real_macs"]
        table.add_row(
            row["name"],
            f"{row['parameters']:,}",
            percent(row["fewer_parameters"]),
            row["documented"],
            f"{row['documented_parameters']:,}",
            size(row["state_bytes"]),
            f"{macs:,}",
            format_decimal(row.get("processor_ms_line"), 4),
            format_decimal(row["processor_ms_line_whole"], 4),
        )
    print_table(table)
    print(
        "Of one range bin and line: state and operations are counted; ms of processor time, in the step form and by FFT."
    )
    return 0


def stream(words: Sequence[str]) -> int:
    """Focus line by line in constant memory and print the latency."""
    parser = Parser("sar stream")
    parser.add_argument("folder", type=Path, help="a trained network (results/student/arms/kd/seed-0)")
    parser.add_argument("--lines", type=int, default=1000, help="lines of white noise to make up [1000]")
    parser.add_argument("--input", type=Path, help="instead: a .npy file of complex lines as `predict` takes, (N, L)")
    parser.add_argument("--out", "--output", dest="output", type=Path, help="a .npy file for the focused lines")
    parser.add_argument("--check", action="store_true", help="hold the result against the whole-scene form")
    options = parser.parse(words)
    if options.output is not None:
        _check_free(options.output)
    from stillhouse.tasks.sar.use import stream

    given = {"lines": options.lines, "source": options.input, "out": options.output, "check": options.check}
    found = stream(options.folder, **given)
    print(f"{found.lines:,} lines of {found.bins:,} range bins, latency {found.latency_lines} lines")
    print(f"{found.median_ms:.4f} ms a line by the clock, {found.processor_ms:.4f} ms a line of processor time")
    print(f"state {found.state_bytes:,} bytes before, {found.state_bytes_end:,} after")
    if found.error is not None:
        print(f"largest difference from the whole-scene form: {found.error:.2e} of the output's RMS")
    return 0


def compress(words: Sequence[str]) -> int:
    """Write a smaller network (8-bit weights, fewer weights, fewer states) and score both."""
    parser = Parser("sar compress")
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
