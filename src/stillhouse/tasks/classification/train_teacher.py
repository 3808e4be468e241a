"""Fine-tune a teacher through the same loop as a student, and save it in the form that `ckpt:` reads."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from stillhouse.core import processes
from stillhouse.core import train_teacher as shared
from stillhouse.core.callback import NULL_CALLBACK, Callback
from stillhouse.core.checks import InputError
from stillhouse.core.task import Task
from stillhouse.tasks.classification.data.images import ImageData
from stillhouse.tasks.classification.data.split import drawn
from stillhouse.tasks.classification.job import ClassificationJob
from stillhouse.tasks.classification.plan import TeacherRunConfig
from stillhouse.tasks.classification.predict import evaluate, probabilities_of
from stillhouse.teachers.checkpoint import save_teacher
from stillhouse.teachers.teacher import NetworkTeacher
from stillhouse.training.loop import Fit

WEIGHTS = "teacher.safetensors"


class FineTuned(nn.Module):
    """A teacher's network as something to train: raw pixels in, its own resizing and normalization inside."""

    def __init__(self, teacher: NetworkTeacher) -> None:
        super().__init__()
        self.teacher, self.network = teacher, teacher.module
        for parameter in self.network.parameters():
            parameter.requires_grad_(True)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, K) of raw pixels (B, C, H, W) in [0, 1]."""
        return self.network(self.teacher.prepare(pixels))


def train_teacher(
    task: Task[Any, Any],
    config: TeacherRunConfig,
    out: Path,
    *,
    resume: bool = False,
    callback: Callback = NULL_CALLBACK,
) -> dict[str, Any]:
    """Train, score on the test split once, grade it as a run would, save `OUT/teacher.safetensors`.

    See `core.train_teacher.train`.

    Raises:
        InputError: also for a teacher of the user's own class.
    """
    if config.teacher.source.startswith("py:") or config.teacher.classes is not None:
        raise InputError(
            "train-teacher: expected a network by name (timm:NAME, torchvision:NAME) without classes, which its file can name; "
            "train your own by your own program, and give its weights as checkpoint"
        )
    how = shared.TeacherTraining(
        kind="teacher",
        data=lambda log: drawn(task.data(config, log), config.seed),
        build=lambda data: FineTuned(config.teacher.build(data.input_spec)),
        job=lambda model, data: ClassificationJob(model, data, config.training, seed=config.seed),
        save=partial(_save, config, out),
    )
    return shared.train(task, config, out, how, resume=resume, callback=callback)


def _save(
    config: TeacherRunConfig, out: Path, model: Any, data: ImageData, done: Fit
) -> tuple[NetworkTeacher, dict[str, Any]]:
    """`teacher.safetensors`; the teacher, and its scores on the test split."""
    probabilities = probabilities_of(model, data.test, config.training.evaluation_batch_size)
    model.cpu().eval()
    about: dict[str, Any] = {"data_name": data.name, "data_sha256": data.sha256, "score": done.best["accuracy"]}
    processes.run_on_first(lambda: save_teacher(out / WEIGHTS, model.teacher, **about))
    return model.teacher, {"metrics": evaluate(probabilities, data.test.labels.numpy(), None)}
