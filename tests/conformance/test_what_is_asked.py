"""What a training asks, in every task: its teacher as one is used, and of the data never the test split."""

from copy import copy

import pytest
import torch
from cases import CASES, task_of_case
from test_matrix import TINY, lab_of

from stillhouse.core.pipeline import StageContext, train_arm
from stillhouse.core.task import reference_arm
from stillhouse.tasks import task
from stillhouse.training.distillation import networks_of


@pytest.mark.parametrize("kind", [kind for kind in CASES if kind != "embed"])  # there the teacher is an array
def test_teachers_are_asked_in_evaluation_mode(kind, case_of, tmp_path, monkeypatch):
    """Dropout in a teacher is noise in every target, and nothing in the records shows it."""
    case, made, modes = case_of(kind), task(task_of_case(kind)), []
    plain = made.teachers

    def teachers(*given):
        found = plain(*given)
        for part in [part for teacher in found for network in networks_of(teacher) for part in network.modules()]:
            part.register_forward_pre_hook(lambda module, inputs: modes.append(module.training))
        return found

    monkeypatch.setattr(made, "teachers", teachers)
    config = case.config(**TINY[kind], seeds=1)
    train_arm(made, reference_arm(made.arms(config)), 0, lab_of(case, config, tmp_path))
    assert len(modes) > 10
    assert not any(modes)


@pytest.mark.parametrize("kind", CASES)
def test_the_test_split_is_not_there_while_training(kind, case_of, tmp_path):
    """The epoch that is best on the test split has a score that no other images give."""
    case, made = case_of(kind), task(task_of_case(kind))
    config = case.config(**TINY[kind], seeds=1)
    context = lab_of(case, config, tmp_path)
    context.data = copy(context.data)
    object.__setattr__(context.data, "test", None)  # some are frozen
    train_arm(made, reference_arm(made.arms(config)), 0, context)


CHANGED = {  # what changes training rows alone
    "images": {"data": {"augment": "shift", "randaugment": True}, "training": {"mixing": {"mixup_alpha": 1.0}}},
    "clauses": {"data": {"augment": "shift", "randaugment": True}, "training": {"mixing": {"mixup_alpha": 1.0}}},
    "embed": {"loss": {"epoch_steps": 2, "noise": 0.5}},
}


@pytest.mark.parametrize("kind", CHANGED)
def test_what_changes_training_rows_changes_no_score(kind, case_of, tmp_path):
    """Equal weights, equal scores: a validation of shifted or noisy rows would be of other data than the test."""
    case, made, found = case_of(kind), task(task_of_case(kind)), []
    for changes in ({}, CHANGED[kind]):
        config = case.config(**{**TINY[kind], **changes}, seeds=1)
        context, arm = lab_of(case, config, tmp_path), reference_arm(made.arms(config))
        torch.manual_seed(0)
        student = made.student(arm, arm.student, 0, context).eval()
        job = made.job(
            StageContext(student, config.stages_of(True)[0], arm, 0, 0, context.stage_teachers[0], None, context)
        )
        with torch.no_grad():
            found.append(job.validate(student))
        job.close()
    assert found[0] == found[1]
