"""`stillhouse compare` and `verify`: runs that are scored alike side by side, and the per-item scores of anyone's runs."""

from __future__ import annotations

import json
import re
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
    from stillhouse.core.folder import check_finished
    from stillhouse.core.records import RUN, as_json

    for run in options.runs:  # not after the seconds that pages take to import
        if not (run / RUN).is_file():
            raise InputError(f"{run} is not a run folder: expected a {RUN} in it")
        check_finished(run)
    from rich.table import Table

    from stillhouse.cli.show import print_table
    from stillhouse.report.compare import compare_runs, remarks, tables, write_comparison
    from stillhouse.tasks import light_at

    task, *others = map(light_at, options.runs)
    if any(other.metrics != task.metrics for other in others):
        kinds = ", ".join(one.kind for one in (task, *others))
        raise InputError(f"expected runs that are scored alike, got {kinds}; scores from anywhere: `stillhouse verify`")
    found = compare_runs(task, options.runs)
    if options.json:
        print(json.dumps(as_json(found), indent=2))
    for block in () if options.json else tables(task, found):
        made = Table(
            *block.head, title=block.title, caption=block.caption, title_justify="left", caption_justify="left"
        )
        for row in block.rows:
            made.add_row(*(x if isinstance(x, str) else "\n".join(filter(None, (x.text, x.under))) for x in row))
        print_table(made)
    for run, text in () if options.json else remarks(found["runs"]):
        print(f"{run}: {text}")
    if options.out is not None:
        page = write_comparison(task, found, options.out, shlex.join(["stillhouse", "compare", *map(str, arguments)]))
        print(f"page: {page}" * (not options.json), end="\n" * (not options.json))
    return 0


def verify(arguments: Sequence[str]) -> int:
    """Is A better than B? 0 as expected, 1 not."""
    parser = Parser("verify")
    text = "of A, then of B: two files, or those of two folders or of two names"
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help=text)
    parser.add_argument(
        "--against", nargs="+", type=Path, metavar="FILE", help="files of B, where the names do not tell"
    )
    parser.add_argument("--score", default="score", metavar="NAME", help="column of the score [score]")
    parser.add_argument("--lower-is-better", action="store_true", help="of the score: an error, a loss")
    parser.add_argument(
        "--expect", choices=("helps", "not-hurts"), default="not-hurts", help="what is status 0 [not-hurts]"
    )
    parser.add_argument("--margin", type=float, default=0.0, help="of not-hurts: the whole interval is above -MARGIN")
    parser.add_argument("--any-seeds", action="store_true", help="the sides' seeds differ: pair them in order")
    parser.add_argument("--one-seed", action="store_true", help="take one seed: an interval over items alone")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse(arguments)
    if not options.margin >= 0 or (options.margin and options.expect == "helps"):
        raise ConfigError(f"--margin: expected 0 or more, with --expect not-hurts, got {options.margin}")
    from stillhouse.core.items import pair, read_side

    first, second = sides(options.files, options.against)
    tables = [read_side(files, score=options.score) for files in (first, second)]
    both = pair(*tables, any_seeds=options.any_seeds)
    found = judge(both, lower_is_better=options.lower_is_better, one_seed=options.one_seed)
    found["passed"] = _passed(found, options.expect, options.margin, options.lower_is_better)
    found |= {"expect": options.expect, "margin": options.margin}
    print(json.dumps(found) if options.json else _sentence(found))
    return 0 if found["passed"] else 1


def sides(files: Sequence[Path], against: Sequence[Path] | None) -> tuple[list[Path], list[Path]]:
    """Which files are of A and which of B: two files or folders, the files of two folders, two kinds of names, or `against`.

    Example:
        >>> first, second = sides([Path("ours-0.json"), Path("ours-1.json"), Path("base-0.json"), Path("base-1.json")], None)
        >>> first == [Path("ours-0.json"), Path("ours-1.json")]
        True

    Raises:
        InputError: it cannot be told.
    """
    if against is not None or len(files) == 2:
        first, second = (files, against) if against is not None else (files[:1], files[1:])
        return _files(first), _files(second)
    for side in (lambda file: file.parent, _group):
        names = list(dict.fromkeys(map(side, files)))
        if len(names) == 2:
            return tuple([file for file in files if side(file) == name] for name in names)  # type: ignore[return-value]
    shown = ", ".join(sorted({str(_group(file)) for file in files})[:3])
    raise InputError(
        f"expected two groups of files, got {len(set(map(_group, files)))} among {len(files)} ({shown}): two folders, or names "
        "alike but for the seed's number; else name those of B after --against"
    )


def _group(file: Path) -> Path:
    """A file without the seed's number, the last one in its name: what files of one side have in common."""
    return file.with_name(re.sub(r"\d+(?!.*\d)", "*", file.stem) + file.suffix)


def _files(places: Sequence[Path]) -> list[Path]:
    """Files, and those in folders."""
    kinds = (".json", ".csv", ".tsv")
    return [
        file
        for place in places
        for file in (sorted(one for one in place.iterdir() if one.suffix in kinds) if place.is_dir() else [place])
    ]


def judge(both: Any, *, lower_is_better: bool = False, one_seed: bool = False) -> dict[str, Any]:
    """The difference A - B in the unit of the scores, its interval, and the verdict.

    Raises:
        InputError: one seed, and `one_seed` is off.
    """
    from stillhouse.core.verdict import FEWEST_SEEDS, compare, in_words, mean_interval

    seeds, items = both.first.shape
    if seeds == 1 and not one_seed:
        raise InputError(
            f"expected {FEWEST_SEEDS} seeds or more, got one; --one-seed takes the interval over items alone"
        )
    sign = -1.0 if lower_is_better else 1.0
    found = compare(sign * both.first, sign * both.second, items_alone=one_seed)
    low, high = sorted((sign * found.low, sign * found.high))
    return {
        "verdict": found.verdict,
        "word": in_words(found),
        "difference": sign * found.difference,
        "low": low,
        "high": high,
        "a": mean_interval(both.first).mean,
        "b": mean_interval(both.second).mean,
        "seeds": seeds,
        "items": items,
        "each": [float(gap) for gap in (both.first - both.second).mean(axis=1)],
    }


def _passed(found: dict[str, Any], expect: str, margin: float, lower_is_better: bool) -> bool:
    """With a margin the whole interval must be above it; without one A must not be shown to be worse."""
    if expect == "helps" or found["verdict"] == "not tested":
        return bool(found["verdict"] == "helps")
    least_gain = -found["high"] if lower_is_better else found["low"]
    return bool(least_gain > -margin if margin else found["verdict"] != "hurts")


def _sentence(found: dict[str, Any]) -> str:
    """The word, and the figures in a line."""
    ends = "95 % interval " + " to ".join(f"{found[key]:+.4g}" for key in ("low", "high"))
    if found["verdict"] == "not tested":
        ends = f"{' and '.join(f'{gap:+.4g}' for gap in found['each'])} under the seeds"
    return (
        f"{found['word']}\nA {found['a']:.4g} minus B {found['b']:.4g}: {found['difference']:+.4g}, {ends} "
        f"(seeds: {found['seeds']}, items: {found['items']}); expected {found['expect']}, margin {found['margin']:g}: "
        f"{'passed' if found['passed'] else 'not passed'}"
    )
