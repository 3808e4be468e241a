"""The job of a clause network: classes, and heads that are weighed by the clauses they feed."""

from __future__ import annotations

from torch import nn

from stillhouse.classification.job import ClassificationJob
from stillhouse.families.clauses.plan import ClausesTrainingConfig
from stillhouse.families.clauses.specialize import has_clauses, specialize


class ClausesJob(ClassificationJob):
    """Classes from labels and teacher; with `clause_specialize`, heads are weighed before each validation."""

    config: ClausesTrainingConfig

    def before_validation(self, model: nn.Module) -> dict[str, float | None]:
        """Measure clauses on the validation split and set the gains of the heads; controls have no clauses."""
        strength = self.config.clause_specialize
        if strength == 0 or not has_clauses(model):
            return {}
        return specialize((self.model, model), self.data.validation, strength, self.config.evaluation_batch_size)
