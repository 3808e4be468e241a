"""`from fptm_ste.tm_transformer import UnifiedTMTransformer`, as document 000 reloads a student."""

from stillhouse.tasks.classification.job import clause_usage, specialize
from stillhouse.tasks.classification.students.transformer import UnifiedTMTransformer, save_transformer

__all__ = ["UnifiedTMTransformer", "clause_usage", "save_transformer", "specialize"]
