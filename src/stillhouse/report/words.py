"""Numbers and verdicts in words, the same everywhere on the page."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from stillhouse.core.verdict import untested
from stillhouse.report.read import number

GAP, MINUS, NOTHING = "\N{NO-BREAK SPACE}", "\N{MINUS SIGN}", "\N{EN DASH}"
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
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(found))))
    return f"{found:,.{decimals}f}"


def fixed(value: Any, digits: int = 3) -> str:
    """A number with so many decimals; a dash for what is none.

    Example:
        >>> fixed(0.12345), fixed(1234.5, 1), fixed(None)
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
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if found >= unit:
            return f"{plain(found / unit)}{GAP}{name}"
    return f"{found:.0f}{GAP}bytes"


def energy(picojoules: Any) -> str:
    """An energy with its unit.

    Example:
        >>> energy(31_027_438).replace(GAP, " "), energy(345.0).replace(GAP, " ")
        ('31.0 µJ', '345 pJ')
    """
    found = number(picojoules)
    if found is None:
        return NOTHING
    size_of_unit, name = energy_unit(found)
    return f"{plain(found / size_of_unit)}{GAP}{name}"


def energy_unit(picojoules: float) -> tuple[float, str]:
    """In which unit an energy is written: (its picojoules, its name)."""
    units = ((1e9, "mJ"), (1e6, "\N{MICRO SIGN}J"), (1e3, "nJ"))
    return next((unit for unit in units if abs(picojoules) >= unit[0]), (1.0, "pJ"))


def interval_words(counts: Collection[int]) -> str:
    """The caption of a chart of differences, each under so many seeds: what is a line, and what is a dot alone.

    Example:
        >>> interval_words([2, 2])
        'Hollow dot: difference; 2 seeds: too few for an interval over seeds.'
        >>> interval_words([3, 1]).partition("no difference. ")[2]
        'Hollow dot: difference without a line; 1 seed: too few for an interval over seeds.'
    """
    few = sorted({count for count in counts if untested(count)})
    enough = any(not untested(count) for count in counts)
    parts = []
    if enough:
        parts.append(
            f"Dot: difference. Line: its 95{GAP}% interval, over seeds and test items; one that crosses 0 shows no difference."
        )
    if few:
        named = " or ".join(map(str, few)) + f" seed{'s' * (few != [1])}"
        parts.append(
            f"Hollow dot: difference{' without a line' * enough}; {named}: too few for an interval over seeds."
        )
    return " ".join(parts)


def score_words(value: Any, in_percent: bool) -> str:
    """A validation score of a sweep, in the unit in which reports have it.

    Example:
        >>> score_words(0.39815, True).replace(GAP, " "), score_words(-2.345678, False)
        ('39.81 %', '-2.3457')
    """
    found = number(value)
    if found is None:
        return NOTHING
    return percent(found, 2) if in_percent else f"{found:.5g}"


def cost(kind: str, value: Any) -> str:
    """A cost of a student (see `core.costs.COSTS`): counts whole, bytes and energies with their unit, times with three digits.

    Example:
        >>> cost("params", 9216.0), cost("ms", 1.2345), cost("bytes", 2e6).replace(GAP, " ")
        ('9,216', '1.23', '2.00 MB')
    """
    found = number(value)
    if found is None:
        return NOTHING
    if kind.endswith("bytes"):
        return size(found)
    if kind.endswith("_pj"):
        return energy(found)
    return plain(found) if kind == "ms" else f"{found:,.0f}"


def cost_on_axis(kind: str, words: str, values: Sequence[float]) -> tuple[float, str]:
    """What a cost is divided by on the axis of a figure, and the words of the axis.

    Example:
        >>> per, words = cost_on_axis("energy_pj", "energy a token", [31e6, 2e6])
        >>> per, words
        (1000000.0, 'energy a token (µJ)')
    """
    if not kind.endswith("_pj"):
        return 1.0, words
    per, unit = energy_unit(max(values))
    return per, f"{words} ({unit})"


@dataclass(frozen=True)
class Sentence:
    """A verdict in words, and its numbers."""

    verdict: str
    lead: str
    detail: str

    @property
    def mark(self) -> str:
        """A shape for the verdict, so that no colour is needed to know it."""
        return MARKS.get(self.verdict, MARKS["not tested"])


def subject(name: str, arm: str, control: str) -> str:
    """What a comparison is about.

    Example:
        >>> subject("teacher", "kd", "no-kd"), subject("clauses against MLP", "kd", "mlp"), subject("ngram", "kd", "ngram")
        ('the teacher', 'the clauses against the MLP', 'kd against ngram')
    """
    part, against, rival = (arm, "against", control) if name == control else name.partition(" against ")
    article = "" if name == control else "the "
    return f"{article}{part}" + (f" against {article}{rival}" if against else "")


def lead(verdict: str, name: str, arm: str, control: str) -> str:
    """The verdict on a part (`teacher`), or on two rivals (`clauses against MLP`, or a name that is the control's)."""
    part, against, rival = (arm, "against", control) if name == control else name.partition(" against ")
    article = "" if name == control else "the "
    plural = part.endswith("s") and not part.endswith("ss") and name != control
    one, other, s = article + part, article + rival, "" if plural else "s"
    if not against:
        words = {"helps": f"{one} help{s}", "hurts": f"{one} hurt{s}"}
        words["no difference shown"] = f"no difference shown for {one}"
    else:
        words = {"helps": f"{one} beat{s} {other}", "hurts": f"{one} fall{s} behind {other}"}
        words["no difference shown"] = f"no difference shown between {one} and {other}"
    untested = f"{one} {'were' if plural else 'was'} not tested{f' against {other}' if against else ''}"
    lead = words.get(verdict, untested)
    return lead if lead.startswith(arm) else lead[0].upper() + lead[1:]
