"""Reports of ordinary students, without torch."""

from __future__ import annotations

from stillhouse.classification.light import ClassesLight


class ImagesLight(ClassesLight):
    """Ordinary networks that learn classes."""

    kind = "images"
    title = "classes by ordinary networks"


LIGHT = ImagesLight()
