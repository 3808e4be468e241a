"""Put the report together: a run folder in, one self-contained HTML file out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stillhouse.core.records import REPORT, write_atomically
from stillhouse.report import facts, figures, signals, tables
from stillhouse.report.pictures import clause_pictures
from stillhouse.report.read import RunFolder, mapping, number, read_run
from stillhouse.report.words import HEADLINES, MARKS, percent, sentence

HERE = Path(__file__).parent
OPEN_CLASSES = 10


@dataclass(frozen=True)
class Figure:
    """A drawing, its caption, and the place of its arm (-1: of no single arm)."""

    svg: Markup
    caption: str
    place: int = -1


def write_report(out: Path) -> Path:
    """Write `report.html` into a run folder, from the files in it and nothing else.

    An unfinished run gives a report of what there is; a section whose files are missing says so in one line.

    Args:
        out: the run folder (see `stillhouse.core.records`).

    Returns:
        The path of the page: one file that asks for nothing from outside and runs no script.

    Raises:
        InputError: `out` is no run folder, or the page cannot be written.
    """
    out = Path(out)
    page = render(read_run(out)).encode(errors="replace")
    write_atomically(out / REPORT, lambda file: file.write(page))
    return out / REPORT


def render(run: RunFolder) -> str:
    """The page as text; everything that comes from the run is escaped."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update(color=tables.color, shapes=figures.SHAPES, pictures=clause_pictures, percent=percent)
    order = list(dict.fromkeys([*tables.arm_estimates(run), *run.arms]))
    verdict = str(run.summary.get("verdict", ""))
    return environment.get_template("template.html").render(
        css=Markup((HERE / "style.css").read_text(encoding="utf-8")),
        run=run,
        order=order,
        name=str(run.data.get("name", run.path.resolve().name)),
        finished=bool(run.summary),
        progress=_progress(run),
        verdict=verdict,
        headline=HEADLINES.get(verdict, HEADLINES["not tested"]) if run.summary else "This run is not finished",
        mark=MARKS.get(verdict, MARKS["not tested"]),
        sentences=[sentence(row, tables.arm_estimates(run)) for row in run.comparisons],
        differences=_differences(run),
        tiles=facts.tiles(run, order),
        facts=facts.facts(run),
        configuration=_yaml(run.run.get("config")),
        arms=tables.arms_table(run, order),
        seeds=tables.seeds_table(run, order),
        curves=_curves(run, order),
        terms=signals.signals_table(run),
        findings=signals.findings(run),
        without_effect=signals.without_effect(run),
        agreement=tables.agreement_table(run),
        reliability=_reliability(run, order),
        costs=tables.costs_table(run, order),
        machine=facts.machine(run),
        clauses=[run.clauses[:OPEN_CLASSES], run.clauses[OPEN_CLASSES:]],
        command=run.summary.get("command") or run.run.get("command") or "",
    )


def _differences(run: RunFolder) -> Figure | None:
    rows = []
    for row in run.comparisons:
        ends = [number(row.get(key)) for key in ("difference", "low", "high")]
        known = [100 * end for end in ends if end is not None]
        if len(known) == 3 and row.get("metric", "accuracy") == "accuracy":
            rows.append((f"{row.get('arm')} against {row.get('control')}", known[0], known[1], known[2]))
    if not rows:
        return None
    said = "; ".join(f"{name}: {middle:+.2f} points, {low:+.2f} to {high:+.2f}" for name, middle, low, high in rows)
    drawn = figures.differences(rows, f"Differences with their 95 % intervals. {said}.")
    return Figure(
        drawn, "Dot: difference in accuracy. Line: its 95\u00a0% interval. One that crosses 0 shows no difference."
    )


def _yaml(config: Any) -> str:
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100) if config else ""


def _progress(run: RunFolder) -> str:
    done = sum(1 for runs in run.arms.values() for seed in runs if seed.result)
    begun = sum(len(runs) for runs in run.arms.values())
    if not done:
        return "No training has ended."
    return f"{done} of the {begun} trainings begun so far {'has' if done == 1 else 'have'} ended."


def _curves(run: RunFolder, order: list[str]) -> list[Figure]:
    arms = {arm: run.arms.get(arm, []) for arm in order}
    level = number(run.teacher.get("score"))
    last = {arm: _last_accuracies(run, arm) for arm in order}
    said = "; ".join(f"{arm} ends at {text}" for arm, text in last.items() if text)
    drawn = [
        Figure(
            figures.curves(arms, "validation", "accuracy", f"Validation accuracy against epoch. {said}.", level),
            "Accuracy on the validation split. The axis may leave out the first steep part.",
        ),
        Figure(
            figures.curves(arms, "train", "loss", "Training loss against epoch, one colour an arm."),
            "Training loss, mean over each epoch. Arms that sum other terms cannot be ranked by it.",
        ),
    ]
    return [figure for figure in drawn if figure.svg]


def _last_accuracies(run: RunFolder, arm: str) -> str:
    lines = [figures.series(seed.records.get("validation", []), "accuracy") for seed in run.arms.get(arm, [])]
    ends = [percent(list(line.values())[-1]) for line in lines if line]
    return ", ".join(ends)


def _reliability(run: RunFolder, order: list[str]) -> list[Figure]:
    estimates, drawn = tables.arm_estimates(run), []
    for arm, said in run.predicted.items():
        ece = percent(mapping(mapping(estimates.get(arm)).get("ece")).get("mean"))
        place = order.index(arm)
        label = f"Reliability diagram of {arm}, calibration error {ece}; the teacher's curve is dashed."
        svg = figures.reliability(said, place, run.teacher_predictions, label)
        drawn.append(Figure(svg, f"{arm}: ECE {ece}", place))
    return drawn
