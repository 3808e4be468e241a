"""`stillhouse cache`: ask a teacher once and keep its answers, for runs of any task."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stillhouse.cli.options import TRAINING, Parser, print_config, read_config


def main(arguments: Sequence[str]) -> int:
    """Write or show."""
    words = list(arguments)
    if words and words[0] == "show":
        return _show(words[1:])
    parser = Parser("cache")
    parser.add_argument("--out", type=Path, help="folder of the cache [caches/NAME]")
    parser.add_argument(
        "--content", nargs="+", metavar="WORD", help="see below [scores, and the features that the signals tap]"
    )
    parser.add_argument("--licence", help="under which the answers may be passed on [as the teacher says itself]")
    parser.add_argument("--force", action="store_true", help="also of a teacher that is no better than chance")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options, config = read_config(parser, words, "load_run", flags={**TRAINING, "--views": "data.views"})
    if options.print_config:
        return print_config(config)
    return write(config, options)


def write(config: Any, options: Namespace) -> int:
    """Ask the teacher of a run of any task."""
    from stillhouse.cache.content import Content
    from stillhouse.cache.queries import write_cache
    from stillhouse.cli.runs import loaded
    from stillhouse.cli.show import bar
    from stillhouse.core.experiment import check_teacher

    task, data, teachers, callback = loaded(config)
    content = None if options.content is None else Content.parse(options.content)
    queries = task.teacher_queries(config, data, teachers[-1], () if content is None else content.features)
    kept = queries.content if content is None else replace(content, temperatures=queries.content.temperatures)
    found = check_teacher(task, teachers[-1], config, data, force=options.force, callback=callback)
    queries = replace(queries, about={**queries.about, "teacher_check": found.to_fields()})
    out = options.out or Path("caches") / config.name
    with bar("asking the teacher", quiet=options.quiet) as on_progress:
        write_cache(queries, out, kept, licence=options.licence, on_progress=on_progress)
    print(f"{out}: use it with teacher_cache={out}, or without the teacher as teacher.source=cache:{out}")
    return 0


def _show(words: Sequence[str]) -> int:
    parser = Parser("cache show")
    parser.add_argument("folder", type=Path, metavar="DIR", help="a finished cache")
    options = parser.parse(words)
    from stillhouse.cache.files import Store

    plan = Store(options.folder).plan
    for name, value in {**plan.about, **{f"key {key}": value for key, value in plan.key.items()}}.items():
        print(f"{name}: {value}")
    for part, rows in plan.parts.items():
        arrays = ", ".join(f"{n} {list(shape)} {kind[1:]}" for n, (shape, kind) in plan.arrays[part].items())
        print(f"{part}: {rows:,} rows of {plan.row_bytes(part):,} bytes ({arrays})")
    print(f"{plan.bytes:,} bytes, every row as it was written")
    return 0
