"""The task of embeddings: vectors of a teacher into few readable numbers, beside PCA, UMAP and others.

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
from stillhouse.core.context import RunContext
from stillhouse.core.costs import weight_bytes
from stillhouse.core.exports import Target
from stillhouse.core.folder import SHIPPED
from stillhouse.core.model_card import CARDS, write_card
from stillhouse.core.pipeline import StageContext
from stillhouse.core.records import read_object
from stillhouse.core.signal_set import signal_set_of
from stillhouse.core.task import Arm, Contrast, Scores, Task, TeacherCheck
from stillhouse.core.types import OutputSpec
from stillhouse.layers.hooks import FeatureExtractor
from stillhouse.tasks.embed.data.rows import LessonRows, VectorTeacher
from stillhouse.tasks.embed.job import CODE, NEIGHBORS, EmbeddingJob
from stillhouse.tasks.embed.light import FAR, NEAR, EmbedLight
from stillhouse.tasks.embed.material import (
    LENGTHS_DIFFER,
    EmbeddingData,
    graph_of,
    length_spread,
    open_material,
    split_digest,
    teacher_facts,
)
from stillhouse.tasks.embed.metrics.anchors import fit_anchor
from stillhouse.tasks.embed.metrics.neighbourhood import nearest_neighbors
from stillhouse.tasks.embed.plan import STUDENT, TEXT, EmbedRunConfig, unsupported_reason
from stillhouse.tasks.embed.score import neighbour_samples, score, share_kept, teacher_check
from stillhouse.tasks.embed.students.network import EmbeddingStudent, load_embedder, save_embedder
from stillhouse.tasks.embed.text import TextEmbedder, fit_text_student

SHIPPED_TEXT = "text-student"
EmbedContext = RunContext[EmbedRunConfig, EmbeddingData]


class EmbedTask(EmbedLight, Task[EmbedRunConfig, EmbeddingData]):
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

    def teacher_queries(
        self, config: EmbedRunConfig, data: EmbeddingData, teacher: Any, features: Sequence[str] = ()
    ) -> NoReturn:
        """None: the vectors are what a teacher answered."""
        raise InputError(
            f"{config.data.path} holds its teacher's answers already, and there is none to ask: `stillhouse distill` reads "
            "them as they are; of other texts `stillhouse embed capture` makes them"
        )

    def data(self, config: EmbedRunConfig, log: Callable[[str], None]) -> EmbeddingData:
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

    def facts(self, data: EmbeddingData) -> dict[str, Any]:
        """Name, sizes, fingerprints of vectors and splits, what was left out."""
        return {**data.facts(), "splits_sha256": split_digest(data.data)}

    def unsupported_reason(self, signal: Any) -> str | None:
        """Vectors have neither classes nor attention."""
        return unsupported_reason(signal)

    def teachers(
        self, config: EmbedRunConfig, data: EmbeddingData, given: Any, log: Callable[[str], None]
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

    def fingerprint(self, teacher: VectorTeacher) -> str:
        """That of the vectors."""
        return str(teacher.train.store.scan.sha256)

    def teacher_check(self, teacher: VectorTeacher, config: EmbedRunConfig, data: EmbeddingData) -> TeacherCheck:
        """Whether near and far mean anything: neighbours that principal axes keep, against noise."""
        return teacher_check(teacher.name, data, config.loss.validation_rows, NEIGHBORS)

    def prepare(self, context: EmbedContext) -> None:
        """The neighbours of the training rows, found once; of a curriculum of temperatures, what to expect of it."""
        if len(taus := context.config.loss.tau) > 1:
            context.callback.log(
                f"loss.tau: {len(taus)} stages from {taus[0]:g} to {taus[-1]:g}; no falling schedule was better than one "
                "temperature where that was measured, and loss.tau=0.02 was as good or better"
            )
        context.shared["graph"] = graph_of(
            context.config, context.data, context.folder.path, context.callback.log, resume=context.resume
        )

    # ------------------------------------------------------------------------------------------------ training

    def arms(self, config: EmbedRunConfig) -> Sequence[Arm]:
        """The student and points of the frontier, a text student, controls."""
        found = [
            Arm(name, config.student, True, config.seeds_of(name), config.teacher_assistants, about=_about(name))
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

    def student(self, arm: Arm, choice: Any, seed: int, context: EmbedContext) -> EmbeddingStudent:
        """Starts as the principal axes."""
        decided = replace(choice, normalize=context.data.normalize)
        return EmbeddingStudent.from_vectors(decided, context.data.start_vectors())

    def job(self, stage_context: StageContext[EmbedRunConfig, EmbeddingData]) -> EmbeddingJob:
        """Neighbours, distances, and what signals add."""
        context = stage_context.context
        example = context.data.train(np.arange(min(2, len(context.data.train))))
        stage_contexts = context.config.trained
        return EmbeddingJob(
            stage_context.student,
            LessonRows(
                context.data.train, context.data.validation, context.shared["graph"], context.data.training_poles()
            ),
            stage_contexts.get(stage_context.arm.name, context.config.loss),
            batch_size=stage_context.stage.training.batch_size,
            seed=stage_context.job_seed,
            parts=stage_context.stage.training.accumulate,
            signal_set=signal_set_of(stage_context, example, partial(_spec, example)),
            after_stage=partial(self._keep_stage, stage_context),
        )

    def _keep_stage(self, stage_context: StageContext[EmbedRunConfig, EmbeddingData], stage: int) -> None:
        """The student as it stands at the end of a temperature's stage, in `stages/tau-1` and so on of its arm."""
        context, split = stage_context.context, stage_context.stage.training.strategy == "fsdp"
        if split or ranks.rank():  # split weights are whole at the end only
            return
        with torch.random.fork_rng(devices=[]):
            copy = EmbeddingStudent(stage_context.student.config, stage_context.student.teacher_dim)
        copy.load_state_dict(stage_context.student.state_dict())
        name = (
            f"stages/{stage_context.stage.name}-tau-{stage + 1}" if context.config.stages else f"stages/tau-{stage + 1}"
        )
        self.save(
            context.place(stage_context.arm.name, stage_context.seed) / name,
            copy,
            stage_context.student.config,
            context,
        )

    def difficulty(self, judge: Any, context: EmbedContext) -> tuple[np.ndarray, np.ndarray]:
        """Of each training row: how far its neighbours are (to the vectors), or how many of them a student's codes lose."""
        rows = context.data.train(np.arange(len(context.data.train))).numpy()
        one_class = np.zeros(len(rows), np.int64)
        # rows have length 1 where lengths are left out
        near = nearest_neighbors(rows, min(NEIGHBORS, len(rows) - 1), metric="euclidean")
        student = judge.student if isinstance(judge, CodeTeacher) else judge
        if not isinstance(student, EmbeddingStudent):
            # neighbour by neighbour: all at once would be ten copies of the vectors
            return np.mean([np.linalg.norm(rows - rows[column], axis=1) for column in near.T], axis=0), one_class
        codes = student.encode(rows)[:, : student.config.levels[0]]
        return 1.0 - share_kept(rows, [codes], near.shape[1], "euclidean"), one_class

    def as_stage_teacher(self, students: Sequence[Any], context: EmbedContext) -> Any:
        """An assistant is listened to through its codes, as feature `vector`."""
        return CodeTeacher(students[-1], context.data)

    # ------------------------------------------------------------------------------------------------ afterwards

    def score(self, model: Any, arm: Arm, seed: int, context: EmbedContext) -> Scores:
        """Neighbours and distances that the codes of the test rows keep, at every level."""
        facts = getattr(model, "facts", {})
        return score(context.data, _encoder(model, context.data), context.config.student.levels, facts)

    def save(self, folder: Path, model: EmbeddingStudent, choice: Any, context: EmbedContext) -> None:
        """Weights and a card that numpy alone can use."""
        model.cpu().eval()
        teacher = teacher_facts(context.config, context.data)
        save_embedder(folder, model, teacher=teacher, data=context.data.facts(), more={"task": self.kind})

    def load(self, folder: Path) -> EmbeddingStudent:
        """A vector student."""
        return load_embedder(folder)

    def on_run_end(self, context: EmbedContext, summary: dict[str, Any]) -> None:
        """Test figures in the shipped card, the shipped text student."""
        path = context.folder.path
        for arm in context.config.trained:
            for seed in range(context.config.seeds_of(arm)):
                if context.folder.result(arm, seed)["best_epoch"] == 0:
                    context.callback.log(
                        f"{arm}, seed {seed}: no epoch was better than the principal axes, which are kept"
                    )
        shipped = {SHIPPED: (STUDENT, summary["shipped"]["seed"])}
        if context.config.text is not None:
            shipped[SHIPPED_TEXT] = (TEXT, context.folder.ship(TEXT, context.config.seeds, SHIPPED_TEXT))
        for name, (arm, seed) in shipped.items():
            card = read_object(path / name / records.CARD, CARDS)
            card["metrics"] = {**card.get("metrics", {}), **context.folder.result(arm, seed)["metrics"]}
            write_card(path / name, card)
        codes = context.data.codes(self.load(path / SHIPPED).encode, context.data.test)[
            :, : context.config.student.levels[0]
        ]
        store, vectors = context.data.data.store, context.data.test_vectors
        summary["samples"] = neighbour_samples(store, context.data.test, vectors, codes, context.data.metric)

    def cost(self, folder: Path) -> dict[str, float]:
        """Weights, and multiply-adds of a row: each weight of a matrix is used once."""
        weights = dict(load_embedder(folder).named_parameters())
        macs = sum(x.numel() for x in weights.values() if x.ndim == 2)
        params = sum(x.numel() for x in weights.values())
        return {"params": float(params), "macs": float(macs), **weight_bytes(folder)}

    def predictor(self, folder: Path) -> Any:
        """Vectors, or texts, into codes."""
        from stillhouse.tasks.embed.predict import CodePredictor

        return CodePredictor(folder)

    def evaluate(self, folder: Path, **choices: Any) -> dict[str, Any]:
        """Figures of a student on the test rows of its run, or of other vectors (`vectors`, `key`, `limit`)."""
        from stillhouse.tasks.embed.evaluate import evaluate

        return evaluate(folder, **choices)

    def exports(self) -> Mapping[str, Target]:
        """One folder for those who use it; each holds its codes against the network's."""
        from stillhouse.tasks.embed.export.embedding import write_for_numpy, write_for_onnx, write_for_torch

        return {
            "numpy": Target("needs numpy and safetensors", "", write_for_numpy, takes=()),
            "onnx": Target("numpy and ONNX", "", write_for_onnx, takes=()),
            "torch": Target("for torch.export.load", ".pt2", write_for_torch, takes=()),
        }


class CodeTeacher:
    """A wider student as the teacher of a narrower one: its codes in the place of the vectors."""

    def __init__(self, student: EmbeddingStudent, data: EmbeddingData) -> None:
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
    from stillhouse.tasks.embed.report import NAMES

    return "taught by the vectors" if name == STUDENT else NAMES.get(name, "")


def fit_control(anchor: str, context: EmbedContext, seed: int) -> Any:
    """PCA, UMAP and others, fitted on training rows: codes of any vectors."""
    train = context.data.anchor_vectors(context.config.anchor_rows)
    return fit_anchor(anchor, train, context.config.student.levels[0], seed=seed, normalize=context.data.normalize)


def fit_text(context: EmbedContext, seed: int) -> Any:
    """A text student, fitted to the codes of the vector student of the same seed; saved in its arm's folder."""
    config, data = context.config, context.data.data
    assert config.text is not None
    vectors = load_embedder(context.place(STUDENT, seed))
    rows = np.sort(np.concatenate([data.train, data.validation]))
    card = {
        "levels": list(config.student.levels),
        "output": config.student.output,
        "teacher": teacher_facts(config, context.data),
        "data": context.data.facts(),
        "axes": vectors.axes,
        "normalize": context.data.normalize,
    }
    student = fit_text_student(
        data.texts(rows) or [],
        context.data.codes(vectors.encode, rows),
        np.isin(rows, data.validation),
        features=config.text.features,
        strengths=config.text.strengths,
        card=card,
    )
    student.save(context.place(TEXT, seed))
    return student


def _encoder(model: Any, data: EmbeddingData) -> Callable[[Any], np.ndarray]:
    """Row numbers of the store -> codes, for a student, a text student and a control alike."""
    if isinstance(model, EmbeddingStudent):
        return partial(data.codes, model.cpu().eval().encode)
    if isinstance(model, TextEmbedder):
        return lambda rows: model.encode(data.data.texts(rows) or [])
    return lambda rows: np.asarray(model(data.data.store.read(rows)))


def _spec(example: torch.Tensor, student: Any, features: tuple[str, ...]) -> OutputSpec:
    """Shapes of what signals may read of a student: hidden layers by path, and `code`."""
    extractor = FeatureExtractor(student, tuple(path for path in features if path != CODE))
    try:
        with torch.no_grad():
            found = extractor(example)
    finally:
        extractor.close()
    shapes = {name: tuple(x.shape[1:]) for name, x in found.features.items()}
    return OutputSpec(0, {**shapes, CODE: tuple(found.logits.shape[1:])})


TASK = EmbedTask()
