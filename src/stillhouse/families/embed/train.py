"""One training of a run: a vector student, or a text student on the codes of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stillhouse.core.records import arm_folder
from stillhouse.core.types import Progress
from stillhouse.families.embed.job import EmbeddingJob, fit_embedder
from stillhouse.families.embed.judge import write_result
from stillhouse.families.embed.lesson import EmbeddingLessonConfig
from stillhouse.families.embed.material import Material, teacher_facts, teacher_folder
from stillhouse.families.embed.metrics.anchors import fit_anchor
from stillhouse.families.embed.plan import STUDENT, TEXT, EmbedRunConfig, complete
from stillhouse.families.embed.students.network import EmbeddingStudent, load_embedder, save_embedder
from stillhouse.families.embed.students.tree import fit_scale, level_sizes
from stillhouse.families.embed.text import TRAINING, distill_text_student

OnProgress = Callable[[str, int, Progress, Mapping[str, float | None]], None]
SCALE_ROWS = 20_000


def train_student(
    config: EmbedRunConfig,
    lesson: EmbeddingLessonConfig,
    arm: str,
    seed: int,
    material: Material,
    graph: NDArray[np.int32] | None,
    out: Path,
    *,
    resume: bool,
    on_progress: OnProgress,
) -> None:
    """Train a vector student, save it and judge it."""
    folder = arm_folder(out, arm, seed)
    training = complete(config.training)
    torch.manual_seed(seed)
    model = EmbeddingStudent.from_vectors(config.student, material.start_vectors())
    # a batch larger than the training split would only repeat its rows
    training = replace(training, batch_size=min(training.batch_size, max(4, len(material.train))))
    job = EmbeddingJob(
        model,
        material.train,
        material.validation,
        lesson,
        batch_size=training.batch_size,
        seed=seed,
        graph=graph,
        poles=material.training_poles(),
    )
    done = fit_embedder(
        job, training, seed=seed, folder=folder, resume=resume, on_progress=partial(on_progress, arm, seed)
    )
    model.cpu().eval()
    metrics = {f"validation_{name}": value for name, value in done.best.items()}
    save_embedder(folder, model, teacher=teacher_facts(config, material), data=data_facts(material), metrics=metrics)
    more = {"seconds": done.seconds, "best_epoch": done.best_epoch, "epochs": done.epochs, "validation": done.best}
    more |= {"rank": list(done.best_rank), "params": sum(p.numel() for p in model.parameters())}
    write_result(folder, arm, seed, partial(_codes, material, model), material, config, **more)


def train_text(
    config: EmbedRunConfig, seed: int, material: Material, out: Path, *, resume: bool, on_progress: OnProgress
) -> None:
    """Train a text student on the codes of the vector student of the same seed, save it and judge it on the test texts."""
    from stillhouse.families.embed.export.numpy_text import NumpyTextEmbedder

    assert config.text is not None
    folder, data = arm_folder(out, TEXT, seed), material.data
    vectors = load_embedder(arm_folder(out, STUDENT, seed))
    rows = np.sort(np.concatenate([data.train, data.validation]))
    training = replace(
        TRAINING,
        epochs=config.text.epochs,
        batch_size=config.text.batch_size,
        learning_rate=config.text.learning_rate,
        threads=config.training.threads,
        device=config.training.device,
    )
    done = distill_text_student(
        data.texts(rows) or [],
        _codes(material, vectors, rows),
        folder=folder,
        config=config.text.student,
        training=training,
        seed=seed,
        teacher=teacher_folder(config),
        levels=config.student.levels,
        output=config.student.output,
        scale=float(vectors.scale) if config.student.output == "tanh" else None,
        about={"teacher": teacher_facts(config, material), "data": data_facts(material), "axes": vectors.axes},
        resume=resume,
        on_progress=partial(on_progress, TEXT, seed),
    )
    reader = NumpyTextEmbedder.load(folder)
    params = sum(p.numel() for p in done.network.parameters())
    more = {"seconds": done.fit.seconds, "best_epoch": done.fit.best_epoch, "validation": done.fit.best}
    more |= {"rank": list(done.fit.best_rank), "params": params}
    write_result(folder, TEXT, seed, lambda at: reader.encode(data.texts(at) or []), material, config, **more)


def fit_control(
    config: EmbedRunConfig, arm: str, seed: int, material: Material, out: Path, *, on_progress: OnProgress
) -> None:
    """Fit one anchor on the training rows and judge it on the test rows."""
    import time

    on_progress(arm, seed, Progress(0, 1), {})
    started, width = time.monotonic(), config.student.levels[0]
    train = material.anchor_vectors(config.anchor_rows)
    transform = fit_anchor(arm, train, width, seed=seed, normalize=config.student.normalize)
    read = material.data.store.read
    more: dict[str, Any] = {"seconds": time.monotonic() - started, "fitted_on": len(train)}
    write_result(arm_folder(out, arm, seed), arm, seed, lambda at: transform(read(at)), material, config, **more)
    on_progress(arm, seed, Progress(1, 1), {})


def tree_scale(config: EmbedRunConfig, material: Material, student: EmbeddingStudent) -> list[float] | None:
    """What each level of a tree is divided by, from training codes; None where the levels are not 5, 25, 125, ..."""
    if tuple(config.student.levels) != level_sizes(len(config.student.levels) - 1):
        return None
    return list(fit_scale(student.encode(material.anchor_vectors(SCALE_ROWS)), coverage=0.999))


def data_facts(material: Material) -> dict[str, Any]:
    """What cards and the report say of the data."""
    data = material.data
    return {
        "name": data.name,
        "sizes": {**data.sizes, "judged": len(material.test)},
        "sha256": data.sha256,
        "width": data.width,
        "zero_rows": data.zero_rows,
        "duplicates": data.duplicates,
    }


def _codes(material: Material, model: EmbeddingStudent, rows: NDArray[np.int64]) -> np.ndarray:
    read = material.data.store.read
    parts = [model.encode(read(some)) for some in np.array_split(rows, -(-len(rows) // 16_384))] if len(rows) else []
    return np.concatenate(parts) if parts else np.empty((0, sum(model.config.levels)), np.float32)
