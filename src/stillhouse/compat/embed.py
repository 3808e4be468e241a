"""`stillhouse embed distill`: vectors of a teacher into few numbers, also by the names of document 004."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stillhouse.cli.options import RUNS, Parser, add_run_options
from stillhouse.compat import flags
from stillhouse.core.checks import ConfigError, InputError

OWN = {**RUNS, "--key": "data.key"}


def main(arguments: Sequence[str]) -> int:
    """Parse, distil, print."""
    parser = Parser("embed distill")
    parser.add_argument("source", nargs="?", metavar="SOURCE", help="vectors, a captured folder, or a YAML file")
    parser.add_argument("--teacher-checkpoint", "--vectors", dest="vectors", metavar="FILE", help="the same as SOURCE")
    parser.add_argument("--recipe", metavar="NAME", help="what to start from [embedding]")
    add_run_options(parser)
    parser.add_argument("--save-dir", dest="out", type=Path, metavar="DIR", help="the same as --out")
    documented = flags("embed")
    parser.add_flags({**OWN, **documented})
    parser.add_settings()
    options = parser.parse(_curriculum(arguments))
    source = options.source or options.vectors
    if source is None:
        raise ConfigError("which vectors? Try `stillhouse embed distill FILE.npy`")
    if options.source and options.vectors:
        raise ConfigError(f"expected one source, got {options.source} and {options.vectors}")
    file = source.lower().endswith((".yaml", ".yml", ".json"))
    if not file and not options.print_config and not Path(source).expanduser().exists():
        raise InputError(f"{source}: expected a file of vectors or a capture folder, got nothing there")
    config = _load(source, options, parser.given(options, documented), parser.given(options, OWN))
    from stillhouse.cli.runs import run_or_print

    return run_or_print(options, config)


def _load(source: str, options: Any, given: dict[str, Any], own: Mapping[str, Any]) -> Any:
    """The run: documented names first, then settings, then flags of every training."""
    import yaml

    from stillhouse.core.config import parse_assignment
    from stillhouse.tasks.embed.documented import PRESETS, documented
    from stillhouse.tasks.embed.recipes import load_embedding

    changes: list[tuple[str, Any]] = []
    tau = given.get("tau")
    if isinstance(tau, str) and "," in tau:  # one a stage is a setting of ours; the documented one is a number
        del given["tau"]
        changes.append(("loss.tau", [float(one) for one in tau.split(",")]))
    wanted = {key: value for key, value in given.items() if key != "save_every"}
    if wanted:
        changes += _leaves(documented(wanted, PRESETS.get(options.recipe or "")))
    changes += [(".".join(path), value) for path, value in map(parse_assignment, options.set)]
    changes += own.items()
    changes.sort(key=lambda change: change[0].count("."))  # whole parts first
    words = [f"{path}={yaml.safe_dump(value, default_flow_style=True)}" for path, value in changes]
    return load_embedding(source, words, recipe=options.recipe)


def _leaves(mapping: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """`a.b` and value of every entry; an empty mapping is a value.

    Example:
        >>> _leaves({"a": {"b": 1, "c": {}}})
        [('a.b', 1), ('a.c', {})]
    """
    found: list[tuple[str, Any]] = []
    for key, value in mapping.items():
        inner = isinstance(value, Mapping) and value
        found += _leaves(value, f"{prefix}{key}.") if inner else [(prefix + key, value)]
    return found


def _curriculum(words: Sequence[str]) -> list[str]:
    """`--curriculum true` and `--curriculum=false` as the switch that it is.

    Example:
        >>> _curriculum(["--curriculum", "true", "x.npy", "--curriculum=false"])
        ['--curriculum', 'x.npy', '--no-curriculum']
    """
    line = " ".join(shlex.quote(word) for word in words)
    line = re.sub(r"--curriculum[ =]true\b", "--curriculum", line, flags=re.IGNORECASE)
    return shlex.split(re.sub(r"--curriculum[ =]false\b", "--no-curriculum", line, flags=re.IGNORECASE))
