"""What a report is made of: tables, figures and facts, which tasks return and one page shows. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup


@dataclass(frozen=True)
class Cell:
    """What a table cell shows, a smaller second line, and its background colour."""

    text: str
    under: str = ""
    shade: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of ready text under a head.

    Attributes:
        title: of its section.
        head: one word a column.
        rows: the first cell names the row; the name of an arm gets the arm's mark.
        caption: under the table.
        folded: shown only when the reader opens it.
        prose: cells are sentences, not numbers: they begin at the left and are broken into lines.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    caption: str = ""
    folded: bool = False
    prose: bool = False


@dataclass(frozen=True)
class Figure:
    """Drawings side by side, as SVG or other ready markup, each with a caption.

    Attributes:
        title: of its section.
        drawings: (markup, caption).
        caption: under all of them.
    """

    title: str
    drawings: Sequence[tuple[Markup, str]]
    caption: str = ""


@dataclass(frozen=True)
class Facts:
    """Terms with their explanations: what was run, what was found."""

    title: str
    entries: Sequence[tuple[str, str]]
    caption: str = ""


@dataclass(frozen=True)
class Tiles:
    """The few numbers that a reader looks for first: (number, what it is, beside what)."""

    entries: Sequence[tuple[str, str, str]]
    title: str = field(default="", init=False)


Block = Table | Figure | Facts | Tiles
