"""Fine-tune a teacher through the same loop as a student, and save it in the form that `ckpt:` reads."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.classification.job import fit_classifier
from stillhouse.classification.metrics import evaluate
from stillhouse.classification.plan import TeacherRunConfig
from stillhouse.classification.predict import probabilities_of
from stillhouse.core import processes, records
from stillhouse.core.checks import InputError
from stillhouse.core.config import to_mapping
from stillhouse.core.experiment import about, graded
from stillhouse.core.family import Family
from stillhouse.core.machine import command_line
from stillhouse.core.records import read_object, write_json
from stillhouse.core.watch import SILENT, Watch
from stillhouse.teachers import NetworkTeacher, save_teacher
from stillhouse.training.kept import kept_in_words
from stillhouse.training.opening import only_first, open_run

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
    family: Family[Any, Any], config: TeacherRunConfig, out: Path, *, resume: bool = False, watch: Watch = SILENT
) -> dict[str, Any]:
    """Train, score on the test split once, grade it as a run would, save `OUT/teacher.safetensors`.

    Args:
        family: that will be taught; its check is the grade.
        config: the run as one value.
        out: run folder.
        resume: continue what is there; a finished training is not repeated.
        watch: kept informed.

    Returns:
        What `result.json` holds.

    Raises:
        InputError: the folder holds another training and `resume` is off, or the data changed since.
    """
    if config.teacher.source.startswith("py:") or config.teacher.classes is not None:
        raise InputError(
            "train-teacher: expected a network by name (timm:NAME, torchvision:NAME) without classes, which its file can name; "
            "train your own by your own program, and give its weights as checkpoint"
        )
    with open_run(out, to_mapping(config), config.training, resume=resume) as folder:
        watch = only_first(watch)
        data = processes.first_then_others(config.data.build)
        watch.log(f"data: {data.name}, {', '.join(f'{n:,} {split}' for split, n in data.sizes.items())}")
        facts = {"name": data.name, "sizes": data.sizes, "sha256": data.sha256}
        folder.same("data", facts)
        if resume and (out / records.RESULT).is_file() and (out / WEIGHTS).is_file():
            watch.log("finished before: nothing is computed again")
            return dict(read_object(out / records.RESULT, records.FIGURES))
        torch.manual_seed(config.seed)
        teacher = config.teacher.build(data.task)
        folder.begin({**about("teacher", config, command_line()), "data": facts})
        model = FineTuned(teacher)
        done = fit_classifier(
            model,
            data,
            config.training,
            seed=config.seed,
            folder=out,
            resume=resume,
            on_progress=partial(watch.on_progress, "teacher", config.seed),
        )
        kept = kept_in_words(done, "accuracy")
        watch.log(kept)
        probabilities = probabilities_of(model, data.test, config.training.evaluation_batch_size)
        metrics = evaluate(probabilities, data.test.labels.numpy(), None)
        model.cpu().eval()
        grade = graded(family, teacher, config, data, watch=watch)
        name, digest, score = data.name, data.sha256, done.best["accuracy"]
        processes.on_first(
            lambda: save_teacher(out / WEIGHTS, teacher, data_name=name, data_sha256=digest, score=score)
        )
        result = {
            "metrics": metrics,
            "validation": done.best,
            "best_epoch": done.best_epoch,
            "kept": kept,
            "seconds": done.seconds,
            "grade": grade,
        }
        write_json(out / records.RESULT, result)
    return result
