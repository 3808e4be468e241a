"""`stillhouse distill`, `check`, `train-teacher`, `cache` and `curve`: a recipe or a YAML file, carried out for any task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stillhouse.cli.options import TRAINING, Parser, add_run_options, print_config, read_config
from stillhouse.core.checks import InputError

LABELS = (25, 50, 100, 250, 500)
CURVE = "curve.json"


def distill(arguments: Sequence[str]) -> int:
    """A whole run, from the teacher's check to the report."""
    parser = Parser("distill")
    add_run_options(parser)
    return run_or_print(*read_config(parser, arguments))


def run_or_print(options: Any, config: Any, out: Path | None = None) -> int:
    """Carry out a run as the options of the command line say, or print its configuration."""
    if options.print_config:
        return print_config(config)
    from stillhouse.core.records import run_place

    run_and_print(config, out or run_place(options.out, config.name), options)
    return 0


def run_and_print(config: Any, out: Path, options: Any) -> None:
    """Run with progress bars, then print the table of arms and the verdict."""
    from stillhouse.cli.show import RunDisplay, print_summary
    from stillhouse.core.experiment import run
    from stillhouse.tasks import task_of

    task = task_of(config)
    with RunDisplay(sum(arm.seeds for arm in task.arms(config) if arm.trains), quiet=options.quiet) as display:
        summary = run(task, config, out, resume=options.resume, force=options.force, callback=display)
    print_summary(summary, out)


def check(arguments: Sequence[str]) -> int:
    """The score of each teacher of a run against chance; status 3 for a teacher at chance."""
    options, config = read_config(Parser("check"), arguments)
    if options.print_config:
        return print_config(config)
    from stillhouse.core.experiment import check_teacher

    task, data, teachers, callback = _loaded(config)
    for teacher in teachers:
        checked = check_teacher(task, teacher, config, data, callback=callback)
        if checked.status == "ready":
            form = "{:.2%}" if checked.as_percent else "{:.4f}"
            low, chance = form.format(checked.low), form.format(checked.chance)
            print(f"fit to teach: {low}, the lower end of its score, is above chance ({chance})")
    return 0


def _loaded(config: Any) -> tuple[Any, Any, Any, Any]:
    """The task, the data and the teachers of a run, and who is told what goes on.

    Raises:
        InputError: it has no teacher.
    """
    from stillhouse.cli.show import RunDisplay
    from stillhouse.tasks import task_of

    task, callback = task_of(config), RunDisplay(0, quiet=True)
    data = task.data(config, callback.log)
    teachers = task.teachers(config, data, None, callback.log)
    if not teachers:
        raise InputError("the recipe has no teacher; name one with teacher.source=")
    return task, data, teachers, callback


def train_teacher(arguments: Sequence[str]) -> int:
    """Train a network on a data set, a text or radar lines and save it as a teacher."""
    parser = Parser("train-teacher")
    add_run_options(parser, force=False)
    options, config = read_config(parser, arguments, "load_teacher_run", flags=TRAINING, example="mnist-teacher")
    if options.print_config:
        return print_config(config)
    from stillhouse.cli.show import RunDisplay
    from stillhouse.core.records import run_place
    from stillhouse.recipes import teacher_task

    out = run_place(options.out, config.name)
    with RunDisplay(1, quiet=options.quiet) as display:
        lines = teacher_task(config).train_teacher(config, out, resume=options.resume, callback=display)
    print("\n".join(lines))
    return 0


# ------------------------------------------------------------------------------------------------ stored answers


def cache(arguments: Sequence[str]) -> int:
    """Ask a teacher once and keep its answers, for runs of any task."""
    parser = Parser("cache")
    parser.add_argument("--out", type=Path, help="folder of the cache [caches/NAME]")
    about = "see below [scores, and the features that the signals tap]"
    parser.add_argument("--content", nargs="+", metavar="WORD", help=about)
    parser.add_argument(
        "--licence", "--license", help="under which the answers may be passed on [as the teacher says itself]"
    )
    parser.add_argument("--force", action="store_true", help="also of a teacher that is no better than chance")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options, config = read_config(parser, arguments, flags={**TRAINING, "--views": "data.views"})
    if options.print_config:
        return print_config(config)
    from stillhouse.cache.content import Content
    from stillhouse.cache.queries import write_cache
    from stillhouse.cli.show import bar
    from stillhouse.core.experiment import check_teacher

    task, data, teachers, callback = _loaded(config)
    content = None if options.content is None else Content.parse(options.content)
    queries = task.teacher_queries(config, data, teachers[-1], () if content is None else content.features)
    kept = queries.content if content is None else replace(content, temperatures=queries.content.temperatures)
    checked = check_teacher(task, teachers[-1], config, data, force=options.force, callback=callback)
    queries = replace(queries, about={**queries.about, "teacher_check": checked.to_fields()})
    out = options.out or Path("caches") / config.name
    with bar("asking the teacher", quiet=options.quiet) as on_progress:
        write_cache(queries, out, kept, licence=options.licence, on_progress=on_progress)
    print(f"{out}: use it with teacher_cache={out}, or without the teacher as teacher.source=cache:{out}")
    return 0


def show_cache(arguments: Sequence[str]) -> int:
    """What a cache is of; every file is compared with its hash."""
    parser = Parser("cache show")
    parser.add_argument("folder", type=Path, metavar="DIR", help="a finished cache")
    options = parser.parse(arguments)
    from stillhouse.cache.files import Store

    plan = Store(options.folder).plan
    for name, value in {**plan.about, **{f"key {key}": value for key, value in plan.key.items()}}.items():
        print(f"{name}: {value}")
    for part, rows in plan.parts.items():
        arrays = ", ".join(f"{n} {list(shape)} {kind[1:]}" for n, (shape, kind) in plan.arrays[part].items())
        print(f"{part}: {rows:,} rows of {plan.row_bytes(part):,} bytes ({arrays})")
    print(f"{plan.bytes:,} bytes, every row as it was written")
    return 0


# ------------------------------------------------------------------------------------------------ gain against labels


def curve(arguments: Sequence[str]) -> int:
    """What the teacher gains with 25, 50, 100, ... labels: a whole run for each, on one page with a plot."""
    parser = Parser("curve")
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe, or a YAML file of a run with classes")
    parser.add_argument("--labels", type=_numbers, default=LABELS, metavar="N,N", help="numbers of labels [25 to 500]")
    add_run_options(parser)
    parser.add_settings(printed=False)
    options = parser.parse(arguments)
    from stillhouse.core.records import REPORT, SUMMARY, read_object, run_place, write_json
    from stillhouse.recipes import load_run

    base = load_run(options.recipe, options.set)
    if not hasattr(getattr(base, "data", None), "label_limit"):
        raise InputError(f"{options.recipe}: expected data that take label_limit (classes), got {base.name}")
    if not {"kd", "no-kd"} <= set(base.arms):
        raise InputError(
            f"arms: kd is drawn against no-kd; expected both, got {', '.join(base.arms)} (kd wants teacher.source)"
        )
    out = run_place(options.out, f"{base.name}-curve")
    points = []
    for labels in options.labels:
        values = {"data.label_limit": labels, "name": f"{base.name}-{labels}"}
        folder = out / f"labels-{labels}"
        run_and_print(load_run(options.recipe, options.set, values), folder, options)
        points.append(_point(labels, read_object(folder / SUMMARY, {})))
    write_json(out / CURVE, {"recipe": options.recipe, "set": options.set, "points": points})
    write_curve(out / REPORT, points, base.name)
    print("\n".join([*map(_line, points), f"page: {out / REPORT}"]))
    return 0


def _numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(sorted({int(word) for word in text.split(",")}))
    if numbers[0] < 1:
        raise ValueError(text)
    return numbers


def _point(labels: int, summary: Mapping[str, Any]) -> dict[str, Any]:
    """What one run has found about its teacher."""
    row = next(row for row in summary["comparisons"] if row["name"] == "teacher")
    means = {name: arm["accuracy"]["mean"] for name, arm in summary["arms"].items()}
    return {"labels": labels, **{key: row[key] for key in ("difference", "low", "high", "verdict")}, "arms": means}


def _line(point: Mapping[str, Any]) -> str:
    gain, low, high = (100 * point[key] for key in ("difference", "low", "high"))
    return f"{point['labels']:>6,} labels: {gain:+.1f} points ({low:.1f} to {high:.1f}), {point['verdict']}"


def write_curve(path: Path, points: Sequence[Mapping[str, Any]], name: str) -> None:
    """The page: gain against labels as a drawing, and every arm in a table.

    Args:
        path: of the page.
        points: `labels`, `difference`, `low`, `high`, `verdict` and the accuracy of `arms`, as shares.
        name: of the run.
    """
    from stillhouse.report import figures
    from stillhouse.report.blocks import Figure, Table
    from stillhouse.report.page import write_blocks
    from stillhouse.report.words import percent

    drawn = [(p["labels"], *(100 * p[key] for key in ("difference", "low", "high"))) for p in points]
    drawing = figures.gain_curve(drawn, "labels", "taught - control (points of accuracy)")
    arms = list(points[0]["arms"])
    rows = [[_line(p), *(percent(p["arms"][arm], 2) for arm in arms)] for p in points]
    about = "Test split. Every seed draws labels of its own; validation rows are among them."
    caption = "Dot: mean; line: 95 % interval over seeds and test rows."
    write_blocks(
        path,
        [Figure("What the teacher gains", [(drawing, caption)]), Table("Accuracy", ["", *arms], rows, about)],
        title=f"labels of {name}",
        kicker="stillhouse curve",
        headline=_line(max(points, key=lambda p: float(p["difference"]))).strip(),
        lead=f"The largest gain of {len(points)} runs, which differ in the number of labels alone.",
        order=arms,
    )
