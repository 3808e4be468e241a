"""The text student of a run: trained on the codes of the vector student of the same seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from stillhouse.core.lab import Lab
from stillhouse.families.embed.material import Material, teacher_facts, teacher_folder
from stillhouse.families.embed.plan import STUDENT, TEXT, EmbedRunConfig
from stillhouse.families.embed.students.network import load_embedder
from stillhouse.families.embed.text import TRAINING, TextLesson, distill_text_student


@dataclass(frozen=True)
class TextReader:
    """A saved text student with the texts of a run: codes by row number."""

    reader: Any
    data: Material
    facts: Mapping[str, Any]

    def of_rows(self, rows: Any) -> np.ndarray:
        """Codes of the texts of some rows of the store."""
        return np.asarray(self.reader.encode(self.data.data.texts(rows) or []))


def train_text(lab: Lab[EmbedRunConfig, Material], seed: int) -> TextReader:
    """Train, save in the arm's folder, and read it back as its users do."""
    from stillhouse.families.embed.export.numpy_text import NumpyTextEmbedder

    config, data = lab.config, lab.data.data
    assert config.text is not None
    folder = lab.place(TEXT, seed)
    vectors = load_embedder(lab.place(STUDENT, seed))
    rows = np.sort(np.concatenate([data.train, data.validation]))
    training = replace(
        TRAINING,
        epochs=config.text.epochs,
        batch_size=config.text.batch_size,
        learning_rate=config.text.learning_rate,
        threads=config.training.threads,
        device=config.training.device,
        devices=config.training.devices,
        num_nodes=config.training.num_nodes,
        strategy=config.training.strategy,
    )
    lesson = TextLesson(
        data.texts(rows) or [],
        lab.data.codes(vectors.encode, rows),
        config=config.text.student,
        levels=config.student.levels,
        output=config.student.output,
        scale=float(vectors.scale) if config.student.output == "tanh" else None,
        teacher=teacher_folder(config),
    )
    done = distill_text_student(
        lesson,
        folder=folder,
        training=training,
        seed=seed,
        about={
            "teacher": teacher_facts(config, lab.data),
            "data": lab.data.facts(),
            "axes": vectors.axes,
            "normalize": lab.data.normalize,
        },
        resume=lab.resume,
        on_progress=partial(lab.watch.on_progress, TEXT, seed),
    )
    facts = {
        "best_epoch": done.fit.best_epoch,
        "validation": done.fit.best,
        "rank": list(done.fit.best_rank),
        "params": sum(p.numel() for p in done.network.parameters()),
    }
    return TextReader(NumpyTextEmbedder.load(folder), lab.data, facts)
