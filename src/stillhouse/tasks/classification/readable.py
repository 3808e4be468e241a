"""Models that people read: rules with points for classes. Printed, saved as JSON, and predicting with NumPy alone. No torch.

Legend: N rows, F features, K classes, J rules.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.tasks.classification.data.readers import read_features

FORMAT = "stillhouse-rules-1"


@dataclass(frozen=True)
class Rule:
    """Features that must be there or must not, and the points that classes get where all of it is so.

    Attributes:
        literals: (name of the feature, whether it must be there).
        votes: (K) points.
    """

    literals: tuple[tuple[str, bool], ...]
    votes: tuple[float, ...]

    @property
    def best(self) -> int:
        """The class that gets most points."""
        return max(range(len(self.votes)), key=self.votes.__getitem__)

    def __str__(self) -> str:
        """
        Example:
            >>> str(Rule((("pin", True), ("transfer", False)), (1.0,)))
            'pin and not transfer'
        """
        return " and ".join(name if there else f"not {name}" for name, there in self.literals)


@dataclass(frozen=True)
class ReadableModel:
    """Score of class k = bias_k + the points for k of the rules that hold; the answer is the class with the largest score.

    A scorecard is the case of one feature a rule.

    Attributes:
        class_names: (K).
        reading: how raw rows become features, as `data.readers` takes it.
        names: (F) of the features.
        rules: (J).
        bias: (K).
        tree: whether exactly one rule holds, and the first whose features are all there is the one.
    """

    class_names: tuple[str, ...]
    reading: Mapping[str, Any]
    names: tuple[str, ...]
    rules: tuple[Rule, ...]
    bias: tuple[float, ...]
    tree: bool = False

    def holds(self, counts: NDArray[Any]) -> NDArray[np.bool_]:
        """(N, J) whether each rule holds, of counts (N, F)."""
        place = {name: number for number, name in enumerate(self.names)}
        there = np.asarray(counts) > 0
        found = np.ones((len(there), len(self.rules)), dtype=bool)
        for number, rule in enumerate(self.rules):
            for name, positive in rule.literals:
                found[:, number] &= there[:, place[name]] == positive
        return found

    def scores(self, counts: NDArray[Any]) -> NDArray[np.float64]:
        """(N, K) of counts (N, F)."""
        votes = np.array([rule.votes for rule in self.rules], dtype=np.float64).reshape(-1, len(self.class_names))
        found: NDArray[np.float64] = self.holds(counts) @ votes + np.array(self.bias)
        return found

    def predict(self, raw: Sequence[Any]) -> list[str]:
        """The class of each text, or of each mapping from columns to values."""
        chosen = self.scores(read_features(self.reading, self.names, raw)).argmax(1)
        return [self.class_names[number] for number in chosen]

    def compact(self) -> ReadableModel:
        """The same answers, with the features alone that a rule asks for."""
        asked = {name for rule in self.rules for name, _ in rule.literals}
        if self.reading["kind"] != "words":
            return self
        kept = tuple(name for name in self.names if name in asked)
        return replace(self, names=kept)

    def to_mapping(self) -> dict[str, Any]:
        """Plain data for a JSON file."""
        return {
            "format": FORMAT,
            "class_names": list(self.class_names),
            "reading": dict(self.reading),
            "names": list(self.names),
            "rules": [
                {"literals": [[name, there] for name, there in rule.literals], "votes": list(rule.votes)}
                for rule in self.rules
            ],
            "bias": list(self.bias),
            "tree": self.tree,
        }

    @classmethod
    def from_mapping(cls, found: Any) -> ReadableModel:
        """What `to_mapping` gave.

        Raises:
            InputError: something else.
        """
        if not isinstance(found, Mapping) or found.get("format") != FORMAT:
            raise InputError(f"expected rules of format {FORMAT!r}, got another file")
        try:
            rules = tuple(
                Rule(tuple((str(n), bool(there)) for n, there in rule["literals"]), tuple(map(float, rule["votes"])))
                for rule in found["rules"]
            )
            names, classes = tuple(map(str, found["names"])), tuple(map(str, found["class_names"]))
            bias = tuple(map(float, found["bias"]))
            model = cls(classes, found["reading"], names, rules, bias, bool(found.get("tree")))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"rules: malformed file ({error!r})") from None
        unknown = [name for rule in rules for name, _ in rule.literals if name not in set(names)]
        if unknown or any(len(votes) != len(classes) for votes in (model.bias, *(rule.votes for rule in rules))):
            raise InputError(f"rules: expected known features and {len(classes)} points a rule, got {unknown[:3]}")
        return model

    def write(self, path: Path) -> None:
        """Write a JSON file."""
        path.write_text(json.dumps(self.to_mapping(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
