"""`stillhouse compare` and `verify`: runs that are scored alike side by side, and the per-item scores of anyone's runs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stillhouse.cli.options import Parser
from stillhouse.core.checks import ConfigError, InputError


def main(arguments: Sequence[str]) -> int:
    """Print a table of runs, write the page."""
    parser = Parser("compare")
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="finished run folders, scored by the same metrics"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write a page")
    parser.add_argument("--json", action="store_true", help="print all figures as JSON instead of a table")
    options = parser.parse(arguments)
    if options.out is not None:
        from stillhouse.core.records import check_output

        check_output(options.out, suffixes=(".html",))
    from rich.table import Table

    from stillhouse.cli.show import print_table
    from stillhouse.core.folder import check_finished
    from stillhouse.core.records import RUN, as_json
    from stillhouse.report.compare import compare_runs, incomparability_notes, tables, write_comparison
    from stillhouse.tasks import results_at

    for run in options.runs:
        if not (run / RUN).is_file():
            raise InputError(f"{run} is not a run folder: expected a {RUN} in it")
        check_finished(run)
    task, *others = map(results_at, options.runs)
    if any(other.metrics != task.metrics for other in others):
        kinds = ", ".join(one.kind for one in (task, *others))
        raise InputError(f"expected runs that are scored alike, got {kinds}; scores from anywhere: `stillhouse verify`")
    result = compare_runs(task, options.runs)
    page = []
    if options.out is not None:
        command = shlex.join(["stillhouse", "compare", *map(str, arguments)])
        page = [f"page: {write_comparison(task, result, options.out, command)}"]
    if options.json:
        print(json.dumps(as_json(result), indent=2))
        return 0
    for block in tables(task, result):
        made = Table(*block.head, title=block.title, caption=block.caption, caption_justify="left")
        for row in block.rows:
            made.add_row(*(x if isinstance(x, str) else "\n".join(filter(None, (x.text, x.under))) for x in row))
        print_table(made)
    print("\n".join([*(f"{run}: {text}" for run, text in incomparability_notes(result["runs"])), *page]))
    return 0


def verify(arguments: Sequence[str]) -> int:
    """Is A better than B? 0 as expected, 1 not."""
    parser = Parser("verify")
    text = "of A, then of B: two files or folders, or the files of two folders"
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help=text)
    about = "files of B, where the folders do not tell"
    parser.add_argument("--against", nargs="+", type=Path, metavar="FILE", help=about)
    parser.add_argument("--score", default="score", metavar="NAME", help="column of the score [score]")
    parser.add_argument("--lower-is-better", action="store_true", help="of the score: an error, a loss")
    about = "what is status 0 [not-hurts]"
    parser.add_argument("--expect", choices=("helps", "not-hurts"), default="not-hurts", help=about)
    parser.add_argument("--margin", type=float, default=0.0, help="of not-hurts: the whole interval is above -MARGIN")
    parser.add_argument("--one-seed", action="store_true", help="take one seed: an interval over items alone")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse(arguments)
    if not options.margin >= 0 or (options.margin and options.expect == "helps"):
        raise ConfigError(f"--margin: expected 0 or more, with --expect not-hurts, got {options.margin}")
    from stillhouse.core.items import pair, read_side

    both = pair(*(read_side(files, score=options.score) for files in sides(options.files, options.against)))
    result = compare_scores(both, lower_is_better=options.lower_is_better, one_seed=options.one_seed)
    result["passed"] = _passed(result, options.expect, options.margin, options.lower_is_better)
    result |= {"expect": options.expect, "margin": options.margin}
    print(json.dumps(result) if options.json else _sentence(result))
    return 0 if result["passed"] else 1


def sides(files: Sequence[Path], against: Sequence[Path] | None) -> list[list[Path]]:
    """Which files are of A and which of B: two files or folders, the files of two folders, or `against`.

    Example:
        >>> first, second = sides([Path("ours/0.json"), Path("ours/1.json"), Path("base/0.json")], None)
        >>> len(first), second == [Path("base/0.json")]
        (2, True)

    Raises:
        InputError: it cannot be told.
    """
    groups = [list(files), list(against or ())]
    if against is None:
        keys = files if len(files) == 2 else [file.parent for file in files]
        groups = [[file for file, key in zip(files, keys) if key == one] for one in dict.fromkeys(keys)]
    if len(groups) != 2:
        raise InputError(f"expected the files of two folders, got {len(groups)}; name those of B after --against")
    return [[file for place in group for file in _files(place)] for group in groups]


def _files(path: Path) -> list[Path]:
    """A file, or those of a folder."""
    kinds = (".json", ".csv", ".tsv")
    return sorted(file for file in path.iterdir() if file.suffix in kinds) if path.is_dir() else [path]


def compare_scores(both: Any, *, lower_is_better: bool = False, one_seed: bool = False) -> dict[str, Any]:
    """The difference A - B in the unit of the scores, its interval, and the verdict.

    Raises:
        InputError: one seed, and `one_seed` is off.
    """
    from stillhouse.core.verdict import FEWEST_SEEDS, compare, format_verdict, mean_interval

    seeds, items = both.first.shape
    if seeds == 1 and not one_seed:
        text = f"expected {FEWEST_SEEDS} seeds or more, got one; --one-seed takes the interval over items alone"
        raise InputError(text)
    sign = -1.0 if lower_is_better else 1.0
    result = compare(sign * both.first, sign * both.second, items_alone=one_seed)
    low, high = sorted((sign * result.low, sign * result.high))
    return {
        "verdict": result.verdict,
        "word": format_verdict(result),
        "difference": sign * result.difference,
        "low": low,
        "high": high,
        "a": mean_interval(both.first).mean,
        "b": mean_interval(both.second).mean,
        "seeds": seeds,
        "items": items,
        "each": [float(gap) for gap in (both.first - both.second).mean(axis=1)],
    }


def _passed(result: dict[str, Any], expect: str, margin: float, lower_is_better: bool) -> bool:
    """With a margin the whole interval must be above it; without one A must not be shown to be worse."""
    if expect == "helps" or result["verdict"] == "not tested":
        return bool(result["verdict"] == "helps")
    least_gain = -result["high"] if lower_is_better else result["low"]
    return bool(least_gain > -margin if margin else result["verdict"] != "hurts")


def _sentence(result: dict[str, Any]) -> str:
    """The word, and the figures in a line."""
    ends = f"95 % interval {result['low']:+.4g} to {result['high']:+.4g}"
    if result["verdict"] == "not tested":
        ends = f"{' and '.join(f'{gap:+.4g}' for gap in result['each'])} under the seeds"
    return (
        f"{result['word']}\nA {result['a']:.4g} minus B {result['b']:.4g}: {result['difference']:+.4g}, {ends} "
        f"(seeds: {result['seeds']}, items: {result['items']}); expected {result['expect']}, margin {result['margin']:g}: "
        f"{'passed' if result['passed'] else 'not passed'}"
    )
