"""Signals in loops that are not ours: plain torch, timm, transformers' Trainer, TRL, maps of scores."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import kl_div, log_softmax

from stillhouse import attach
from stillhouse.core.checks import InputError, StillhouseError

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def net(width=6, classes=3, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, classes))


def test_the_term_is_that_of_torch():
    """Forward KL at T = 2 by torch's own function, times the weight; the teacher gets no gradient and stays in eval mode."""
    student, teacher = net(), net(9, seed=1).train()
    distillation = attach(
        student, teacher, [{"kind": "logits", "temperature": 2.0, "weight": 3.0}], example=torch.zeros(2, 4)
    )
    x = torch.randn(7, 4)
    scores = student(x)
    found = distillation(x)
    expected = (
        3
        * 4
        * kl_div(log_softmax(scores / 2, 1), log_softmax(teacher(x) / 2, 1), log_target=True, reduction="batchmean")
    )
    torch.testing.assert_close(found, expected)
    found.backward()
    assert all(p.grad.abs().sum() > 0 for p in student.parameters())
    assert all(p.grad is None for p in teacher.parameters())
    assert not teacher.training


def test_hidden_layers_of_unlike_width_reach_the_student_and_the_projector():
    """The hooks hear the very tensors of the student's pass, so that the first layer alone learns from them."""
    student, teacher = net(6), net(9, seed=1)
    distillation = attach(
        student, teacher, [{"kind": "features", "student": "0", "teacher": "0"}], example=torch.zeros(2, 4)
    )
    x = torch.randn(7, 4)
    student(x)
    distillation(x).backward()
    assert student[0].weight.grad.abs().sum() > 0
    assert student[2].weight.grad is None
    assert all(p.grad.abs().sum() > 0 for p in distillation.parameters())
    held = {id(p) for p in distillation.parameters()}
    assert held.isdisjoint(id(p) for both in (student, teacher) for p in both.parameters())


@pytest.mark.parametrize("moment", ["before", "after"])
def test_under_compile_gradients_are_those_of_eager_mode(moment):
    """Attached before or after torch.compile wraps the student; and twice, so that no step hears the one before."""
    torch.compiler.reset()
    student, teacher = net(), net(9, seed=1)
    signals = [{"kind": "logits"}, {"kind": "features", "student": "0", "teacher": "0"}]
    compiled = torch.compile(student, backend="aot_eager")
    torch.manual_seed(0)
    distillation = attach(compiled if moment == "after" else student, teacher, signals, example=torch.zeros(2, 4))
    for seed in (0, 1):
        x = torch.randn(7, 4, generator=torch.Generator().manual_seed(seed))
        found = []
        for model in (student, compiled):
            student.zero_grad()
            model(x)
            distillation(x).backward()
            found.append([p.grad.clone() for p in student.parameters()])
        for eager, other in zip(*found, strict=True):
            torch.testing.assert_close(other, eager)
            assert eager.abs().sum() > 0


def test_maps_of_scores_count_the_labelled_pixels_alone():
    """Mean of torch's KL over the pixels that have a label; what the student says elsewhere changes nothing."""
    torch.manual_seed(0)
    student, teacher = nn.Conv2d(1, 3, 1), nn.Conv2d(1, 3, 1)
    distillation = attach(
        student, teacher, [{"kind": "logits", "temperature": 1.0}], example=torch.zeros(2, 1, 4, 4), ignore_index=255
    )
    x, labels = torch.randn(2, 1, 4, 4), torch.randint(3, (2, 4, 4))
    labels[:, 0] = 255
    scores, found = student(x), distillation(x, labels)
    each = kl_div(log_softmax(scores, 1), log_softmax(teacher(x), 1), log_target=True, reduction="none").sum(1)
    torch.testing.assert_close(found, each[labels != 255].mean())
    assert (each[labels == 255].mean() - found).abs() > 1e-3
    labels[:] = 255
    student(x)
    nothing = distillation(x, labels)
    nothing.backward()
    assert nothing == 0
    assert student.weight.grad.abs().sum() == 0


def test_what_does_not_fit_is_refused():
    """Each with what was expected and what came."""
    student, teacher, zeros = net(), net(seed=1), torch.zeros(2, 4)
    for signals, words in (
        ([{"kind": "features", "student": "9", "teacher": "0"}], "'9'"),
        ([{"kind": "logits", "loss": "kl"}], "expected .forward-kl"),
        ([{"kind": "logit"}], "expected one of .*, got 'logit'; did you mean 'logits'"),
        (
            [{"kind": "logits"}, {"kind": "logits", "temprature": 3}],
            "temprature: unknown key; did you mean 'temp",
        ),
        (
            [
                {
                    "kind": "logits",
                    "temperature": {"kind": "scheduled", "schedule": {"kind": "linear", "start": 4, "end": 1}},
                }
            ],
            "total",
        ),
    ):
        with pytest.raises(StillhouseError, match=words):
            attach(student, teacher, signals, example=zeros)
    with pytest.raises(InputError, match="two networks"):
        attach(student, student, example=zeros)
    with pytest.raises(InputError, match="equal class counts"):
        attach(student, net(classes=4), example=zeros)
    distillation = attach(student, teacher, [{"kind": "logits", "loss": "dkd"}], example=zeros)
    student(zeros)
    with pytest.raises(InputError, match="reads labels"):
        distillation(zeros)
    distillation(zeros, torch.tensor([0, 1]))
    with pytest.raises(InputError, match="Sequential was not called since the last time"):
        distillation(zeros, torch.tensor([0, 1]))
    distillation.close()
    student(zeros)
    with pytest.raises(InputError, match="closed"):
        distillation(zeros, torch.tensor([0, 1]))
    assert not any(part._forward_hooks for both in (student, teacher) for part in both.modules())


def test_a_schedule_moves_with_the_calls():
    """From T 4 to T 1 over two steps: the second call is the KL at another temperature; evaluation moves nothing."""
    schedule = {"kind": "scheduled", "schedule": {"kind": "linear", "start": 4.0, "end": 1.0}}
    student, teacher, x = net(), net(seed=1), torch.randn(8, 4)
    distillation = attach(student, teacher, [{"kind": "logits", "temperature": schedule}], example=x, total_steps=2)
    found = []
    for mode in (False, True, True):
        student(x)
        found.append(distillation.train(mode)(x).item())
    assert found[0] == found[1] != found[2]
    assert distillation.state_dict()["step"] == 2


def test_own_loop(capsys):
    """Six numbered lines; both terms fall from a student that has not learned."""
    text = (EXAMPLES / "own_loop.py").read_text()
    assert [f"# {n}" in text for n in range(1, 8)] == [True] * 6 + [False]
    _, distillation = example("own_loop").main(["--epochs", "1", "--compile", "aot_eager"])
    assert set(distillation.terms) == {"logits", "features:3->3"}
    assert all(value > 0 for value in distillation.terms.values())


def test_with_timm(capsys):
    distillation = example("with_timm").main(
        ["--steps", "2", "--teacher", "test_resnet", "--student", "test_vit", "--size", "32"]
    )
    assert all(value > 0 for value in distillation.terms.values())


def test_with_transformers(capsys):
    """The Trainer's optimizer moves the projector too."""
    pytest.importorskip("transformers")
    distillation, trainer = example("with_transformers").main(["--steps", "3"])
    assert distillation.step == 3
    moments = trainer.optimizer.optimizer.state if hasattr(trainer.optimizer, "optimizer") else trainer.optimizer.state
    assert all(p in moments for p in distillation.parameters())


def test_with_trl(capsys):
    pytest.importorskip("trl", reason="TRL is not installed: pip install 'stillhouse[trl]'")
    distillation, _ = example("with_trl").main(["--steps", "2"])
    assert distillation.step == 2
    assert all(value > 0 for value in distillation.terms.values())


def test_dense(capsys):
    """Teacher and student put out maps of other sizes."""
    _, distillation = example("dense").main(["--steps", "2"])
    assert set(distillation.terms) == {"logits", "features:body->body"}
