"""The family of ordinary students: networks of timm on images, a text transformer on labelled texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stillhouse.classification.family import ClassificationFamily
from stillhouse.classification.students import OrdinaryStudentConfig
from stillhouse.core.config import kinds
from stillhouse.families.images.plan import ImagesRunConfig


class ImagesFamily(ClassificationFamily):
    """Ordinary networks that learn classes."""

    kind = "images"
    title = "classes by ordinary networks"
    Config = ImagesRunConfig
    Students = OrdinaryStudentConfig

    def owns(self, mapping: Mapping[str, Any]) -> bool:
        """A run whose student is one of these networks."""
        student = mapping.get("student")
        return isinstance(student, Mapping) and student.get("kind") in kinds(OrdinaryStudentConfig)


FAMILY = ImagesFamily()
