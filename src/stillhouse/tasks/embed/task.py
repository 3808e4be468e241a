"""The task of embeddings: vectors of a teacher into few readable numbers, beside PCA, UMAP and others.

OUT, beside what every run has: arms/pca/seed-0/, arms/umap/... with codes and figures of the controls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stillhouse.core import ranks
from stillhouse.core.checks import InputError
from stillhouse.core.exports import Target
from stillhouse.core.parts import Arm, Objective, Scores, TeacherCheck
from stillhouse.core.pipeline import StageContext, signal_set_of
from stillhouse.core.task import RunContext, Task
from stillhouse.core.types import Batch, Outputs, OutputSpec
from stillhouse.tasks.embed.config import STUDENT, EmbedRunConfig
from stillhouse.tasks.embed.job import CODE, EmbeddingJob
from stillhouse.tasks.embed.material import ANCHOR_ROWS, START_ROWS, EmbeddingData
from stillhouse.tasks.embed.metrics import K, nearest_neighbors
from stillhouse.tasks.embed.network import EmbeddingStudent, load_embedder, save_embedder
from stillhouse.tasks.embed.results import CodePredictor, EmbedResults
from stillhouse.tasks.embed.score import evaluate, fit_anchor, score, share_kept, teacher_check

AUTOENCODER = "autoencoder"  # the control that is trained
VECTOR = "vector"  # the teacher's vectors as a feature of signals
EmbedContext = RunContext[EmbedRunConfig, EmbeddingData]
EmbedStage = StageContext[EmbedRunConfig, EmbeddingData]


class VectorTeacher:
    """The vectors themselves, or the codes of a wider student in their place, as a teacher: feature `vector` of each row.

    Args:
        data: of the run.
        student: an assistant; None: the vectors.
    """

    def __init__(self, data: EmbeddingData, student: EmbeddingStudent | None = None) -> None:
        self.data, self.student, self.params = data, student, 0
        self.name = str(data.teacher["name"]) if student is None else "assistant"
        width = data.store.width if student is None else sum(student.config.levels)
        self.spec = OutputSpec(0, {VECTOR: (width,)})

    @property
    def fingerprint(self) -> str:
        """That of the vectors."""
        return self.data.store.sha256

    def __call__(self, batch: Batch) -> Outputs:
        """(B, D) of a batch's rows, without gradient."""
        found = self.data.train(batch.index.cpu())
        if self.student is not None:
            found = torch.from_numpy(self.student.encode(found.numpy()))
        found = found.to(batch.inputs.device)
        return Outputs(found.new_zeros(len(found), 0), {VECTOR: found})


class EmbedTask(EmbedResults, Task[EmbedRunConfig, EmbeddingData]):
    """Wide embeddings into few numbers. The teacher is the vectors, so every student hears it; controls are fitted."""

    Config = EmbedRunConfig
    objective = Objective("validation score (mean of near and far)")

    # ------------------------------------------------------------------------------------------------ before training

    def data(self, config: EmbedRunConfig, log: Callable[[str], None]) -> EmbeddingData:
        """Open, check and split the vectors."""
        if "umap" in config.anchors and find_spec("umap") is None:  # found out at the end, hours would seem lost
            raise InputError(
                "anchors: 'umap' needs a package that is not installed: pip install 'stillhouse[embeddings]'; or leave it out"
            )
        material = EmbeddingData(config)
        sizes = ", ".join(f"{count:,} {split}" for split, count in material.sizes.items())
        log(f"{material.name}: {sizes} vectors of {material.store.width}, compared by {material.metric}")
        return material

    def teachers(
        self, config: EmbedRunConfig, data: EmbeddingData, given: Any, log: Callable[[str], None]
    ) -> Sequence[VectorTeacher]:
        """The vectors themselves."""
        if given is not None or config.teacher_cache is not None:
            raise InputError(
                f"{'teacher_cache' if given is None else 'teacher'}: the teacher of an embedding run is its vectors; capture "
                "them (`stillhouse embed capture`) and name the folder as data.path"
            )
        return [VectorTeacher(data)]

    def teacher_check(self, teacher: VectorTeacher, config: EmbedRunConfig, data: EmbeddingData) -> TeacherCheck:
        """Whether near and far mean anything: neighbours that principal axes keep, against noise."""
        return teacher_check(teacher.name, data, config.loss.validation_rows, K)

    def stage_teachers(self, context: EmbedContext, assistants: Sequence[Any] = ()) -> Sequence[VectorTeacher]:
        """The vectors; an assistant is listened to through its codes, as feature `vector`."""
        teacher = VectorTeacher(context.data, assistants[-1]) if assistants else context.teacher
        return (teacher,) * len(context.config.stages_of(True))

    # ------------------------------------------------------------------------------------------------ training

    def arms(self, config: EmbedRunConfig) -> Sequence[Arm]:
        """The student and controls."""
        about = "taught by the vectors"
        student = Arm(STUDENT, config.student, True, config.seeds, config.teacher_assistants, about=about)
        seeds = {"pca": 1, "truncation": 1}  # which know no chance
        controls = []
        for name in config.anchors:
            against = ((name, STUDENT),)
            if name == AUTOENCODER:
                about = "the student's network, which rebuilds the vectors and is taught nothing else"
                controls.append(Arm(name, config.student, False, config.seeds, about=about, controls=against))
            else:
                count, fit = seeds.get(name, config.seeds), partial(fit_control, name)
                controls.append(Arm(name, None, False, count, fit=fit, controls=against))
        return [student, *controls]

    def student(self, arm: Arm, choice: Any, seed: int, context: EmbedContext) -> EmbeddingStudent:
        """Starts as the principal axes."""
        decided = replace(choice, normalize=context.data.normalize)
        return EmbeddingStudent.from_vectors(decided, context.data.sample(START_ROWS))

    def job(self, stage_context: EmbedStage) -> EmbeddingJob:
        """Neighbours, distances, and what signals add."""
        context, loss = stage_context.context, stage_context.context.config.loss
        if stage_context.arm.name == AUTOENCODER:
            loss = replace(loss, neighbor_weight=0.0, global_weight=0.0, class_weight=0.0, reconstruction_weight=1.0)
        return EmbeddingJob(
            stage_context.student,
            context.data,
            loss,
            batch_size=stage_context.stage.training.batch_size,
            seed=stage_context.job_seed,
            parts=stage_context.stage.training.accumulate,
            signal_set=signal_set_of(stage_context, context.data.train(np.arange(2)), _spec),
            after_stage=partial(self._keep_stage, stage_context),
        )

    def _keep_stage(self, stage_context: EmbedStage, stage: int) -> None:
        """The student as it stands at the end of a temperature's stage, in `stages/tau-1` and so on of its arm."""
        context = stage_context.context
        if ranks.rank():
            return
        name = f"{stage_context.stage.name}-tau-{stage + 1}" if context.config.stages else f"tau-{stage + 1}"
        place = context.place(stage_context.arm.name, stage_context.seed) / "stages" / name
        self.save(place, stage_context.student, None, context)

    def difficulty(self, judge: Any, context: EmbedContext) -> tuple[np.ndarray, np.ndarray]:
        """Of each training row: how far its neighbours are (to the vectors), or how many of them a student's codes lose."""
        rows = context.data.train(np.arange(len(context.data.train))).numpy()
        one_class = np.zeros(len(rows), np.int64)
        # rows have length 1 where lengths are left out
        near = nearest_neighbors(rows, min(K, len(rows) - 1), metric="euclidean")
        student = judge.student if isinstance(judge, VectorTeacher) else judge
        if student is None:
            # neighbour by neighbour: all at once would be ten copies of the vectors
            return np.mean([np.linalg.norm(rows - rows[column], axis=1) for column in near.T], axis=0), one_class
        codes = student.encode(rows)[:, : student.config.levels[0]]
        return 1.0 - share_kept(rows, [codes], near.shape[1], "euclidean"), one_class

    # ------------------------------------------------------------------------------------------------ afterwards

    def score(self, model: Any, arm: Arm | None, seed: int, context: EmbedContext) -> Scores | None:
        """Neighbours and distances that the codes of the test rows keep, at every level."""
        if arm is None:
            return None
        encode = model.cpu().eval().encode if isinstance(model, EmbeddingStudent) else model
        return score(context.data, encode, context.config.student)

    def save(self, folder: Path, model: EmbeddingStudent, choice: Any, context: EmbedContext) -> None:
        """Weights and a card that numpy alone can use."""
        save_embedder(folder, model, teacher=context.data.teacher, data=context.data.facts)

    def load(self, folder: Path) -> EmbeddingStudent:
        """A vector student."""
        return load_embedder(folder)

    def predictor(self, folder: Path) -> CodePredictor:
        """Vectors into codes."""
        return CodePredictor(folder)

    def evaluate(self, folder: Path, **choices: Any) -> dict[str, Any]:
        """Figures of a student on the test rows of its run, or of other vectors (`vectors`, `key`, `limit`)."""
        return evaluate(folder, **choices)

    def exports(self) -> Mapping[str, Target]:
        """One folder for those who use it; each holds its codes against the network's."""
        from stillhouse.tasks.embed.export import write_for_numpy, write_for_onnx, write_for_torch

        return {
            "numpy": Target("needs numpy and safetensors", "", write_for_numpy, takes=()),
            "onnx": Target("numpy and ONNX", "", write_for_onnx, takes=()),
            "torch": Target("for torch.export.load", ".pt2", write_for_torch, takes=()),
        }


def fit_control(anchor: str, context: EmbedContext, seed: int) -> Any:
    """PCA, UMAP and others, fitted on training rows: codes of any vectors."""
    train = context.data.sample(ANCHOR_ROWS).numpy()
    return fit_anchor(anchor, train, context.config.student.levels[0], seed=seed, normalize=context.data.normalize)


def _spec(student: Any, features: tuple[str, ...]) -> OutputSpec:
    """Shapes of what signals may read of a student: hidden layers by path, and `code`."""
    hidden1, hidden2 = student.config.hidden
    return OutputSpec(0, {"hidden1": (hidden1,), "hidden2": (hidden2,), CODE: (sum(student.config.levels),)})


TASK = EmbedTask()
