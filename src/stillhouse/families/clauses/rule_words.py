"""What clauses decide, in one sentence: of rules as a text and as a page. No torch."""

from __future__ import annotations

from collections.abc import Sequence

NOTHING, LITTLE, PART = 0.1, 0.25, 0.75  # of what the whole network knows above chance
LOOKS = (
    "Bits inside a network are no pixels: for their clauses it says where images are brighter or darker when they speak, as a "
    "correlation (-1 to 1) with their strength over the validation images. That is what goes with a clause, not what it demands."
)
MOST_PARTS = 2  # named of each kind
OF_IMAGE = (
    *("at the upper left", "at the top", "at the upper right"),
    *("at the left", "in the middle", "at the right"),
    *("at the lower left", "at the bottom", "at the lower right"),
)
OF_PATCH = (
    *("up and left of its patch", "above its patch", "up and right of its patch"),
    *("left of its patch", "in its patch", "right of its patch"),
    *("down and left of its patch", "below its patch", "down and right of its patch"),
)


def answers_to(correlations: Sequence[float], whole: bool) -> str:
    """What goes with a clause in words.

    Args:
        correlations: of its strength with the brightness of nine parts, row by row; 0 where there is none to speak of.
        whole: whether they are parts of the image; else its patch and the eight around it.

    Example:
        >>> answers_to([0, -0.5, 0, 0, 0.25, 0, 0, 0, 0], True)
        'speaks more on images that are brighter in the middle (+0.25) and darker at the top (-0.50)'
        >>> answers_to([0.0] * 9, False)
        'speaks alike whatever is brighter or darker around its patch'
    """
    parts = []
    for word, sign in (("brighter", 1), ("darker", -1)):
        found = sorted(
            ((sign * value, place) for place, value in enumerate(correlations) if sign * value > 0), reverse=True
        )
        names = [
            f"{(OF_IMAGE if whole else OF_PATCH)[place]} ({sign * value:+.2f})" for value, place in found[:MOST_PARTS]
        ]
        if names:
            parts.append(f"{word} {' and '.join(names)}")
    if not parts:
        return f"speaks alike whatever is brighter or darker {'in the image' if whole else 'around its patch'}"
    return f"speaks more {'on images that are' if whole else 'where it is'} {' and '.join(parts)}"


def what_clauses_decide(full: float, none: float, shown: float, rules: int, classes: int) -> str:
    """Accuracy with all clauses, with none and with the rules, and what follows from it.

    Args:
        full: accuracy of the whole network.
        none: where every clause always puts out its mean.
        shown: with the rules alone.
        rules: how many there are.
        classes: whose share is chance.

    Example:
        >>> print(what_clauses_decide(0.705, 0.669, 0.66, 100, 8).partition(". ")[2])
        Clauses decide almost nothing here (6 % of what the network knows above chance): the rest of the network does.
        >>> print(what_clauses_decide(0.488, 0.575, 0.4, 35, 4).partition(". ")[2][:44])
        Clauses take more away here than they bring:
        >>> print(what_clauses_decide(0.237, 0.25, 0.24, 35, 4).partition(". ")[2])
        The network knows nothing above chance (25%), so its rules tell nothing.
    """
    chance = 1 / max(1, classes)
    numbers = (
        f"Accuracy {full:.1%} with all clauses, {none:.1%} with none (each always puts out its mean), {shown:.1%} with these "
        f"{rules} rules alone"
    )
    if full <= chance:
        return f"{numbers}. The network knows nothing above chance ({chance:.0%}), so its rules tell nothing."
    share = (full - none) / (full - chance)
    known = f"({max(0.0, share):.0%} of what the network knows above chance)".replace("%", " %")
    if share < -NOTHING:
        words = "Clauses take more away here than they bring: the rest of the network is better when they always put out their mean"
    elif share < NOTHING:
        words = f"Clauses decide almost nothing here {known}: the rest of the network does"
    elif share < LITTLE:
        words = f"Clauses decide little here {known}"
    else:
        words = f"Clauses decide {'a part of it' if share < PART else 'most of it'} {known}"
    return f"{numbers}. {words}."


def left_out_words(count: int) -> str:
    """How many clauses are no rules, and why.

    Example:
        >>> left_out_words(1)
        '1 clause that adds much and fires on its class hardly more than on others'
    """
    one, s = count == 1, "s" * (count == 1)
    whose = "its" if one else "their"
    return (
        f"{count} clause{'' if one else 's'} that add{s} much and fire{s} on {whose} class hardly more than on others"
    )
