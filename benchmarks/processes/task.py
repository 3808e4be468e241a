"""One small image task for all timings: a ViT taught by a wider one, about 20 ms a step on two cores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from stillhouse.layers.hooks import FeatureExtractor
from stillhouse.signals import LogitsConfig, RelationsConfig, build_signals
from stillhouse.tasks.classification.data.config import DataConfig
from stillhouse.tasks.classification.data.images import ImageData
from stillhouse.tasks.classification.job import ClassificationJob
from stillhouse.tasks.classification.plan import ClassificationTrainingConfig
from stillhouse.teachers.teacher import Teacher
from stillhouse.training.distillation import SignalSet

SIDE, CLASSES, ROWS = 32, 10, 4096


@dataclass(frozen=True)
class Task:
    """Data, networks and settings; `job` is what our loop trains."""

    data: ImageData
    student: nn.Module
    teacher: nn.Module
    config: ClassificationTrainingConfig

    def job(self, relations: bool = False) -> ClassificationJob:
        teacher = Teacher.from_module(self.teacher, self.data.input_spec, features=("norm",))
        extractor = FeatureExtractor(self.student, ("norm",))
        spec = extractor.spec(self.data.input_spec.example(2))
        extractor.close()
        chosen = [LogitsConfig(temperature=2.0)]  # type: ignore[call-arg]
        if relations:
            chosen.append(RelationsConfig(student="norm", teacher="norm", relation="rkd", weight=0.1))
        signals = build_signals(chosen, spec, teacher.spec)
        signal_set = SignalSet(teacher, signals, ("norm",) if relations else ())
        return ClassificationJob(self.student, self.data, self.config, seed=0, signal_set=signal_set)


def make(batch: int, steps: int, *, width: int = 96, depth: int = 4, seed: int = 0, **settings: object) -> Task:
    """Noise with a label in it: what is learned does not matter, how long it takes does."""
    from timm.models.vision_transformer import VisionTransformer

    rows = min(ROWS, batch * steps)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, rows + 500)
    images = rng.random((rows + 500, 3, SIDE, SIDE)) * 0.8
    images[np.arange(len(images)), labels % 3, labels] += 0.2
    pixels = (images * 255).astype(np.uint8)
    data = ImageData.from_arrays(
        pixels[:rows],
        labels[:rows],
        config=DataConfig(),
        validation=(pixels[-500:-250], labels[-500:-250]),
        test=(pixels[-250:], labels[-250:]),
    )
    shape = {"img_size": SIDE, "patch_size": 8, "num_classes": CLASSES}
    torch.manual_seed(seed)
    student = VisionTransformer(embed_dim=width, depth=depth, num_heads=4, **shape)
    teacher = VisionTransformer(embed_dim=2 * width, depth=depth, num_heads=4, **shape).eval().requires_grad_(False)
    config = ClassificationTrainingConfig(
        epochs=-(-steps * batch // rows), batch_size=batch, device="cpu", warmup_epochs=0, log_every=20, **settings
    )
    return Task(data, student, teacher, config)
