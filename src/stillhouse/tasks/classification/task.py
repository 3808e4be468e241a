"""Classes, by students of any kind: networks of timm, of spikes, of texts, and of clauses with controls, rules and machines.

Nothing heavy is imported here before it is needed, so that `--help`, `list` and `--print-config` start at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stillhouse.core.callback import Callback
from stillhouse.core.checks import InputError
from stillhouse.core.exports import ExportChoices, Target
from stillhouse.core.folder import student_folder
from stillhouse.core.parts import Arm, Objective, use_of
from stillhouse.core.task import Task
from stillhouse.tasks.classification.plan import (
    CONTROLS,
    LINEAR,
    MAJORITY,
    MOST_NUMBERS,
    MOST_ROWS,
    PLAIN,
    READABLE,
    SELF,
    ClassificationRunConfig,
    TeacherRunConfig,
)
from stillhouse.tasks.classification.results import ClassificationResults
from stillhouse.tasks.classification.students import StudentConfig, has_clauses

if TYPE_CHECKING:
    from torch import nn

    from stillhouse.core.pipeline import StageContext
    from stillhouse.core.task import RunContext
    from stillhouse.training.job import Job

READS = {"texts": "TF-IDF of tokens", "words": "TF-IDF of words", "table": "thresholds and categories"}  # else pixels
ABOUT = {  # of arms
    LINEAR: "logistic regression on {reads}, fitted on the labels of at most {rows:,} training rows",
    MAJORITY: "the commonest class of the training labels, whatever the input",
    "kd": "the student, taught by the teacher",
    "no-kd": "the same student without the teacher",
    "direct": "taught by the teacher itself, without the chain of assistants",
    SELF: "the untaught student, trained once more; where a row has no label, its own answer if it is at least 90 % sure",
    "clauses-off": "the same student, trained without its clauses",
    "mlp": "the same student with an MLP in place of the clauses",
}
QUESTIONS = {
    "direct": "chain",
    "clauses-off": "clauses",
    "mlp": "clauses against MLP",
    SELF: "teacher against self-training",
}
FORMS = {  # what a student can be written as, and the suffix of the file
    "packed": ("bits and whole numbers in one file", ".packed.safetensors"),
    "c": ("C99, no allocation", ".c"),
    "json": ("rules or points for other programs", ".json"),
    "python": ("one file that needs Python alone", ".py"),
    "sql": ("one SELECT over a table", ".sql"),
    "rules": ("rules and clauses to read", ""),
    "onnx": ("for onnxruntime", ".onnx"),
    "torch": ("for torch.export.load", ".pt2"),
}


def later(path: str) -> Any:
    """A method that is a function of another module, MODULE:NAME here, which loads torch: imported when it is called."""
    module, _, name = path.partition(":")

    def method(self: Any, *given: Any, **named: Any) -> Any:
        return getattr(import_module(f"{__package__}.{module}"), name)(*given, **named)

    return method


class ClassificationTask(ClassificationResults, Task[ClassificationRunConfig, Any]):
    """Labelled rows into classes, by students of any kind."""

    Config = ClassificationRunConfig
    Students = StudentConfig
    TeacherRun = TeacherRunConfig
    objective = Objective("validation accuracy", in_percent=True)

    teachers = later("teachers:build_teachers")
    teacher_check = later("teachers:teacher_check")
    stage_teachers = later("teachers:stage_teachers_of")
    before_training = later("plain:log_logistic_regression")
    teacher_queries = later("teachers:teacher_queries_of")
    of_seed = later("teachers:context_of_seed")
    score = later("predict:score")
    cost = later("predict:cost")
    evaluate = later("predict:evaluate_saved")

    # ------------------------------------------------------------------------------------------------ before training

    def train_teacher(self, config: TeacherRunConfig, out: Path, *, resume: bool, callback: Callback) -> Sequence[str]:
        """Fine-tune a network on the data."""
        from stillhouse.tasks.classification.train_teacher import train_teacher

        result = train_teacher(self, config, out, resume=resume, callback=callback)
        scores = [f"{result[split]['accuracy']:.2%}" for split in ("validation", "metrics")]
        return (
            f"validation accuracy {scores[0]}, test accuracy {scores[1]}",
            use_of(result, f"teacher.source=ckpt:{out / 'teacher.safetensors'}"),
        )

    def data(self, config: ClassificationRunConfig, log: Callable[[str], None]) -> Any:
        """Read, check and split the data; refuse students and assistants that read other data."""
        from stillhouse.tasks.classification.data.split import count_split_rows
        from stillhouse.tasks.classification.job import check_missing

        data = config.data.build()
        log(f"data: {data.name}, {count_split_rows(data)}")
        known = {str(row) for row in getattr(data.train, "raw", ())}
        if again := sum(str(row) in known for row in getattr(data.test, "raw", ())):
            log(
                f"{again:,} of {len(data.test):,} test rows are training rows too: take them out, or the scores are too good"
            )
        if not isinstance(config, ClassificationRunConfig):
            return data
        students = {"student": config.student}
        students |= {f"teacher_assistants.{number}": one for number, one in enumerate(config.teacher_assistants)}
        for place, student in students.items():
            if (reads := getattr(student, "reads", "images")) != data.input_spec.rows:
                raise InputError(
                    f"{place}: kind {student.kind!r} reads {reads}, and data {data.name!r} are {data.input_spec.rows}"
                )
        check_missing(config, data.train.labels)
        return data

    # ------------------------------------------------------------------------------------------------ training

    def arms(self, config: ClassificationRunConfig) -> Sequence[Arm]:
        """The student taught, alone, and without the chain; below them what plain models make of the same labels.

        Controls of the clause branch are taught exactly if the reference arm is, and as it is.
        """
        found = []
        for name in sorted(config.arms, key=lambda name: name == SELF):  # after the student whose answers it learns
            student: Any = config.student
            taught = config.reference == "kd" if name in CONTROLS else name not in ("no-kd", SELF)
            chain = config.teacher_assistants if taught and name != "direct" else ()
            if name in CONTROLS:
                student = student.with_ordinary_part() if name == "mlp" else student.without_special_part()
            controls = ((QUESTIONS[name], config.reference if name in CONTROLS else "kd"),) if name in QUESTIONS else ()
            found.append(Arm(name, student, taught, config.seeds, chain, about=ABOUT[name], controls=controls))
        reads = READS.get(config.data.name, f"pixels (averages, of more than {MOST_NUMBERS:,})")
        seeds = config.seeds if config.data.label_limit else 1  # each has labels of its own
        for plain, words in PLAIN.items():
            about, controls = ABOUT[plain].format(reads=reads, rows=MOST_ROWS), ((plain, config.reference),)
            fit = _fitted(plain)
            found.append(Arm(plain, None, False, seeds, fit=fit, about=about, plain=words, controls=controls))
        return found

    def student(self, arm: Arm, choice: Any, seed: int, context: RunContext[ClassificationRunConfig, Any]) -> nn.Module:
        """A network for the data, its clauses started from the prior and with the learning rate that is theirs."""
        from stillhouse.tasks.classification.job import has_clauses as in_network
        from stillhouse.tasks.classification.students.clauses import ClauseModel
        from stillhouse.tasks.classification.students.core import apply_prior

        network: nn.Module = choice.build(context.data.input_spec)
        if isinstance(network, ClauseModel):
            network.clause_learning_rate_factor = context.config.training.clause_learning_rate_factor
        prior = context.config.prior
        if prior != "none" and in_network(network):  # controls and ordinary assistants have none
            apply_prior(network, prior)
        return network

    def job(self, stage_context: StageContext[ClassificationRunConfig, Any]) -> Job:
        """Labels, and what the stage's teacher puts out."""
        from stillhouse.core.pipeline import signal_set_of
        from stillhouse.tasks.classification.job import ClassificationJob

        context = stage_context.context
        known = [one for one in context.stage_teachers if one is not None]
        own = stage_context.arm.name == SELF
        return ClassificationJob(
            stage_context.student,
            self._self_labelled(context, stage_context.seed) if own else context.data,
            stage_context.stage.training,  # type: ignore[arg-type]
            seed=stage_context.job_seed,
            signal_set=signal_set_of(stage_context, context.data.input_spec.example(2)),
            teacher_probabilities=known[-1].facts if known else None,
        )

    def _self_labelled(self, context: RunContext[ClassificationRunConfig, Any], seed: int) -> Any:
        """The data, with what the untaught student of the same seed is sure of as labels of rows without one."""
        import torch

        from stillhouse.tasks.classification.job import own_labels
        from stillhouse.tasks.classification.predict import probabilities_of

        model, train = self.load(context.place("no-kd", seed)), context.data.train
        found = probabilities_of(model, train, context.config.training.evaluation_batch_size)
        return replace(context.data, train=replace(train, labels=own_labels(train.labels, torch.from_numpy(found))))

    def difficulty(
        self, judge: Any, context: RunContext[ClassificationRunConfig, Any]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """(N,) by loss and margin of a judge on the training rows, and their classes."""
        from stillhouse.curricula import score_difficulty
        from stillhouse.tasks.classification.predict import predict, probabilities_of
        from stillhouse.teachers.teacher import StageTeacher

        curriculum, size = context.config.curriculum, context.config.training.evaluation_batch_size
        assert curriculum is not None
        if isinstance(judge, StageTeacher):
            found = predict(lambda batch: judge(batch).logits, context.data.for_teachers.train, size)
        else:
            found = probabilities_of(judge, context.data.train, size)
        logits = np.log(np.maximum(found, np.finfo(np.float32).tiny))
        labels = context.data.train.labels.numpy()
        return score_difficulty(logits, labels, curriculum.measures, k=curriculum.fusion_k), labels

    # ------------------------------------------------------------------------------------------------ afterwards

    def finish(self, context: RunContext[ClassificationRunConfig, Any], summary: dict[str, Any]) -> None:
        """What is to be feared of the teacher, and the shipped student's rules."""
        from stillhouse.tasks.classification.plain import write_taught
        from stillhouse.tasks.classification.teachers import risks

        summary["hints"] = [*summary["hints"], *risks(context)]
        write_taught(context, summary)
        student = context.config.student
        if student.kind in READABLE:
            from stillhouse.tasks.classification.exports import write_shipped

            write_shipped(self, context, summary)
        if has_clauses(student):
            self._write_rules(context, summary)

    def _write_rules(self, context: RunContext[ClassificationRunConfig, Any], summary: dict[str, Any]) -> None:
        """Rules of the shipped student into the run folder, and what they keep into the summary."""
        from stillhouse.tasks.classification.rules_file import Rules, write_rules
        from stillhouse.tasks.classification.students.banks import named_banks
        from stillhouse.tasks.classification.students.rules import rules_of

        shipped = summary["shipped"]
        model = self.load(context.place(shipped["arm"], shipped["seed"]))
        if not named_banks(model):
            return
        found = rules_of(model, self.of_seed(context, shipped["seed"]).data)
        index = {**found.index, "student": dict(shipped)}
        write_rules(context.folder.path, Rules(index, found.arrays))
        summary["rules"] = {
            "shown": len(index["rules"]),
            "accuracy": index["shown"],
            "full": index["full"],
            "images": index["judged_on"],
            "growth": index["growth"],
        }

    def save(self, folder: Path, model: Any, choice: Any, context: RunContext[ClassificationRunConfig, Any]) -> None:
        """Weights and card."""
        from stillhouse.tasks.classification.card import save_student

        texts = context.config.data if context.config.data.name == "texts" else None
        save_student(folder, model, choice, context.data.input_spec, task=self.kind, texts=texts)

    def load(self, folder: Path) -> Any:
        """A student in eval mode, on the CPU."""
        from stillhouse.tasks.classification.card import load_student

        return load_student(folder, self.Students)

    def predictor(self, folder: Path) -> Any:
        """Photos, arrays or texts into classes; a student of boolean features reads those of the photo."""
        from stillhouse.tasks.classification.use import open_predictor

        return open_predictor(self, student_folder(folder))

    def exports(self) -> Mapping[str, Target]:
        """Every form by its name; forms that a student has not are refused when they are written."""

        def writer(form: str) -> Callable[[Path, Path, ExportChoices], Sequence[str]]:
            def write(folder: Path, out: Path, choices: ExportChoices) -> Sequence[str]:
                from stillhouse.tasks.classification.exports import write as write_form

                return write_form(form, self.load, folder, out, choices)

            return write

        return {form: Target(about, suffix, writer(form)) for form, (about, suffix) in FORMS.items()}


def _fitted(name: str) -> Callable[[Any, int], Any]:
    """How a plain model is fitted: (lab, seed) -> model."""

    def fit(context: Any, seed: int) -> Any:
        from stillhouse.tasks.classification import plain

        return plain.fit_linear(context, seed) if name == LINEAR else plain.class_prior(context.data.for_teachers)

    return fit


TASK = ClassificationTask()
