"""The rules of a run on disk: `rules.json` for programs, `rules.npz` with what is drawn, `rules.txt` for reading. No torch.

rules.json: {"rules": [{"class_name", "place", "clause", "adds", "holds", "elsewhere", "literals", "words", "count", "allowed",
"images", "speaks", "spoke", "looks"}],
"growth": [[rules a class, accuracy alone]], "full", "shown", "exact", "chosen_on", "cut_on", "judged_on", "judged_of",
"left_out", "class_names", "student": arm and seed}. rules.npz: see `students.rule.Rules.arrays`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.core.records import read_arrays, read_json, write_arrays, write_atomically, write_json

if TYPE_CHECKING:
    from stillhouse.families.clauses.students.rule import Rules

RULES, ARRAYS, TEXT = "rules.json", "rules.npz", "rules.txt"


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
    axes = {"mean": 3, "wanted": 2, "unwanted": 2, "brighter": 2, "darker": 2, "examples": 4}
    for name, array in arrays.items():
        if array.dtype != np.uint8 or array.ndim != axes.get(name.partition("_")[0]):
            raise InputError(
                f"{ARRAYS}: {name}: expected bytes of {axes.get(name.partition('_')[0])} axes, got {array.shape}"
            )
    return SavedRules(index, arrays)
