"""`stillhouse lm`: train-teacher, cache, distill, evaluate, generate, export."""

from __future__ import annotations

import json
import math
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stillhouse.cli.options import CONFIG, RUNS, TRAINING, Parser, print_config, read_config
from stillhouse.cli.stored import recipes
from stillhouse.core.checks import InputError, nearest
from stillhouse.core.config import ConfigError
from stillhouse.core.folder import SHIPPED
from stillhouse.core.records import CARD, run_place

COMMANDS = {
    "train-teacher": "train a small transformer on a text: a teacher for quick runs",
    "cache": "ask a run's teacher for its largest logits on every training window, once; a killed one is continued",
    "distill": "train spiking students with the teacher and without, a dense one, an n-gram; verdict and report",
    "evaluate": "score a saved student or teacher on a test split, or count what a token of it costs",
    "generate": "let a student write, from its packed ternary weights in constant memory",
    "export": "packed ternary weights, with the tokenizer",
}
HELP = """usage: stillhouse lm COMMAND [options]

Distil a transformer language model into a recurrent one with ternary spikes and weights, and prove whether it helped.

commands:
{commands}

start here:
  stillhouse lm train-teacher wikitext-2-teacher --corpus-source data/wikitext-2 --out runs/wikitext-2-teacher
  stillhouse lm distill wikitext-2 --corpus-source data/wikitext-2 --out runs/wikitext-2
  stillhouse lm generate runs/wikitext-2/arms/kd/seed-0 --prompt "The river" --tokens 60
  stillhouse lm COMMAND --help                        the options of a command
"""
TEXT = {"--corpus-source": "", "--corpus-tokenizer": ""}


def main(arguments: Sequence[str]) -> int:
    """Run one command of the family."""
    words = list(arguments)
    if not words or words[0] in {"-h", "--help", "help"}:
        width = max(map(len, COMMANDS))
        print(HELP.format(commands="\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())))
        return 0 if words else 2
    chosen: dict[str, Callable[[Sequence[str]], int]] = {
        "train-teacher": _train_teacher,
        "cache": _cache,
        "distill": _distill,
        "evaluate": _evaluate,
        "generate": _generate,
        "export": _export,
    }
    if words[0] not in chosen:
        raise ConfigError(f"unknown command {words[0]!r}; {nearest(words[0], COMMANDS)}")
    return chosen[words[0]](words[1:])


def _load_run(recipe: str, assignments: Sequence[str]) -> Any:
    from stillhouse.families.lm.recipes import load_lm_run  # not before the words are looked at

    return load_lm_run(recipe, assignments)


def _load_teacher(recipe: str, assignments: Sequence[str]) -> Any:
    from stillhouse.families.lm.recipes import load_lm_teacher

    return load_lm_teacher(recipe, assignments)


def _train_teacher(words: Sequence[str]) -> int:
    examples = """
  stillhouse lm train-teacher wikitext-2-teacher --corpus-source data/wikitext-2 --out runs/wikitext-2-teacher
  stillhouse lm train-teacher wikitext-2-teacher --corpus-source mine.txt --epochs 2
  stillhouse lm train-teacher wikitext-2-teacher --resume
"""
    parser = Parser(
        prog="stillhouse lm train-teacher",
        description=COMMANDS["train-teacher"],
        common={**TRAINING, **TEXT, "--model-width": "", "--model-layers": "", **CONFIG},
        examples=examples,
    )
    _add_run_flags(parser)
    options, config = read_config(parser, words, _load_teacher, "wikitext-2-teacher", roots=recipes("teacher", "lm"))
    if options.print_config:
        print_config(config)
        return 0
    from stillhouse.cli.show import RunDisplay
    from stillhouse.families.lm.family import FAMILY

    out = run_place(options.out, config.name)
    with RunDisplay(1, quiet=options.quiet) as display:
        lines = FAMILY.train_teacher(config, out, resume=options.resume, watch=display)
    print("\n".join(lines))
    return 0


def _cache(words: Sequence[str]) -> int:
    parser = Parser(
        prog="stillhouse lm cache",
        description=COMMANDS["cache"],
        common={
            "--out": "",
            **TEXT,
            "--teacher-source": "",
            "--k": "",
            "--lesson-window": "",
            "--set": "",
            "--print-config": "",
        },
        examples="""
  stillhouse lm cache wikitext-2 --corpus-source data/wikitext-2
  stillhouse lm cache wikitext-2 --lesson-k 64 --out caches/wikitext-2
  stillhouse lm cache mine.yaml
""",
        epilog="`lm distill --out OUT` looks for its cache in OUT/logits, and writes it there if there is none.",
    )
    parser.add_argument("--out", type=Path, help="folder of the cache [runs/NAME/logits]")
    options, config = read_config(parser, words, _load_run, "wikitext-2", roots=recipes("run", "lm"))
    if options.print_config:
        print_config(config)
        return 0
    from stillhouse.families.lm.run import cache

    found = cache(config, options.out or run_place(None, config.name) / "logits", log=print)
    print(f"{found.key.rows:,} rows of {found.key.length} tokens, {found.key.k} logits each, in {found.folder}")
    return 0


def _distill(words: Sequence[str]) -> int:
    examples = """
  stillhouse lm distill wikitext-2 --corpus-source data/wikitext-2 --out runs/wikitext-2
  stillhouse lm distill wikitext-2 --corpus-source mine.txt --epochs 2 --seeds 1
  stillhouse lm distill mine.yaml --resume
"""
    parser = Parser(
        prog="stillhouse lm distill",
        description=COMMANDS["distill"],
        common={
            **RUNS,
            "--arms": "",
            **TEXT,
            "--teacher-source": "",
            "--kd-weight": "",
            "--student-width": "",
            "--student-layers": "",
            "--student-mixer": "",
            "--force": "",
            **CONFIG,
        },
        examples=examples,
    )
    _add_run_flags(parser)
    parser.add_argument(
        "--force", action="store_true", help="learn from a teacher that knows only how frequent tokens are"
    )
    options, config = read_config(parser, words, _load_run, "wikitext-2", roots=recipes("run", "lm"))
    if options.print_config:
        print_config(config)
        return 0
    from stillhouse.cli.show import RunDisplay
    from stillhouse.core.experiment import run
    from stillhouse.families.lm.family import FAMILY

    out = run_place(options.out, config.name)
    trainings = sum(arm.seeds for arm in FAMILY.arms(config) if arm.trains)
    with RunDisplay(trainings, quiet=options.quiet) as display:
        summary = run(FAMILY, config, out, resume=options.resume, force=options.force, watch=display)
    print_lm_summary(summary)
    return 0


def _evaluate(words: Sequence[str]) -> int:
    examples = """
  stillhouse lm evaluate runs/wikitext-2/arms/kd/seed-0
  stillhouse lm evaluate runs/wikitext-2/arms/kd/seed-0 --source mine.txt --tokens 20000
  stillhouse lm evaluate runs/wikitext-2/arms/kd/seed-0 --energy
"""
    parser = Parser(prog="stillhouse lm evaluate", description=COMMANDS["evaluate"], examples=examples)
    parser.add_argument(
        "folder", type=Path, help="a run, one student of it (RUN/arms/kd/seed-0), or a teacher's folder"
    )
    parser.add_argument(
        "--source",
        help="another text: a folder of splits, or a file, from its first token on [the test split of its run]",
    )
    parser.add_argument("--tokens", type=int, help="that are scored, at most [those of its run]")
    parser.add_argument("--window", type=int, help="tokens of a window [those of its run]")
    parser.add_argument(
        "--energy", action="store_true", help="instead: counted operations of a token, against the teacher's"
    )
    options = parser.parse(words)
    if (options.folder / SHIPPED / CARD).is_file():  # a run: its student
        options.folder = options.folder / SHIPPED
    _check_evaluation(options)
    from stillhouse.families.lm.use import score_again

    if options.energy:
        from stillhouse.families.lm.use import count_energy

        print(json.dumps(count_energy(options.folder), indent=2))
        return 0
    chosen = {name: getattr(options, name) for name in ("source", "tokens", "window")}
    print(json.dumps(score_again(options.folder, **chosen), indent=2))
    return 0


def _check_evaluation(options: Namespace) -> None:
    """Refuse a folder of neither kind, and flags that what was asked for would leave unread."""
    student = (options.folder / CARD).is_file()
    network = (options.folder / "config.json").is_file() or options.folder.suffix.lower() == ".gguf"
    if not student and not network:
        raise InputError(
            f"{options.folder}: expected a student's folder (card.json) or a finished run, a teacher's "
            "(config.json) or a GGUF file, got none of them"
        )
    unread = [f"--{name}" for name in ("source", "tokens", "window") if getattr(options, name) is not None]
    if options.energy and unread:
        raise ConfigError(f"evaluate: expected --energy without them, got {', '.join(unread)}")
    if options.energy and not student:
        raise ConfigError(f"--energy: expected a student's folder (card.json), got a teacher's ({options.folder})")


def _generate(words: Sequence[str]) -> int:
    examples = """
  stillhouse lm generate runs/wikitext-2/arms/kd/seed-0 --prompt "The river"
  stillhouse lm generate runs/wikitext-2/arms/kd/seed-0 --prompt "The river" --tokens 60 --temperature 0.8
  stillhouse lm generate runs/wikitext-2/arms/kd/seed-0 --prompt "The river" --torch
"""
    parser = Parser(prog="stillhouse lm generate", description=COMMANDS["generate"], examples=examples)
    parser.add_argument("folder", type=Path, help="a run, or one student of it (RUN/arms/kd/seed-0)")
    parser.add_argument("--prompt", required=True, help="text of any length")
    parser.add_argument("--tokens", type=int, default=100, help="to write [100]")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 takes the likeliest token [0]")
    parser.add_argument("--seed", type=int, default=0, help="of the draws [0]")
    parser.add_argument("--torch", action="store_true", help="by the torch network, not by the packed one")
    options = parser.parse(words)
    if options.tokens < 1 or not 0 <= options.temperature < math.inf:
        raise ConfigError(
            f"expected --tokens from 1 and a finite --temperature from 0, got {options.tokens}, {options.temperature}"
        )
    try:
        options.prompt.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"--prompt: expected Unicode text, got {ascii(options.prompt)[:80]}") from None
    if not 0 <= options.seed < 2**64:  # what torch takes
        raise ConfigError(f"--seed: expected 0 to 2^64 - 1, got {options.seed}")
    from stillhouse.families.lm.use import generate

    found = generate(
        options.folder,
        options.prompt,
        options.tokens,
        temperature=options.temperature,
        seed=options.seed,
        packed=not options.torch,
    )
    print(options.prompt + found["text"])
    print(f"{found['tokens_per_second']:,.0f} tokens a second", file=sys.stderr)
    if not options.torch:
        print(
            f"in memory: {in_memory(found)}; {found['silent_share']:.1%} of the weight rows skipped\n"
            f"in the packed file (lm export): {in_file(found)}",
            file=sys.stderr,
        )
    return 0


def in_memory(found: Mapping[str, Any]) -> str:
    """What the packed generator holds, part by part.

    Example:
        >>> in_memory({"state_bytes": 9216, "weight_bytes": 5368344, "ngram_bytes": 4900000, "params": 278528})
        'state 9,216 bytes, network 468,344 bytes (278,528 weights, ternary ones a byte each), n-gram inside 4,900,000 bytes'
        >>> in_memory({"state_bytes": 9216, "weight_bytes": 468344, "ngram_bytes": 0, "params": 278528})
        'state 9,216 bytes, network 468,344 bytes (278,528 weights, ternary ones a byte each)'
    """
    network, ngram = found["weight_bytes"] - found["ngram_bytes"], found["ngram_bytes"]
    beside = f", n-gram inside {ngram:,} bytes" if ngram else ""
    weights = f"{found['params']:,} weights, ternary ones a byte each"
    return f"state {found['state_bytes']:,} bytes, network {network:,} bytes ({weights}){beside}"


def in_file(found: Mapping[str, Any]) -> str:
    """What the packed student takes in a file, part by part; a tokenizer lies beside it.

    Example:
        >>> in_file({"packed_bytes": 1020000, "packed_ngram_bytes": 900000})
        'network 120,000 bytes, n-gram inside 900,000 bytes'
        >>> in_file({"packed_bytes": 120000, "packed_ngram_bytes": 0})
        'network 120,000 bytes'
    """
    ngram = found["packed_ngram_bytes"]
    return f"network {found['packed_bytes'] - ngram:,} bytes" + (f", n-gram inside {ngram:,} bytes" if ngram else "")


def _export(words: Sequence[str]) -> int:
    examples = """
  stillhouse lm export runs/wikitext-2/arms/kd/seed-0 --out packed
"""
    parser = Parser(prog="stillhouse lm export", description=COMMANDS["export"], examples=examples)
    parser.add_argument("folder", type=Path, help="a run, or one student of it (RUN/arms/kd/seed-0)")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    options = parser.parse(words)
    if options.out.exists() and not options.out.is_dir():
        raise InputError(f"--out: expected a folder, got the file {options.out}")
    from stillhouse.families.lm.use import export

    found = export(options.folder, options.out)
    smaller = found["dense_bytes"] / found["bytes"]
    print(f"{found['file']}: {found['bytes']:,} bytes ({smaller:.1f} times smaller than float32)")
    return 0


def _add_run_flags(parser: Parser) -> None:
    parser.add_argument("--out", type=Path, help="run folder [runs/NAME]")
    parser.add_argument("--resume", action="store_true", help="continue the run in the folder")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def print_lm_summary(summary: Mapping[str, Any]) -> None:
    """The table of all models and the comparisons in words."""
    from rich.table import Table

    from stillhouse.cli.show import print_table, print_verdict
    from stillhouse.families.lm.blocks import models_table

    found = models_table(summary)
    table = Table(*found.head)
    for row in found.rows:
        table.add_row(*map(str, row))
    print_table(table)
    print_verdict(summary)
