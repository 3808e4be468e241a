"""Clause networks on images under the documents' names: `stillhouse vision`, its flags, its runs, its files."""

from stillhouse.families.clauses.vision.config import VisionConfig

__all__ = ["VisionConfig"]
