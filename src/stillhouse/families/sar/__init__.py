"""Runs of the focusing family: simulate, train a teacher, distill students, compare, stream, evaluate. No torch on import."""

from stillhouse.families.sar.plan import SarDistillConfig, SarTrainConfig

__all__ = ["SarDistillConfig", "SarTrainConfig"]
