"""`stillhouse verify`: is A better than B? From per-item scores of anyone's runs."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stillhouse.cli.options import Parser
from stillhouse.core.checks import ConfigError, InputError

ABOUT = "Is A better than B? From the per-item scores of anyone's runs, over seeds and items."
USAGE = "stillhouse verify A/*.json B/*.json [options]"
EPILOG = """a file is one seed (the last number in its name), unless it names the seed; ids are matched:
  seed-0.json   {"seed": 0, "scores": {"img-1": 1, "img-2": 0}}   or {"ids": [...], "scores": [...]}   or rows:
                [{"id": "img-1", "score": 1, "seed": 0}, ...]
  seed-0.csv    id,score         or all seeds in one file: seed,id,score
                img-1,1

Printed: what A does in place of B (helps, hurts, no difference shown, not tested), and the difference A - B with its 95 %
interval over seeds and items. Two seeds are too few for an interval: their differences are printed, and nothing is passed.
Exit status: 0 as expected, 1 not, 2 a fault in the input.

examples:
  stillhouse verify ours/*.json base/*.json --expect helps
  stillhouse verify ours-*.csv base-*.csv --score nll --lower-is-better --json
  stillhouse verify new/*.csv old/*.csv --expect not-hurts --margin 0.005       not more than half a point worse
"""
SHOWN = 3
BEFORE = {"better": "helps", "not-worse": "not-hurts"}  # earlier words of --expect


def main(arguments: Sequence[str]) -> int:
    """Parse, read, pair, say; 0 as expected, 1 not."""
    parser = Parser(prog="stillhouse verify", usage=USAGE, description=ABOUT, epilog=EPILOG)
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="of A, then of B: two files, or those of two folders or of two names",
    )
    parser.add_argument(
        "--against", nargs="+", type=Path, metavar="FILE", help="files of B, where folders and names do not tell"
    )
    parser.add_argument("--score", default="score", metavar="NAME", help="column of the score [score]")
    parser.add_argument("--higher-is-better", action="store_true", help="of the score [yes]")
    parser.add_argument("--lower-is-better", action="store_true", help="of the score: an error, a loss")
    parser.add_argument(
        "--expect",
        choices=("helps", "not-hurts", *BEFORE),
        default="not-hurts",
        metavar="helps|not-hurts",
        help="what is status 0 [not-hurts]",
    )
    parser.add_argument("--margin", type=float, default=0.0, help="of not-hurts: the whole interval is above -MARGIN")
    parser.add_argument("--any-seeds", action="store_true", help="the sides' seeds differ: pair them in order")
    parser.add_argument("--one-seed", action="store_true", help="take one seed: an interval over items alone")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse(arguments)
    if options.higher_is_better and options.lower_is_better:
        raise ConfigError("expected --higher-is-better or --lower-is-better, got both")
    if not options.margin >= 0:
        raise ConfigError(f"--margin: expected 0 or more, got {options.margin}")
    expect = BEFORE.get(options.expect, options.expect)
    if options.margin and expect == "helps":
        raise ConfigError("--margin: is of --expect not-hurts; with --expect helps it does nothing")
    from stillhouse.core.items import pair, read_side

    first, second = sides(options.files, options.against)
    tables = [read_side(files, score=options.score) for files in (first, second)]
    both = pair(*tables, any_seeds=options.any_seeds)
    found = judge(both, lower_is_better=options.lower_is_better, one_seed=options.one_seed)
    # a gain is above 0 whichever way the score goes
    gain = (-found["high"], -found["low"]) if options.lower_is_better else (found["low"], found["high"])
    passed = found["verdict"] == "helps" if expect == "helps" else _not_worse(found, gain[0], options.margin)
    found |= {"expect": expect, "margin": options.margin, "passed": passed}
    print(json.dumps(found) if options.json else sentence(found))
    return 0 if passed else 1


def sides(files: Sequence[Path], against: Sequence[Path] | None) -> tuple[list[Path], list[Path]]:
    """Which files are of A and which of B: two files or folders, the files of two folders, two kinds of names, or `against`.

    Example:
        >>> first, second = sides([Path("ours-0.json"), Path("ours-1.json"), Path("base-0.json"), Path("base-1.json")], None)
        >>> first == [Path("ours-0.json"), Path("ours-1.json")]
        True
        >>> first, second = sides([Path("a/1.json"), Path("a/2.json"), Path("b/1.json")], None)
        >>> len(first), len(second)
        (2, 1)

    Raises:
        InputError: it cannot be told.
    """
    if against is not None:
        return _unfolded(files), _unfolded(against)
    if len(files) == 2:
        return _unfolded(files[:1]), _unfolded(files[1:])
    for side in (lambda file: file.parent, _group):
        names = list(dict.fromkeys(map(side, files)))
        if len(names) == 2:
            return tuple([file for file in files if side(file) == name] for name in names)  # type: ignore[return-value]
    names = sorted(map(str, dict.fromkeys(map(_group, files))))
    shown = f"{', '.join(names[:SHOWN])}{', ...' * (len(names) > SHOWN)}"
    raise InputError(
        f"expected two groups of files, got {len(names)} among {len(files)} ({shown}): two folders, or names alike but for the "
        "seed's number; else name those of B after --against"
    )


def _group(file: Path) -> Path:
    """A file without the seed's number, the last one in its name: what files of one side have in common."""
    return file.with_name(re.sub(r"\d+(?!.*\d)", "*", file.name.removesuffix(file.suffix)) + file.suffix)


def judge(both: Any, *, lower_is_better: bool = False, one_seed: bool = False) -> dict[str, Any]:
    """The difference A - B in the unit of the scores, its interval, and the verdict.

    Raises:
        InputError: one seed, and `one_seed` is off.
    """
    from stillhouse.core.verdict import FEWEST_SEEDS, compare, in_words, mean_interval

    seeds, items = both.first.shape
    if seeds == 1 and not one_seed:
        raise InputError(
            f"expected {FEWEST_SEEDS} seeds or more, got one: it says nothing of other seeds; --one-seed takes the interval over "
            "items alone"
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


def sentence(found: dict[str, Any]) -> str:
    """All of it in two lines, the word first.

    Example:
        >>> print(sentence({"verdict": "helps", "word": "helps", "difference": 0.1, "low": 0.05, "high": 0.15, "a": 0.9, "b": 0.8,
        ...                 "seeds": 3, "items": 200, "each": [], "expect": "helps", "margin": 0.0, "passed": True}))
        helps
        A 0.9 minus B 0.8: +0.1, 95 % interval +0.05 to +0.15 (3 seeds, 200 items); expected helps: passed
    """
    ends = "95 % interval " + " to ".join(f"{found[key]:+.4g}" for key in ("low", "high"))
    if found["verdict"] == "not tested":
        ends = f"{' and '.join(f'{gap:+.4g}' for gap in found['each'])} under the seeds"
    seeds = f"{found['seeds']} seed{'s' * (found['seeds'] != 1)}"
    only = ", which says nothing of other seeds" if found["seeds"] == 1 else ""
    margin = f" by more than {found['margin']:g}" if found["margin"] else ""
    return (
        f"{found['word']}\nA {found['a']:.4g} minus B {found['b']:.4g}: {found['difference']:+.4g}, {ends} "
        f"({seeds}, {found['items']} items{only}); expected {found['expect']}{margin}: "
        f"{'passed' if found['passed'] else 'not passed'}"
    )


def _not_worse(found: dict[str, Any], low: float, margin: float) -> bool:
    """With a margin the whole interval must be above it; without one A must not be shown to be worse."""
    return found["verdict"] != "not tested" and (low > -margin if margin else found["verdict"] != "hurts")


def _unfolded(places: Sequence[Path]) -> list[Path]:
    """Files, and those in folders.

    Raises:
        InputError: a folder without files of scores.
    """
    found: list[Path] = []
    for place in places:
        inside = sorted(file for file in place.glob("*") if file.suffix.lower() in (".json", ".csv", ".tsv"))
        if place.is_dir() and not inside:
            raise InputError(f"{place}: expected files of scores (.json, .csv), got none")
        found += inside if place.is_dir() else [place]
    return found
