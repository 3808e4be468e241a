"""One page for the runs of every task: verdict, arms, what was run, curves, signals, costs, and the task's own blocks.

A run folder in, one self-contained HTML file out: it asks for nothing from outside and runs no script. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stillhouse.core.folder import RunFolder as Folder
from stillhouse.core.machine import TIMED
from stillhouse.core.manifest import changed_files
from stillhouse.core.records import REPORT, write_atomically
from stillhouse.core.verdict import is_trade_off, main_comparison, untested_reason, verdict_comparisons, verdict_of
from stillhouse.report import figures
from stillhouse.report.blocks import Block, Cell, Facts, Figure, Table, Tiles
from stillhouse.report.read import Records, RunFolder, mapping, number, read_run
from stillhouse.report.words import (
    MARKS,
    NOTHING,
    describe_against_baselines,
    direction,
    format_metric,
    headline,
    interval_words,
    plain,
    sentences,
    size,
    spread_words,
)

if TYPE_CHECKING:
    from stillhouse.core.parts import Metric
    from stillhouse.core.task import Results

HERE = Path(__file__).parent
KINDS = {Table: "table", Figure: "figure", Facts: "facts", Tiles: "tiles"}


def write_page(task: Results, out: Path, *, log: Callable[[str], None] | None = None) -> Path:
    """Write `report.html` into a run folder, from the files in it and nothing else.

    An unfinished run gives a page of what there is; a section whose files are missing is left out. The page names every
    file that is missing or was changed.

    Args:
        task: of the run.
        out: the run folder.
        log: gets a line for each file that is missing or was changed, as the page has it.

    Returns:
        The path of the page.

    Raises:
        InputError: `out` is no run folder, or the page cannot be written.
    """
    run = read_run(Path(out))
    run.faults.extend(line for line in changed_files(run.path) if not any(line in fault for fault in run.faults))
    page = render(task, run).encode(errors="replace")
    if log is not None:
        for fault in run.faults:
            log(fault)
    write_atomically(Path(out) / REPORT, lambda file: file.write(page))
    return Path(out) / REPORT


def render(task: Results, run: RunFolder) -> str:
    """The page as text; everything that comes from the run is escaped."""
    summary, config = run.summary, mapping(run.run.get("config"))
    data = mapping(run.run.get("data")) or mapping(summary.get("data"))
    measures = {metric.name: metric for metric in task.metrics}
    first = next(iter(measures.values()))
    arms, rows = mapping(summary.get("arms")), list(map(mapping, summary.get("comparisons") or ()))
    drawn = [row for row in rows if row.get("metric") == first.name and number(row.get("low")) is not None]
    named = [(f"{row.get('arm')} against {row.get('control')}", row, int(row.get("seeds") or 0)) for row in drawn]
    own, order = task.blocks(Folder(run.path)), list(dict.fromkeys([*arms, *run.arms]))
    verdict = (
        verdict_of(main_comparison(verdict_comparisons(rows)))[0]
        if rows and not is_trade_off(verdict_comparisons(rows))
        else "not tested"
    )
    blocks: list[Block] = [
        *_arms(arms, measures, mapping(summary.get("about"))),
        *(block for block in own if not isinstance(block, Tiles)),
        _facts(run, data),
        *_curves({arm: run.arms.get(arm, []) for arm in order}, task.metrics[0]),
        *_signals(run),
        *_costs(run),
    ]
    return _template("page.html").render(
        name=str(config.get("name") or run.path.resolve().name),
        data=data,
        title=task.title,
        finished=bool(summary),
        verdict=verdict,
        mark=MARKS[verdict],
        headline=_headline(run, rows, arms, measures),
        notes=[*_poor(run.teacher), *(summary.get("findings") or ()), *(summary.get("hints") or ())],
        sentences=sentences(rows, arms, measures),
        differences=figures.plot_differences(named, first) if named else None,
        about_differences=f"{interval_words(seeds for _, _, seeds in named)} {direction(first)}.",
        faults=run.faults,
        order=order,
        tiles=[block for block in own if isinstance(block, Tiles)],
        blocks=blocks,
        configuration=yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True, width=100),
        command=str(summary.get("command") or run.run.get("command") or ""),
    )


def _headline(
    run: RunFolder, rows: Sequence[Mapping[str, Any]], arms: Mapping[str, Any], measures: Mapping[str, Metric]
) -> str:
    """The verdict in words and numbers; where the student is not above a plain model on the same inputs, that too."""
    if not run.summary:
        return "This run is not finished"
    found = verdict_comparisons(rows)
    told = found if is_trade_off(found) else [main_comparison(found)] if found else []
    words = str(run.summary.get("headline") or headline(told, arms, measures) or "No teacher was asked")
    below = describe_against_baselines(run.summary, measures)
    return f"{words}{'; ' * bool(below)}{below}"


def _poor(teacher: Mapping[str, Any]) -> list[str]:
    """That a model without training is better than the teacher."""
    if teacher.get("status") != "poor":
        return []
    score, beside = (plain(teacher.get(key), 4) for key in ("score", "plain"))
    return [f"the teacher is poor: validation {teacher.get('metric')} {score}, {teacher.get('baseline_name')} {beside}"]


def write_blocks(
    path: Path,
    blocks: Sequence[Block],
    *,
    title: str,
    headline: str,
    lead: str,
    kicker: str = "",
    order: Sequence[str] = (),
    command: str = "",
) -> Path:
    """Write one self-contained page of blocks that is not of a single run: a sweep, a comparison, rules that were exported.

    Args:
        path: of the page.
        blocks: in order.
        title: of the browser's tab.
        headline: what was found.
        lead: under it.
        kicker: the small line above the headline.
        order: names whose rows get a mark and colour, as arms have in a report.
        command: that goes on from here.
    """
    words = {"title": title, "headline": headline, "lead": lead, "kicker": kicker, "command": command}
    page = _template("blocks.html").render(blocks=list(blocks), order=list(order), **words)
    write_atomically(path, lambda file: file.write(page.encode(errors="replace")))
    return path


def _template(name: str) -> Any:
    loader = FileSystemLoader(HERE)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update(
        css=Markup((HERE / "style.css").read_text(encoding="utf-8")),
        color=figures.color,
        shapes=figures.SHAPES,
        kind=lambda block: KINDS[type(block)],
    )
    return environment.get_template(name)


def _arms(arms: Mapping[str, Any], measures: Mapping[str, Metric], about: Mapping[str, Any]) -> list[Block]:
    """Mean and interval of every metric by arm, and the headline of every seed."""
    known = [metric for name, metric in measures.items() if any(mapping(arm).get(name) for arm in arms.values())]
    if not known:
        return []
    rows: list[list[str | Cell]] = []
    for arm, entry in arms.items():
        estimates = [(metric, mapping(mapping(entry).get(metric.name))) for metric in known]
        cells = [Cell(format_metric(metric, one.get("mean")), spread_words(metric, one)) for metric, one in estimates]
        rows.append([Cell(arm, str(about.get(arm, ""))), *cells, plain(mapping(entry.get("seconds")).get("mean"))])
    first = known[0]
    values = {arm: mapping(entry.get(first.name)).get("values") or [] for arm, entry in arms.items()}
    most = max(map(len, values.values()))
    below = "each seed (too few for an interval)" if most > 1 and untested_reason(most) else "its 95 % interval"
    caption = f"Test split, read once at the end. Below each mean: {below}{', over test items alone' * (most == 1)}."
    head = ["arm", *(metric.label for metric in known), "training time (s)"]
    return [Table("Arms", head, rows, caption)]


def _facts(run: RunFolder, data: Mapping[str, Any]) -> Facts:
    teacher, machine, shipped = run.teacher, mapping(run.run.get("machine")), mapping(run.summary.get("shipped"))
    sizes = ", ".join(f"{plain(count, 9)} {split}" for split, count in mapping(data.get("sizes")).items())
    entries = {"Data": f"{data.get('name', '')}: {sizes}"}
    if teacher:
        score, chance = (plain(teacher.get(key), 4) for key in ("score", "chance"))
        beside = f", {teacher.get('baseline_name')} {plain(teacher['plain'], 4)}" if "plain" in teacher else ""
        checked = f"validation {teacher.get('metric', 'score')} {score}, chance {chance}{beside}"
        entries["Teacher"] = f"{teacher.get('name', 'unnamed')}; {checked}: {teacher.get('status', '')}"
    if shipped:
        entries["Shipped student"] = f"arm {shipped.get('arm')}, seed {shipped.get('seed')}, best by validation"
    cores, threads = machine.get("cores", "?"), machine.get("threads", "?")
    entries["Machine"] = f"{machine.get('cpu', '')}, cores: {cores}, threads: {threads}"
    return Facts("What was run", list(entries.items()))


def _curves(arms: Mapping[str, list[Records]], metric: Metric) -> list[Block]:
    label = f"validation {metric.label}{' (%)' * (metric.scale == 100)}"
    drawn = [
        (figures.curves(arms, "validation", metric.name, label), f"Validation: {metric.label}."),
        (figures.curves(arms, "train", "loss", "training loss"), "Training loss, mean over each epoch."),
    ]
    caption = "Thin: one seed. Thick: mean over the seeds. Arms that sum other terms cannot be ranked by their loss."
    kept = [(svg, text) for svg, text in drawn if svg]
    return [Figure("Learning curves", kept, caption)] if kept else []


def _signals(run: RunFolder) -> list[Block]:
    """What each term of the loss did in the shipped arm's first seed."""
    shipped = str(mapping(run.summary.get("shipped")).get("arm", "kd"))
    taught = next((seed for arm in (shipped, *run.arms) for seed in run.arms.get(arm, []) if seed), {})
    train = taught.get("train", [])
    rows: list[list[str]] = []
    for kind in ("terms", "figures"):
        for name in dict.fromkeys(name for record in train for name in mapping(record.get(kind))):
            values = [v for record in train if (v := number(mapping(record.get(kind)).get(name))) is not None]
            ends = [plain(values[0]), plain(values[-1])] if values else [NOTHING] * 2
            rows.append([name, *ends])
    caption = "Terms of the loss of the taught arm, first seed, unweighted."
    return [Table("What each signal did", ["", "first value", "last value"], rows, caption)] if rows else []


def _costs(run: RunFolder) -> list[Block]:
    costs = {str(arm): mapping(entry) for arm, entry in mapping(run.summary.get("costs")).items()}
    if not costs:
        return []
    if number(run.teacher.get("params")) is not None:
        costs[f"teacher ({run.teacher.get('name', '')})"] = run.teacher
    columns: dict[str, tuple[str, Callable[[Any], str]]] = {
        "parameters": ("params", partial(plain, digits=7)),
        "on disk": ("bytes_on_disk", size),
        "ms, batch of 1": ("ms_batch_1", plain),
        "ms, batch of 64": ("ms_batch_64", plain),
        "operations an item": ("flops", partial(plain, digits=7)),
    }
    rows = [[name, *(form(cost.get(key)) for key, form in columns.values())] for name, cost in costs.items()]
    return [Table("Cost", ["", *columns], rows, f"{TIMED} Operations are counted.")]
