"""The rules of a run on disk, and what clauses decide, in a sentence. No torch.

`rules.json` is for programs, `rules.npz` has what is drawn, `rules.txt` is for reading.

rules.json: {"rules": [{"class_name", "place", "clause", "adds", "holds", "elsewhere", "literals", "words", "count", "allowed",
"images", "speaks", "spoke"}],
"growth": [[rules a class, accuracy alone]], "full", "shown", "exact", "chosen_on", "cut_on", "judged_on", "judged_of",
"left_out", "class_names", "student": arm and seed}. rules.npz: see `students.rule.Rules.arrays`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.core.records import read_arrays, read_json, write_arrays, write_atomically, write_json

if TYPE_CHECKING:
    from stillhouse.tasks.classification.students.rule import Rules

RULES, ARRAYS, TEXT = "rules.json", "rules.npz", "rules.txt"
# what clauses decide of what the whole network knows above chance: below so much, it is called so
WEIGHTS = ((-0.1, "harm"), (0.1, "nothing"), (0.25, "little"), (0.75, "part"), (math.inf, "most"))


@dataclass(frozen=True, eq=False)
class SavedRules:
    """What the files hold; see the head of the module."""

    index: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]


def write_rules(folder: Path, rules: Rules, **more: Any) -> None:
    """Write the three files, the index last.

    Args:
        folder: of a run, or of an export.
        rules: of its student.
        more: entries of the index besides: `student`, of a run.
    """
    write_arrays(folder / ARRAYS, **rules.arrays)
    text = rules.text(**more).encode()
    write_atomically(folder / TEXT, lambda file: file.write(text))
    write_json(folder / RULES, {**rules.index(), **more})


def read_rules(path: Path) -> SavedRules:
    """Read them again from `rules.json` and what is beside it.

    Raises:
        InputError: entries are missing, or a picture has another shape than pictures have.
    """
    index = read_json(path)
    wanted = {"rules", "growth", "full", "shown", "class_names"}
    if not isinstance(index, Mapping) or not wanted <= set(index):
        raise InputError(f"{path.name}: expected the entries {', '.join(sorted(wanted))}")
    arrays = read_arrays(path.with_name(ARRAYS))
    axes = {"mean": 3, "wanted": 2, "unwanted": 2, "examples": 4}
    for name, array in arrays.items():
        if array.dtype != np.uint8 or array.ndim != axes.get(name.partition("_")[0]):
            raise InputError(
                f"{ARRAYS}: {name}: expected bytes of {axes.get(name.partition('_')[0])} axes, got {array.shape}"
            )
    return SavedRules(index, arrays)


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
