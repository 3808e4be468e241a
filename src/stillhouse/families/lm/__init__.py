"""Language models: a teacher of transformers, a recurrent student with ternary spikes, and whether the one helped the other."""

from stillhouse.families.lm.plan import LmRunConfig, LmScoreConfig, LmTeacherRunConfig

__all__ = ["LmRunConfig", "LmScoreConfig", "LmTeacherRunConfig"]
