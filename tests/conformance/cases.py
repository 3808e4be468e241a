"""One tiny run of every task, and how to spoil its data and its teacher: what the conformance suite runs on.

A case makes everything that it needs in a folder and hands back a configuration; `words` is the same run on the command line.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import yaml

from stillhouse.core import records
from stillhouse.core.config import merge, parse, to_mapping
from stillhouse.core.hashes import sealed, with_hashes
from stillhouse.tasks import task


def task_of_case(kind: str) -> str:
    """The kind of a case's runs: two cases are students of one task."""
    return "classification" if kind in ("images", "clauses") else kind


class Case(ABC):
    """A task's tiny run."""

    kind: ClassVar[str]
    unknown: ClassVar[str]  # a setting of another task, which this one must refuse
    has_teacher: ClassVar[bool] = True
    taught: ClassVar[str] = "kd"
    control: ClassVar[str | None] = "no-kd"

    @property
    def task(self) -> str:
        """The kind of its runs: images and clauses are students of one."""
        return task_of_case(self.kind)

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self.make()

    @abstractmethod
    def make(self) -> None:
        """Write data and teacher into `root`."""

    @abstractmethod
    def mapping(self) -> dict[str, Any]:
        """The run as plain data."""

    @abstractmethod
    def change_data(self) -> None:
        """Put other data under the same path."""

    @abstractmethod
    def change_teacher(self) -> None:
        """Put another teacher, or other weights, under the same path."""

    @abstractmethod
    def poor_teacher(self) -> dict[str, Any]:
        """Changes of the run that give it a teacher at chance."""

    def from_cache(self, folder: Path) -> dict[str, Any]:
        """Changes of the run by which it reads a cache in the teacher's place."""
        return {"teacher": {"source": f"cache:{folder}"}}

    def config(self, **changes: Any) -> Any:
        """The run's configuration, changed."""
        return parse(task(self.task).Config, merge(self.mapping(), changes))

    def file(self, **changes: Any) -> Path:
        """The run as a YAML file."""
        path = self.root / "case.yaml"
        path.write_text(yaml.safe_dump(to_mapping(self.config(**changes))))
        return path


TRAINING = {"epochs": 2, "batch_size": 32, "device": "cpu", "threads": 1, "log_every": 1}


def blobs(path: Path, *, seed: int = 0, rows: int = 260, shift: float = 0.0) -> Path:
    """Images 8 x 8 of three classes that a linear map can tell apart."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=rows)
    patterns = np.random.default_rng(99).random((3, 8, 8))
    images = np.clip(patterns[labels] + 0.25 * rng.normal(size=(rows, 8, 8)) + shift, 0, 1)
    np.savez(path, images=(255 * images).astype(np.uint8), labels=labels)
    return path


class Images(Case):
    """An ordinary student of class scores."""

    kind = "images"
    unknown = "objective.alpha=0.1"
    student: ClassVar[dict[str, Any]] = {"kind": "timm", "architecture": "test_resnet"}

    def make(self) -> None:
        from stillhouse.cli.main import main

        blobs(self.root / "data.npz")
        teacher = {
            "data": self.data,
            "teacher": {"source": "timm:test_resnet", "pretrained": False, "image_size": 32},
            "training": {**TRAINING, "epochs": 12, "learning_rate": 0.005},
        }
        (self.root / "teacher.yaml").write_text(yaml.safe_dump(teacher))
        assert (
            main(["train-teacher", str(self.root / "teacher.yaml"), "--out", str(self.root / "teacher"), "--quiet"])
            == 0
        )

    @property
    def data(self) -> dict[str, Any]:
        return {"name": "npz", "root": str(self.root / "data.npz")}

    @property
    def checkpoint(self) -> Path:
        return self.root / "teacher" / "teacher.safetensors"

    def mapping(self) -> dict[str, Any]:
        return {
            "name": "case",
            "data": self.data,
            "teacher": {"source": f"ckpt:{self.checkpoint}"},
            "student": self.student,
            "signals": [{"kind": "logits", "loss": "forward-kl", "temperature": 2.0}],
            "training": TRAINING,
            "arms": ["no-kd", "kd"],
            "seeds": 1,
        }

    def change_data(self) -> None:
        blobs(self.root / "data.npz", seed=1)

    def change_teacher(self) -> None:
        rewrite(self.checkpoint, lambda x: x * 1.01 if x.is_floating_point() else x)

    def poor_teacher(self) -> dict[str, Any]:
        return {"teacher": {"source": "timm:test_resnet", "pretrained": False, "image_size": 32, "head": "keep"}}


class Clauses(Images):
    """A clause transformer."""

    kind = "clauses"
    unknown = "objective.alpha=0.1"
    student: ClassVar[dict[str, Any]] = {
        **{"kind": "tsetlin-vit", "patch_size": 4, "embed_dim": 8, "depth": 1, "heads": 2, "clauses": 8},
    }


class Embed(Case):
    """Vectors into five numbers; the teacher is the vectors themselves."""

    kind = "embed"
    unknown = "training.mixing.mixup_alpha=0.5"
    taught = "student"
    control = None

    def make(self) -> None:
        self.write(0)

    def from_cache(self, folder: Path) -> dict[str, Any]:
        return {"data": {"path": str(folder)}}

    def write(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        labels = rng.integers(12, size=600)
        centers = np.random.default_rng(7).normal(size=(12, 16))
        x = centers[labels] + 0.4 * rng.normal(size=(600, 16))
        np.save(self.root / "x.npy", x.astype(np.float32))

    def mapping(self) -> dict[str, Any]:
        return {
            "name": "case",
            "data": {"path": str(self.root / "x.npy")},
            "student": {"hidden": [16, 8], "levels": [3]},
            "loss": {"epoch_steps": 4, "perplexity": 5.0, "anchors": 8, "validation_rows": 60},
            "training": {**TRAINING, "batch_size": 64},
            "anchors": ["pca"],
            "seeds": 1,
        }

    def change_data(self) -> None:
        self.write(1)

    def change_teacher(self) -> None:
        self.write(1)

    def poor_teacher(self) -> dict[str, Any]:
        noise = np.random.default_rng(3).normal(size=(900, 256)).astype(np.float32)
        np.save(self.root / "noise.npy", noise)
        return {"data": {"path": str(self.root / "noise.npy")}}


class Sar(Case):
    """Radar lines into focused lines."""

    kind = "sar"

    unknown = "training.mixing.mixup_alpha=0.5"
    lines: ClassVar[dict[str, Any]] = {"preset": "toy-64", "length": 160, "train": 8, "validation": 6, "test": 6}
    wide: ClassVar[dict[str, Any]] = {
        **{
            "model_dim": 4,
            "state_dim": 32,
            "num_layers": 2,
            "use_selectivity": True,
            "doppler_band": 0.8,
            "memory": 32,
        },
    }

    def make(self) -> None:
        self.data_file()
        from stillhouse.tasks.sar.plan import SarTrainConfig
        from stillhouse.tasks.sar.task import train

        training = {**TRAINING, "epochs": 25, "batch_size": 4, "learning_rate": 0.02, "warmup_epochs": 0}
        plan = {"name": "teacher", "data": self.lines_now, "model": self.wide, "training": training}
        train(parse(SarTrainConfig, plan), self.root / "teacher")

    def data_file(self) -> None:
        self.lines_now = dict(self.lines)

    def mapping(self) -> dict[str, Any]:
        return {
            "name": "case",
            "data": self.lines_now,
            "teacher": self.wide,
            "teacher_checkpoint": str(self.root / "teacher"),
            "student": {
                **{"model_dim": 3, "state_dim": 16, "num_layers": 2, "use_selectivity": False},
                **{"look_ahead": 32, "doppler_band": 0.8, "memory": 32},
            },
            "training": {**TRAINING, "batch_size": 4, "learning_rate": 0.02},
            "arms": ["no-kd", "kd"],
            "seeds": 1,
        }

    def change_data(self) -> None:
        raise NotImplementedError  # simulated data have no path; see the task's own test with a file

    def change_teacher(self) -> None:
        for path in (self.root / "teacher").glob("*.safetensors"):
            rewrite(path, lambda x: x * 1.01)

    def poor_teacher(self) -> dict[str, Any]:
        for path in (self.root / "teacher").glob("*.safetensors"):
            rewrite(path, lambda x: x * 0)
        return {}


class Lm(Case):
    """Text into the next token."""

    kind = "lm"
    unknown = "training.mixing.mixup_alpha=0.5"
    words: ClassVar[tuple[str, ...]] = ("the", "a", "river", "stone", "sang", "ran", "over", "under", "and", ".")

    def make(self) -> None:
        from stillhouse.core.callback import NULL_CALLBACK
        from stillhouse.recipes import load_teacher_run
        from stillhouse.tasks.lm.task import TASK

        self.text(0)
        chosen = [
            f"corpus.source={self.root / 'text'}", "corpus.tokenizer=bpe:280", f"corpus.cache={self.root / 'ids'}",
            "model.width=16", "model.layers=1", "model.heads=2", "model.context=32", "window=16", "epoch_steps=60",
            "training.epochs=2", "training.learning_rate=0.01", "validation_tokens=64", "score.tokens=200", "training.threads=1",
        ]  # fmt: skip
        plan = load_teacher_run("wikitext-2-teacher", chosen)
        TASK.train_teacher(plan, self.root / "teacher", resume=False, callback=NULL_CALLBACK)

    def text(self, seed: int) -> None:
        (self.root / "text").mkdir(exist_ok=True)
        rng = np.random.default_rng(seed)
        for name, count in {"train": 900, "valid": 300, "test": 300}.items():
            # each word is followed by its neighbour in the list three times in four: frequencies alone know nothing of it
            at, chosen = 0, []
            for _ in range(count):
                at = (at + 1) % len(self.words) if rng.random() < 0.75 else int(rng.integers(len(self.words)))
                chosen.append(self.words[at])
            lines = [" ".join(part) for part in np.array_split(np.array(chosen), count // 10)]
            (self.root / "text" / f"{name}.txt").write_text("\n".join(lines))

    def mapping(self) -> dict[str, Any]:
        from stillhouse.recipes import load_run

        chosen = [
            f"corpus.source={self.root / 'text'}", f"corpus.tokenizer={self.root / 'teacher'}",
            f"corpus.cache={self.root / 'ids'}", "corpus.most_bytes=null", f"teacher.source={self.root / 'teacher'}",
            "student.width=16", "student.layers=1", "student.heads=2", "student.chunk=8", "loss.window=16",
            "student.embedding_width=8", "student.ngram.entries=300",
            "loss.epoch_steps=3", "loss.k=8", "loss.validation_tokens=64", "training.epochs=2", "training.batch_size=4",
            "score.tokens=200", "score.ngram=3", "arms=[no-kd, kd]", "seeds=1", "training.threads=1", "training.log_every=1",
        ]  # fmt: skip
        return to_mapping(load_run("wikitext-2", chosen))

    def change_data(self) -> None:
        self.text(1)

    def change_teacher(self) -> None:
        rewrite(self.root / "teacher" / "model.safetensors", lambda x: x * 1.01)

    def poor_teacher(self) -> dict[str, Any]:
        rewrite(self.root / "teacher" / "model.safetensors", lambda x: x * 0)
        return {}


def rewrite(path: Path, change: Any) -> None:
    """Put changed weights into a safetensors file, its metadata kept."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(path, "pt") as file:
        about = file.metadata()
        names = list(file.keys())
        weights = {name: torch.as_tensor(change(file.get_tensor(name))).contiguous() for name in names}
    save_file(weights, path, metadata=about)
    if "sha256" in (about or {}):
        path.write_bytes(sealed(path.read_bytes()))
    card = path.parent / records.CARD
    if card.is_file() and "sha256" in (known := records.read_json(card)):  # another network, not a damaged one
        names = [name for name in known["sha256"] if name != records.CARD]
        records.write_json(card, with_hashes(known, path.parent, names))


CASES = {case.kind: case for case in (Images, Clauses, Sar, Lm, Embed)}
