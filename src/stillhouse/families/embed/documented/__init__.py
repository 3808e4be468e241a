"""Distilling wide embeddings into few dimensions: the ten documented names of the Atlas distillation quickstart.

    from stillhouse.families.embed.documented import distill_loss, create_curriculum_schedule, curriculum_distill_step

They keep the document's names, argument names, defaults and error texts. Where the document is wrong (a temperature that changes
nothing, a KL divided by the number of classes, a pickle that may run code), they do what is right and point it out. To train a
student that beats PCA, take `stillhouse embed distill`; these are the pieces for a loop that you write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stillhouse.families.embed.documented.config import (
    CURRICULUM_CONFIG,
    DEFAULT_OPENAI_CONFIG,
    FAST_CONFIG,
    DistillationConfig,
)
from stillhouse.families.embed.documented.schedule import CurriculumSchedule, create_curriculum_schedule

if TYPE_CHECKING:
    from stillhouse.families.embed.documented.checkpoint import load_teacher_checkpoint
    from stillhouse.families.embed.documented.distill import (
        combined_distill_loss,
        curriculum_distill_step,
        distill_loss,
        kl_distill_loss,
    )

# torch is loaded when one of these is asked for: settings and schedules are read without it
_LATER = {
    "load_teacher_checkpoint": "checkpoint",
    "combined_distill_loss": "distill",
    "curriculum_distill_step": "distill",
    "distill_loss": "distill",
    "kl_distill_loss": "distill",
}

__all__ = [
    "CURRICULUM_CONFIG",
    "DEFAULT_OPENAI_CONFIG",
    "FAST_CONFIG",
    "CurriculumSchedule",
    "DistillationConfig",
    "combined_distill_loss",
    "create_curriculum_schedule",
    "curriculum_distill_step",
    "distill_loss",
    "kl_distill_loss",
    "load_teacher_checkpoint",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
