"""Two momentum buffers: delta 0 is torch's SGD, delta above 0 gives distillation the promised gain."""

import copy

import pytest
import torch
from torch import nn

from stillhouse.core.checks import InputError
from stillhouse.training.dot import DOT


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double()


def losses(net, step):
    torch.manual_seed(step)
    out = net(torch.randn(5, 4, dtype=torch.float64))
    return out.square().mean(), (out - 1).abs().mean()


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_delta_0_is_sgd_on_the_sum(weight_decay):
    """Weight decay counted in both buffers would show here, and so would a first step that is damped."""
    ours, theirs = model(), model()
    dot = DOT(ours.parameters(), lr=0.1, momentum=0.9, delta=0.0, weight_decay=weight_decay)
    sgd = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9, weight_decay=weight_decay)
    for step in range(12):
        task, distill = losses(ours, step)
        dot.zero_grad()
        dot.backward(task, distill)
        dot.step()
        sgd.zero_grad()
        sum(losses(theirs, step)).backward()
        sgd.step()
    for a, b in zip(ours.parameters(), theirs.parameters()):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def run(optimizer, x, steps, task=None, distill=None):
    """Total way of x under constant gradients, and of the last step."""
    for _ in range(steps):
        before = x.detach().clone()
        optimizer.zero_grad()
        optimizer.twins[0].grad = None if distill is None else torch.full_like(x, distill)
        x.grad = None if task is None else torch.full_like(x, task)
        optimizer.step()
    return (before - x.detach()).item()


def test_the_gain_in_the_long_run():
    """1/(1 - m - D) against 1/(1 - m + D): 40 and 5.71 at m 0.9, D 0.075; swapped buffers would give the reverse."""
    steps = {}
    for name, given in {"distill": {"distill": 1.0, "task": 1e-30}, "task": {"task": 1.0, "distill": 1e-30}}.items():
        x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        steps[name] = run(DOT([x], lr=1.0, momentum=0.9, delta=0.075), x, 800, **given)
    assert steps["distill"] == pytest.approx(1 / (1 - 0.975), rel=1e-6)
    assert steps["task"] == pytest.approx(1 / (1 - 0.825), rel=1e-6)
    assert steps["distill"] / steps["task"] == pytest.approx(7, rel=1e-6)


@pytest.mark.parametrize("given", [{"task": 1.0}, {"distill": 1.0}])
def test_a_parameter_of_one_loss_has_the_plain_momentum(given):
    """A projector is reached by distillation alone: it must not get the longer memory."""
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    assert run(DOT([x], lr=1.0, momentum=0.9, delta=0.075), x, 400, **given) == pytest.approx(10, rel=1e-6)


@pytest.mark.parametrize("given", [{"task": 0.0}, {"distill": 0.0}, {"task": 0.0, "distill": 0.0}])
def test_weight_decay_counts_once(given):
    """One step from 1 with zero gradients: 1 - lr wd."""
    x = torch.ones(1, dtype=torch.float64, requires_grad=True)
    run(DOT([x], lr=0.5, weight_decay=0.1), x, 1, **given)
    assert x.item() == pytest.approx(1 - 0.05)


def test_without_gradients_nothing_moves():
    """As in torch: a buffer rests in a step without its gradient."""
    x = torch.ones(1, requires_grad=True)
    optimizer = DOT([x], lr=0.5, weight_decay=0.1)
    optimizer.step()
    assert x.item() == 1.0
    assert optimizer.state == {}


def test_clipping_is_of_the_sum():
    """Clipping `.grad` alone limits the task and leaves the distillation at any size."""
    x = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    y = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = DOT([x, y], lr=1.0, momentum=0.0, delta=0.0)
    optimizer.twins[0].grad = torch.tensor([3.0, 0.0], dtype=torch.float64)
    x.grad = torch.tensor([0.0, 4.0], dtype=torch.float64)
    y.grad = torch.tensor([12.0], dtype=torch.float64)
    assert optimizer.clip(6.5).item() == pytest.approx(13.0)
    optimizer.step()
    torch.testing.assert_close(
        torch.cat([x, y]).detach(), -torch.tensor([3.0, 4.0, 12.0]).double() / 2, rtol=1e-6, atol=0
    )
    assert DOT([torch.zeros(1, requires_grad=True)], lr=1.0).clip(1.0).item() == 0.0


def test_resume_repeats_the_steps():
    """Both buffers are in the state."""
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = DOT([x], lr=0.1)
    run(optimizer, x, 5, task=1.0, distill=-0.5)
    z = x.detach().clone().requires_grad_()
    again = DOT([z], lr=0.7)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert run(optimizer, x, 3, task=1.0, distill=-0.5) == run(again, z, 3, task=1.0, distill=-0.5)
    assert x.item() == z.item()


def test_it_takes_a_schedule_and_groups():
    """The loop's schedules drive `lr`, and projectors stand in a group of their own."""
    x, y = (torch.zeros(1, requires_grad=True) for _ in range(2))
    optimizer = DOT([{"params": [x]}, {"params": [y], "lr": 0.5}], lr=1.0, momentum=0.0, delta=0.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        optimizer.backward(torch.zeros(1), x + y)
        optimizer.step()
        schedule.step()
    assert x.item() == pytest.approx(-1.1)
    assert y.item() == pytest.approx(-0.55)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"lr": 0.1, "momentum": 1.0}, "momentum"),
        ({"lr": 0.1, "momentum": 0.9, "delta": 0.1}, "delta"),
        ({"lr": 0.1, "momentum": 0.05, "delta": 0.06}, "delta"),
    ],
)
def test_numbers_that_diverge_are_refused(given, text):
    """m + delta of 1 has an infinite gain."""
    with pytest.raises(InputError, match=text):
        DOT([torch.zeros(1, requires_grad=True)], **given)
