"""Small trainings that one process and two must carry out alike; run as a program, on as many processes as its second word says.

python two_cases.py FOLDER 2 CASE...
"""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from stillhouse.cli.main import run_command as command
from stillhouse.core import ranks
from stillhouse.core.checks import Interrupted
from stillhouse.core.records import CHECKPOINT, RECORDS, read_records
from stillhouse.layers.hooks import FeatureExtractor
from stillhouse.signals import FeaturesConfig, LogitsConfig, RelationsConfig, build_signals
from stillhouse.tasks.classification.data.config import DataConfig
from stillhouse.tasks.classification.data.images import ImageData
from stillhouse.tasks.classification.job import ClassificationJob
from stillhouse.tasks.classification.plan import ClassificationTrainingConfig
from stillhouse.teachers.teacher import Teacher
from stillhouse.training.distillation import SignalSet
from stillhouse.training.loop import fit
from stillhouse.training.state import load_checkpoint

# plain SGD: the sign of a gradient that is nearly 0 decides nothing, as it would in AdamW
PLAIN = ClassificationTrainingConfig(
    epochs=2, batch_size=11, optimizer="sgd", learning_rate=0.05, device="cpu", threads=1, log_every=1, clip_norm=0.5
)
SIGNALS = {
    "logits": LogitsConfig(weight=0.5),
    "relations": RelationsConfig(student="body", teacher="body", relation="rkd", weight=2.0),
    "pkt": RelationsConfig(student="body", teacher="body", relation="pkt", weight=2.0),
    "contrastive": RelationsConfig(student="body", teacher="body", relation="contrastive", weight=0.5),
    "dist": LogitsConfig(loss="dist", weight=1.0),
    "features": FeaturesConfig(student="body", teacher="body", weight=0.5),
}


def images():
    """144 rows to train on: 13 batches of 11, and one of a single row."""
    rng = np.random.default_rng(0)
    pixels = (rng.random((178, 1, 4, 4)) * 255).astype(np.uint8)
    labels = (pixels[:, 0, 0, 0] // 86).astype(np.int64)
    return ImageData.from_arrays(pixels, labels, config=DataConfig(test_fraction=0.1))


class Net(nn.Module):
    """A body that is tapped, and a head."""

    def __init__(self, width, seed, dropout=0.0):
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(16, width), nn.Tanh(), nn.Dropout(dropout))
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        return self.head(self.body(x))


def taught(names, config=PLAIN, *, dropout=0.0, seen=None):
    """A job whose teacher is a wider network; `seen` gets the teacher's network."""
    data, student = images(), Net(6, 0, dropout)
    teacher = Teacher.from_module(Net(10, 1), data.input_spec, features=("body",))
    if seen is not None:
        seen.append(teacher.module)
    extractor = FeatureExtractor(student, ("body",))
    spec = extractor.spec(torch.zeros(2, 1, 4, 4))
    extractor.close()
    signals = build_signals([SIGNALS[name] for name in names], spec, teacher.spec)
    torch.manual_seed(2)
    for p in signals.parameters():
        nn.init.normal_(p, std=0.1)
    return ClassificationJob(student, data, config, seed=0, signal_set=SignalSet(teacher, signals, ("body",))), config


def embedding(folder):
    """Neighbours, distances and a bounded code's unit."""
    from stillhouse.tasks.embed.config import EmbeddingLossConfig, EmbeddingStudentConfig
    from stillhouse.tasks.embed.data import open_vectors
    from stillhouse.tasks.embed.job import EmbeddingJob
    from stillhouse.tasks.embed.material import VectorRows, neighbor_graph
    from stillhouse.tasks.embed.network import EmbeddingStudent
    from stillhouse.training.config import TrainingConfig

    path = Path(folder) / f"x-{ranks.rank()}.npy"
    np.save(path, np.random.default_rng(0).normal(size=(260, 12)).astype(np.float32))
    store = open_vectors(path)
    train, held = (VectorRows(store, np.arange(*ends), normalize=True) for ends in ((0, 200), (200, 260)))
    torch.manual_seed(0)
    model = EmbeddingStudent.from_vectors(EmbeddingStudentConfig(hidden=(16, 8), output="sphere"), train.held)
    loss = EmbeddingLossConfig(perplexity=5.0, epoch_steps=4, anchors=4)
    data = SimpleNamespace(train=train, validation=held, graph=neighbor_graph(train, 6), poles=None)
    job = EmbeddingJob(model, data, loss, batch_size=45, seed=0)
    return job, TrainingConfig(
        epochs=2, batch_size=45, optimizer="sgd", learning_rate=0.05, device="cpu", threads=1, log_every=1
    )


def language():
    """Windows of a text, with a live teacher."""
    from stillhouse.tasks.lm.job import LanguageJob, TrainSchedule
    from stillhouse.tasks.lm.plan import LanguageLossConfig, LanguageTrainingConfig
    from stillhouse.tasks.lm.students import SpikingLMConfig
    from stillhouse.tasks.lm.teachers import SmallTransformerConfig
    from stillhouse.tasks.lm.teachers.cache import LanguageStageTeacher
    from stillhouse.tasks.lm.teachers.teacher import LanguageTeacher, small_transformer

    def split(tokens, seed):
        return np.random.default_rng(seed).integers(0, 11, tokens).astype(np.uint16)

    torch.manual_seed(0)
    model = SpikingLMConfig(
        vocab_size=11, width=16, layers=1, heads=2, chunk=4, spikes=None, ternary_weights=()
    ).build()
    torch.manual_seed(1)
    network = small_transformer(SmallTransformerConfig(width=16, layers=1, heads=2, context=32), 11).network
    loss = LanguageLossConfig(window=8, epoch_steps=3, validation_tokens=64, source="live")
    stage_teacher = LanguageStageTeacher(LanguageTeacher(network, "small", vocab_size=11))
    texts = split(200, 0), split(100, 1)
    job = LanguageJob(
        model, texts, loss, TrainSchedule(batch_size=5, total_steps=6, seed=0), stage_teacher=stage_teacher
    )
    return job, LanguageTrainingConfig(
        epochs=2, batch_size=5, optimizer="sgd", learning_rate=0.05, device="cpu", threads=1, log_every=1
    )


def dropping(**changes):
    """AdamW, an average and dropout, which draws in each process."""
    return replace(PLAIN, optimizer="adamw", ema_decay=0.9, epochs=3, batch_size=16, **changes)


CASES = {
    "labels": lambda folder: taught(()),
    "logits": lambda folder: taught(("logits",)),
    "relations": lambda folder: taught(("logits", "relations")),
    "pkt": lambda folder: taught(("pkt",)),
    "contrastive": lambda folder: taught(("contrastive",)),
    "dist": lambda folder: taught(("dist",), replace(PLAIN, batch_size=10)),
    "features": lambda folder: taught(("features",)),
    "accumulate": lambda folder: taught(("logits",), replace(PLAIN, accumulate=3)),
    "dot": lambda folder: taught(("logits", "relations"), replace(PLAIN, optimizer="dot")),
    "embedding": embedding,
    "language": lambda folder: language(),
    "split": lambda folder: taught(("logits", "relations", "features")),
    "dropout": lambda folder: taught(("logits", "relations"), dropping(), dropout=0.2),
    "breaks": lambda folder: taught(()),
}


class Stop(Exception):
    """Ends a training from outside, as a kill would, but for the checkpoint."""


def train(name, folder, *, place=None, stop=None, resume=False, **changes):
    """Fit one case; its weights and those of what it learned along, as one vector each."""
    place = Path(folder) / (place or name)
    place.mkdir(parents=True, exist_ok=True)
    job, config = CASES[name](place)

    def on_progress(progress, news):
        if progress.step == stop:
            os.kill(os.getpid(), signal.SIGINT)

    try:
        done = fit(job, replace(config, **changes), seed=0, folder=place, resume=resume, on_progress=on_progress)
    except Interrupted as error:
        return {"stopped": error.step}
    return {
        "weights": flat(job.model, load_checkpoint(place / CHECKPOINT)["best_weights"]),
        "extras": flat(job.extras),
        "best": {key: value for key, value in done.best.items() if value is not None},
        "losses": [r["loss"] for r in read_records(place / RECORDS) if r["split"] == "train"],
    }


def flat(module, kept=None):
    """(n,) all parameters, as they are or as they were kept."""
    found = [(p.detach() if kept is None else kept[name]).flatten() for name, p in module.named_parameters()]
    return torch.cat([torch.zeros(0), *found])


# what is done on two processes beside every case: name -> (case, settings), in this order
MORE = {
    "dropout-whole": ("dropout", {}),
    "dropout-stopped": ("dropout", {"place": "dropout-resumed", "stop": 13}),
    "dropout-resumed": ("dropout", {"place": "dropout-resumed", "resume": True}),
    "from-one": ("split", {"resume": True}),
    "for-one": ("split", {"stop": 13}),
}
RUN = "--epochs 1 --seeds 1 arms=[kd,no-kd] data.train_limit=120 data.test_limit=60 --device cpu --threads 1 --quiet"


def main(folder, devices, names):
    folder = Path(folder)
    for name in names:
        if name == "run":
            words = ["distill", "digits", *RUN.split(), f"training.devices={devices}", "--out", str(folder / "run")]
            torch.save(command(words), folder / f"run-{ranks.rank()}.pt")
            continue
        if name == "breaks" and ranks.rank() == 1:
            raise RuntimeError("process 1 alone fails")
        case, settings = MORE.get(name, (name, {}))
        settings = {"place": name, **settings}
        found = train(case, folder, devices=devices, **settings)
        torch.save(found, folder / f"{name}-{ranks.rank()}.pt")


def plant_what_is_asked_for():
    """The fault that `benchmarks.house.faults` has planted in the test that started this process."""
    name = os.environ.get("STILLHOUSE_FAULT")
    if name is not None:
        sys.path.insert(0, str(Path(__file__).parents[1] / "planted"))
        from faults import FAULTS
        from plant import plant

        plant(next(fault for fault in FAULTS if fault.name == name))


if __name__ == "__main__":
    plant_what_is_asked_for()
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
