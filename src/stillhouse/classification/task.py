"""What every task with classes gives the shared run; `tasks/classification` and `tasks/classification` add the rest.

Nothing heavy is imported here before it is needed, so that `--help`, `list` and `--print-config` start at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from stillhouse.classification.data import ClassesDataConfig, TextDataConfig
from stillhouse.classification.light import LINEAR, MAJORITY, MOST_NUMBERS, MOST_ROWS, PLAIN, ClassesLight
from stillhouse.classification.plan import SELF, ClassesRunConfig, TeacherRunConfig
from stillhouse.classification.unused import unused_settings
from stillhouse.core import records
from stillhouse.core.callback import Callback
from stillhouse.core.checks import InputError, nearest
from stillhouse.core.config import parse
from stillhouse.core.exports import ExportChoices, Target
from stillhouse.core.folder import check_test_data, run_above, settings_of, student_folder
from stillhouse.core.labels import MISSING
from stillhouse.core.task import Arm, Contrast, Scores, Task, TeacherCheck, use_of

if TYPE_CHECKING:
    from torch import nn

    from stillhouse.cache.queries import TeacherQueries
    from stillhouse.core.context import RunContext
    from stillhouse.core.pipeline import StageContext
    from stillhouse.training.job import Job

READS = f"pixels (averages, of more than {MOST_NUMBERS:,})", "TF-IDF of tokens"
ABOUT = {
    LINEAR: "logistic regression on {reads}, fitted on the labels of at most {rows:,} training rows",
    MAJORITY: "the commonest class of the training labels, whatever the input",
    "kd": "the student, taught by the teacher",
    "no-kd": "the same student without the teacher",
    "direct": "taught by the teacher itself, without the chain of assistants",
    SELF: "the untaught student, trained once more; where a row has no label, its own answer if it is at least 90 % sure",
}


class ClassificationTask(ClassesLight, Task[ClassesRunConfig, Any]):
    """Labelled rows into classes: data, teachers, arms, jobs, scores.

    Attributes:
        Students: configurations that a saved student or assistant may have (a union by kind).
        about: what each arm is.
    """

    Students: ClassVar[Any]
    TeacherRun: ClassVar[type | None] = TeacherRunConfig
    about: ClassVar[Mapping[str, str]] = ABOUT
    validated = "validation accuracy"
    validated_in_percent = True

    # ------------------------------------------------------------------------------------------------ before training

    def train_teacher(self, config: TeacherRunConfig, out: Path, *, resume: bool, callback: Callback) -> Sequence[str]:
        """Fine-tune a network on the data."""
        from stillhouse.classification.train_teacher import train_teacher

        result = train_teacher(self, config, out, resume=resume, callback=callback)
        scores = [f"{result[split]['accuracy']:.2%}" for split in ("validation", "metrics")]
        return (
            f"validation accuracy {scores[0]}, test accuracy {scores[1]}",
            use_of(result, f"teacher.source=ckpt:{out / 'teacher.safetensors'}"),
        )

    def data(self, config: ClassesRunConfig, log: Callable[[str], None]) -> Any:
        """Read, check and split the data."""
        from stillhouse.classification.data.label_draw import described

        data = config.data.build()
        log(f"data: {data.name}, {described(data)}")
        return data

    def facts(self, data: Any) -> dict[str, Any]:
        """Also classes and the shape of one row."""
        named = {"class_names": list(data.input_spec.class_names), "image_shape": list(data.input_spec.shape)}
        return {**super().facts(data), **named, "test_sha256": _test_fingerprint(data)}

    def check(self, config: ClassesRunConfig, data: Any) -> None:
        """Refuse an assistant that has not the features that signals want of a teacher, before anything is trained."""
        import torch

        from stillhouse.classification.labelled import check_missing
        from stillhouse.classification.teachers import wanted_features

        check_missing(config, data.train.labels)

        wanted = wanted_features(config)
        for number, link in enumerate(config.teacher_assistants if wanted else ()):
            with torch.random.fork_rng(devices=[]):
                names = [name for name, _ in link.build(data.input_spec).named_modules() if name]
            for path in wanted:
                if path not in names:
                    raise InputError(
                        f"teacher_assistants.{number}: signals tap {path!r} in the teacher, and this assistant has no such module; "
                        f"{nearest(path, names)}; take an assistant like the teacher, or signals on class scores"
                    )

    def teachers(self, config: ClassesRunConfig, data: Any, given: Any, log: Callable[[str], None]) -> Sequence[Any]:
        """Every teacher of every stage; of several together each one, then the group."""
        from stillhouse.classification.teachers import build_teachers

        return build_teachers(config, data, given, self.load, log)

    def cache_key(self, config: ClassesRunConfig) -> tuple[Any, Any]:
        """Data alone; of teachers whom stages listen to, and the features that they are asked for. Caches are read anew."""
        from stillhouse.classification.teachers import cache_key

        return config.data, cache_key(config)

    def fingerprint(self, teacher: Any) -> str:
        """Of its weights as they were built."""
        from stillhouse.classification.teachers import fingerprint

        return fingerprint(teacher)

    def identities(self, config: ClassesRunConfig, data: Any, given: Any) -> Sequence[str]:
        """Of the weights as they are built: a new head is not fitted."""
        from stillhouse.classification.teachers import build_teachers, fingerprint

        return [fingerprint(one) for one in build_teachers(config, data, given, self.load, ready=False)]

    def teacher_check(self, teacher: Any, config: ClassesRunConfig, data: Any) -> TeacherCheck:
        """Validation accuracy against the share of the commonest class."""
        from stillhouse.classification.teachers import teacher_check

        return teacher_check(teacher, data.for_teachers, config.training.evaluation_batch_size)

    def baseline_score(self, config: ClassesRunConfig, data: Any) -> tuple[str, float] | None:
        """Of a linear classifier of small pictures."""
        from stillhouse.classification.teachers import baseline_score

        found = baseline_score(data.for_teachers)
        return None if found is None else ("a linear classifier of 12 x 12 pixels", found)

    def stage_teachers(self, context: RunContext[ClassesRunConfig, Any]) -> Sequence[Any]:
        """One a stage."""
        from stillhouse.classification.teachers import stage_teachers_of

        return stage_teachers_of(context.config, context.data, context.teachers, context.given)

    def teacher_queries(
        self, config: ClassesRunConfig, data: Any, teacher: Any, features: Sequence[str] = ()
    ) -> TeacherQueries:
        """Training images or their views, validation, test."""
        from stillhouse.classification.teachers import teacher_queries_of

        return teacher_queries_of(config, data, teacher, features)

    def of_seed(self, context: RunContext[ClassesRunConfig, Any], seed: int) -> RunContext[ClassesRunConfig, Any]:
        """With the labels of this seed, and what was fitted to labels fitted to those."""
        from stillhouse.classification.teachers import lab_of_seed

        return lab_of_seed(context, seed)

    def teacher_record(self, context: RunContext[ClassesRunConfig, Any]) -> dict[str, Any]:
        """`teacher.json`; with the checks of all members where several teach together."""
        found = super().teacher_record(context)
        if context.config.more_teachers and len(context.teacher_checks) > 1:
            count = 1 + len(context.config.more_teachers)
            found["members"] = [teacher_check.to_mapping() for teacher_check in context.teacher_checks[-count - 1 : -1]]
        return found

    def unused(self, config: ClassesRunConfig) -> Sequence[str]:
        """One line a setting that has no effect."""
        return unused_settings(config)

    # ------------------------------------------------------------------------------------------------ training

    def arms(self, config: ClassesRunConfig) -> Sequence[Arm]:
        """The student taught, alone, and without the chain; below them what plain models make of the same labels."""
        reads = READS[isinstance(config.data, TextDataConfig)]
        seeds = config.seeds if getattr(config.data, "label_limit", None) else 1  # each has labels of its own
        plain = [
            Arm(name, None, False, seeds, fit=_fitted(name), about=about, plain=words)
            for name, words in PLAIN.items()
            for about in [ABOUT[name].format(reads=reads, rows=MOST_ROWS)]
        ]
        named = sorted(config.arms, key=lambda name: name == SELF)  # after the student whose answers it learns
        return [*(self.arm(name, config) for name in named), *plain]

    def arm(self, name: str, config: ClassesRunConfig) -> Arm:
        """What an arm changes."""
        chain = config.teacher_assistants if name == "kd" else ()
        return Arm(name, config.student, name not in ("no-kd", SELF), config.seeds, chain, about=self.about[name])

    def shipped(self, arms: Sequence[Arm]) -> Arm:
        """The arm that the controls are held against."""
        named = {arm.name: arm for arm in arms}
        return named.get("kd") or named["no-kd"]

    def contrasts(self, config: ClassesRunConfig) -> Sequence[Contrast]:
        """The teacher, the chain where there is one, and the shipped student beside plain models."""
        return (
            Contrast("teacher", "kd", "no-kd", "accuracy", always=True),
            Contrast("chain", "kd", "direct", "accuracy"),
            Contrast("teacher against self-training", "kd", SELF, "accuracy"),
            *(Contrast(name, config.reference, name, "accuracy") for name in PLAIN),
        )

    def student(self, arm: Arm, choice: Any, seed: int, context: RunContext[ClassesRunConfig, Any]) -> nn.Module:
        """A network for the task of the data."""
        network: nn.Module = choice.build(context.data.input_spec)
        return network

    def job(self, stage_context: StageContext[ClassesRunConfig, Any]) -> Job:
        """Labels, and what the stage's teacher puts out."""
        from stillhouse.core.signal_set import signal_set_of

        context = stage_context.context
        stage_teacher = next(
            (stage_teacher for stage_teacher in reversed(context.stage_teachers) if stage_teacher is not None), None
        )
        return self.job_class()(
            stage_context.student,
            self._self_labelled(context, stage_context.seed) if stage_context.arm.name == SELF else context.data,
            stage_context.stage.training,
            seed=stage_context.job_seed,
            signal_set=signal_set_of(stage_context, context.data.input_spec.example(2)),
            teacher_probabilities=None if stage_teacher is None else stage_teacher.facts,
        )

    def _self_labelled(self, context: RunContext[ClassesRunConfig, Any], seed: int) -> Any:
        """The data, with what the untaught student of the same seed is sure of as labels of rows without one."""
        import torch

        from stillhouse.classification.labelled import own_labels
        from stillhouse.classification.predict import probabilities_of

        model, train = self.load(context.place("no-kd", seed)), context.data.train
        found = probabilities_of(model, train, context.config.training.evaluation_batch_size)
        return replace(context.data, train=replace(train, labels=own_labels(train.labels, torch.from_numpy(found))))

    def job_class(self) -> Any:
        """The class of its jobs."""
        from stillhouse.classification.job import ClassificationJob

        return ClassificationJob

    def difficulty(self, judge: Any, context: RunContext[ClassesRunConfig, Any]) -> np.ndarray:
        """(N,) by loss and margin of a judge on the training rows."""
        from stillhouse.classification.predict import predict, probabilities_of
        from stillhouse.curricula import score_difficulty
        from stillhouse.teachers.stage_teacher import StageTeacher

        curriculum, size = context.config.curriculum, context.config.training.evaluation_batch_size
        assert curriculum is not None
        if isinstance(judge, StageTeacher):
            found = predict(lambda batch: judge(batch).logits, context.data.for_teachers.train, size)
        else:
            found = probabilities_of(judge, context.data.train, size)
        logits = np.log(np.maximum(found, np.finfo(np.float32).tiny))
        labels = context.data.train.labels.numpy()
        return score_difficulty(logits, labels, curriculum.measures, k=curriculum.fusion_k)

    def labels(self, context: RunContext[ClassesRunConfig, Any]) -> np.ndarray:
        """(N,) classes of the training rows."""
        found: np.ndarray = context.data.train.labels.numpy()
        return found

    def as_stage_teacher(self, students: Sequence[Any], context: RunContext[ClassesRunConfig, Any]) -> Any:
        """The newest assistant, or all of them together with the first teacher."""
        from stillhouse.classification.teachers import as_teacher, stage_teacher_of
        from stillhouse.teachers import EnsembleTeacher

        data = context.data.for_teachers
        assistants = [as_teacher(one, context.data, context.config, f"assistant-{n}") for n, one in enumerate(students)]
        if context.config.assistant_teachers == "last":
            return stage_teacher_of(assistants[-1], data, context.config)
        first = next(
            (stage_teacher.teacher for stage_teacher in context.stage_teachers if stage_teacher is not None), None
        )
        together = assistants if first is None else [first, *assistants]
        return stage_teacher_of(EnsembleTeacher(together), data, context.config)

    def module_of(self, stage_teacher: Any) -> Any:
        """The teacher's network; None for several together."""
        return getattr(stage_teacher.teacher, "module", None)

    # ------------------------------------------------------------------------------------------------ afterwards

    def score(self, model: Any, arm: Arm, seed: int, context: RunContext[ClassesRunConfig, Any]) -> Scores:
        """Accuracy and negative log-likelihood of each test row, calibration, and what the first seed costs."""
        from stillhouse.classification.predict import predict, probabilities_of
        from stillhouse.metrics.cost import measure_cost

        size, labels = context.config.training.evaluation_batch_size, context.data.test.labels.numpy()
        if arm.plain:
            labelled = int((context.data.train.labels != MISSING).sum())
            rows = min(labelled, MOST_ROWS) if arm.name == LINEAR else labelled
            return Scores(
                *_figures(predict(model, context.data.for_teachers.test, size), labels), facts={"fitted_on": rows}
            )
        probabilities = probabilities_of(model, context.data.test, size)
        weights = context.place(arm.name, seed) / records.STUDENT
        facts = {"cost": measure_cost(model.cpu(), context.data.input_spec.example, weights)} if seed == 0 else {}
        arrays = {records.PREDICTIONS: {"labels": labels, "probabilities": probabilities}}
        return Scores(*_figures(probabilities, labels), arrays, facts)

    def score_teacher(self, context: RunContext[ClassesRunConfig, Any]) -> Scores:
        """The same of the teacher that students are compared with."""
        from stillhouse.classification.predict import predict

        test = context.data.for_teachers.test
        found = predict(
            lambda batch: context.teacher(batch).logits, test, context.config.training.evaluation_batch_size
        )
        items, scalars = _figures(found, test.labels.numpy())
        facts = {"test_score": float(np.mean(items["accuracy"])), "test_ece": scalars["ece"]}
        return Scores(items, scalars, {records.TEACHER_PREDICTIONS: {"probabilities": found}}, facts)

    def save(self, folder: Path, model: Any, choice: Any, context: RunContext[ClassesRunConfig, Any]) -> None:
        """Weights and card."""
        from stillhouse.classification.card import save_student
        from stillhouse.classification.data.config import TextDataConfig

        texts = context.config.data if isinstance(context.config.data, TextDataConfig) else None
        save_student(folder, model, choice, context.data.input_spec, task=self.kind, texts=texts)

    def load(self, folder: Path) -> Any:
        """A student in eval mode, on the CPU."""
        from stillhouse.classification.card import load_student

        return load_student(folder, self.Students)

    def cost(self, folder: Path) -> dict[str, float]:
        """Weights, counted multiply-adds of one input, and its time: that of the run's report, else measured now."""
        from stillhouse.classification.card import read_card
        from stillhouse.core.summary import stored_time
        from stillhouse.metrics.cost import count_cost, fastest_ms

        _, input_spec = read_card(folder, self.Students)
        model = self.load(folder)
        found = count_cost(model, input_spec.example, folder / records.STUDENT)
        stored = stored_time(folder)
        return {
            "params": float(found["params"]),
            "macs": found["flops"] / 2,
            "bytes": float(found["bytes_on_disk"]),
            "ms": fastest_ms(model, input_spec.example) if stored is None else stored,
        }

    def predictor(self, folder: Path) -> Any:
        """Photos, arrays or texts into classes."""
        from stillhouse.classification.use import open_predictor

        return open_predictor(self, student_folder(folder))

    def evaluate(self, folder: Path, **choices: Any) -> dict[str, Any]:
        """Score a saved student on the test split of its run's data, or of other data.

        Args:
            folder: of a student, or of a run: its shipped student.
            choices: `data`, the name of another data set, and `data_root`, where it lies.
        """
        from stillhouse.classification.card import read_card
        from stillhouse.classification.metrics import evaluate
        from stillhouse.classification.predict import probabilities_of

        place = student_folder(folder)
        data = self._data_of(place, **choices)
        if not choices:
            check_test_data(place, "test_sha256", _test_fingerprint(data), "--data or --data-root")
        _, input_spec = read_card(place, self.Students)
        if (input_spec.num_classes, input_spec.shape) != (data.input_spec.num_classes, data.input_spec.shape):
            raise InputError(
                f"the student expects {input_spec.num_classes} classes of inputs {input_spec.shape}, "
                f"{data.name} has {data.input_spec.num_classes} of {data.input_spec.shape}"
            )
        found = evaluate(probabilities_of(self.load(place), data.test), data.test.labels.numpy(), None)
        return {"data": data.name, "images": len(data.test), **{k: v for k, v in found.items() if v is not None}}

    def exports(self) -> Mapping[str, Target]:
        """ONNX, and a program of torch.export."""
        return {
            "onnx": Target("for onnxruntime", ".onnx", self._write_onnx),
            "torch": Target("for torch.export.load", ".pt2", self._write_program),
        }

    def _write_onnx(self, folder: Path, out: Path, choices: ExportChoices) -> Sequence[str]:
        from stillhouse.classification.export import write_onnx

        data = self._data_of(folder, choices.data, choices.data_root)
        return [write_onnx(self.load(folder), data.test, out, data.input_spec)]

    def _write_program(self, folder: Path, out: Path, choices: ExportChoices) -> Sequence[str]:
        from stillhouse.classification.export import write_program

        return [write_program(self.load(folder), self._test_split(folder, choices), out)]

    def _test_split(self, folder: Path, choices: ExportChoices) -> Any:
        """Rows on which what was written is held against the network."""
        return self._data_of(folder, choices.data, choices.data_root).test

    def _data_of(self, place: Path, data: str | None = None, data_root: str | None = None) -> Any:
        run = run_above(place)
        settings = settings_of(run, "data") if run is not None and data is None else {"name": data}
        if settings.get("name") is None:
            raise InputError("which data? name it with --data")
        if data_root is not None:
            if settings["name"] == "digits":
                raise InputError(
                    "--data-root: digits are in the package, and lie nowhere else; name other data with --data"
                )
            settings["root"] = data_root
        return parse(ClassesDataConfig, settings).build()  # type: ignore[arg-type]


def _fitted(name: str) -> Callable[[Any, int], Any]:
    """How a plain model is fitted: (lab, seed) -> model."""

    def fit(context: Any, seed: int) -> Any:
        from stillhouse.classification import plain

        return (plain.linear if name == LINEAR else plain.commonest)(context.data.for_teachers)

    return fit


def _test_fingerprint(data: Any) -> str:
    """Of the rows that are tested, with their labels."""
    from stillhouse.classification.data.statistics import fingerprint

    rows = data.test.ids if hasattr(data.test, "ids") else data.test.held
    return fingerprint([("test", rows, data.test.labels)])


def _figures(probabilities: np.ndarray, labels: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, float | None]]:
    """What each row adds to accuracy and negative log-likelihood, and the calibration of all."""
    from stillhouse.classification.metrics import evaluate

    found = evaluate(probabilities, labels, None)
    picked = probabilities[np.arange(len(labels)), labels]
    nll = -np.log(np.maximum(picked, np.finfo(np.float32).tiny))
    items = {"accuracy": probabilities.argmax(1) == labels, "nll": nll.astype(np.float64)}
    return items, {"ece": found["ece"]}
