"""Distilling wide embeddings into few dimensions: the ten documented names of the Atlas distillation quickstart.

    from stillhouse.tasks.embed.documented import distill_loss, create_curriculum_schedule, curriculum_distill_step

They keep the document's names, argument names, defaults and error texts. Where the document is wrong (a temperature that changes
nothing, a KL divided by the number of classes, a pickle that may run code), they do what is right and point it out. To train a
student that beats PCA, take `stillhouse embed distill`; these are the pieces for a loop that you write.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# a module is loaded when one of its names is asked for: settings and schedules are read without torch
_HOMES = {
    "CURRICULUM_CONFIG": "config",
    "DEFAULT_OPENAI_CONFIG": "config",
    "FAST_CONFIG": "config",
    "CurriculumSchedule": "schedule",
    "DistillationConfig": "config",
    "combined_distill_loss": "distill",
    "create_curriculum_schedule": "schedule",
    "curriculum_distill_step": "distill",
    "distill_loss": "distill",
    "kl_distill_loss": "distill",
    "load_teacher_checkpoint": "checkpoint",
}


def __dir__() -> list[str]:
    return list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
