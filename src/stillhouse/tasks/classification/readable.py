"""Models that people read: rules with points for classes. Printed, saved as JSON, and predicting with NumPy alone. No torch.

Legend: N rows, F features, K classes, J rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.core.types import FeatureSpec
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

    @property
    def votes(self) -> NDArray[np.float64]:
        """(J, K) points of all rules."""
        return np.array([rule.votes for rule in self.rules], dtype=np.float64).reshape(-1, len(self.class_names))

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
        found: NDArray[np.float64] = self.holds(counts) @ self.votes + np.array(self.bias)
        return found

    def predict(self, raw: Sequence[Any]) -> list[str]:
        """The class of each text, or of each mapping from columns to values."""
        chosen = self.scores(read_features(self.reading, self.names, raw)).argmax(1)
        return [self.class_names[number] for number in chosen]

    def compact(self) -> ReadableModel:
        """The same answers, with the words alone that a rule asks for."""
        asked = {name for rule in self.rules for name, _ in rule.literals}
        if self.reading["kind"] != "words":
            return self
        return replace(self, names=tuple(name for name in self.names if name in asked))

    def to_mapping(self) -> dict[str, Any]:
        """Plain data for a JSON file."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_mapping(cls, found: Any) -> ReadableModel:
        """What `to_mapping` gave.

        Raises:
            InputError: something else.
        """
        try:
            if found["format"] != FORMAT:
                raise ValueError(found["format"])
            rules = tuple(
                Rule(tuple((str(name), bool(there)) for name, there in rule["literals"]), tuple(rule["votes"]))
                for rule in found["rules"]
            )
            names, bias = tuple(found["names"]), tuple(found["bias"])
            return cls(tuple(found["class_names"]), found["reading"], names, rules, bias, found["tree"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"expected rules of format {FORMAT!r}, got a malformed file ({error!r})") from None


def readable_of(network: Any, input_spec: FeatureSpec) -> ReadableModel:
    """The model that people read.

    Args:
        network: with `readable()`; or a scorecard in eval mode: `points()` (K, F) times what is there, plus `bias` (K).
        input_spec: names of its features and classes.

    Raises:
        InputError: a network that is neither.
    """
    if hasattr(network, "readable"):
        found: ReadableModel = network.readable()
        return found
    if not hasattr(network, "points"):
        raise InputError(f"expected rules, a scorecard or a tree, got another student ({type(network).__name__})")
    weight, bias = (x.detach().double().cpu().numpy() for x in (network.points(), network.bias))
    used = np.flatnonzero((weight != 0).any(0))
    rules = tuple(Rule(((input_spec.names[place], True),), tuple(weight[:, place].tolist())) for place in used)
    return ReadableModel(
        input_spec.class_names, dict(input_spec.reading), input_spec.names, rules, tuple(bias.tolist())
    )
