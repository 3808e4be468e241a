"""Tiny configurations of the focusing task, and the commands on them."""

import torch
import yaml

from stillhouse.cli.main import main
from stillhouse.core.config import parse
from stillhouse.core.folder import RunFolder
from stillhouse.core.parts import Arm
from stillhouse.core.pipeline import StageContext
from stillhouse.core.task import RunContext
from stillhouse.tasks.sar.plan import SarDistillConfig
from stillhouse.tasks.sar.students import StateSpaceConfig
from stillhouse.tasks.sar.task import TASK
from stillhouse.tasks.sar.teacher import LineTeacher

DATA = {"preset": "toy-64", "length": 160, "train": 8, "validation": 4, "test": 6}
TRAINING = {"epochs": 3, "batch_size": 4, "lr": 0.02, "warmup_epochs": 0, "loss_fn": "complex_nmse", "threads": 1}
SHAPE = {"name": "s4_ssm", "num_layers": 2, "doppler_band": 0.8, "memory": 32}
TEACHER = {
    "data": DATA,
    "model": {**SHAPE, "model_dim": 4, "state_dim": 32, "use_selectivity": True},
    "training": TRAINING,
    "device": "cpu",
}
STUDENT = {
    "model": {**SHAPE, "model_dim": 3, "state_dim": 16, "use_selectivity": False, "look_ahead": 32},
    "training": {**{k: v for k, v in TRAINING.items() if k != "epochs"}, "num_epochs": 2},
    "distillation": {"temperature": 4.0, "alpha": 0.3, "beta": 0.5, "gamma": 0.2},
    "seeds": 2,
    "device": "cpu",
}


def sar(*words):
    """The exit status of one command."""
    return main(["sar", *[str(word) for word in words]])


def written(path, mapping):
    path.write_text(yaml.safe_dump(mapping))
    return path


def distill_words(files, teacher_run, folder, *more):
    words = ["distill", "--teacher_config", files[0], "--teacher_checkpoint", teacher_run, "--student-config", files[1]]
    return [*words, "--save_dir", folder, "--quiet", *more]


# ---------------------------------------------------------------------------------------------- from Python

SMALL = {"model_dim": 3, "state_dim": 8, "num_layers": 2, "look_ahead": 16}
QUICK = {"epochs": 1, "batch_size": 4, "warmup_epochs": 0, "device": "cpu", "threads": 1}
QUICK |= {"log_every": 1, "learning_rate": 0.01}
LINES = {"preset": "toy-64", "length": 120, "train": 8, "validation": 4, "test": 4}


def network(seed=0, **settings):
    """A small network with random weights."""
    torch.manual_seed(seed)
    return StateSpaceConfig(**{**SMALL, **settings}).build()


def small_run(**settings):
    """The configuration of a run of seconds."""
    plain = {"teacher_checkpoint": "none", "student": SMALL, "teacher": SMALL, "training": QUICK, "data": LINES}
    return parse(SarDistillConfig, {**plain, "seeds": 1, **settings})


def stage_context_of(config, data, folder, *, teacher=None, student=None, stage_teacher=None, seed=0):
    """One arm's only stage: taught where there is a teacher, which is prepared as a run prepares it."""
    context = RunContext(config, data, RunFolder(folder), [] if teacher is None else [teacher])
    taught = teacher is not None
    if taught:
        context.stage_teachers = TASK.stage_teachers(context)
    student = student or network()
    arm = Arm("kd" if taught else "no-kd", student.config, taught)
    return StageContext(
        student, config.stages_of(taught)[0], arm, seed, 0, context.stage_teachers[0] if taught else None, None, context
    )


def line_teacher(*args, **settings):
    """A network as a teacher in the units of the data."""
    return LineTeacher(network(*args, **settings))
