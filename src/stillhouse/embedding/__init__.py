"""Distilling wide embeddings into few dimensions: the ten documented names of the Atlas distillation quickstart.

    from stillhouse.embedding import distill_loss, create_curriculum_schedule, curriculum_distill_step

They keep the document's names, argument names, defaults and error texts. Where the document is wrong (a temperature that changes
nothing, a KL divided by the number of classes, a pickle that may run code), they do what is right and say so. To train a student
that beats PCA, take `stillhouse embed distill`; these are the pieces for a loop of your own.
"""

from stillhouse.embedding.checkpoint import load_teacher_checkpoint
from stillhouse.embedding.config import CURRICULUM_CONFIG, DEFAULT_OPENAI_CONFIG, FAST_CONFIG, DistillationConfig
from stillhouse.embedding.distill import combined_distill_loss, curriculum_distill_step, distill_loss, kl_distill_loss
from stillhouse.embedding.schedule import CurriculumSchedule, create_curriculum_schedule

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
