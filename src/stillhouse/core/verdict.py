"""Did it help? Intervals and verdicts from a few seeds on one test split, counting both as samples. No torch.

A score from S seeds on the same N test items varies for two reasons: other seeds would train other students, and other
test items would be easier or harder. An interval over seeds alone forgets the second, one over items alone the first.
Here both count as random: value[s, n] = mean + seed[s] + item[n] + rest[s, n], a crossed two-way random-effects design
without replication. With the usual mean squares,

    Var(mean) = (MS_seed + MS_item - MS_rest) / (S * N)

and Satterthwaite's approximate degrees of freedom give a Student-t interval. The subtraction may overshoot by chance,
so the sum is held at no less than its largest single term, and the degrees of freedom at no less than the smallest of
the terms'.

How good it is (normal effects, simulated; `tests/test_verdict.py` repeats a part of it): a 95 % interval covers the
truth in 92 to 99 % of cases with three seeds and 94 to 99 % with five. With two seeds it can fall to 86 %, so that a
verdict needs three (`FEWEST_SEEDS`). That rule, and the words of every verdict that is printed or saved, are here and
nowhere else: `helps`, `no difference shown`, `hurts`, `not tested (why)`.

Source: Satterthwaite (1946), An approximate distribution of estimates of variance components, Biometrics Bulletin 2(6);
Brennan (2001), Generalizability Theory, chapters 3 and 6 (the p x i design); Baayen, Davidson and Bates (2008),
Mixed-effects modeling with crossed random effects, Journal of Memory and Language 59(4).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stillhouse.core.checks import InputError, same_shape

Verdict = Literal["helps", "no difference shown", "hurts", "not tested"]
CONFIDENCE = 0.95
FEWEST_SEEDS = 3
UNCOMPARED = "nothing to compare with"


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its 95 % interval; `low` and `high` are NaN where the spread cannot be known (a single value)."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """An arm against its control: the mean of (arm - control), its 95 % interval, and that in words.

    Attributes:
        difference: mean over seeds and items, in the unit of the values; NaN when an arm is missing.
        low: lower end of the 95 % interval.
        high: upper end of the 95 % interval.
        verdict: `helps` if the whole interval is above 0, `hurts` if it is below, `no difference shown` if it holds 0,
            `not tested` with fewer than three seeds or without one of the arms.
        seeds: number of paired seeds S.
        items: number of paired test items N.
        why: it was not tested; empty where it was.
    """

    difference: float
    low: float
    high: float
    verdict: Verdict
    seeds: int
    items: int
    why: str = ""


def mean_interval(values: ArrayLike) -> Interval:
    """The mean of per-item values over seeds and items, with a 95 % interval that holds for other seeds *and* items.

    With one seed only the item variance can be seen: the interval then shows how the score would move on another test
    split, and nothing of another seed. It is not cut at the ends of a scale (an accuracy may reach above 1).

    Args:
        values: (S, N) one value an item and seed, the same N items in the same order for every seed; e.g. correctness.

    Returns:
        Mean and 95 % interval, in the unit of the values.

    Raises:
        InputError: not two axes, no seed, fewer than two items, or a value that is not finite.

    Example:
        Two seeds, four items: MS_seed = 1/8, MS_item = 11/24, MS_rest = 1/8, 2.3 degrees of freedom.

        >>> found = mean_interval([[1, 1, 0, 0], [1, 1, 1, 0]])
        >>> print(f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]")
        0.625 [-0.282, 1.532]

    Source: Satterthwaite (1946); Brennan (2001), chapter 6.
    """
    table = _finite(values, axes=2)
    S, N = table.shape
    if S < 1 or N < 2:
        raise InputError(f"values: expected at least one seed and two items, got shape {table.shape}")
    mean = float(table.mean())
    item_means, seed_means = table.mean(axis=0), table.mean(axis=1)
    ms_item = S * float(item_means.var(ddof=1))
    if S == 1:
        return _student(mean, ms_item / N, N - 1)
    ms_seed = N * float(seed_means.var(ddof=1))
    rest = table - seed_means[:, None] - item_means[None, :] + mean
    ms_rest = float((rest**2).sum()) / ((S - 1) * (N - 1))
    total = max(ms_seed + ms_item - ms_rest, ms_seed, ms_item, ms_rest)
    spread = ms_seed**2 / (S - 1) + ms_item**2 / (N - 1) + ms_rest**2 / ((S - 1) * (N - 1))
    freedom = total**2 / spread if spread > 0 else 0.0
    return _student(mean, total / (S * N), max(freedom, min(S, N) - 1))


def seed_interval(values: ArrayLike) -> Interval:
    """The mean over seeds with a plain 95 % t interval, for figures that no single item has (ECE, seconds).

    It holds for other seeds on *this* test split: the split counts as given.

    Args:
        values: (S,) one value a seed.

    Returns:
        Mean and interval; low and high are NaN with one seed, since its variance is unknown.

    Raises:
        InputError: not one axis, no value, or a value that is not finite.

    Example:
        >>> found = seed_interval([0.010, 0.012, 0.014])  # 4.303 * 0.002 / sqrt(3) = 0.005
        >>> print(f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]")
        0.012 [0.007, 0.017]

    Source: Student (1908), The probable error of a mean, Biometrika 6(1).
    """
    seeds = _finite(values, axes=1)
    if not len(seeds):
        raise InputError("values: expected at least one seed, got none")
    if len(seeds) == 1:
        return Interval(float(seeds[0]), math.nan, math.nan)
    return _student(float(seeds.mean()), float(seeds.var(ddof=1)) / len(seeds), len(seeds) - 1)


def compare(arm: ArrayLike | None, control: ArrayLike | None, *, items_alone: bool = False) -> Comparison:
    """Whether an arm beats its control, paired by seed and by item; larger values are better.

    Pairing takes out what both share (a hard item, a lucky seed), which is most of the noise.

    Args:
        arm: (S, N) one value a seed and item; None where the arm was not run.
        control: (S, N) the same seeds and items, in the same order; None where it was not run.
        items_alone: the one seed is all that there is to judge, as of a model that is not trained here: the verdict then holds for
            other items and says nothing of other seeds.

    Returns:
        The difference, its interval and the verdict. With one seed the interval holds for items only.

    Raises:
        InputError: the shapes differ, or what `mean_interval` refuses.

    Example:
        >>> control = np.zeros((3, 200)); arm = control.copy(); arm[:, :20] = 1  # 20 items gained under every seed
        >>> found = compare(arm, control)
        >>> print(f"{found.difference:.3f} [{found.low:.3f}, {found.high:.3f}] {found.verdict}")
        0.100 [0.058, 0.142] helps
        >>> format_verdict(compare(arm[:2], control[:2])), format_verdict(compare(arm, None))
        ('not tested (2 seeds; a verdict needs 3)', 'not tested (an arm is missing)')

    Source: as `mean_interval`, on the differences.
    """
    if arm is None or control is None:
        return Comparison(math.nan, math.nan, math.nan, "not tested", 0, 0, untested_reason(0))
    first, second = _finite(arm, axes=2), _finite(control, axes=2)
    same_shape("control", second.shape, first.shape)
    found = mean_interval(first - second)
    seeds, items = first.shape
    why = "" if items_alone and seeds == 1 else untested_reason(seeds)
    verdict: Verdict = "no difference shown"
    if why:
        verdict = "not tested"
    elif found.low > 0:
        verdict = "helps"
    elif found.high < 0:
        verdict = "hurts"
    return Comparison(found.mean, found.low, found.high, verdict, seeds, items, why)


# ---------------------------------------------------------------------------------------------- the rule and the words


def untested_reason(seeds: int) -> str:
    """Why a comparison under so many seeds has no verdict and no interval over seeds; empty where it has.

    Example:
        >>> untested_reason(2), untested_reason(3)
        ('2 seeds; a verdict needs 3', '')
    """
    if seeds >= FEWEST_SEEDS:
        return ""
    return f"{seeds} seed{'s' * (seeds != 1)}; a verdict needs {FEWEST_SEEDS}" if seeds else "an arm is missing"


def verdict_of(row: Mapping[str, Any]) -> tuple[Verdict, str]:
    """The verdict of a comparison as `summary.json` has it, and why it was not tested.

    Example:
        >>> verdict_of({"verdict": "helps", "seeds": 3}), verdict_of({"verdict": "helps", "seeds": 2})
        (('helps', ''), ('not tested', '2 seeds; a verdict needs 3'))
    """
    word, seeds = row.get("verdict"), row.get("seeds")
    why = str(row.get("why") or ("" if seeds is None else untested_reason(int(seeds))))
    if word in ("helps", "hurts", "no difference shown") and not why:
        return word, ""
    return "not tested", why or untested_reason(0)


def format_verdict(found: Comparison | Mapping[str, Any]) -> str:
    """A verdict as it is printed everywhere.

    Example:
        >>> format_verdict({"verdict": "hurts", "seeds": 5}), format_verdict({"verdict": "not tested", "seeds": 1})
        ('hurts', 'not tested (1 seed; a verdict needs 3)')
    """
    word, why = (found.verdict, found.why) if isinstance(found, Comparison) else verdict_of(found)
    return f"{word} ({why})" if why else word


def verdict_comparisons(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The comparisons that the verdict of a run is drawn from: the first one, and those of the same two arms by other metrics."""
    same = ("name", "arm", "control")
    return [row for row in rows if all(row.get(key) == rows[0].get(key) for key in same)]


def is_trade_off(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether something is gained and something is lost."""
    return {"helps", "hurts"} <= {verdict_of(row)[0] for row in rows}


def main_comparison(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The comparison whose word is that of all `verdict_comparisons` ones; {} of none.

    `hurts` is said only where nothing is gained; two that trade off have no one word, and the first of them is given.
    """
    order = ("not tested", "helps", "hurts", "no difference shown")
    return min(rows, key=lambda row: 0 if is_trade_off(rows) else order.index(verdict_of(row)[0]), default={})


def overall_verdict(rows: Sequence[Mapping[str, Any]], labels: Mapping[str, str]) -> str:
    """The verdict of a run as it is printed everywhere.

    Args:
        rows: its comparisons, the first of which it is drawn from.
        labels: metrics in words; a trade-off is two verdicts, each with its metric.

    Example:
        >>> near = {"name": "pca", "arm": "student", "control": "pca", "metric": "near", "verdict": "helps", "seeds": 3}
        >>> far = {**near, "metric": "far", "verdict": "hurts"}
        >>> labels = {"near": "neighbours kept", "far": "distances kept"}
        >>> overall_verdict([near, far], labels)
        'helps (neighbours kept), hurts (distances kept)'
        >>> overall_verdict([near, {**far, "verdict": "no difference shown"}], labels), overall_verdict([], labels)
        ('helps', 'not tested (nothing to compare with)')
    """
    if not rows:
        return format_verdict({"why": UNCOMPARED})
    found = verdict_comparisons(rows)
    if not is_trade_off(found):
        return format_verdict(main_comparison(found))
    return ", ".join(
        f"{format_verdict(row)} ({labels.get(str(row.get('metric')), row.get('metric'))})" for row in found
    )


def baseline_comparison(row: Mapping[str, Any]) -> str:
    """Where an arm stands beside a plain model (a linear classifier, the commonest class), where it is not above it.

    Example:
        >>> baseline_comparison({"verdict": "hurts", "seeds": 3, "difference": -0.05})
        'worse than'
        >>> baseline_comparison({"verdict": "helps", "seeds": 3})
        ''
        >>> baseline_comparison({"verdict": "no difference shown", "seeds": 3, "difference": -0.001})
        'not shown to be better than'
    """
    word, _ = verdict_of(row)
    lower = (row.get("difference") or 0.0) < 0
    if word == "no difference shown":
        return "not shown to be better than" * lower
    return "worse than" * (lower and word != "helps")


def _student(mean: float, variance: float, freedom: float) -> Interval:
    from scipy.special import stdtrit  # a tenth of a second, which pages that only print verdicts need not wait for

    reach = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * math.sqrt(variance)
    return Interval(mean, mean - reach, mean + reach)


def _finite(values: ArrayLike, axes: int) -> NDArray[np.float64]:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != axes:
        raise InputError(f"values: expected {axes} axes, got shape {table.shape}")
    if not np.isfinite(table).all():
        raise InputError(f"values: expected finite numbers, got {int((~np.isfinite(table)).sum())} that are not")
    return table
