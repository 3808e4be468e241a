"""`stillhouse vision`: clause networks on images, by the flags of the documents."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stillhouse.classification.light import PLAIN
from stillhouse.cli.options import Parser, _plain, _shown, add_config_options, print_config
from stillhouse.core.config import ConfigError, load_yaml, merge, place, set_path, to_mapping
from stillhouse.core.flags import Flag, takes_plain
from stillhouse.core.records import run_place
from stillhouse.core.verdict import standing
from stillhouse.families.clauses.vision.config import VisionConfig
from stillhouse.families.clauses.vision.flags import VisionFlag, described

EXAMPLES = """
  stillhouse vision --dataset mnist --models transformer --transformer-arch vit --transformer-patch 4 --epochs 3
  stillhouse vision --models transformer tm --out runs/both --resume
  stillhouse vision --distill-teacher-checkpoint runs/mnist-teacher/teacher.safetensors --visualize-overlays pictures
"""
COMMON = {
    "--models": "transformer, tm, deep_tm, hybrid, resnet_tm, swin_tm, pyramid_tm",
    "--dataset": "digits, mnist, fashion-mnist, cifar10, cifar100, imagenet, folder, npz",
    "--dataset-root": "where it lies",
    "--out": "",
    "--resume": "",
    **dict.fromkeys(("--epochs", "--batch-size"), ""),
    "--learning-rate": "peak [by model and batch size]",
    "--seeds": "",
    "--threads": "CPU threads; auto: one or all, whichever is faster",
    "--device": "",
    **dict.fromkeys(("--transformer-arch", "--transformer-patch"), ""),
    "--transformer-d-model": "width of a token [96]",
    "--transformer-layers": "blocks; for Swin in each stage [4, or 2,2,6,2]",
    "--transformer-clauses": "clauses of each block [192]",
    "--tm-n-clauses": "",
    "--distill-teacher-timm": "a timm network, or ckpt:FILE, torchvision:NAME, builtin:digits",
    "--distill-teacher-checkpoint": "alone: a FILE of train-teacher; beside a network: its state dict",
    "--visualize-overlays": "",
    **dict.fromkeys(("--config", "--set", "--print-config"), ""),
}
MORE = """more examples:
  stillhouse vision --dataset mnist --transformer-arch swin --transformer-depths 1,1 --transformer-stage-heads 2,4 \\
      --transformer-embed-dims 48,96 --transformer-patch 2 --transformer-window 4 --epochs 10

every flag: docs/tsetlin.md; the documented commands: docs/reproduction.md
"""
ALSO = {"--lr": ("--learning-rate",)}  # the name that it has in every other family
SOURCES = {"--distill-teacher-timm": "timm:{}", "--distill-teacher-source": "{}"}
KINDS = ("builtin", "timm", "torchvision", "ckpt", "self")
LESSONS = ("lesson.teacher_weight", "lesson.teacher_temperature")


def main(arguments: Sequence[str]) -> int:
    """Parse, train every model, print one table."""
    options, config = read(arguments)
    if options.print_config:
        print_config(config)
        return 0
    from stillhouse.cli.show import RunDisplay
    from stillhouse.families.clauses.vision.run import run_models

    out = run_place(options.out, config.name)
    quiet = options.quiet or not sys.stdout.isatty()
    trainings = len(config.models) * config.seeds * max(1, len(config.arms))
    with RunDisplay(trainings, quiet=quiet, epochs=False) as display:
        for name, models in unused_flags(options, config):
            display.log(f"unused: {name} is a setting of {models}, which --models does not name")
        results = run_models(config, out, resume=options.resume, force=options.force, quiet=quiet, watch=display)
    print_variants(results, out)
    return 0


def read(arguments: Sequence[str]) -> tuple[argparse.Namespace, VisionConfig]:
    """A command line as the options that are no setting, and the configuration."""
    options = _parser().parse([_dashed(word) for word in arguments])
    return options, VisionConfig.read(_mapping(options))


def unused_flags(options: argparse.Namespace, config: VisionConfig) -> Iterator[tuple[str, str]]:
    """Flags that were given and are of other models than those trained, each with these models' names."""
    for row, _ in described():
        places = [path.split(".") for path in (row.path, *row.also)]
        if getattr(options, row.name) is None or any(place[0] != "model" for place in places):
            continue
        models = [place[1] for place in places]
        if not set(models) & set(config.models):
            yield row.name, ", ".join(models)


def print_variants(results: Mapping[str, Any], out: Path) -> None:
    """One table of all models."""
    from rich.console import Console
    from rich.table import Table

    from stillhouse.cli.show import comparison_words, print_table

    console = Console(highlight=False)
    sizes = results["data"]["sizes"]
    title = f"{results['data']['name']}, {sizes['test']:,} test images"
    table = Table("model", "test", "validation", "parameters", "s an epoch", title=title)
    for name, found in results["models"].items():
        for arm, accuracy in found["arms"].items():
            row = name if len(found["arms"]) == 1 else f"{name} ({arm})"
            reference = arm == next(iter(found["arms"]))
            table.add_row(
                row,
                f"{accuracy['mean']:.2%}",
                f"{found['validation_accuracies'][arm]:.2%}",
                f"{found['arm_params'][arm]:,}",
                f"{found['seconds_per_epoch']:.1f}" if reference else "",
            )
    for name, accuracy in next(iter(results["models"].values()))["plain"].items():  # of the data, whatever the model
        table.add_row(PLAIN[name], f"{accuracy['mean']:.2%}", "", "", "")
    print_table(table)
    for name, found in results["models"].items():
        below = [row for row in found["comparisons"] if row["control"] in PLAIN and standing(row)]
        for row in below:
            words = f"{found['test_accuracy']:.2%} is {standing(row)} {PLAIN[row['control']]}"
            console.print(
                f"{name}: {words} ({found['plain'][row['control']]['mean']:.2%})", markup=False, soft_wrap=True
            )
        for entry in found["comparisons"] if len(found["arms"]) > 1 else ():
            console.print(f"{name}: {comparison_words(entry)}", markup=False, soft_wrap=True)
    console.print(f"results: {out / 'results.json'}", markup=False, soft_wrap=True)


def _parser() -> Parser:
    parser = Parser(
        prog="stillhouse vision",
        description="Train and distil clause networks on images. A flag's range and meaning are those of the setting behind it.",
        common=COMMON,
        examples=EXAMPLES,
        epilog=MORE,
    )
    parser.add_argument("--config", type=Path, help="YAML file to start from; flags change it")
    parser.add_argument("--out", type=Path, help="run folder [runs/NAME]")
    parser.add_argument(
        "--resume", action="store_true", help="continue what is in the folder; finished models are kept"
    )
    parser.add_argument("--force", action="store_true", help="train although the teacher is no better than chance")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    add_config_options(parser)
    groups: dict[str, Any] = {}
    for row, flag in described():
        group = groups.setdefault(row.group, parser.add_argument_group(row.group))
        group.add_argument(row.name, *ALSO.get(row.name, ()), **_settings(row, flag))
    return parser


def _settings(row: VisionFlag, flag: Flag) -> dict[str, Any]:
    settings: dict[str, Any] = {"dest": row.name, "default": None}
    settings["help"] = f"{flag.help} [{_shown(flag.default)}]".replace("%", "%%")
    if flag.is_bool:
        settings["action"] = argparse.BooleanOptionalAction
        return settings
    several = flag.is_list or row.name == "--tm-target-size"
    words = "|".join(map(str, flag.choices)) if flag.choices and not flag.is_list else flag.path[-1].upper()
    return {**settings, "metavar": words, "nargs": "+" if several else None}


def _mapping(options: argparse.Namespace) -> dict[str, Any]:
    """The configuration as plain data: defaults, then the file, then --set, then flags."""
    mapping: dict[str, Any] = to_mapping(VisionConfig())
    if options.config is not None:
        mapping = merge(mapping, load_yaml(options.config))
    for assignment in options.set:
        set_path(mapping, assignment)
    given: dict[str, str] = {}
    for row, flag in described():
        value = getattr(options, row.name)
        if value is None:
            continue
        if row.path in given:
            raise ConfigError(f"{row.name} and {given[row.path]} mean the same ({row.path}); give one of them")
        given[row.path] = row.name
        for path in (row.path, *row.also):
            place(mapping, path.split("."), _value(row, flag, value))
    _name_teacher(mapping, given)
    return mapping


def _value(row: VisionFlag, flag: Flag, given: Any) -> Any:
    if row.name in SOURCES:
        return given if given.partition(":")[0] in KINDS and ":" in given else SOURCES[row.name].format(given)
    if flag.is_bool:
        return given
    if not isinstance(given, list):
        return given if given in flag.choices else _plain(given)  # "none" may be one of the words
    words = [_plain(word) for text in given for word in text.split(",") if word]
    if row.name == "--tm-target-size":
        if len(set(words)) > 1:
            raise ConfigError(f"{row.name}: expected a square (H = W), got {' x '.join(map(str, words))}")
        return words[0]
    # one number where one number or a list may stand is the number
    return words[0] if len(words) == 1 and takes_plain(flag.annotation) else words


def _name_teacher(mapping: dict[str, Any], given: Mapping[str, str]) -> None:
    """A checkpoint without an architecture is one of ours, which knows its own."""
    if "teacher.checkpoint" in given and mapping["teacher"].get("source") is None:
        path = mapping["teacher"].pop("checkpoint")
        mapping["teacher"]["source"] = f"ckpt:{path}"
    named = (mapping.get("teacher") or {}).get("source") is not None
    about = [name for path, name in given.items() if path.startswith("teacher.") or path in LESSONS]
    if about and not named:
        raise ConfigError(
            f"{about[0]}: there is no teacher; name one by --distill-teacher-checkpoint FILE, --distill-teacher-timm NAME "
            "or --distill-teacher-source builtin:digits"
        )


def _dashed(word: str) -> str:
    """Flags are taken with underscores too, as one of the documents spells them."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return f"{name.replace('_', '-')}{equals}{value}"
