"""Names of the five axes, and a number put into words. No torch.

A name is a claim: an axis means its name only where training was shown it (pole supervision) or somebody looked. For
a student trained on neighbours alone take `unnamed_axes`.

Which pole is +1: every axis below goes from its first pole at -1 to its second at +1. For Emotion the document has
both (its table put Positive at -1, its samples put joy at +0.46); here +1 is Positive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stillhouse.core.checks import InputError

NEUTRAL, MODERATE, STRONG = (
    0.2,
    0.4,
    0.7,
)  # below the first: neutral; up to the second: slightly; above the last: strongly


@dataclass(frozen=True)
class Axis:
    """One axis of a code: its name, and what its two ends are called.

    Attributes:
        name: of the axis.
        negative: the pole at -1.
        positive: the pole at +1.
    """

    name: str
    negative: str
    positive: str

    def __post_init__(self) -> None:
        if not all((self.name, self.negative, self.positive)) or self.negative == self.positive:
            raise InputError(
                f"axis: expected a name and two different poles, got {self.name!r}: {self.negative!r} / {self.positive!r}"
            )

    def words(self, value: float) -> str:
        """How far towards which pole a value in [-1, 1] lies.

        Example:
            >>> [EMOTION.words(value) for value in (0.1, 0.3, -0.5, 0.9)]
            ['neutral Emotion', 'slightly Positive', 'moderately Negative', 'strongly Positive']
        """
        size = abs(value)
        if size < NEUTRAL:
            return f"neutral {self.name}"
        degree = "strongly" if size > STRONG else "moderately" if size > MODERATE else "slightly"
        return f"{degree} {self.negative if value < 0 else self.positive}"


EMOTION = Axis("Emotion", "Negative", "Positive")
AXES = (
    Axis("Structure", "Object", "Action"),
    EMOTION,
    Axis("Abstraction", "Abstract", "Concrete"),
    Axis("Perspective", "I", "World"),
    Axis("Nature", "Living", "Mechanical"),
)


def unnamed_axes(count: int = 5) -> tuple[Axis, ...]:
    """Axes of which nothing is known: `axis 1` from `low 1` to `high 1`, ...

    Example:
        >>> unnamed_axes(2)[1].words(-0.8)
        'strongly low 2'
    """
    return tuple(Axis(f"axis {n}", f"low {n}", f"high {n}") for n in range(1, count + 1))


def describe(code: Sequence[float] | np.ndarray, axes: Sequence[Axis] = AXES) -> list[str]:
    """A code in words, one entry an axis: neutral, slightly, moderately or strongly towards a pole.

    Args:
        code: (d,) numbers in [-1, 1], as a tree's nodes hold them.
        axes: d of them.

    Returns:
        d entries, in the order of the axes.

    Raises:
        InputError: another number of axes, or a number that is NaN or outside [-1, 1].

    Example:
        >>> describe([0.0, 0.462, -0.71, 0.2, 0.7])
        ['neutral Structure', 'moderately Positive', 'strongly Abstract', 'slightly World', 'moderately Mechanical']
    """
    values = np.asarray(code, np.float64)
    if values.shape != (len(axes),):
        raise InputError(f"code: expected {len(axes)} numbers, one an axis, got shape {values.shape}")
    if not (np.abs(values) <= 1.0).all():  # NaN fails too
        raise InputError(f"code: expected numbers from -1 to 1, got {values.tolist()}")
    return [axis.words(float(value)) for axis, value in zip(axes, values)]


def axes_from(names: Sequence[Sequence[str]]) -> tuple[Axis, ...]:
    """Axes from (name, pole at -1, pole at +1), as a card or a tree file stores them.

    Example:
        >>> axes_from([["Size", "small", "large"]])[0].words(1.0)
        'strongly large'
    """
    axes = []
    for entry in names:
        if isinstance(entry, str) or len(entry) != 3 or not all(isinstance(word, str) for word in entry):
            raise InputError(f"axes: expected (name, pole at -1, pole at +1), got {entry!r}")
        axes.append(Axis(*entry))
    return tuple(axes)
