"""Students of words and tables by their kinds. No torch until one is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass
from stillhouse.core.types import FeatureSpec, InputSpec

# What a run of these students takes where it names nothing else. The teacher knows the labels, so that a taught student needs few
# of them beside it; TF-IDF has a weight for every word and is held back by their decay. Chosen on rows that no test has.
BASIC = {"epochs": 20, "learning_rate": 5e-2, "warmup_epochs": 0, "keep": "last", "threads": 1}
USUAL: dict[str, Any] = {
    "signals": [{"kind": "logits", "temperature": 1.0}],
    "training": {**BASIC, "weight_decay": 0.5, "label_weight": 0.1},
}


def features_of(kind: str, spec: InputSpec) -> FeatureSpec:
    """The spec of words or a table.

    Raises:
        InputError: it is of images or of token ids.
    """
    if not isinstance(spec, FeatureSpec):
        raise InputError(f"student {kind!r}: expected words or a table, got {spec.rows}; take data.name=words")
    return spec


@configclass
class FeatureConfig:
    """What students of words and tables have in common; not a student itself."""

    reads: ClassVar[str] = "words or a table"
    usual: ClassVar[Mapping[str, Any]] = USUAL


@configclass
class TfidfConfig(FeatureConfig):
    """Logistic regression on TF-IDF of all words: the strongest student of texts here, and the hardest to read."""

    kind: Literal["tf-idf"] = "tf-idf"

    def build(self, input_spec: InputSpec) -> Any:
        """The network, with weights of 0."""
        from stillhouse.tasks.classification.students.linear_features import TfidfClassifier

        return TfidfClassifier(features_of(self.kind, input_spec))


@configclass
class ScorecardConfig(FeatureConfig):
    """Points for each of a few words (or thresholds, or categories) of a class."""

    kind: Literal["scorecard"] = "scorecard"
    words: int = Field(default=40, gt=0, description="features of a class that have points")
    penalty: float = Field(default=3e-3, ge=0, description="weight of the L1 norm, until features are cut")

    def build(self, input_spec: InputSpec) -> Any:
        """The network, with weights of 0."""
        from stillhouse.tasks.classification.students.linear_features import Scorecard

        spec = features_of(self.kind, input_spec)
        return Scorecard(spec, keep=self.words, penalty=self.penalty)


@configclass
class TreeConfig(FeatureConfig):
    """A decision tree of words or thresholds, read as a list: the first line whose words are all there decides."""

    kind: Literal["tree"] = "tree"
    leaves: int = Field(default=32, ge=2, le=10_000, description="leaves at most; 32 fill a screen")

    def build(self, input_spec: InputSpec) -> Any:
        """The network; it begins with one leaf."""
        from stillhouse.tasks.classification.students.tree import TreeClassifier

        return TreeClassifier(features_of(self.kind, input_spec), leaves=self.leaves)


@configclass
class RulesConfig(FeatureConfig):
    """Rules such as `pin and not transfer`, each with points for one class; the class with most points is the answer."""

    usual: ClassVar[Mapping[str, Any]] = USUAL | {"training": {**BASIC, "epochs": 30}}
    kind: Literal["rules"] = "rules"
    rules: int = Field(default=40, ge=1, le=1000, description="rules of a class at most")
    literals: int = Field(default=8, ge=1, le=64, description="words of a rule at most")
    penalty: float = Field(
        default=3e-3, ge=0, description="weight of the L1 norm of single words, until rules are begun"
    )
    evidence: float = Field(
        default=5.0, gt=0, description="z of the score test that a word must reach to be added to a rule"
    )

    def build(self, input_spec: InputSpec) -> Any:
        """The network; it begins without rules."""
        from stillhouse.tasks.classification.students.rule_network import RuleNetwork

        return RuleNetwork(self, features_of(self.kind, input_spec))
