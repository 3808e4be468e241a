"""Numbers in words, the same everywhere on the page."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from stillhouse.core.verdict import untested
from stillhouse.report.read import number

GAP, MINUS, NOTHING = "\N{NO-BREAK SPACE}", "\N{MINUS SIGN}", "\N{EN DASH}"
BYTES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "bytes"))


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
    per, name = next((unit for unit in BYTES if abs(found) >= unit[0]), BYTES[-1])
    return f"{plain(found / per) if per > 1 else f'{found:.0f}'}{GAP}{name}"


def cost(kind: str, value: Any) -> str:
    """A cost of a student (see `core.costs.COSTS`): counts whole, bytes with their unit, times with three digits.

    Example:
        >>> cost("params", 9216.0), cost("ms", 1.2345), cost("bytes", 2e6).replace(GAP, " ")
        ('9,216', '1.23', '2.00 MB')
    """
    found = number(value)
    if found is None:
        return NOTHING
    if kind.endswith("bytes"):
        return size(found)
    return plain(found) if kind == "ms" else f"{found:,.0f}"


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
    few = [str(count) for count in seeds if untested(count)]
    line = f"Dot: difference. Line: its 95{GAP}% interval over seeds and test items; one that crosses 0 shows no difference."
    hollow = f"Hollow dot: difference under {' or '.join(few)} seeds, too few for an interval over seeds."
    return " ".join([line] * (len(few) < len(seeds)) + [hollow] * bool(few))
