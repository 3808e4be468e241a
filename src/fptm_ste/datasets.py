"""Presets of boolean features (`--tm-feature-config`), as document 001 names them."""

from stillhouse.tasks.classification.data.boolean_features import with_boolean_features
from stillhouse.tasks.classification.data.config import PRESETS, FeaturesMode

__all__ = ["PRESETS", "FeaturesMode", "with_boolean_features"]
