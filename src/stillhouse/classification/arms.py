"""One arm of a run: through the chain of assistants and the stages of its pipeline to a student with its score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from stillhouse.classification.card import save_student
from stillhouse.classification.data import ImageData
from stillhouse.classification.job import ClassificationJob, Lesson
from stillhouse.classification.metrics import evaluate
from stillhouse.classification.plan import Arm, RunConfig, Stage
from stillhouse.classification.predict import predict
from stillhouse.classification.students import StudentConfig
from stillhouse.classification.teaching import Tutor
from stillhouse.core import records
from stillhouse.core.checks import InputError, nearest
from stillhouse.core.records import write_arrays, write_json
from stillhouse.core.types import OutputSpec, Progress
from stillhouse.curricula import Curriculum, score_difficulty
from stillhouse.families.clauses.specialize import has_clauses
from stillhouse.layers.taps import Tapped
from stillhouse.metrics.cost import measure_cost
from stillhouse.signals import build_signals, needs_teacher, student_features, teacher_features
from stillhouse.teachers import AverageTeacher, CachedTeacher, EnsembleTeacher, NetworkTeacher, Teacher
from stillhouse.training.inherit import inherit_layers
from stillhouse.training.loop import Fit, fit

OnProgress = Callable[[Progress, Mapping[str, float | None]], None]


@dataclass(frozen=True)
class Setting:
    """What all arms of a run share: its configuration, its data, and a tutor a stage."""

    config: RunConfig
    data: ImageData
    tutors: tuple[Tutor | None, ...]


def train_arm(setting: Setting, arm: Arm, seed: int, folder: Path, *, resume: bool, on_progress: OnProgress) -> None:
    """Train one arm with one seed and leave its student, predictions and `result.json` in a folder."""
    config, data = setting.config, setting.data
    tutors: tuple[Tutor | None, ...] = setting.tutors
    _check_chain(setting, arm)
    met: list[Teacher] = []
    seconds = 0.0
    for number, link in enumerate(arm.chain):
        student, done = _train(setting, link, tutors, True, seed, folder / f"assistant-{number}", resume, on_progress)
        save_student(folder / f"assistant-{number}", student, link, data.task)
        seconds += done.seconds
        met.append(_as_teacher(student, config, data, f"assistant-{number}"))
        tutors = _succeed(config, data, tutors, met)
    student, done = _train(setting, arm.student, tutors, arm.taught, seed, folder, resume, on_progress)
    device = next(student.parameters()).device
    probabilities = predict(lambda b: student(b.inputs.to(device)), data.test, config.training.evaluation_batch_size)
    labels = data.test.labels.numpy()
    write_arrays(folder / records.PREDICTIONS, labels=labels, probabilities=probabilities)
    save_student(folder, student, arm.student, data.task)
    result = {
        "arm": arm.name,
        "seed": seed,
        "metrics": evaluate(probabilities, labels, None),
        "validation": done.best,
        "best_epoch": done.best_epoch,
        "epochs": done.epochs,
        "seconds": seconds + done.seconds,
        "params": sum(p.numel() for p in student.parameters()),
    }
    if seed == 0:
        result["cost"] = measure_cost(student.cpu(), data.task.example, folder / records.STUDENT)
    write_json(folder / records.RESULT, result)


def _train(
    setting: Setting,
    chosen: StudentConfig,
    tutors: tuple[Tutor | None, ...],
    taught: bool,
    seed: int,
    folder: Path,
    resume: bool,
    on_progress: OnProgress,
) -> tuple[nn.Module, Fit]:
    """A student through all stages; each but the last has a folder of its own, and is done again from its checkpoint at no cost."""
    torch.manual_seed(seed)
    student = chosen.build(setting.data.task)
    if setting.config.prior != "none" and has_clauses(student):  # controls have none
        from stillhouse.families.clauses.students.priors import apply_prior

        apply_prior(student, setting.config.prior)
    if taught and setting.config.inherit:
        tutor = next((tutor for tutor in tutors if tutor is not None), None)
        if tutor is None or not isinstance(tutor.teacher, NetworkTeacher):
            raise InputError("inherit: expected a teacher whose parts can be copied, got none")
        inherit_layers(student, tutor.teacher.module, setting.config.inherit)
    stages = setting.config.stages_of(taught)
    _check_carry(setting, stages, tutors if taught else (None,) * len(tutors), student, seed)
    before: Path | None = None
    seconds = 0.0
    for number, stage in enumerate(stages):
        place = folder if number == len(stages) - 1 else folder / "stages" / stage.name
        lesson = _lesson(setting, stage, tutors[number] if taught else None, student, seed)
        if taught and setting.config.curriculum is not None:
            scores = difficulty_scores(setting, chosen, tutors[number], seed, place / "judge", resume)
            labels = setting.data.train.labels.numpy()
            lesson = replace(lesson, curriculum=Curriculum(setting.config.curriculum, scores, labels, seed=seed))
        job = ClassificationJob(student, setting.data, stage.training, seed=seed + 1000 * number, lesson=lesson)
        with _only(student, stage.train_only):
            done = fit(
                job,
                stage.training,
                seed=seed,
                folder=place,
                resume=resume,
                carry=(before, stage.carry) if before is not None and stage.carry else None,
                on_progress=on_progress,
            )
        seconds += done.seconds
        before = place / records.CHECKPOINT
    done.seconds = seconds
    return student, done


def _lesson(setting: Setting, stage: Stage, tutor: Tutor | None, student: nn.Module, seed: int) -> Lesson:
    config, task = setting.config, setting.data.task
    agreed = next((t.validation_probabilities for t in reversed(setting.tutors) if t is not None), None)
    if not stage.signals and not config.own:
        return Lesson(validation_probabilities=agreed)
    features = student_features((*stage.signals, *config.own))
    tapped = Tapped(student, features)
    spec = tapped.spec(task.example(2))
    tapped.close()
    torch.manual_seed(seed + 7)  # projectors start alike, whatever the student drew
    teacher, told = _teller(setting, stage, tutor, student, spec)
    signals, own = build_signals(stage.signals, spec, told), build_signals(config.own, spec, spec)
    twice = {str(signal.name) for signal in signals} & {str(signal.name) for signal in own}
    if twice:
        raise InputError(f"own: {', '.join(map(repr, sorted(twice)))} is a name among signals too; name one otherwise")
    average = None
    if config.own_decay is not None:
        average = AverageTeacher(student, task.example(2), decay=config.own_decay)
    return Lesson(teacher, signals, features, agreed, own=own, average=average)


def _check_chain(setting: Setting, arm: Arm) -> None:
    """Raise InputError before anything is trained, if an assistant has not the features that signals want of a teacher."""
    wanted = _wanted(setting.config)
    for number, link in enumerate(arm.chain if wanted else ()):
        names = [name for name, _ in link.build(setting.data.task).named_modules() if name]
        for path in wanted:
            if path not in names:
                raise InputError(
                    f"chain.{number}: signals tap {path!r} in whoever teaches, and this assistant has no such module; "
                    f"{nearest(path, names)}; take an assistant like the teacher, or signals on class scores"
                )


def _wanted(config: RunConfig) -> tuple[str, ...]:
    return tuple(dict.fromkeys(p for stage in config.stages_of(True) for p in teacher_features(stage.signals)))


def _check_carry(
    setting: Setting, stages: tuple[Stage, ...], tutors: tuple[Tutor | None, ...], student: nn.Module, seed: int
) -> None:
    """Raise InputError before the first stage is trained, if a later one is to take over what cannot be there."""
    for number, stage in enumerate(stages):
        if not stage.carry:
            continue
        before, now = (
            {
                n: tuple(x.shape)
                for n, x in _lesson(setting, stages[i], tutors[i], student, seed).signals.state_dict().items()
            }
            for i in (number - 1, number)
        )
        if "extras" in stage.carry and not before.items() & now.items():
            raise InputError(
                f"stages ({stage.name}).carry: 'extras' are what signals learn, and stage {stages[number - 1].name!r} has "
                f"{', '.join(before) or 'none'}, this one {', '.join(now) or 'none'}; leave it out"
            )
        if "optimizer" in stage.carry and (before != now or stages[number - 1].train_only != stage.train_only):
            raise InputError(
                f"stages ({stage.name}).carry: 'optimizer' needs the same learned parts and train_only in both stages; "
                f"stage {stages[number - 1].name!r} learns {', '.join(before) or 'no projectors'}, this one "
                f"{', '.join(now) or 'none'}"
            )


def _teller(
    setting: Setting, stage: Stage, tutor: Tutor | None, student: nn.Module, spec: OutputSpec
) -> tuple[Any, OutputSpec]:
    """Who tells the signals of a stage, and the shapes of what it says; nobody where they need no teacher."""
    if not stage.signals:
        return None, spec
    if stage.teacher is not None and stage.teacher.is_student:
        decay = 0.999 if stage.teacher.decay is None else stage.teacher.decay
        example, wanted = setting.data.task.example(2), teacher_features(stage.signals)
        average = AverageTeacher(student, example, decay=decay, features=wanted)
        return average, average.spec
    if tutor is None:
        if any(needs_teacher(signal) for signal in stage.signals):
            raise InputError(f"stage {stage.name!r}: its signals need a teacher, and it has none")
        return None, spec
    return tutor.tells, tutor.spec


def difficulty_scores(
    setting: Setting, chosen: StudentConfig, tutor: Tutor | None, seed: int, folder: Path, resume: bool
) -> np.ndarray:
    """(N,) how hard each training row is for the teacher, or for a student after one epoch on labels; high is hard."""
    config, data = setting.config, setting.data
    assert config.curriculum is not None
    if config.judge == "teacher":
        assert tutor is not None  # see RunConfig
        judge = tutor.tells if isinstance(tutor.tells, CachedTeacher) else tutor.teacher
        probabilities = predict(lambda b: judge(b).logits, data.train, config.training.evaluation_batch_size)
    else:
        torch.manual_seed(seed)
        student = chosen.build(data.task)
        once = replace(config.training, epochs=1, label_weight=1.0, warmup_epochs=0.1, doctor=None, patience=0)
        fit(ClassificationJob(student, data, once, seed=seed), once, seed=seed, folder=folder, resume=resume)
        device = next(student.parameters()).device
        probabilities = predict(lambda b: student(b.inputs.to(device)), data.train, once.evaluation_batch_size)
    logits = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
    return score_difficulty(logits, data.train.labels.numpy(), config.curriculum.measures, k=config.curriculum.fusion_k)


class _only:
    """While open, only the named sub-modules learn."""

    def __init__(self, student: nn.Module, paths: tuple[str, ...]) -> None:
        names = [name for name, _ in student.named_modules() if name]
        for path in paths:
            if path not in names:
                raise InputError(f"train_only: the student has no sub-module {path!r}; {nearest(path, names)}")
        self.frozen = [
            p
            for name, p in student.named_parameters()
            if paths and p.requires_grad and not any(name == path or name.startswith(f"{path}.") for path in paths)
        ]

    def __enter__(self) -> None:
        for parameter in self.frozen:
            parameter.requires_grad_(False)

    def __exit__(self, *error: object) -> None:
        for parameter in self.frozen:
            parameter.requires_grad_(True)


def _as_teacher(student: nn.Module, config: RunConfig, data: ImageData, name: str) -> Teacher:
    """A trained assistant, which now teaches; it takes raw pixels as every student does."""
    return Teacher.from_module(student, data.task, name=name, features=_wanted(config))


def _succeed(
    config: RunConfig, data: ImageData, tutors: tuple[Tutor | None, ...], met: list[Teacher]
) -> tuple[Tutor | None, ...]:
    """The tutors of the next link: the newest assistant, or all assistants together with the first teacher."""
    size, training = config.training.evaluation_batch_size, config.training
    if config.chain_teachers == "last":
        return tuple(Tutor.of(met[-1], data, size, training) for _ in tutors[:1]) * len(tutors)
    first = next(t.teacher for t in tutors if t is not None) if len(met) == 1 else None
    together = _everyone(first, tutors, met)
    return (Tutor.of(together, data, size, training),) * len(tutors)


def _everyone(first: Teacher | None, tutors: tuple[Tutor | None, ...], met: list[Teacher]) -> EnsembleTeacher:
    if first is not None:
        return EnsembleTeacher([first, *met])
    before = next(t.teacher for t in tutors if t is not None)
    return EnsembleTeacher([*before.members, met[-1]])
