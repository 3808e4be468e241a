"""The teacher in between: its share by the published rule, written again here, and its gradient by hand."""

import math

import pytest
import torch

from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.signals.taid import TaidConfig

K, STEPS = 4, 40
SPEC = OutputSpec(K)
BATCH = Batch(torch.zeros(6, 1), torch.arange(6) % K, torch.arange(6))


def scores(seed):
    return torch.randn(6, K, generator=torch.Generator().manual_seed(seed))


def walk(signal, steps, teacher, student, parts=1):
    """The share at each step of a student that comes nearer to its teacher."""
    shares = []
    for step in steps:
        now = student + (teacher - student) * step / STEPS
        for mine, theirs in zip(now.chunk(parts), teacher.chunk(parts)):
            signal(Outputs(mine), Outputs(theirs), BATCH, Progress(step, STEPS))
        shares.append(signal.figures()["share"])
    return shares


def published(losses_of, start=0.4, end=1.0, alpha=0.05, beta=0.9):
    """Algorithm 1: the loss at share t, its relative fall, a moving average of it, and a step that fades with the run."""
    t, m, previous, shares = start, 0.0, math.inf, []
    for step in range(STEPS):
        t = min(end, max(t, start + (end - start) * step / STEPS))
        shares.append(t)
        loss = losses_of(step, t)
        if not math.isinf(previous):
            m = beta * m + (1 - beta) * (previous - loss) / (previous + 1e-15)
            # added at the next step, and faded by that step's place in the run
            t = t + alpha / (1 + math.exp(-m)) * (1 - (step + 1) / STEPS)
        previous = loss
    return shares


def test_the_share_follows_the_published_rule():
    """Ahead of the line while the student follows, and at the end on it."""
    teacher, student = scores(0), scores(1)

    def loss(step, t):
        now = student + (teacher - student) * step / STEPS
        p = ((1 - t) * now + t * teacher).double().softmax(1)
        return float((p * (p.log() - now.double().log_softmax(1))).sum(1).mean())

    config = TaidConfig(rate=0.05, memory=0.9)
    found = walk(config.build(SPEC, SPEC), range(STEPS), teacher, student)
    assert found == pytest.approx(published(loss), abs=1e-5)
    line = [0.4 + 0.6 * step / STEPS for step in range(STEPS)]
    assert max(x - y for x, y in zip(found, line)) > 0.05
    alone = walk(TaidConfig(adaptive=False).build(SPEC, SPEC), range(STEPS), teacher, student)
    assert alone == pytest.approx(line, abs=1e-6)


def test_micro_batches_and_a_resume_change_nothing():
    """The share moves once a step; all that it knows travels with the state."""
    teacher, student = scores(0), scores(1)
    config = TaidConfig(rate=0.05, memory=0.9)
    whole, halves = config.build(SPEC, SPEC), config.build(SPEC, SPEC)
    expected = walk(whole, range(STEPS), teacher, student)
    assert walk(halves, range(STEPS), teacher, student, parts=2) == pytest.approx(expected, abs=1e-6)
    first, second = config.build(SPEC, SPEC), config.build(SPEC, SPEC)
    before = walk(first, range(13), teacher, student)
    second.load_state_dict(first.state_dict())
    assert before + walk(second, range(13, STEPS), teacher, student) == expected


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_gradient_is_the_students_softmax_less_the_interpolated_one(temperature):
    """The student within the target is held fixed: with its gradient the target would run away."""
    s, t = scores(1).requires_grad_(), scores(0).requires_grad_()
    signal = TaidConfig(start=0.25, adaptive=False, temperature=temperature).build(SPEC, SPEC)
    signal(Outputs(s), Outputs(t), BATCH, Progress(0, STEPS)).sum().backward()
    between = ((0.75 * s + 0.25 * t) / temperature).softmax(1)
    torch.testing.assert_close(s.grad, temperature * ((s / temperature).softmax(1) - between).detach())
    assert t.grad is None
