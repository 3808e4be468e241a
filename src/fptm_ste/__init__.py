"""The import path of documents 000 and 001; all work is done by stillhouse."""

from stillhouse.tasks.classification.students.flat import FlatTM as FuzzyPatternTM

__all__ = ["FuzzyPatternTM"]
