"""`stillhouse sar`: simulate, train, distill, compare, stream, evaluate, quantize, prune, truncate, export.

Flags as documented, with dashes or underscores.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from stillhouse.cli.options import Parser
from stillhouse.core.checks import nearest
from stillhouse.core.config import ConfigError, dump_yaml
from stillhouse.families.sar.flags import (
    RUN_FLAGS,
    Change,
    add_changes,
    add_run_flags,
    assign,
    changed_gamma,
    changes_of,
    student_changes_of,
)
from stillhouse.families.sar.show import print_rows, verdict_line

COMMANDS = {
    "simulate": "write simulated lines to disk: one npz file, or Zarr products in the Maya4 layout",
    "train": "train a focusing network (the teacher) on the ground truth",
    "distill": "train students with a teacher and without, and show whether it helped",
    "compare": "the table: teacher, students, truncation, filters; without runs: the documented sizes",
    "stream": "focus line by line in constant memory and print the latency",
    "evaluate": "score a saved network on a test split",
    "quantize": "write a network with weights of 8 bits, and score both",
    "prune": "write a network whose smallest weights are zero, and score both",
    "truncate": "write a network of fewer states (balanced truncation), and score both",
    "export": "write one step of the stream as an ONNX graph",
}
HELP = """usage: stillhouse sar COMMAND [options]

Focus synthetic aperture radar lines with complex state-space networks, and distil them into students that stream.

commands:
{commands}

start here:
  stillhouse sar train --config s4_ssm_complex_toy --save_dir results/teacher
  stillhouse sar distill --teacher_config s4_ssm_complex_toy --teacher_checkpoint results/teacher \\
      --student_config s4_ssm_student_toy --save_dir results/student
  stillhouse sar stream results/student/arms/kd/seed-0 --lines 2000 --check
"""


def main(arguments: Sequence[str]) -> int:
    """Run one command of the family."""
    words = [_dashed(word) for word in arguments]
    if not words or words[0] in {"-h", "--help", "help"}:
        width = max(map(len, COMMANDS))
        print(HELP.format(commands="\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())))
        return 0 if words else 2
    if words[0] not in COMMANDS:
        raise ConfigError(f"unknown command {words[0]!r}; {nearest(words[0], COMMANDS)}")
    chosen: dict[str, Callable[[Sequence[str]], int]] = {
        "simulate": _simulate,
        "train": _train,
        "distill": _distill,
        "compare": _compare,
        "stream": _stream,
        "evaluate": _evaluate,
        "quantize": _quantize,
        "prune": _prune,
        "truncate": _truncate,
        "export": _export,
    }
    return chosen[words[0]](words[1:])


# ---------------------------------------------------------------------------------------------- commands


def _simulate(words: Sequence[str]) -> int:
    examples = """
  stillhouse sar simulate --out lines.npz
  stillhouse sar simulate --out lines.npz --preset toy-128 --set train=64
  stillhouse sar simulate --out products --preset sentinel-1      a folder of Zarr products
"""
    parser = Parser(prog="stillhouse sar simulate", description=COMMANDS["simulate"], examples=examples)
    parser.add_argument("--out", type=Path, required=True, help="FILE.npz, or a folder for Zarr products")
    parser.add_argument("--preset", help="toy-64, toy-128, toy-256 or sentinel-1 [toy-64]")
    add_changes(parser, "data setting: --set train=64, --set scene.points_max=9")
    options = parser.parse(words)
    from stillhouse.core.config import parse
    from stillhouse.families.sar.data import SarConfig

    mapping: Change = {} if options.preset is None else {"preset": options.preset}
    assign(mapping, options.set)
    config = parse(SarConfig, mapping)
    if options.print_config:
        sys.stdout.write(dump_yaml(config))
        return 0
    from stillhouse.families.sar.simulate import simulate

    about = simulate(config, options.out)
    print(
        f"{options.out}: {', '.join(f'{n:,} {split}' for split, n in about['sizes'].items())} lines of {about['length']}"
    )
    print(f"sha256 {about['sha256']}")
    return 0


def _train(words: Sequence[str]) -> int:
    examples = """
  stillhouse sar train --config s4_ssm_complex_toy --out results/teacher
  stillhouse sar train --config s4_ssm_complex_toy --data lines.npz --epochs 5 --out results/short
  stillhouse sar train --config s4_ssm_complex_toy --out results/teacher --resume
"""
    parser = Parser(
        prog="stillhouse sar train",
        description=COMMANDS["train"],
        common={"--config": "", **RUN_FLAGS},
        examples=examples,
    )
    parser.add_argument(
        "--config", required=True, help="documented YAML file, or a shipped recipe (s4_ssm_complex_toy)"
    )
    add_run_flags(parser)
    options = parser.parse(words)
    from stillhouse.families.sar.documented import read_teacher, save_folder
    from stillhouse.families.sar.recipes import recipe_path

    path = recipe_path(options.config)
    config = read_teacher(path, changes_of(options))
    if options.print_config:
        sys.stdout.write(dump_yaml(config))
        return 0
    from stillhouse.cli.show import RunDisplay
    from stillhouse.families.sar.family import FAMILY

    out = Path(options.save_dir or save_folder(path) or f"results/{config.name}")
    with RunDisplay(1, quiet=options.quiet) as display:
        lines = FAMILY.train_teacher(config, out, resume=options.resume, watch=display)
    print("\n".join(lines))
    return 0


def _distill(words: Sequence[str]) -> int:
    both = "--teacher-config s4_ssm_complex_toy --teacher-checkpoint results/teacher \\\n      --student-config s4_ssm_student_toy"
    examples = f"""
  stillhouse sar distill {both}
  stillhouse sar distill {both} --seeds 3 --out results/student
  stillhouse sar distill {both} --alpha 0.3 --beta 0.5 --epochs 5
"""
    own = dict.fromkeys(
        ("--teacher-config", "--teacher-checkpoint", "--student-config", "--alpha", "--beta", "--arms", "--seeds"), ""
    )
    parser = Parser(
        prog="stillhouse sar distill", description=COMMANDS["distill"], common={**own, **RUN_FLAGS}, examples=examples
    )
    parser.add_argument("--teacher-config", required=True, help="YAML file or recipe that the teacher was trained from")
    parser.add_argument("--teacher-checkpoint", required=True, help="its run folder, or best_model.pth")
    parser.add_argument("--student-config", required=True, help="YAML file or recipe of the student")
    for name in ("model_dim", "state_dim", "num_layers"):
        parser.add_argument(_dashed(f"--student_{name}"), dest=f"student_{name}", help=f"in place of the file's {name}")
    parser.add_argument("--temperature", help="differences beyond so many RMS count linearly; none: all are squared")
    parser.add_argument("--alpha", help="weight of the ground truth")
    parser.add_argument("--beta", help="weight of the teacher's outputs")
    parser.add_argument(
        "--gamma", help="weight of its features [the file's; 1 - alpha - beta where one of these is given here]"
    )
    parser.add_argument("--arms", nargs="+", help="kd, no-kd [both]")
    parser.add_argument("--seeds", help="trainings of each arm [3]")
    parser.add_argument("--force", action="store_true", help="distil although the teacher focuses nothing")
    add_run_flags(parser)
    options = parser.parse(words)
    from stillhouse.families.sar.documented import read_distillation, read_yaml, save_folder
    from stillhouse.families.sar.recipes import recipe_path

    path = recipe_path(options.student_config)
    changes = student_changes_of(options)
    config = read_distillation(recipe_path(options.teacher_config), path, options.teacher_checkpoint, changes)
    block = read_yaml(path).get("distillation") or {}
    if (line := changed_gamma(options, block.get("gamma"), config.objective.weights[2])) is not None:
        print(line, file=sys.stderr)
    if options.print_config:
        sys.stdout.write(dump_yaml(config))
        return 0
    from stillhouse.cli.show import RunDisplay
    from stillhouse.core.experiment import run
    from stillhouse.families.sar.family import FAMILY

    out = Path(options.save_dir or save_folder(path) or f"results/{config.name}")
    total = len(config.arms) * config.seeds
    with RunDisplay(total, quiet=options.quiet) as display:
        summary = run(FAMILY, config, out, resume=options.resume, force=options.force, watch=display)
    from stillhouse.core.records import read_json
    from stillhouse.families.sar.report import COMPARISON

    if (out / COMPARISON).is_file():
        print_rows(read_json(out / COMPARISON)["rows"])
    else:
        print(f"filters, truncation and times: stillhouse sar compare {out}")
    for entry in summary["comparisons"]:
        print(verdict_line(entry))
    for line in (*(summary.get("findings") or ()), *(summary.get("hints") or ())):
        print(line[0].upper() + line[1:])
    print(f"verdict on the teacher: {summary['verdict']}")
    return 0


def _compare(words: Sequence[str]) -> int:
    examples = """
  stillhouse sar compare results/student results/other
  stillhouse sar compare results/student --out results/table
  stillhouse sar compare --length 4000                            sizes as documented, nothing trained
"""
    parser = Parser(prog="stillhouse sar compare", description=COMMANDS["compare"], examples=examples)
    parser.add_argument("runs", nargs="*", type=Path, help="folders of `stillhouse sar distill` on the same data")
    parser.add_argument("--out", type=Path, help="folder for comparison.json")
    parser.add_argument("--length", type=int, default=1000, help="without runs: lines of a whole scene [1000]")
    options = parser.parse(words)
    from stillhouse.families.sar.compare import compare_runs, compare_sizes

    log = partial(print, file=sys.stderr, flush=True)
    if options.runs:
        print_rows(compare_runs(options.runs, options.out, log))
        return 0
    rows = compare_sizes(options.length, log)
    print_rows(rows)
    for row in rows:
        documented = row.get("documented") or {}
        print(
            f"{row['name']}: {row['parameters']:,} real parameters ({row['documented_parameters']:,} in the public code), "
            f"{row['fewer_parameters']:.1%} fewer than the teacher"
            + (f"; documented {documented['fewer_parameters']}" if documented else "")
        )
    return 0


def _stream(words: Sequence[str]) -> int:
    examples = """
  stillhouse sar stream results/student/arms/kd/seed-0 --lines 2000 --check
  stillhouse sar stream results/student/arms/kd/seed-0 --input lines.npy --out focused.npy
  stillhouse sar stream results/teacher --lines 500
"""
    parser = Parser(prog="stillhouse sar stream", description=COMMANDS["stream"], examples=examples)
    parser.add_argument("folder", type=Path, help="a trained network (results/student/arms/kd/seed-0)")
    parser.add_argument("--lines", type=int, default=1000, help="lines of white noise to make up [1000]")
    parser.add_argument(
        "--input",
        type=Path,
        help="instead: a .npy file of complex lines, (N, L) as `predict` takes: N range bins, L azimuth samples; (L) for one bin",
    )
    parser.add_argument("--out", dest="output", type=Path, help="a .npy file for the focused lines")
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)  # the document's name
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
    from stillhouse.families.sar.stream import CHUNK, stream

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


def _evaluate(words: Sequence[str]) -> int:
    examples = """
  stillhouse sar evaluate results/teacher
  stillhouse sar evaluate results/student/arms/kd/seed-0
  stillhouse sar evaluate results/teacher --config s4_ssm_complex_toy
"""
    parser = Parser(prog="stillhouse sar evaluate", description=COMMANDS["evaluate"], examples=examples)
    parser.add_argument("folder", type=Path, help="a trained network (results/teacher)")
    parser.add_argument("--config", help="YAML file or recipe whose data are meant [those of its run]")
    options = parser.parse(words)
    from stillhouse.families.sar.documented import read_teacher
    from stillhouse.families.sar.family import FAMILY
    from stillhouse.families.sar.recipes import recipe_path

    data = None if options.config is None else read_teacher(recipe_path(options.config)).data
    print(json.dumps(FAMILY.evaluate(options.folder, data=data), indent=2))
    return 0


def _quantize(words: Sequence[str]) -> int:
    options = _smaller("quantize", "results/student-int8").parse(words)
    from stillhouse.families.sar.compress import quantized

    return _compressed(options, quantized)


def _prune(words: Sequence[str]) -> int:
    parser = _smaller("prune", "results/student-sparse", "--share 0.25")
    parser.add_argument("--share", type=float, required=True, help="of the weights of each matrix, 0 to below 1")
    options = parser.parse(words)
    from stillhouse.families.sar.compress import pruned

    return _compressed(options, partial(pruned, share=options.share))


def _truncate(words: Sequence[str]) -> int:
    parser = _smaller("truncate", "results/student-short", "--state-dim 128")
    parser.add_argument("--state-dim", type=int, required=True, help="states that are left, even")
    options = parser.parse(words)
    from stillhouse.families.sar.compress import truncated

    return _compressed(options, partial(truncated, state_dim=options.state_dim))


def _smaller(command: str, out: str, flags: str = "") -> Parser:
    examples = f"\n  stillhouse sar {command} results/student --out {out} {flags}".rstrip() + "\n"
    parser = Parser(prog=f"stillhouse sar {command}", description=COMMANDS[command], examples=examples)
    parser.add_argument("folder", type=Path, help="a trained network (results/student)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the smaller one")
    parser.add_argument("--config", help="YAML file or recipe whose data are meant [those of its run]")
    return parser


def _compressed(options: Any, make: Callable[..., Any]) -> int:
    from stillhouse.families.sar.compress import compress
    from stillhouse.families.sar.documented import read_teacher
    from stillhouse.families.sar.recipes import recipe_path

    data = None if options.config is None else read_teacher(recipe_path(options.config)).data
    print(json.dumps(compress(options.folder, options.out, make, data), indent=2))
    return 0


def _export(words: Sequence[str]) -> int:
    examples = "\n  stillhouse sar export results/student --out step.onnx\n"
    parser = Parser(prog="stillhouse sar export", description=COMMANDS["export"], examples=examples)
    parser.add_argument("folder", type=Path, help="a trained network that streams (results/student)")
    parser.add_argument("--out", type=Path, required=True, help="FILE.onnx")
    options = parser.parse(words)
    from stillhouse.families.sar.onnx_step import export_step
    from stillhouse.families.sar.saved import load_model

    print(export_step(load_model(options.folder)[0], options.out))
    return 0


def _dashed(word: str) -> str:
    """`--num_epochs=3` as `--num-epochs=3`; values keep their underscores.

    Example:
        >>> _dashed("--save_dir=my_runs"), _dashed("my_file.yaml")
        ('--save-dir=my_runs', 'my_file.yaml')
    """
    if not word.startswith("--"):
        return (
            word.replace("_", "-") if word.isidentifier() and word in {n.replace("-", "_") for n in COMMANDS} else word
        )
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value
