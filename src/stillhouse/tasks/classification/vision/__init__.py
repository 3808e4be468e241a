"""Clause networks on images by flags of their own: `stillhouse vision`, its flags, its runs, its files."""

from stillhouse.tasks.classification.vision.config import VisionConfig

__all__ = ["VisionConfig"]
