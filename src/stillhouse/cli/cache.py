"""`stillhouse cache`: ask a teacher once and keep its answers, for runs of any task, by any number of processes."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stillhouse.cli.options import TRAINING, Parser, print_config, read_config
from stillhouse.core.checks import InputError

ABOUT = "Ask the teacher of a run for all its answers, once, and keep them in a folder, where runs of the same data read them."
EXAMPLES = """
  stillhouse cache digits --out caches/digits
  stillhouse distill digits teacher.source=cache:caches/digits       no teacher is loaded
  stillhouse cache show caches/digits
"""
MORE = """

  cache RECIPE|FILE --out DIR     ask and write; a killed one is continued by the same command
  cache show DIR                  what a cache is of; every file is compared with its hash

A run reads it in two ways:
  with teacher_cache=DIR          beside the teacher: compared with it on rows that are drawn anew each time
  with teacher.source=cache:DIR     instead of it (radar: teacher_checkpoint=cache:DIR): the teacher need not be installed

more examples:
  stillhouse cache mine.yaml --out c --views 8                         8 augmented views of each image; train with data.views=8
  stillhouse cache mine.yaml --out c --content topk:16 features:layer3 the 16 largest scores, the mass of the rest, a hidden layer
  stillhouse cache mine.yaml --content topk:16 --estimate              bytes, and hours from the time of a first batch

content:
  scores              every class score, in single precision: students learn as from the teacher itself
  topk:K              the K largest in half precision, and ln of the others' mass at T = 1, 2 and 4: exact there, and at any other
                      temperature (also a learned one) within the bounds that `stillhouse.losses.tail` states; for forward-kl only
  features:PATH,...   what sub-modules put out, as signals tap them

Several processes may write into one folder: each takes shards that nobody else is writing. A cache is of one teacher, one
preprocessing, the very data with their labels, and (of augmented images) one number and seed of views; anything else is
refused by name.
"""


def main(arguments: Sequence[str]) -> int:
    """Write or show."""
    words = list(arguments)
    if words and words[0] == "show":
        return _show(words[1:])
    parser = Parser(prog="stillhouse cache", description=ABOUT, examples=EXAMPLES, epilog=MORE)
    parser.add_argument("--out", type=Path, help="folder of the cache [caches/NAME]")
    parser.add_argument(
        "--content", nargs="+", metavar="WORD", help="see below [scores, and the features that the signals tap]"
    )
    parser.add_argument("--licence", help="under which the answers may be passed on [as the teacher says itself]")
    parser.add_argument("--estimate", action="store_true", help="bytes and hours, from a first batch; writes nothing")
    parser.add_argument("--force", action="store_true", help="also of a teacher that is no better than chance")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options, config = read_config(parser, words, "load_run", aliases={**TRAINING, "--views": "data.views"})
    if options.print_config:
        return print_config(config)
    return write(config, options)


def write(config: Any, options: Namespace) -> int:
    """Ask the teacher of a run of any task."""
    from stillhouse.cache.content import Content
    from stillhouse.cache.files import MANIFEST, missing
    from stillhouse.cache.plan import Plan
    from stillhouse.cache.queries import write_cache
    from stillhouse.cli.show import RunDisplay, bar
    from stillhouse.core.experiment import check_teacher
    from stillhouse.tasks import task_of

    task, callback = task_of(config), RunDisplay(0, quiet=True)
    data = task.data(config, callback.log)
    task.check(config, data)
    teachers = task.teachers(config, data, None, callback.log)
    if not teachers:
        raise InputError("the recipe has no teacher; name one with teacher.source=")
    content = None if options.content is None else Content.parse(options.content)
    teacher_queries = task.teacher_queries(config, data, teachers[-1], () if content is None else content.features)
    kept = (
        teacher_queries.content
        if content is None
        else replace(content, temperatures=teacher_queries.content.temperatures)
    )
    if options.estimate:
        return _measured(teacher_queries, kept)
    teacher_check = check_teacher(task, teachers[-1], config, data, force=options.force, callback=callback)
    teacher_queries = teacher_queries.with_facts(teacher_check=teacher_check.to_fields())
    out = options.out or Path("caches") / config.name
    whole = (out / MANIFEST).is_file()
    with bar("asking the teacher", quiet=options.quiet) as on_progress:
        done = write_cache(teacher_queries, out, kept, licence=options.licence, on_progress=on_progress)
    plan = Plan.read(out / "plan.json")
    left = missing(out, plan)
    here = sum((one.stop - one.start) * plan.row_bytes(one.part) for one in plan.shards if one.name not in left)
    whole_size = f" of {plan.bytes:,}" * bool(left)
    print(f"{out}: {here:,}{whole_size} bytes, {len(plan.shards) - len(left)} of {len(plan.shards)} shards")
    if whole:
        print(
            f"it was finished before: nothing was asked, and only the lengths of its files were seen; `stillhouse cache "
            f"show {out}` compares every byte, as reading it does"
        )
        if left:
            raise InputError(
                f"cache {out}: files of {len(left)} shards are missing or of another length: {', '.join(left[:5])}; delete "
                f"{out / MANIFEST}, and the same command writes them again"
            )
    if not done:
        print("the others are being written by other processes")
    else:
        print(f"use it with teacher_cache={out}, or without the teacher as teacher.source=cache:{out}")
    return 0


def _show(words: Sequence[str]) -> int:
    parser = Parser(
        prog="stillhouse cache show", description="What a cache is of; every file is compared with its hash."
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="a finished cache")
    options = parser.parse(words)
    from stillhouse.cache.files import PLAN, Store

    plan = Store(options.folder).plan
    if not (options.folder / PLAN).is_file():
        print(
            f"{options.folder / PLAN} is missing: the cache can be read without it; the `stillhouse cache` that wrote it puts it "
            "back",
            file=sys.stderr,
        )
    for name, value in plan.about.items():
        if name != "teacher_check":
            print(f"{name}: {value}")
    for name, value in plan.key.items():
        print(f"key {name}: {value}")
    for part, rows in plan.parts.items():
        arrays = ", ".join(f"{n} {list(shape)} {kind[1:]}" for n, (shape, kind) in plan.arrays[part].items())
        print(f"{part}: {rows:,} rows of {plan.row_bytes(part):,} bytes ({arrays})")
    print(f"{plan.bytes:,} bytes in {len(plan.shards)} shards, every row as it was written")
    return 0


def _measured(teacher_queries: Any, content: Any) -> int:
    """Bytes from the plan, hours from the time of some batches."""
    import time

    plan = teacher_queries.plan(content)
    part = next(iter(plan.parts))
    rows, started = min(4 * teacher_queries.batch, plan.parts[part]), time.monotonic()
    for _ in teacher_queries.answers(part, 0, rows, content):
        pass
    rate = rows / max(1e-9, time.monotonic() - started)
    total = sum(plan.parts.values())
    print(f"{plan.bytes:,} bytes for {total:,} rows in {len(plan.shards)} shards")
    print(
        f"about {total / rate / 3600:.2g} hours of this machine at {rate:,.0f} rows a second (measured on {rows} rows)"
    )
    return 0
