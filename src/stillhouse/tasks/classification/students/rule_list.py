"""Students that are a list of short rules: words that a text has and has not, or what is true of a row, each for one class.

Legend: B batch, F features, K classes, R rules of a class, J = K R rules, L literals of a rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass
from stillhouse.core.types import FeatureSpec, InputSpec

if TYPE_CHECKING:
    from stillhouse.tasks.classification.students.rule_network import RuleNetwork


@configclass
class RuleListConfig:
    """Rules such as `pin and not transfer`, each with points for one class; the class with most points is the answer."""

    reads: ClassVar[str] = FeatureSpec.rows
    kind: Literal["rules"] = "rules"
    rules: int = Field(default=40, ge=1, le=1000, description="rules of a class at most")
    literals: int = Field(default=8, ge=1, le=64, description="words of a rule at most")
    sparsity: float = Field(
        default=3e-3, ge=0, description="L1 penalty of single words, until rules are begun from the largest"
    )
    evidence: float = Field(
        default=6.0,
        gt=0,
        description="standard errors by which a word must change what a rule is worth to be added to it",
    )

    def build(self, input_spec: InputSpec) -> RuleNetwork:
        """The network for a data set; it begins without rules.

        Raises:
            InputError: not counted features.
        """
        from stillhouse.tasks.classification.students.rule_network import RuleNetwork

        if not isinstance(input_spec, FeatureSpec):
            raise InputError(f"student {self.kind!r}: expected words or a table, got {input_spec.rows}")
        return RuleNetwork(self, input_spec)
