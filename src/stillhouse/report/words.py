"""Numbers and comparisons in words, in the unit of any metric, the same everywhere on the page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stillhouse.core.parts import Metric
from stillhouse.core.verdict import baseline_comparison, format_verdict, untested_reason, verdict_of
from stillhouse.report.read import mapping, number

GAP, MINUS, NOTHING = "\N{NO-BREAK SPACE}", "\N{MINUS SIGN}", "\N{EN DASH}"
BYTES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "bytes"))
MARKS = {"helps": "\u25b2", "hurts": "\u25bc", "no difference shown": "\u25cf", "not tested": "\u25cb"}


def percent(value: Any, digits: int = 1) -> str:
    """A fraction as per cent.

    Example:
        >>> percent(0.9712).replace(GAP, " "), percent(None)
        ('97.1 %', '–')
    """
    found = number(value)
    return NOTHING if found is None else f"{100 * found:.{digits}f}{GAP}%"


def plain(value: Any, digits: int = 3) -> str:
    """A number with so many significant digits, thousands set apart; a dash for what is none.

    Example:
        >>> plain(0.12345), plain(1234567.0, 7), plain(None)
        ('0.123', '1,234,567', '–')
    """
    found = number(value)
    if found is None:
        return NOTHING
    if isinstance(found, int) or found == 0:
        return f"{found:,.0f}"
    return f"{found:,.{max(0, digits - 1 - math.floor(math.log10(abs(found))))}f}"


def format_decimal(value: Any, digits: int = 3) -> str:
    """A number with so many decimals; a dash for what is none.

    Example:
        >>> format_decimal(0.12345), format_decimal(1234.5, 1), format_decimal(None)
        ('0.123', '1,234.5', '–')
    """
    found = number(value)
    return NOTHING if found is None else f"{found:,.{digits}f}".replace("-", MINUS)


def size(count: Any) -> str:
    """A number of bytes with its unit (1 kB = 1000 bytes).

    Example:
        >>> size(65_536).replace(GAP, " "), size(12).replace(GAP, " ")
        ('65.5 kB', '12 bytes')
    """
    found = number(count)
    if found is None:
        return NOTHING
    per, name = next((unit for unit in BYTES if abs(found) >= unit[0]), BYTES[-1])
    return f"{plain(found / per) if per > 1 else f'{found:.0f}'}{GAP}{name}"


def cost(kind: str, value: Any) -> str:
    """A cost of a student (see `core.machine.COSTS`): counts whole, bytes with their unit, times with three digits.

    Example:
        >>> cost("params", 9216.0), cost("ms", 1.2345), cost("bytes", 2e6).replace(GAP, " ")
        ('9,216', '1.23', '2.00 MB')
    """
    if kind.endswith("bytes"):
        return size(value)
    return plain(value) if kind == "ms" else format_decimal(value, 0)


def score_words(value: Any, in_percent: bool) -> str:
    """A validation score, in the unit in which reports have it.

    Example:
        >>> score_words(0.39815, True).replace(GAP, " "), score_words(-2.345678, False)
        ('39.81 %', '-2.3457')
    """
    found = number(value)
    if found is None:
        return NOTHING
    return percent(found, 2) if in_percent else f"{found:.5g}"


def interval_words(counts: Iterable[int]) -> str:
    """The caption of a chart of differences, each under so many seeds: what is a line, and what is a dot alone.

    Example:
        >>> interval_words([2, 2])
        'Hollow dot: difference under 2 seeds, too few for an interval over seeds.'
    """
    seeds = sorted(set(counts))
    few = [str(count) for count in seeds if untested_reason(count)]
    line = f"Dot: difference. Line: its 95{GAP}% interval over seeds and test items; one that crosses 0 shows no difference."
    hollow = f"Hollow dot: difference under {' or '.join(few)} seeds, too few for an interval over seeds."
    return " ".join([line] * (len(few) < len(seeds)) + [hollow] * bool(few))


# ---------------------------------------------------------------------------------------------- comparisons


@dataclass(frozen=True)
class Sentence:
    """A verdict in words, and its numbers; `mark` is a shape for it, so that no colour is needed to know it."""

    verdict: str
    lead: str
    detail: str

    @property
    def mark(self) -> str:
        """The shape."""
        return MARKS[self.verdict]


def format_metric(measure: Metric, value: Any) -> str:
    """A value of a metric, scaled.

    Example:
        >>> points = Metric("accuracy", "accuracy", "points", "test images", False, 100.0, 2)
        >>> format_metric(points, 0.9712).replace(GAP, " "), format_metric(points, None)
        ('97.12 %', '–')
    """
    found = number(value)
    if found is None:
        return NOTHING
    text = f"{measure.scale * found:,.{measure.digits}f}".replace("-", MINUS)
    return f"{text}{GAP}%" if measure.scale == 100 else text


def spread_words(measure: Metric, found: Mapping[str, Any]) -> str:
    """The 95 % interval of a mean; of seeds too few for one the value of each; empty if unknown.

    Example:
        >>> bits = Metric("bits", "bits per byte", "bits per byte", "windows", True, 1.0, 2)
        >>> spread_words(bits, {"low": 1.0, "high": 2.0, "values": [1.4, 1.5, 1.6]})
        '1.00 to 2.00'
        >>> spread_words(bits, {"low": 0.0, "high": 9.0, "values": [1.4, 1.6]})
        '1.40 and 1.60'
    """
    values = found.get("values") or []
    if len(values) > 1 and untested_reason(len(values)):
        return " and ".join(format_metric(measure, value) for value in values)
    ends = [found.get("low"), found.get("high")]
    return "" if None in ends else " to ".join(format_metric(measure, end) for end in ends)


def mean_of(arms: Mapping[str, Any], arm: Any, measure: Metric) -> str:
    """What an arm of `summary.json` reaches."""
    return format_metric(measure, mapping(mapping(arms.get(str(arm))).get(measure.name)).get("mean"))


def format_comparison(row: Mapping[str, Any]) -> str:
    """What a comparison is about, and its verdict.

    Example:
        >>> format_comparison({"name": "teacher", "arm": "kd", "control": "no-kd", "verdict": "helps", "seeds": 3})
        'The teacher: helps'
        >>> format_comparison({"name": "ngram", "arm": "kd", "control": "ngram", "verdict": "helps", "seeds": 2})
        'kd against ngram: not tested'
    """
    name, control = str(row.get("name", "?")), str(row.get("control", "?"))
    about = f"{row.get('arm', '?')} against {control}" if name == control else f"The {name}"
    return f"{about}: {verdict_of(row)[0]}"


def sentence(row: Mapping[str, Any], arms: Mapping[str, Any], measures: Mapping[str, Metric]) -> Sentence:
    """One comparison of `summary.json` as a plain sentence.

    Example:
        >>> bits = Metric("bits_per_byte", "bits per byte", "bits per byte", "windows", True, 1.0, 4)
        >>> row = {"name": "spikes", "arm": "kd", "control": "dense", "metric": "bits_per_byte", "verdict": "hurts",
        ...        "difference": -0.18, "low": -0.2, "high": -0.16, "seeds": 3, "items": 512}
        >>> found = sentence(row, {"kd": {"bits_per_byte": {"mean": 1.9}}, "dense": {"bits_per_byte": {"mean": 1.72}}},
        ...                  {"bits_per_byte": bits})
        >>> found.lead
        'The spikes: hurts'
        >>> print(found.detail.replace(GAP, " ").replace(MINUS, "-")[:88])
        bits per byte: kd 1.9000 against dense 1.7200, difference 0.1800 bits per byte worse (95
    """
    verdict, why = verdict_of(row)
    measure = measures.get(str(row.get("metric")))
    if measure is None:
        return Sentence(verdict, format_comparison(row), f"metric {row.get('metric')}")
    arm, control, seeds = row.get("arm", "?"), row.get("control", "?"), int(number(row.get("seeds")) or 0)
    parts = [
        f"{measure.label}: {arm} {mean_of(arms, arm, measure)} against {control} {mean_of(arms, control, measure)}"
    ]
    if all(number(row.get(key)) is not None for key in ("difference", "low", "high")):
        parts.append(f"difference {gain(measure, row['difference'], unit=True)}{_reach(measure, row, seeds)}")
    if seeds:
        parts.append(f"{seeds}{GAP}seed{'s' * (seeds != 1)}, {plain(row.get('items'), 7)}{GAP}{measure.items}")
    if why:
        parts.append(f"not tested: {why}")
    return Sentence(verdict, format_comparison(row), ", ".join(parts))


def _reach(measure: Metric, row: Mapping[str, Any], seeds: int) -> str:
    """The interval of a difference; of one seed it is over test items, and of too few there is none."""
    if seeds > 1 and untested_reason(seeds):
        return ""
    alone = " over test items" * (seeds == 1)
    return f" (95{GAP}% interval{alone} {gain(measure, row['low'])} to {gain(measure, row['high'])})"


def sentences(
    rows: Iterable[Mapping[str, Any]], arms: Mapping[str, Any], measures: Mapping[str, Metric]
) -> list[Sentence]:
    """All comparisons."""
    return [sentence(row, arms, measures) for row in rows]


def headline(rows: Sequence[Mapping[str, Any]], arms: Mapping[str, Any], measures: Mapping[str, Metric]) -> str:
    """The comparisons that a verdict is drawn from, each with the means of both sides.

    Example:
        >>> points = Metric("accuracy", "accuracy", "points", "test images", False, 100.0, 2)
        >>> row = {"name": "teacher", "arm": "kd", "control": "no-kd", "metric": "accuracy", "verdict": "helps", "seeds": 3}
        >>> arms = {"kd": {"accuracy": {"mean": 0.9583}}, "no-kd": {"accuracy": {"mean": 0.8542}}}
        >>> headline([row], arms, {"accuracy": points}).replace(GAP, " ")
        'The teacher: helps (accuracy: with the teacher 95.83 %, without it 85.42 %)'
    """
    parts = []
    for row in rows:
        text, measure = (
            f"{format_comparison(row).rpartition(':')[0]}: {format_verdict(row)}",
            measures.get(str(row.get("metric"))),
        )
        if measure is not None and mean_of(arms, row.get("arm"), measure) != NOTHING:
            ours, theirs = (mean_of(arms, row.get(side), measure) for side in ("arm", "control"))
            sides = f"{row.get('arm')} {ours} against {row.get('control')} {theirs}"
            if row.get("name") == "teacher":
                sides = f"with the teacher {ours}, without it {theirs}"
            text += f" ({measure.label}: {sides})"
        parts.append(text)
    return "; ".join(parts)


def describe_against_baselines(summary: Mapping[str, Any], measures: Mapping[str, Metric]) -> str:
    """Where the shipped student stands beside the plain models of a run, if it is not better; empty where it is.

    Example:
        >>> points = Metric("accuracy", "accuracy", "points", "test images", False, 100.0, 2)
        >>> row = {"arm": "kd", "control": "linear", "metric": "accuracy", "verdict": "hurts", "seeds": 3, "difference": -0.05}
        >>> found = {"shipped": {"arm": "kd"}, "plain": {"linear": "a linear classifier"}, "comparisons": [row],
        ...          "arms": {"linear": {"accuracy": {"mean": 0.625}}, "kd": {"accuracy": {"mean": 0.575}}}}
        >>> describe_against_baselines(found, {"accuracy": points}).replace(GAP, " ")
        'the student (57.50 %) is worse than a linear classifier (62.50 %)'
    """
    arms, named = mapping(summary.get("arms")), mapping(summary.get("plain"))
    shipped = str(mapping(summary.get("shipped")).get("arm"))
    found, own = [], NOTHING
    for row in summary.get("comparisons") or ():
        name, measure = named.get(row.get("control")), measures.get(str(row.get("metric")))
        if row.get("arm") == shipped and name and measure is not None and (words := baseline_comparison(row)):
            own = mean_of(arms, shipped, measure)
            found.append(f"{words} {name} ({mean_of(arms, row['control'], measure)})")
    return f"the student ({own}) is {' and '.join(found)}" if found else ""


def direction(measure: Metric) -> str:
    """The one sign of differences in words: a difference is a gain, above 0 the arm is better, whichever way the metric goes.

    Example:
        >>> direction(Metric("bits", "bits per byte", "bits per byte", "windows", True, 1.0, 4))
        'Right of 0 is better; of bits per byte less is better: a difference is how much less it is'
    """
    turned = f"; of {measure.label} less is better: a difference is how much less it is"
    return f"Right of 0 is better{turned * measure.lower_is_better}"


def gain(measure: Metric, value: float, *, unit: bool = False) -> str:
    """A difference as `summary.json` has it (above 0 the arm is better): signed, or where less is better in words.

    A sign there would be that of the gain to one reader and that of the figures to the next.

    Example:
        >>> gain(Metric("bits", "bits per byte", "bits per byte", "windows", True, 1.0, 4), -0.0022)
        '0.0022 worse'
        >>> gain(Metric("accuracy", "accuracy", "points", "test images", False, 100.0, 2), 0.012, unit=True).replace(GAP, " ")
        '+1.20 points'
    """
    value = measure.scale * value
    if measure.lower_is_better:
        named = f" {measure.unit}" * bool(unit and measure.unit)
        return f"{abs(value):.{measure.digits}f}{named} {'better' if value > 0 else 'worse'}"
    return f"{value:+.{measure.digits}f}".replace("-", MINUS) + f"{GAP}points" * (unit and measure.scale == 100)
