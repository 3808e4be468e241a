"""The family of embeddings: vectors of a teacher into few readable numbers, beside PCA, UMAP and others.

OUT, beside what every run has:
  graph.npz                           neighbours of the training rows
  arms/near-W/seed-0/                 a student of another neighbor weight W: a point of the frontier
  arms/text/seed-K/                   a text student, taught by the codes of the vector student of its seed
  arms/pca/seed-0/, arms/umap/...     controls: codes and figures
  text-student/                       the best text student by validation
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch

from stillhouse.core import ranks, records
from stillhouse.core.checks import InputError
from stillhouse.core.config import to_mapping
from stillhouse.core.costs import weight_bytes
from stillhouse.core.exports import Target
from stillhouse.core.family import Arm, Contrast, Family, Grade, Scores
from stillhouse.core.folder import SHIPPED
from stillhouse.core.lab import Lab
from stillhouse.core.listen import listen
from stillhouse.core.model_card import CARDS, write_card
from stillhouse.core.pipeline import Lesson
from stillhouse.core.records import read_object
from stillhouse.core.types import OutputSpec
from stillhouse.families.embed.data.rows import LessonRows, VectorTeacher
from stillhouse.families.embed.job import CODE, NEIGHBORS, EmbeddingJob
from stillhouse.families.embed.light import FAR, NEAR, EmbedLight
from stillhouse.families.embed.material import (
    LENGTHS_DIFFER,
    Material,
    graph_of,
    length_spread,
    open_material,
    split_digest,
    teacher_facts,
)
from stillhouse.families.embed.metrics.anchors import fit_anchor
from stillhouse.families.embed.metrics.neighbourhood import nearest_neighbors
from stillhouse.families.embed.plan import STUDENT, TEXT, EmbedRunConfig, refusal
from stillhouse.families.embed.score import grade, neighbour_samples, score, share_kept
from stillhouse.families.embed.students.network import EmbeddingStudent, load_embedder, save_embedder
from stillhouse.families.embed.text import TextEmbedder, fit_text_student
from stillhouse.layers.taps import Tapped
from stillhouse.training.config import TrainingConfig

SHIPPED_TEXT = "text-student"
EmbedLab = Lab[EmbedRunConfig, Material]


class EmbedFamily(EmbedLight, Family[EmbedRunConfig, Material]):
    """Wide embeddings into few numbers. The teacher is the vectors, so every student hears it; controls are fitted."""

    Config = EmbedRunConfig
    may_grow = ("seeds", "anchors", "frontier", "text")
    validated = "validation score (mean of near and far)"
    untrained = (
        "the teacher of vectors is whoever made them and is not trained here; `stillhouse embed capture` asks one"
    )

    def owns(self, mapping: Mapping[str, Any]) -> bool:
        """A run of vectors: `data.path`; or the card of a student on its own, which names its format."""
        data = mapping.get("data")
        return (isinstance(data, Mapping) and "path" in data) or mapping.get("format") == "stillhouse-embedder-1"

    def owns_teacher(self, mapping: Mapping[str, Any]) -> bool:
        """A file of vectors, which says what to do instead."""
        return self.owns(mapping)

    # ------------------------------------------------------------------------------------------------ before training

    def questions(self, config: EmbedRunConfig, data: Material, teacher: Any, features: Sequence[str] = ()) -> NoReturn:
        """None: the vectors are what a teacher answered."""
        raise InputError(
            f"{config.data.path} holds its teacher's answers already, and there is none to ask: `stillhouse distill` reads "
            "them as they are; of other texts `stillhouse embed capture` makes them"
        )

    def data(self, config: EmbedRunConfig, log: Callable[[str], None]) -> Material:
        """Open, check and split the vectors."""
        if "umap" in config.anchors and find_spec("umap") is None:  # found out at the end, hours would seem lost
            raise InputError(
                "anchors: 'umap' needs a package that is not installed: pip install 'stillhouse[embeddings]'; or leave it out"
            )
        material = open_material(config)
        sizes = ", ".join(f"{count:,} {split}" for split, count in material.data.sizes.items())
        log(f"{material.name}: {sizes} vectors of {material.data.width}")
        if config.student.normalize is None and (spread := length_spread(material.data)) > LENGTHS_DIFFER:
            done, other = (
                ("left out", "false keeps them") if material.normalize else ("kept", "true compares directions")
            )
            log(f"lengths of the vectors differ by {spread:.0%} and are {done}; student.normalize: {other}")
        return material

    def facts(self, data: Material) -> dict[str, Any]:
        """Name, sizes, fingerprints of vectors and splits, what was left out."""
        return {**data.facts(), "splits_sha256": split_digest(data.data)}

    def refusal(self, signal: Any) -> str | None:
        """Vectors have neither classes nor attention."""
        return refusal(signal)

    def teachers(
        self, config: EmbedRunConfig, data: Material, given: Any, log: Callable[[str], None]
    ) -> Sequence[VectorTeacher]:
        """The vectors themselves."""
        if given is not None:
            raise InputError(
                "teacher: the teacher of an embedding run is its vectors; capture them first and name data.path"
            )
        if config.teacher_cache is not None:
            raise InputError(
                "teacher_cache: the vectors of an embedding run are its teacher's cache already (`stillhouse embed capture`); "
                "name the folder as data.path"
            )
        return [VectorTeacher(data.train, str(teacher_facts(config, data)["name"]))]

    def made_of(self, config: EmbedRunConfig) -> tuple[Any, Any]:
        """All settings but how a student learns and most of what it is: the vectors are data and teacher."""
        apart = ("name", "seeds", "arms", "student", "lesson", "training", "signals")
        alike = {key: value for key, value in to_mapping(config).items() if key not in apart}
        student = config.student
        found = alike, student.normalize, student.levels[0], student.axes
        return found, found

    def fingerprint(self, teacher: VectorTeacher) -> str:
        """That of the vectors."""
        return str(teacher.train.store.scan.sha256)

    def grade(self, teacher: VectorTeacher, config: EmbedRunConfig, data: Material) -> Grade:
        """Whether near and far mean anything: neighbours that principal axes keep, against noise."""
        return grade(teacher.name, data, config.lesson.validation_rows, NEIGHBORS)

    def prepare(self, lab: EmbedLab) -> None:
        """The neighbours of the training rows, found once; of a curriculum of temperatures, what to expect of it."""
        if len(taus := lab.config.lesson.tau) > 1:
            lab.watch.log(
                f"lesson.tau: {len(taus)} stages from {taus[0]:g} to {taus[-1]:g}; no falling schedule was better than one "
                "temperature where that was measured, and lesson.tau=0.02 was as good or better"
            )
        lab.shared["graph"] = graph_of(lab.config, lab.data, lab.folder.path, lab.watch.log, resume=lab.resume)

    def tutors(self, lab: EmbedLab) -> Sequence[Any]:
        """The vectors, in every stage."""
        return (lab.teacher,) * len(lab.config.stages_of(True))

    # ------------------------------------------------------------------------------------------------ training

    def arms(self, config: EmbedRunConfig) -> Sequence[Arm]:
        """The student and points of the frontier, a text student, controls."""
        found = [
            Arm(name, config.student, True, config.seeds_of(name), config.chain, about=_about(name))
            for name in config.trained
        ]
        if config.text is not None:
            found.append(
                Arm(
                    TEXT,
                    None,
                    True,
                    config.seeds,
                    fit=fit_text,
                    about="reads texts, without the teacher",
                )
            )
        return [*found, *(Arm(a, None, False, config.seeds_of(a), fit=partial(fit_control, a)) for a in config.anchors)]

    def contrasts(self, config: EmbedRunConfig) -> Sequence[Contrast]:
        """Students against every control, near and far apart."""
        learned = [STUDENT, *([TEXT] if config.text else [])]
        return [
            Contrast(control, arm, control, metric)
            for arm in learned
            for control in (*config.anchors, *((STUDENT,) if arm == TEXT else ()))
            for metric in (NEAR, FAR)
        ]

    def student(self, arm: Arm, choice: Any, seed: int, lab: EmbedLab) -> EmbeddingStudent:
        """Starts as the principal axes."""
        decided = replace(choice, normalize=lab.data.normalize)
        return EmbeddingStudent.from_vectors(decided, lab.data.start_vectors())

    def training(self, lesson: Lesson[EmbedRunConfig, Material]) -> TrainingConfig:
        """A batch larger than the training split would only repeat its rows."""
        training = lesson.stage.training
        return replace(training, batch_size=min(training.batch_size, max(4, len(lesson.lab.data.train))))

    def job(self, lesson: Lesson[EmbedRunConfig, Material]) -> EmbeddingJob:
        """Neighbours, distances, and what signals add."""
        lab = lesson.lab
        example = lab.data.train(np.arange(min(2, len(lab.data.train))))
        lessons = lab.config.trained
        return EmbeddingJob(
            lesson.student,
            LessonRows(lab.data.train, lab.data.validation, lab.shared["graph"], lab.data.training_poles()),
            lessons.get(lesson.arm.name, lab.config.lesson),
            batch_size=self.training(lesson).batch_size,
            seed=lesson.job_seed,
            parts=lesson.stage.training.accumulate,
            listening=listen(lesson, example, partial(_spec, example)),
            after_stage=partial(self._keep_stage, lesson),
        )

    def _keep_stage(self, lesson: Lesson[EmbedRunConfig, Material], stage: int) -> None:
        """The student as it stands at the end of a temperature's stage, in `stages/tau-1` and so on of its arm."""
        lab, split = lesson.lab, lesson.stage.training.strategy == "fsdp"
        if split or ranks.rank():  # split weights are whole at the end only
            return
        with torch.random.fork_rng(devices=[]):
            copy = EmbeddingStudent(lesson.student.config, lesson.student.teacher_dim)
        copy.load_state_dict(lesson.student.state_dict())
        name = f"stages/{lesson.stage.name}-tau-{stage + 1}" if lab.config.stages else f"stages/tau-{stage + 1}"
        self.save(lab.place(lesson.arm.name, lesson.seed) / name, copy, lesson.student.config, lab)

    def unused(self, config: EmbedRunConfig) -> Sequence[str]:
        """Relations within micro-batches."""
        training = config.training
        if training.accumulate == 1 or not (config.lesson.neighbor_weight or config.lesson.global_weight):
            return ()
        return (
            f"training.accumulate: rows are compared within a micro-batch of {-(-training.batch_size // training.accumulate)}, "
            f"not within the batch of {training.batch_size}",
        )

    def difficulty(self, judge: Any, lab: EmbedLab) -> np.ndarray:
        """Of each training row: how far its neighbours are (to the vectors), or how many of them a student's codes lose."""
        rows = lab.data.train(np.arange(len(lab.data.train))).numpy()
        # rows have length 1 where lengths are left out
        near = nearest_neighbors(rows, min(NEIGHBORS, len(rows) - 1), metric="euclidean")
        student = judge.student if isinstance(judge, CodeTeacher) else judge
        if not isinstance(student, EmbeddingStudent):
            # neighbour by neighbour: all at once would be ten copies of the vectors
            return np.mean([np.linalg.norm(rows - rows[column], axis=1) for column in near.T], axis=0)
        return 1.0 - share_kept(rows, [student.encode(rows)[:, : student.config.levels[0]]], near.shape[1], "euclidean")

    def labels(self, lab: EmbedLab) -> np.ndarray:
        """All rows are of one class: a curriculum takes them as they are hard."""
        return np.zeros(len(lab.data.train), np.int64)

    def as_tutor(self, students: Sequence[Any], lab: EmbedLab) -> Any:
        """An assistant is listened to through its codes, as feature `vector`."""
        return CodeTeacher(students[-1], lab.data)

    def module_of(self, tutor: Any) -> Any:
        """An assistant's network."""
        return getattr(tutor, "student", None)

    # ------------------------------------------------------------------------------------------------ afterwards

    def score(self, model: Any, arm: Arm, seed: int, lab: EmbedLab) -> Scores:
        """Neighbours and distances that the codes of the test rows keep, at every level."""
        facts = getattr(model, "facts", {})
        return score(lab.data, _encoder(model, lab.data), lab.config.student.levels, facts)

    def save(self, folder: Path, model: EmbeddingStudent, choice: Any, lab: EmbedLab) -> None:
        """Weights and a card that numpy alone can use."""
        model.cpu().eval()
        teacher = teacher_facts(lab.config, lab.data)
        save_embedder(folder, model, teacher=teacher, data=lab.data.facts(), more={"family": self.kind})

    def load(self, folder: Path) -> EmbeddingStudent:
        """A vector student."""
        return load_embedder(folder)

    def finish(self, lab: EmbedLab, summary: dict[str, Any]) -> None:
        """Test figures in the shipped card, the shipped text student."""
        path = lab.folder.path
        for arm in lab.config.trained:
            for seed in range(lab.config.seeds_of(arm)):
                if lab.folder.result(arm, seed)["best_epoch"] == 0:
                    lab.watch.log(f"{arm}, seed {seed}: no epoch was better than the principal axes, which are kept")
        shipped = {SHIPPED: (STUDENT, summary["shipped"]["seed"])}
        if lab.config.text is not None:
            shipped[SHIPPED_TEXT] = (TEXT, lab.folder.ship(TEXT, lab.config.seeds, SHIPPED_TEXT))
        for name, (arm, seed) in shipped.items():
            card = read_object(path / name / records.CARD, CARDS)
            card["metrics"] = {**card.get("metrics", {}), **lab.folder.result(arm, seed)["metrics"]}
            write_card(path / name, card)
        codes = lab.data.codes(self.load(path / SHIPPED).encode, lab.data.test)[:, : lab.config.student.levels[0]]
        store, vectors = lab.data.data.store, lab.data.test_vectors
        summary["samples"] = neighbour_samples(store, lab.data.test, vectors, codes, lab.data.metric)

    def cost(self, folder: Path) -> dict[str, float]:
        """Weights, and multiply-adds of a row: each weight of a matrix is used once."""
        weights = dict(load_embedder(folder).named_parameters())
        macs = sum(x.numel() for x in weights.values() if x.ndim == 2)
        params = sum(x.numel() for x in weights.values())
        return {"params": float(params), "macs": float(macs), **weight_bytes(folder)}

    def predictor(self, folder: Path) -> Any:
        """Vectors, or texts, into codes."""
        from stillhouse.families.embed.predict import CodePredictor

        return CodePredictor(folder)

    def evaluate(self, folder: Path, **choices: Any) -> dict[str, Any]:
        """Figures of a student on the test rows of its run, or of other vectors (`vectors`, `key`, `limit`)."""
        from stillhouse.families.embed.evaluate import evaluate

        return evaluate(folder, **choices)

    def exports(self) -> Mapping[str, Target]:
        """One folder for those who use it; each holds its codes against the network's."""
        from stillhouse.families.embed.export.embedding import write_for_numpy, write_for_onnx, write_for_torch

        return {
            "numpy": Target("needs numpy and safetensors", "", write_for_numpy, takes=()),
            "onnx": Target("numpy and ONNX", "", write_for_onnx, takes=()),
            "torch": Target("for torch.export.load", ".pt2", write_for_torch, takes=()),
        }


class CodeTeacher:
    """A wider student as the teacher of a narrower one: its codes in the place of the vectors."""

    def __init__(self, student: EmbeddingStudent, data: Material) -> None:
        self.student, self.data, self.name, self.params = student, data, "assistant", 0
        self.spec = OutputSpec(0, {"vector": (sum(student.config.levels),)})

    def __call__(self, batch: Any) -> Any:
        """Codes (B, d) of a batch's rows, without gradient."""
        from stillhouse.core.types import Outputs

        rows = self.data.train(batch.index.cpu())
        codes = torch.from_numpy(self.student.encode(rows.numpy())).to(batch.inputs.device)
        return Outputs(codes.new_zeros(len(codes), 0), {"vector": codes})


def _about(name: str) -> str:
    """What a trained arm is, under its name."""
    from stillhouse.families.embed.report import NAMES

    return "taught by the vectors" if name == STUDENT else NAMES.get(name, "")


def fit_control(anchor: str, lab: EmbedLab, seed: int) -> Any:
    """PCA, UMAP and others, fitted on training rows: codes of any vectors."""
    train = lab.data.anchor_vectors(lab.config.anchor_rows)
    return fit_anchor(anchor, train, lab.config.student.levels[0], seed=seed, normalize=lab.data.normalize)


def fit_text(lab: EmbedLab, seed: int) -> Any:
    """A text student, fitted to the codes of the vector student of the same seed; saved in its arm's folder."""
    config, data = lab.config, lab.data.data
    assert config.text is not None
    vectors = load_embedder(lab.place(STUDENT, seed))
    rows = np.sort(np.concatenate([data.train, data.validation]))
    card = {
        "levels": list(config.student.levels),
        "output": config.student.output,
        "teacher": teacher_facts(config, lab.data),
        "data": lab.data.facts(),
        "axes": vectors.axes,
        "normalize": lab.data.normalize,
    }
    student = fit_text_student(
        data.texts(rows) or [],
        lab.data.codes(vectors.encode, rows),
        np.isin(rows, data.validation),
        features=config.text.features,
        strengths=config.text.strengths,
        card=card,
    )
    student.save(lab.place(TEXT, seed))
    return student


def _encoder(model: Any, data: Material) -> Callable[[Any], np.ndarray]:
    """Row numbers of the store -> codes, for a student, a text student and a control alike."""
    if isinstance(model, EmbeddingStudent):
        return partial(data.codes, model.cpu().eval().encode)
    if isinstance(model, TextEmbedder):
        return lambda rows: model.encode(data.data.texts(rows) or [])
    return lambda rows: np.asarray(model(data.data.store.read(rows)))


def _spec(example: torch.Tensor, student: Any, features: tuple[str, ...]) -> OutputSpec:
    """Shapes of what signals may read of a student: hidden layers by path, and `code`."""
    tapped = Tapped(student, tuple(path for path in features if path != CODE))
    try:
        with torch.no_grad():
            found = tapped(example)
    finally:
        tapped.close()
    shapes = {name: tuple(x.shape[1:]) for name, x in found.features.items()}
    return OutputSpec(0, {**shapes, CODE: tuple(found.logits.shape[1:])})


FAMILY = EmbedFamily()
