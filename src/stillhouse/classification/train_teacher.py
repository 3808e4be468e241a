"""Fine-tune a teacher through the same loop as a student, and save it in the form that `ckpt:` reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.classification.job import fit_classifier
from stillhouse.classification.metrics import evaluate
from stillhouse.classification.plan import TeacherRunConfig
from stillhouse.classification.predict import predict
from stillhouse.core import records
from stillhouse.core.config import to_mapping
from stillhouse.core.records import open_run_folder, write_json
from stillhouse.core.types import Progress
from stillhouse.teachers import NetworkTeacher, save_teacher
from stillhouse.training.device import check_device

WEIGHTS = "teacher.safetensors"


class FineTuned(nn.Module):
    """A teacher's network as something to train: raw pixels in, its own resizing and normalization inside."""

    def __init__(self, teacher: NetworkTeacher) -> None:
        super().__init__()
        self.network = teacher.module
        self._prepare = teacher.prepare
        for parameter in self.network.parameters():
            parameter.requires_grad_(True)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, K) of raw pixels (B, C, H, W) in [0, 1]."""
        return self.network(self._prepare(pixels))


def train_teacher(
    config: TeacherRunConfig,
    out: Path,
    *,
    resume: bool = False,
    say: Callable[[str], None] = lambda line: None,
    on_progress: Callable[[str, int, Progress, Mapping[str, float | None]], None] = lambda arm, seed, progress, news: (
        None
    ),
) -> dict[str, Any]:
    """Train, score on the test split once, save `OUT/teacher.safetensors`; returns what `result.json` holds.

    Raises:
        InputError: the folder holds another training and `resume` is off.
    """
    check_device(config.training.device)
    open_run_folder(out, to_mapping(config), resume=resume)
    data = config.data.build()
    say(f"data: {data.name}, {', '.join(f'{n:,} {split}' for split, n in data.sizes.items())}")
    torch.manual_seed(config.seed)
    teacher = config.teacher.build(data.task)
    about = {"config": to_mapping(config), "command": records.command_line(), "versions": records.versions()}
    write_json(
        out / records.RUN, {**about, "machine": records.machine(), "data": {"name": data.name, "sha256": data.sha256}}
    )
    model = FineTuned(teacher)
    done = fit_classifier(
        model,
        data,
        config.training,
        seed=config.seed,
        folder=out,
        resume=resume,
        on_progress=lambda progress, news: on_progress("teacher", config.seed, progress, news),
    )
    device = next(model.parameters()).device
    probabilities = predict(lambda b: model(b.inputs.to(device)), data.test, config.training.evaluation_batch_size)
    metrics = evaluate(probabilities, data.test.labels.numpy(), None)
    save_teacher(out / WEIGHTS, teacher, data_name=data.name, data_sha256=data.sha256, score=done.best["accuracy"])
    result = {"metrics": metrics, "validation": done.best, "best_epoch": done.best_epoch, "seconds": done.seconds}
    write_json(out / records.RESULT, result)
    return result
