"""What clauses decide, in one sentence: of rules as a text and as a page. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

# what clauses decide of what the whole network knows above chance: below so much, it is called so
WEIGHTS = ((-0.1, "harm"), (0.1, "nothing"), (0.25, "little"), (0.75, "part"), (math.inf, "most"))
LOOKS = (
    "Bits inside a network are no pixels: for their clauses it says where images are brighter or darker when they speak, as a "
    "correlation (-1 to 1) with their strength over the validation images. That is what goes with a clause, not what it demands."
)
NO_LOOK = "speaks alike"
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
        return f"{NO_LOOK} whatever is brighter or darker {'in the image' if whole else 'around its patch'}"
    return f"speaks more {'on images that are' if whole else 'where it is'} {' and '.join(parts)}"


def decided(index: Mapping[str, Any]) -> str:
    """Accuracy with all clauses, with none and with the rules, whose and on which images, and what follows from it.

    Args:
        index: of `rules.json`; files of earlier versions do not say whose accuracies they are, nor of how many images.

    Example:
        >>> index = {"full": 0.705, "growth": [[0, 0.669]], "shown": 0.66, "rules": [0] * 100, "class_names": ["a"] * 8}
        >>> numbers, _, words = decided(index | {"judged_on": 480, "judged_of": 480}).partition(". ")
        >>> print(numbers)
        Accuracy on all 480 test images: 70.5% with all clauses, 66.9% with none (each always puts out its mean), 66.0% with \
these 100 rules alone
        >>> print(words)
        Clauses decide almost nothing here (6 % of what the network knows above chance): the rest of the network does.
    """
    full, none, chance = _three(index)
    student = index.get("student")
    whose = f" of {student['arm']}, seed {student['seed']}," if student else ""
    alone = f", {float(index['shown']):.1%} with these {len(index['rules'])} rules alone" if index["rules"] else ""
    numbers = (
        f"Accuracy{whose} on {judged(index)}: {full:.1%} with all clauses, {none:.1%} with none (each always puts out its mean)"
        f"{alone}"
    )
    known = "" if full <= chance else f" ({max(0.0, (full - none) / (full - chance)):.0%} ".replace("%", " %")
    known += "of what the network knows above chance)" * bool(known)
    words = {
        "unknown": f"The network knows nothing above chance ({chance:.0%}), so its rules say nothing",
        "harm": "Clauses take more away here than they bring: the rest of the network is better when they always put out their "
        "mean",
        "nothing": f"Clauses decide almost nothing here{known}: the rest of the network does",
        "little": f"Clauses decide little here{known}",
        "part": f"Clauses decide a part of it{known}",
        "most": f"Clauses decide most of it{known}",
    }
    return f"{numbers}. {words[weight(index)]}."


def weight(index: Mapping[str, Any]) -> str:
    """How much of what the network knows its clauses decide; `unknown`: it knows nothing.

    Example:
        >>> [weight({"full": 0.488, "growth": [[0, none]], "class_names": "abcd"}) for none in (0.575, 0.48, 0.25)]
        ['harm', 'nothing', 'most']
        >>> weight({"full": 0.237, "growth": [[0, 0.25]], "class_names": "abcd"})
        'unknown'
    """
    full, none, chance = _three(index)
    if full <= chance:
        return "unknown"
    share = (full - none) / (full - chance)
    return next(word for bound, word in WEIGHTS if share < bound)


def decides(index: Mapping[str, Any]) -> bool:
    """Whether clauses decide anything that rules could explain."""
    return weight(index) in {"little", "part", "most"}


def _three(index: Mapping[str, Any]) -> tuple[float, float, float]:
    """Accuracy with all clauses, with none, and by chance."""
    none = float(index["growth"][0][1]) if index["growth"] else 0.0
    return float(index["full"]), none, 1 / max(1, len(index["class_names"]))


def judged(index: Mapping[str, Any]) -> str:
    """The images that accuracies are of.

    Example:
        >>> judged({"judged_on": 2000, "judged_of": 10000}), judged({"judged_on": 480, "judged_of": 480})
        ('2,000 of the 10,000 test images, drawn by class', 'all 480 test images')
        >>> judged({"judged_on": 480})
        '480 test images'
    """
    count, of = index.get("judged_on"), index.get("judged_of")
    if count is None or of is None:
        return "test images" if count is None else f"{count:,} test images"
    return f"all {count:,} test images" if count == of else f"{count:,} of the {of:,} test images, drawn by class"


def heading(index: Mapping[str, Any]) -> str:
    """What a list of these rules is called: where clauses decide nothing, they explain nothing."""
    if not index["rules"]:
        return "No clause holds on its class clearly more often than on others"
    if decides(index):
        return "What tells each class from the others"
    return "What goes with each class, in clauses that decide nothing of note, so that they explain no answer"


def left_out_words(count: int) -> str:
    """How many clauses are no rules, and why.

    Example:
        >>> left_out_words(1)
        '1 clause that adds much and holds on its class hardly more than on others'
    """
    one, s = count == 1, "s" * (count == 1)
    whose = "its" if one else "their"
    return (
        f"{count} clause{'' if one else 's'} that add{s} much and hold{s} on {whose} class hardly more than on others"
    )
