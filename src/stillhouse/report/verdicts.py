"""Comparisons as sentences, in the words and the unit of any metric."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stillhouse.core.task import Metric
from stillhouse.core.verdict import standing, untested, verdict_of
from stillhouse.report.read import mapping, number
from stillhouse.report.words import GAP, MINUS, NOTHING, Sentence, lead, plain, subject


def shown(measure: Metric, value: Any) -> str:
    """A value of a metric, scaled.

    Example:
        >>> points = Metric("accuracy", "accuracy", "points", "test images", False, 100.0, 2)
        >>> shown(points, 0.9712).replace(GAP, " "), shown(points, None)
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
    if len(values) > 1 and untested(len(values)):
        return " and ".join(shown(measure, value) for value in values)
    ends = [found.get("low"), found.get("high")]
    return "" if None in ends else " to ".join(shown(measure, end) for end in ends)


def sentence(row: Mapping[str, Any], arms: Mapping[str, Any], measures: Mapping[str, Metric]) -> Sentence:
    """One comparison of `summary.json` as a plain sentence.

    Example:
        >>> bits = Metric("bits_per_byte", "bits per byte", "bits per byte", "windows", True, 1.0, 4)
        >>> row = {"name": "spikes", "arm": "kd", "control": "dense", "metric": "bits_per_byte", "verdict": "hurts",
        ...        "difference": -0.18, "low": -0.2, "high": -0.16, "seeds": 3, "items": 512}
        >>> found = sentence(row, {"kd": {"bits_per_byte": {"mean": 1.9}}, "dense": {"bits_per_byte": {"mean": 1.72}}},
        ...                  {"bits_per_byte": bits})
        >>> found.lead
        'The spikes hurt'
        >>> print(found.detail.replace(GAP, " ").replace(MINUS, "-")[:88])
        bits per byte: kd 1.9000 against dense 1.7200, difference 0.1800 bits per byte worse (95
    """
    verdict, why = verdict_of(row)
    arm, control = (str(row.get(key, "?")) for key in ("arm", "control"))
    measure = measures.get(str(row.get("metric")))
    if measure is None:
        return Sentence(verdict, lead(verdict, str(row.get("name")), arm, control), f"metric {row.get('metric')}")
    means = [shown(measure, mapping(mapping(arms.get(x)).get(measure.name)).get("mean")) for x in (arm, control)]
    parts = [f"{measure.label}: {arm} {means[0]} against {control} {means[1]}"]
    ends = [number(row.get(key)) for key in ("difference", "low", "high")]
    known = [end for end in ends if end is not None]
    each = _each_seed(measure, row, arms)
    seeds, items = number(row.get("seeds")) or 0, number(row.get("items")) or 0
    if len(known) == 3:
        parts.append(_difference(measure, known, each, alone=seeds == 1))
    if seeds:
        parts.append(f"{plain(seeds)}{GAP}seed{'s' * (seeds != 1)}, {plain(items, 7)}{GAP}{measure.items}")
    if why:
        parts.append(f"not tested: {why}")
    return Sentence(verdict, lead(verdict, str(row.get("name", "?")), arm, control), ", ".join(parts))


def sentences(
    rows: Iterable[Mapping[str, Any]], arms: Mapping[str, Any], measures: Mapping[str, Metric]
) -> list[Sentence]:
    """All comparisons; those that one reason leaves without a verdict are one sentence, which lists them.

    Example:
        >>> points = Metric("accuracy", "accuracy", "points", "test images", False, 100.0, 2)
        >>> row = {"arm": "kd", "metric": "accuracy", "verdict": "not tested", "difference": 0.01, "seeds": 1}
        >>> rows = [{**row, "name": "teacher", "control": "no-kd"}, {**row, "name": "clauses", "control": "mlp"}]
        >>> (found,) = sentences(rows, {}, {"accuracy": points})
        >>> print(found.detail.replace(GAP, " "))
        1 seed; a verdict needs 3; differences in accuracy: the teacher +1.00 points, the clauses +1.00 points
    """
    found = [(row, sentence(row, arms, measures)) for row in rows]
    reasons: dict[str, list[Mapping[str, Any]]] = {}
    for row, line in found:
        if line.verdict == "not tested":
            reasons.setdefault(verdict_of(row)[1], []).append(row)
    kept = []
    for row, line in found:
        alike = reasons.get(verdict_of(row)[1], []) if line.verdict == "not tested" else []
        if len(alike) < 2:
            kept.append(line)
        elif alike[0] is row:
            kept.append(Sentence("not tested", "Not tested", _listed(verdict_of(row)[1], alike, measures)))
    return kept


def _listed(why: str, rows: Sequence[Mapping[str, Any]], measures: Mapping[str, Metric]) -> str:
    """A reason and what it is the reason of, metric by metric, with the difference where there is one."""
    by_metric: dict[str, list[str]] = {}
    for row in rows:
        measure, difference = measures.get(str(row.get("metric"))), number(row.get("difference"))
        words = subject(*(str(row.get(key, "?")) for key in ("name", "arm", "control")))
        if measure is not None and difference is not None:
            words += f" {gain(measure, difference)}{f'{GAP}points' if measure.scale == 100 else ''}"
        by_metric.setdefault("" if measure is None else measure.label, []).append(words)
    known = any(number(row.get("difference")) is not None for row in rows)
    parts = [f"{f'differences in {label}: ' if known else ''}{', '.join(words)}" for label, words in by_metric.items()]
    return f"{why}{'; ' if known else ': '}{'; '.join(parts)}"


def beside_plain(summary: Mapping[str, Any], measures: Mapping[str, Metric]) -> str:
    """Where the shipped student stands beside the plain models of a run, if it is not above them; empty where it is.

    Example:
        >>> points = Metric("accuracy", "accuracy", "points", "test images", False, 100.0, 2)
        >>> row = {"arm": "kd", "control": "linear", "metric": "accuracy", "verdict": "hurts", "seeds": 3, "difference": -0.05}
        >>> found = {"shipped": {"arm": "kd"}, "plain": {"linear": "a linear classifier"}, "comparisons": [row],
        ...          "arms": {"linear": {"accuracy": {"mean": 0.625}}, "kd": {"accuracy": {"mean": 0.575}}}}
        >>> beside_plain(found, {"accuracy": points}).replace(GAP, " ")
        'the student (57.50 %) is below a linear classifier (62.50 %)'
    """
    arms, named = mapping(summary.get("arms")), mapping(summary.get("plain"))
    shipped = str(mapping(summary.get("shipped")).get("arm"))
    found, own = [], NOTHING
    for row in summary.get("comparisons") or ():
        name, measure = named.get(row.get("control")), measures.get(str(row.get("metric")))
        if row.get("arm") == shipped and name and measure is not None and (words := standing(row)):
            other, own = (
                shown(measure, mapping(mapping(arms.get(x)).get(measure.name)).get("mean"))
                for x in (row["control"], shipped)
            )
            found.append(f"{words} {name} ({other})")
    return f"the student ({own}) is {' and '.join(found)}" if found else ""


def direction(measure: Metric) -> str:
    """The one sign of differences in words: a difference is a gain, above 0 the arm is better, whichever way the metric goes.

    Example:
        >>> direction(Metric("bits", "bits per byte", "bits per byte", "windows", True, 1.0, 4))
        'right of 0 is better; of bits per byte less is better: a difference is how much less it is'
        >>> direction(Metric("accuracy", "accuracy", "points", "test images", False, 100.0, 2))
        'right of 0 is better'
    """
    turned = f"; of {measure.label} less is better: a difference is how much less it is"
    return f"right of 0 is better{turned * measure.lower_is_better}"


def _each_seed(measure: Metric, row: Mapping[str, Any], arms: Mapping[str, Any]) -> list[float]:
    """The gain under each seed where there are some, and too few for an interval; else []."""
    seeds = number(row.get("seeds")) or 0
    if seeds < 2 or not untested(int(seeds)):
        return []
    both = [mapping(mapping(arms.get(str(row.get(x)))).get(measure.name)).get("values") for x in ("arm", "control")]
    values = [[found for x in each or [] if (found := number(x)) is not None] for each in both]
    values = [each * int(seeds) if len(each) == 1 else each for each in values]  # what is made once stands beside all
    if [len(each) for each in values] != [seeds, seeds]:
        return []
    sign = -1.0 if measure.lower_is_better else 1.0
    return [sign * (arm - control) for arm, control in zip(*values)]


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
    less = f" {measure.unit}" if measure.lower_is_better and measure.unit else ""
    named = (f"{GAP}points" if measure.scale == 100 else less) * unit
    if measure.lower_is_better:
        return f"{abs(value):.{measure.digits}f}{named} {'better' if value > 0 else 'worse'}"
    return f"{value:+.{measure.digits}f}".replace("-", MINUS) + named


def _difference(measure: Metric, ends: list[float], each: list[float], *, alone: bool) -> str:
    """`difference 0.18 better (95 % interval 0.16 better to 0.20 better)`; of few seeds the value under each of them.

    Of one seed alone the interval is over test items.
    """
    middle = gain(measure, ends[0], unit=True)
    if each:
        return f"difference {middle} ({' and '.join(gain(measure, x) for x in each)} under the seeds)"
    low, high = (gain(measure, end) for end in ends[1:])
    return f"difference {middle} (95{GAP}% interval{' over test items' * alone} {low} to {high})"
