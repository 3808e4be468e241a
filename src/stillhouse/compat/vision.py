"""`stillhouse vision`: documents 000 and 001 by their own flags; everything else is KEY=VALUE."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stillhouse.cli.options import Parser, add_run_options, print_config
from stillhouse.compat import flags
from stillhouse.core.checks import ConfigError

KINDS = ("builtin", "timm", "torchvision", "ckpt", "self", "py")


def main(arguments: Sequence[str]) -> int:
    """Parse, train every model, print one table."""
    options, config = read(arguments)
    if options.print_config:
        return print_config(config)
    from stillhouse.cli.show import RunDisplay
    from stillhouse.core.records import run_place
    from stillhouse.tasks.classification.vision.run import run_models

    out = run_place(options.out, config.name)
    trainings = len(config.models) * config.seeds * max(1, len(config.arms))
    with RunDisplay(trainings, quiet=options.quiet) as display:
        results = run_models(config, out, resume=options.resume, force=options.force, callback=display)
    print_models(results, out)
    return 0


def read(arguments: Sequence[str]) -> tuple[argparse.Namespace, Any]:
    """A command line as the options that are no setting, and the configuration: defaults, file, KEY=VALUE, flags."""
    parser = Parser("vision")
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file to start from; flags change it")
    add_run_options(parser)
    parser.add_flags(flags("vision", "vision-more"))
    parser.add_settings()
    options = parser.parse(arguments)
    from stillhouse.core.config import apply_override, load_yaml, merge, to_mapping
    from stillhouse.tasks.classification.vision.config import VisionConfig

    mapping: dict[str, Any] = to_mapping(VisionConfig())
    if options.config is not None:
        mapping = merge(mapping, load_yaml(options.config))
    given = parser.given(options)
    side = given.get("data.image_size")
    if isinstance(side, list):
        if len(set(side)) > 1:
            raise ConfigError(f"--tm-target-size: expected a square (H = W), got {' x '.join(map(str, side))}")
        given["data.image_size"] = side[0]
    source = given.get("teacher.source")
    if source is not None and str(source).partition(":")[0] not in KINDS:
        given["teacher.source"] = f"timm:{source}"
    apply_override(mapping, options.set, given)
    teacher = mapping["teacher"] or {}
    if "teacher.checkpoint" in given and teacher.get("source") is None:  # one of ours, which knows its architecture
        teacher["source"] = f"ckpt:{teacher.pop('checkpoint')}"
    if teacher.get("source") is None and any(path.startswith(("teacher.", "loss.teacher_")) for path in given):
        raise ConfigError(
            "there is no teacher; name one by --distill-teacher-checkpoint FILE or --distill-teacher-timm NAME"
        )
    return options, VisionConfig.read(mapping)


def print_models(results: Mapping[str, Any], out: Path) -> None:
    """One table of all models."""
    from rich.table import Table

    from stillhouse.cli.show import print_table
    from stillhouse.report.words import sentences
    from stillhouse.tasks.classification.results import RESULTS

    title = f"{results['data']['name']}, {results['data']['sizes']['test']:,} test images"
    table = Table("model", "arm", "test", "validation", "parameters", title=title)
    lines = []
    for name, found in results["models"].items():
        accuracies = {**found["arms"], **found["plain"]}
        for arm, accuracy in accuracies.items():
            validation, params = found["validation_accuracies"].get(arm), found["arm_params"].get(arm)
            shown = ("" if validation is None else f"{validation:.2%}", "" if params is None else f"{params:,}")
            table.add_row(name, arm, f"{accuracy['mean']:.2%}", *shown)
        means = {arm: {"accuracy": accuracy} for arm, accuracy in accuracies.items()}
        told = sentences(found["comparisons"], means, {metric.name: metric for metric in RESULTS.metrics})
        lines += [f"{name}: {one.mark} {one.lead}; {one.detail}" for one in told]
    print_table(table)
    print("\n".join([*lines, f"results: {out / 'results.json'}"]))
