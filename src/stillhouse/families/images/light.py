"""Reports of ordinary students, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stillhouse.classification.light import ClassesLight


class ImagesLight(ClassesLight):
    """Ordinary networks that learn classes."""

    kind = "images"
    title = "classes by ordinary networks"

    def forms(self, card: Mapping[str, Any]) -> Sequence[str]:
        """The network, whatever it is."""
        return ("onnx", "torch")


LIGHT = ImagesLight()
