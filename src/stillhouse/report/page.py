"""One page for the runs of every task: verdict, arms, what was run, curves, signals, costs, and the task's own blocks.

A run folder in, one self-contained HTML file out: it asks for nothing from outside and runs no script. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stillhouse.core.costs import TIMED
from stillhouse.core.records import REPORT, write_atomically
from stillhouse.core.verdict import in_words, judged, leading, trades_off, untested, verdict_of
from stillhouse.report import figures, signals
from stillhouse.report.blocks import Block, Cell, Facts, Figure, Table, Tiles
from stillhouse.report.read import RunFolder, mapping, number, read_run
from stillhouse.report.verdicts import beside_plain, direction, sentences, shown, spread_words
from stillhouse.report.words import MARKS, NOTHING, interval_words, lead, plain, size

if TYPE_CHECKING:
    from stillhouse.core.task import Light, Metric

HERE = Path(__file__).parent
KINDS = {Table: "table", Figure: "figure", Facts: "facts", Tiles: "tiles"}


def write_page(task: Light, out: Path, *, log: Callable[[str], None] | None = None) -> Path:
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
    from stillhouse.core.manifest import changed_files

    run = read_run(Path(out))
    run.faults.extend(line for line in changed_files(run.path) if not any(line in fault for fault in run.faults))
    page = render(task, run).encode(errors="replace")
    if log is not None:
        for fault in run.faults:
            log(fault)
    write_atomically(Path(out) / REPORT, lambda file: file.write(page))
    return Path(out) / REPORT


def render(task: Light, run: RunFolder) -> str:
    """The page as text; everything that comes from the run is escaped."""
    from stillhouse.core.folder import RunFolder as Folder

    environment = _environment()
    measures = {metric.name: metric for metric in task.metrics}
    arms = mapping(run.summary.get("arms")) or _unfinished(run)
    order = list(dict.fromkeys([*arms, *run.arms]))
    verdict, mark = _mark(run)
    own = task.blocks(Folder(run.path))
    blocks: list[Block] = [
        *_arms(arms, measures, mapping(run.summary.get("about"))),
        *(block for block in own if not isinstance(block, Tiles)),
        _facts(run),
        *_curves(run, order, task.metrics[0]),
        *_signals(run),
        *_costs(run),
    ]
    return environment.get_template("page.html").render(
        css=Markup((HERE / "style.css").read_text(encoding="utf-8")),
        name=_name(run),
        title=task.title,
        finished=bool(run.summary),
        verdict=verdict,
        headline=_headline(run, arms, measures) if run.summary else "This run is not finished",
        lead=_lead(run),
        mark=mark,
        sentences=sentences(run.comparisons, arms, measures),
        differences=_differences(run, measures),
        about_differences=interval_words([int(number(row.get("seeds")) or 0) for row in _drawn(run, measures)]),
        direction=direction(next(iter(measures.values()))),
        faults=run.faults,
        order=order,
        tiles=[block for block in own if isinstance(block, Tiles)],
        blocks=blocks,
        configuration=_yaml(run.run.get("config")),
        command=str(run.summary.get("command") or run.run.get("command") or ""),
    )


def _lead(run: RunFolder) -> str:
    """Below the headline: a poor teacher, whether the student is worth more than a plain model, and was trained long enough."""
    found = [_poor(run.teacher), *(run.summary.get(key) for key in ("findings", "hints"))]
    lines = [str(line) for each in found if isinstance(each, list) for line in each if line]
    return ". ".join(line[0].upper() + line[1:] for line in lines)


def _poor(teacher: Mapping[str, Any]) -> list[str]:
    """That a model without training is better than the teacher."""
    if teacher.get("status") != "poor":
        return []
    scores = f"validation {teacher.get('metric', 'score')} {plain(teacher.get('score'), 4)}"
    return [
        f"the teacher is poor: {scores}, {teacher.get('baseline_name', 'a plain model')} {plain(teacher.get('plain'), 4)}"
    ]


def _name(run: RunFolder) -> str:
    """The run's name, and that of its data where it is another."""
    name = str(mapping(run.run.get("config")).get("name") or run.path.resolve().name)
    data = str(run.data.get("name") or name)
    return name if data == name else f"{name}, on {data}"


def _mark(run: RunFolder) -> tuple[str, str]:
    """The class of the page's head, and the shape before its headline."""
    rows = judged(run.comparisons)
    if run.summary and trades_off(rows):
        return "trade-off", MARKS["helps"] + MARKS["hurts"]
    verdict = verdict_of(leading(rows))[0] if run.summary else ""
    return verdict, MARKS.get(verdict, MARKS["not tested"])


def _headline(run: RunFolder, arms: Mapping[str, Any], measures: Mapping[str, Metric]) -> str:
    """The verdict in words and numbers; where the student is not above a plain model on the same inputs, that too."""
    below = beside_plain(run.summary, measures)
    return f"{_verdict(run, arms, measures)}{'; ' * bool(below)}{below}"


def _verdict(run: RunFolder, arms: Mapping[str, Any], measures: Mapping[str, Metric]) -> str:
    """The verdict with the numbers of the comparison that it is of; where no teacher was asked, that."""

    def value(arm: Any, measure: Metric) -> str:
        return shown(measure, mapping(mapping(arms.get(str(arm))).get(measure.name)).get("mean"))

    def words(row: Mapping[str, Any]) -> str:
        return lead(verdict_of(row)[0], *(str(row.get(key)) for key in ("name", "arm", "control")))

    if run.summary.get("headline"):
        main = next(iter(measures.values()))
        only = value(next(iter(arms), None), main)
        return str(run.summary["headline"]) + ("" if only == NOTHING else f": {main.label} {only}")
    rows = judged(run.comparisons)
    row = leading(rows)
    if verdict_of(row)[0] == "not tested" and not run.teacher:
        return "No teacher was asked"
    if trades_off(rows):
        known = [(one, measures[str(one["metric"])]) for one in rows if str(one.get("metric")) in measures]
        parts = [
            f"{words(one)} in {m.label} ({value(one.get('arm'), m)} against {value(one.get('control'), m)})"
            for one, m in known
        ]
        return ", but ".join([*parts[:1], *(text[0].lower() + text[1:] for text in parts[1:])])
    measure = measures.get(str(row.get("metric")))
    with_it = NOTHING if measure is None else value(row.get("arm"), measure)
    if measure is None or with_it == NOTHING:
        return words(row)
    without = value(row.get("control"), measure)
    if without == NOTHING:
        return f"{words(row)}: {measure.label} {with_it}"
    teacher = str(row.get("name")).startswith("teacher")
    pair = ("with the teacher", "without it") if teacher else (f"of {row.get('arm')}", f"of {row.get('control')}")
    text = f"{measure.label} {with_it} {pair[0]}, {without} {pair[1]}"
    if verdict_of(row)[0] == "not tested":
        return f"{text[0].upper()}{text[1:]}; {in_words(row)}"
    return f"{words(row)}: {text}"


def write_blocks(path: Path, blocks: Sequence[Block], **words: Any) -> Path:
    """Write the page of `render_blocks`."""
    page = render_blocks(blocks, **words)
    write_atomically(path, lambda file: file.write(page.encode(errors="replace")))
    return path


def render_blocks(
    blocks: Sequence[Block],
    *,
    title: str,
    headline: str,
    lead: str,
    kicker: str = "",
    order: Sequence[str] = (),
    command: str = "",
) -> str:
    """One self-contained page of blocks that is not of a single run: a sweep, a comparison, rules that were exported.

    Args:
        blocks: in order.
        title: of the browser's tab.
        headline: what was found.
        lead: under it.
        kicker: the small line above the headline.
        order: names whose rows get a mark and colour, as arms have in a report.
        command: that goes on from here.
    """
    return (
        _environment()
        .get_template("blocks.html")
        .render(
            css=Markup((HERE / "style.css").read_text(encoding="utf-8")),
            title=title,
            kicker=kicker,
            headline=headline,
            lead=lead,
            blocks=list(blocks),
            order=list(order),
            command=command,
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update(color=figures.color, shapes=figures.SHAPES, kind=lambda block: KINDS[type(block)])
    return environment


def _arms(arms: Mapping[str, Any], measures: Mapping[str, Metric], about: Mapping[str, Any]) -> list[Block]:
    """Mean and interval of every metric by arm, and the headline of every seed."""
    names = [name for name in measures if any(mapping(mapping(arm).get(name)) for arm in arms.values())]
    if not names:
        return []
    rows: list[list[str | Cell]] = []
    for arm, entry in arms.items():
        figures_of = [(measures[name], mapping(mapping(entry).get(name))) for name in names]
        cells = [Cell(shown(measure, found.get("mean")), spread_words(measure, found)) for measure, found in figures_of]
        seconds = mapping(mapping(entry).get("seconds")).get("mean")
        rows.append([Cell(arm, str(about.get(arm, ""))), *cells, Cell(_seconds(seconds))])
    head = ["arm", *(measures[name].label for name in names), "training time (s)"]
    first = measures[names[0]]
    values = {arm: list(mapping(mapping(entry).get(first.name)).get("values") or []) for arm, entry in arms.items()}
    most = max(map(len, values.values()), default=0)
    about_ends = " over test items; one seed shows nothing of other seeds" if most == 1 else ""
    few = most > 1 and untested(most)
    below = "each seed (too few for an interval)" if few else f"its 95 % interval{about_ends}"
    caption = f"Test split, read once at the end. Below each mean: {below}."
    tables: list[Block] = [Table("Arms", head, rows, caption)]
    if most > 1:
        cells_of = {
            arm: [*(shown(first, v) for v in row), *[NOTHING] * (most - len(row))] for arm, row in values.items()
        }
        head = ["arm", *(f"seed {seed}" for seed in range(most))]
        tables.append(Table(f"Every seed: {first.label}", head, [[a, *r] for a, r in cells_of.items()], folded=True))
    return tables


def _seconds(value: Any) -> str:
    """Of a training; what is fitted in a moment has no digits that mean anything.

    Example:
        >>> _seconds(0.000384), _seconds(12.3456)
        ('under 0.1', '12.3')
    """
    found = number(value)
    return "under 0.1" if found is not None and found < 0.1 else plain(found)


def _unfinished(run: RunFolder) -> dict[str, Any]:
    """Means of the seeds that are done."""
    found: dict[str, Any] = {}
    for arm, runs in run.arms.items():
        results = [mapping(mapping(seed.result).get("metrics")) for seed in runs if seed.result]
        names = dict.fromkeys(name for result in results for name in result)
        values = {n: [v for result in results if (v := number(result.get(n))) is not None] for n in names}
        found[arm] = {n: {"mean": sum(v) / len(v), "values": v} for n, v in values.items() if v}
    return found


def _differences(run: RunFolder, measures: Mapping[str, Metric]) -> Markup | None:
    """Every comparison of the headline's metric with its interval against 0."""
    first = next(iter(measures.values()))
    rows = []
    for row in _drawn(run, measures):
        middle, low, high = (first.scale * float(row[key]) for key in ("difference", "low", "high"))
        few = untested(int(number(row.get("seeds")) or 0))
        rows.append((f"{row.get('arm')} against {row.get('control')}", middle, None if few else (low, high)))
    if not rows:
        return None
    label = f"Differences in {first.label}; {direction(first)}. {differences_text(rows)}."
    return figures.differences(rows, label, unit=first.unit)


def _drawn(run: RunFolder, measures: Mapping[str, Metric]) -> list[Mapping[str, Any]]:
    """Comparisons of the headline's metric of which all is known."""
    keys, first = ("difference", "low", "high"), next(iter(measures))
    return [r for r in run.comparisons if r.get("metric") == first and all(number(r.get(k)) is not None for k in keys)]


def differences_text(rows: Sequence[tuple[str, float, tuple[float, float] | None]]) -> str:
    """What a chart of differences shows, for who does not see it."""
    return "; ".join(
        f"{name}: {middle:+.4g}, "
        + ("too few seeds for an interval" if ends is None else "{:+.4g} to {:+.4g}".format(*ends))
        for name, middle, ends in rows
    )


def _facts(run: RunFolder) -> Facts:
    data, teacher, machine = run.data, run.teacher, mapping(run.run.get("machine"))
    sizes = ", ".join(f"{plain(count, 9)} {split}" for split, count in mapping(data.get("sizes")).items())
    entries = [("Data", f"{data.get('name', '')}: {sizes}")]
    if teacher:
        score, chance = (plain(teacher.get(key), 4) for key in ("score", "chance"))
        beside = f", {teacher.get('baseline_name')} {plain(teacher['plain'], 4)}" if "plain" in teacher else ""
        checked = (
            f"validation {teacher.get('metric', 'score')} {score}, chance {chance}{beside}: {teacher.get('status', '')}"
        )
        entries.append(("Teacher", f"{teacher.get('name', 'unnamed')}; {checked}"))
    shipped = mapping(run.summary.get("shipped"))
    if shipped:
        best = f"arm {shipped.get('arm')}, seed {shipped.get('seed')}, best by validation{_epoch(run, shipped)}"
        entries.append(("Shipped student", best))
    capabilities = mapping(machine.get("capabilities")).get("torch")
    words = [
        str(machine.get("cpu", "")),
        *(
            f"{machine.get(f'{part}s', '?')} {part}{'s' * (machine.get(f'{part}s') != 1)}"
            for part in ("core", "thread")
        ),
    ]
    entries.append(("Machine", ", ".join([*words, *([str(capabilities)] if capabilities else [])])))
    return Facts("What was run", entries)


def _epoch(run: RunFolder, shipped: Mapping[str, Any]) -> str:
    """Which epoch's weights the shipped student has."""
    runs = run.arms.get(str(shipped.get("arm")), [])
    result = next((mapping(one.result) for one in runs if one.seed == shipped.get("seed")), {})
    best, epochs = number(result.get("best_epoch")), number(result.get("epochs"))
    if best is None or epochs is None:
        return ""
    if best == 0:
        return f"; epoch 0 of {epochs:.0f}: no epoch was better than the start, which is kept"
    return f"; epoch {best:.0f} of {epochs:.0f}"


def _curves(run: RunFolder, order: Sequence[str], metric: Any) -> list[Block]:
    arms = {arm: run.arms.get(arm, []) for arm in order}
    label = f"validation {metric.label}{' (%)' * (metric.scale == 100)}"
    scores = figures.curves(arms, "validation", metric.name, label)
    losses = figures.curves(arms, "train", "loss", "training loss")
    drawn = [(scores, f"Validation: {metric.label}."), (losses, "Training loss, mean over each epoch.")]
    kept = [(svg, caption) for svg, caption in drawn if svg]
    caption = "Thin: one seed. Thick: mean over the seeds. Arms that sum other terms cannot be ranked by their loss."
    return [Figure("Learning curves", kept, caption)] if kept else []


def _signals(run: RunFolder) -> list[Block]:
    found, findings = signals.signals_table(run), signals.findings(run)
    blocks: list[Block] = [] if found is None else [found]
    if findings:
        blocks.append(Facts("Findings of the doctor", [(str(n), line) for n, line in enumerate(findings, 1)]))
    return blocks


def _costs(run: RunFolder) -> list[Block]:
    costs = {str(arm): mapping(entry) for arm, entry in mapping(run.summary.get("costs")).items()}
    if not costs:
        return []
    rows = [
        [
            arm,
            plain(cost.get("params"), 7),
            size(cost.get("bytes_on_disk")),
            plain(cost.get("ms_batch_1")),
            plain(cost.get("ms_batch_64")),
            plain(cost.get("flops"), 7),
        ]
        for arm, cost in costs.items()
    ]
    params, flops = number(run.teacher.get("params")), number(run.teacher.get("flops"))
    if params is not None:
        known = NOTHING if flops is None else plain(flops, 7)
        rows.append([f"teacher ({run.teacher.get('name', '')})", plain(params, 7), *[NOTHING] * 3, known])
    head = ["", "parameters", "on disk", "ms, batch of 1", "ms, batch of 64", "operations an item"]
    return [Table("Cost", head, rows, f"{TIMED} Operations are counted.")]


def _yaml(config: Any) -> str:
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100) if config else ""
