"""`stillhouse curve`: what the teacher gains with 25, 50, 100, ... labels, a whole run for each, on one page with a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stillhouse.cli.options import Parser, add_run_options
from stillhouse.core.checks import InputError

LABELS = (25, 50, 100, 250, 500)
SUMMARY = "curve.json"


def main(arguments: Sequence[str]) -> int:
    """Parse, carry out the runs that are not finished, write the page."""
    from stillhouse.cli.runs import carry_out
    from stillhouse.core.records import REPORT, read_object, run_place, write_json
    from stillhouse.core.records import SUMMARY as OF_RUN
    from stillhouse.recipes import load

    options = _parser().parse(arguments)
    base = load(options.recipe, options.set)[1]
    if not hasattr(getattr(base, "data", None), "label_limit"):
        raise InputError(f"{options.recipe}: expected data that take label_limit (classes), got {base.name}")
    out = run_place(options.out, f"{base.name}-curve")
    points = []
    for labels in options.labels:
        config = load(options.recipe, options.set, {"data.label_limit": labels, "name": f"{base.name}-{labels}"})[1]
        folder = out / f"labels-{labels}"
        carry_out(config, folder, resume=options.resume, force=options.force, quiet=options.quiet)
        points.append(_point(labels, read_object(folder / OF_RUN, {})))
    write_json(out / SUMMARY, {"recipe": options.recipe, "set": options.set, "points": points})
    write_curve(out / REPORT, points, base.name)
    print("\n".join([*map(_line, points), f"page: {out / REPORT}"]))
    return 0


def _parser() -> Parser:
    parser = Parser("curve")
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe, or a YAML file of a run with classes")
    parser.add_argument("--labels", type=_numbers, default=LABELS, metavar="N,N", help="numbers of labels [25 to 500]")
    add_run_options(parser)
    parser.add_settings(printed=False)
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(sorted({int(word) for word in text.split(",")}))
    if numbers[0] < 1:
        raise ValueError(text)
    return numbers


def _point(labels: int, summary: Mapping[str, Any]) -> dict[str, Any]:
    """What one run has found about its teacher."""
    found = next((row for row in summary["comparisons"] if row["name"] == "teacher"), None)
    if found is None:
        raise InputError("curve: expected runs with the arms kd and no-kd, whose difference is drawn; see `arms`")
    means = {name: arm["accuracy"]["mean"] for name, arm in summary["arms"].items()}
    return {"labels": labels, **{key: found[key] for key in ("difference", "low", "high", "verdict")}, "arms": means}


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
    from stillhouse.report.blocks import Block, Figure, Table
    from stillhouse.report.page import write_blocks
    from stillhouse.report.words import percent

    drawn = [(p["labels"], *(100 * p[key] for key in ("difference", "low", "high"))) for p in points]
    drawing = figures.gain_curve(drawn, "labels", "taught - control (points of accuracy)")
    arms = list(points[0]["arms"])
    rows = [[_line(p), *(percent(p["arms"][arm], 2) for arm in arms)] for p in points]
    blocks: list[Block] = [
        Figure("What the teacher gains", [(drawing, "Dot: mean; line: 95 % interval over seeds and test rows.")]),
        Table(
            "Accuracy",
            ["", *arms],
            rows,
            "Test split. Every seed draws labels of its own; validation rows are among them.",
        ),
    ]
    best = max(points, key=lambda p: float(p["difference"]))
    write_blocks(
        path,
        blocks,
        title=f"labels of {name}",
        kicker="stillhouse curve",
        headline=_line(best).strip(),
        lead=f"The largest gain of {len(points)} runs, which differ in the number of labels alone.",
        order=arms,
    )
