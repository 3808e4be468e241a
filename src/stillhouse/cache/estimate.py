"""How large a cache would be that nobody can try: arithmetic from its sizes, the same that the files have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stillhouse.core.checks import InputError

if TYPE_CHECKING:
    from stillhouse.cache.content import Content

SEEN_BYTES = 4 * 8  # four numbers of each input
MOST = 10**15  # rows, and all else


@dataclass(frozen=True)
class Estimate:
    """Of a cache.

    Attributes:
        rows: tokens, images, vectors.
        row_bytes: of each.
        hours: of asking; None where no rate is known.
    """

    rows: int
    row_bytes: float
    hours: float | None = None

    @property
    def bytes(self) -> int:
        """Of all rows."""
        return round(self.rows * self.row_bytes)

    def describe(self) -> str:
        """One line."""
        size, unit = float(self.bytes), "bytes"
        for unit in ("bytes", "kB", "MB", "GB", "TB", "PB"):
            if size < 1000 or unit == "PB":
                break
            size /= 1000
        time = "" if self.hours is None else f"; {self.hours:,.1f} hours of asking"
        return f"{self.rows:.3g} rows of {self.row_bytes:,.1f} bytes: {size:,.3g} {unit} ({self.bytes:,} bytes){time}"


def estimate(
    rows: int,
    content: Sequence[str],
    *,
    classes: int = 0,
    width: int = 0,
    inputs: int = 1,
    rate: float | None = None,
    processes: int = 1,
) -> Estimate:
    """Bytes of a cache, and hours of writing it.

    Args:
        rows: tokens, images times views, vectors.
        content: as `--content` has it.
        classes: of the scores; decides the bytes of a class number too.
        width: numbers of each feature of a row.
        inputs: rows of one input (tokens of a window), which is known again by one set of numbers.
        rate: rows a second that one process is answered.
        processes: that ask at once.

    Raises:
        InputError: a number that no cache has.

    Example:
        32 of 50 257 tokens: 2 bytes a number, 2 a score, 3 sums of 4 bytes; and a 128th of 32 bytes.

        >>> estimate(10**10, ["topk:32"], classes=50_257, inputs=128).row_bytes
        140.25
        >>> estimate(10**9, ["features:vector"], width=1024).describe()
        '1e+09 rows of 4,128.0 bytes: 4.13 TB (4,128,000,000,000 bytes)'
    """
    from stillhouse.cache.content import Content

    kept = Content.parse(content)
    _check(rows, kept, classes, width, inputs, rate, processes)
    size = SEEN_BYTES / inputs + 4.0 * width * len(kept.features)
    if kept.scores:
        size += 4.0 * classes
    if kept.topk:
        size += kept.topk * ((2 if classes <= 2**16 else 4) + 2) + 4 * len(kept.exact)
    hours = None if rate is None else rows / (rate * processes) / 3600
    return Estimate(rows, size, hours)


def _check(rows: int, kept: Content, classes: int, width: int, inputs: int, rate: float | None, processes: int) -> None:
    """Refuse what no cache has: a size from such a number would be believed."""
    least = {
        "rows": (rows, 1),
        "classes": (classes, max(kept.topk or 0, 1 if kept.scores else 0)),
        "width": (width, 1 if kept.features else 0),
        "inputs": (inputs, 1),
        "processes": (processes, 1),
    }
    for name, (value, low) in least.items():
        if not low <= value <= MOST:
            why = f" to keep {kept.to_key()['content']}" if name == "classes" and low else ""
            raise InputError(f"--{name}: expected {low:,} to {MOST:.0e}{why}, got {value:.6g}")
    if rate is not None and not 1e-6 <= rate <= MOST:
        raise InputError(f"--rate: expected 1e-06 to {MOST:.0e} rows a second, got {rate:.6g}")
