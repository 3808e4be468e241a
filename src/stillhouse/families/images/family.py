"""The family of ordinary students: networks of timm on images, transformers (one of spikes) on labelled texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stillhouse.classification.family import ClassificationFamily
from stillhouse.classification.plan import ClassesRunConfig
from stillhouse.classification.students import OrdinaryStudentConfig, SpikingTextConfig, TextTransformerConfig
from stillhouse.core.checks import InputError
from stillhouse.core.config import kinds
from stillhouse.core.types import TextTask
from stillhouse.families.images.light import ImagesLight
from stillhouse.families.images.plan import ImagesRunConfig


class ImagesFamily(ImagesLight, ClassificationFamily):
    """Ordinary networks that learn classes."""

    Config = ImagesRunConfig
    Students = OrdinaryStudentConfig

    def owns(self, mapping: Mapping[str, Any]) -> bool:
        """A run whose student is one of these networks."""
        student = mapping.get("student")
        return isinstance(student, Mapping) and str(student.get("kind")) in kinds(OrdinaryStudentConfig)

    def refusal(self, signal: Any) -> str | None:
        """Ordinary networks have no clauses."""
        if signal.kind == "clause-targets":
            return (
                "an ordinary network has no clauses to teach; take a student of clauses (kind: unified-tm, tsetlin-vit)"
            )
        return super().refusal(signal)

    def check(self, config: ClassesRunConfig, data: Any) -> None:
        """Refuse students and assistants that read the other kind of data, before a teacher is loaded."""
        texts = isinstance(data.task, TextTask)
        for place, student in [("student", config.student), *((f"chain.{n}", x) for n, x in enumerate(config.chain))]:
            if isinstance(student, (TextTransformerConfig, SpikingTextConfig)) != texts:
                raise InputError(
                    f"{place}: kind {student.kind!r} reads {'images' if texts else 'texts'}, and data {data.name!r} are "
                    f"{'texts' if texts else 'images'}"
                )
        for stage in config.stages_of(True):
            for number, signal in enumerate(stage.signals):
                if (why := self.refusal(signal)) is not None:
                    raise InputError(f"signals.{number} ({signal.kind}): {why}")
        super().check(config, data)


FAMILY = ImagesFamily()
