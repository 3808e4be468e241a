"""Numbers and verdicts in words, the same everywhere on the page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stillhouse.report.read import mapping, number

GAP, MINUS, NOTHING = "\N{NO-BREAK SPACE}", "\N{MINUS SIGN}", "\N{EN DASH}"
MARKS = {"helps": "\u25b2", "hurts": "\u25bc", "no difference shown": "\u25cf", "not tested": "\u25cb"}
HEADLINES = {
    "helps": "The teacher helps",
    "hurts": "The teacher hurts",
    "no difference shown": "No difference shown",
    "not tested": "The teacher was not tested",
}
FRACTIONS = {"accuracy", "ece", "agreement"}
METRICS = {
    "accuracy": "accuracy",
    "nll": "negative log-likelihood (nats)",
    "ece": "calibration error (ECE)",
    "agreement": "agreement with the teacher",
    "seconds": "training time (s)",
}


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
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(found))))
    return f"{found:,.{decimals}f}"


def size(count: Any) -> str:
    """A number of bytes with its unit (1 kB = 1000 bytes).

    Example:
        >>> size(65_536).replace(GAP, " "), size(12).replace(GAP, " ")
        ('65.5 kB', '12 bytes')
    """
    found = number(count)
    if found is None:
        return NOTHING
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if found >= unit:
            return f"{plain(found / unit)}{GAP}{name}"
    return f"{found:.0f}{GAP}bytes"


def metric(name: str, value: Any) -> str:
    """A metric in its own unit: per cent for fractions, else three significant digits."""
    return percent(value) if name in FRACTIONS else plain(value)


def interval(name: str, estimate: Mapping[str, Any]) -> str:
    """`low to high`, cut at what the metric can be; empty where there is none, and for times: they are the machine's.

    Example:
        >>> interval("accuracy", {"low": 0.953, "high": 1.004}).replace(GAP, " ")
        '95.3 to 100.0 %'
    """
    low, high = number(estimate.get("low")), number(estimate.get("high"))
    if low is None or high is None or name == "seconds":
        return ""
    low = max(0.0, low)
    return f"{100 * low:.1f} to {percent(min(1.0, high))}" if name in FRACTIONS else f"{plain(low)} to {plain(high)}"


@dataclass(frozen=True)
class Sentence:
    """A verdict in words: `lead` says it, `detail` gives the numbers."""

    verdict: str
    lead: str
    detail: str

    @property
    def mark(self) -> str:
        """A shape for the verdict, so that no colour is needed to tell it."""
        return MARKS.get(self.verdict, MARKS["not tested"])


def sentence(row: Mapping[str, Any], arms: Mapping[str, Any]) -> Sentence:
    """One comparison of summary.json as a plain sentence.

    Example:
        >>> row = {"name": "teacher", "arm": "kd", "control": "no-kd", "metric": "accuracy", "verdict": "helps",
        ...        "difference": 0.006, "low": 0.003, "high": 0.009, "seeds": 3, "items": 719}
        >>> found = sentence(row, {"kd": {"accuracy": {"mean": 0.971}}, "no-kd": {"accuracy": {"mean": 0.965}}})
        >>> found.lead
        'The teacher helps'
        >>> print(found.detail.replace(GAP, " ")[:83])
        kd 97.1 % against no-kd 96.5 %, difference +0.6 points (95 % interval +0.3 to +0.9)
    """
    verdict = str(row.get("verdict", "not tested"))
    name, arm, control = (str(row.get(key, "?")) for key in ("name", "arm", "control"))
    measure = str(row.get("metric", "accuracy"))
    ends = [number(row.get(key)) for key in ("difference", "low", "high")]
    known = [end for end in ends if end is not None]
    scale = 100.0 if measure in FRACTIONS else 1.0
    digits = _digits([scale * end for end in known])
    parts = [f"{_mean(arms, arm, measure, digits)} against {_mean(arms, control, measure, digits)}"]
    if measure != "accuracy":
        parts[0] = f"{METRICS.get(measure, measure)}: {parts[0]}"
    if len(known) == 3:
        shown = [f"{scale * end:+.{digits}f}".replace("-", MINUS) for end in known]
        unit = f"{GAP}points" if measure in FRACTIONS else ""
        parts.append(f"difference {shown[0]}{unit} (95{GAP}% interval {shown[1]}{GAP}to{GAP}{shown[2]})")
    seeds, items = number(row.get("seeds")) or 0, number(row.get("items")) or 0
    if seeds:
        parts.append(f"{plain(seeds)}{GAP}seed{'s' * (seeds != 1)}")
        parts.append(f"{plain(items)}{GAP}test images")
    if verdict == "not tested":
        parts.append("one seed says nothing of other seeds" if seeds else "one of the two arms has no results")
    return Sentence(verdict, lead(verdict, name, arm, control), ", ".join(parts))


def lead(verdict: str, name: str, arm: str, control: str) -> str:
    """The verdict on a part (`teacher`), or on two rivals (`clauses against MLP`, or a name that is the control's)."""
    part, against, rival = (arm, "against", control) if name == control else name.partition(" against ")
    article = "" if name == control else "the "
    plural = part.endswith("s") and not part.endswith("ss") and name != control
    one, other, s = article + part, article + rival, "" if plural else "s"
    if not against:
        said = {"helps": f"{one} help{s}", "hurts": f"{one} hurt{s}"}
        said["no difference shown"] = f"no difference shown for {one}"
    else:
        said = {"helps": f"{one} beat{s} {other}", "hurts": f"{one} fall{s} behind {other}"}
        said["no difference shown"] = f"no difference shown between {one} and {other}"
    untested = f"{one} {'were' if plural else 'was'} not tested{f' against {other}' if against else ''}"
    lead = said.get(verdict, untested)
    return lead if lead.startswith(arm) else lead[0].upper() + lead[1:]


def _mean(arms: Mapping[str, Any], arm: str, measure: str, digits: int) -> str:
    mean = number(mapping(mapping(arms.get(arm)).get(measure)).get("mean"))
    if mean is None:
        return arm
    return f"{arm} {percent(mean, digits) if measure in FRACTIONS else plain(mean, digits + 1)}"


def _digits(values: list[float]) -> int:
    """Enough decimals that no end of an interval is rounded to zero, at least 1 and at most 3."""
    smallest = min((abs(value) for value in values if value), default=1.0)
    return next((digits for digits in (1, 2) if smallest >= 0.5 * 10.0**-digits), 3)
