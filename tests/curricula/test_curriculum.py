"""The curriculum as a run uses it: budgets, controls, stages, resume."""

import io

import numpy as np
import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.core.schedules import Linear
from stillhouse.core.types import Progress
from stillhouse.curricula import ByPlateau, ByTime, ByValidation, Curriculum, CurriculumConfig

ROWS = 120
DIFFICULTY = -np.random.default_rng(0).random(ROWS)
LABELS = np.arange(ROWS) % 10
ORDERS = ("easy-first", "hard-first", "random", "none")


def make(seed=0, difficulty=DIFFICULTY, labels=LABELS, **settings):
    return Curriculum(CurriculumConfig(**settings), difficulty, labels, seed=seed)


def play(curriculum, epochs, start=0, total=12):
    """A run with a validation after each epoch: its rows and the stage of each epoch."""
    orders, stages = [], []
    for epoch in range(start, start + epochs):
        stages.append(curriculum.stage)
        orders.append(curriculum.order(epoch))
        curriculum.on_validation_end({"nll": 1.0, "accuracy": 0.5}, fraction=(epoch + 1) / total)
    return torch.stack(orders), stages


def test_easy_rows_come_first_and_hard_ones_in_the_anti_curriculum():
    """The order that is asked for reaches the rows."""
    means = {order: -DIFFICULTY[make(order=order, replay=0.0).order(0)].mean() for order in ORDERS}
    assert means["easy-first"] > 0.8 > means["random"] > 0.3 > means["hard-first"]
    assert means["none"] == pytest.approx(-DIFFICULTY.mean())


@pytest.mark.parametrize("order", ORDERS)
def test_the_first_stage_has_every_class(order):
    """Under easy-first a hard class would be absent."""
    difficulty = LABELS.astype(float)
    assert set(LABELS[make(order=order, difficulty=difficulty, replay=0.0).order(0)]) == set(range(10))
    loose = make(difficulty=difficulty, replay=0.0, by_class=False).order(0)
    assert set(LABELS[loose]) == {0, 1, 2}


@pytest.mark.parametrize(
    "transition", [ByTime(ends=(0.4, 0.6, 0.7, 1.0)), ByPlateau(window=1, patience=1), ByValidation(patience=2)]
)
@pytest.mark.parametrize("cut", [1, 4, 7])
def test_a_resume_is_exact_in_the_middle_of_a_stage(transition, cut):
    """Through torch.save with weights only, as the checkpoint does."""
    whole, before, after = (make(transition=transition, replay=0.1) for _ in range(3))
    expected, expected_stages = play(whole, 10)
    head, head_stages = play(before, cut)
    file = io.BytesIO()
    torch.save(before.state_dict(), file)
    file.seek(0)
    after.load_state_dict(torch.load(file, weights_only=True))
    tail, tail_stages = play(after, 10 - cut, start=cut)
    assert torch.equal(torch.cat([head, tail]), expected)
    assert head_stages + tail_stages == expected_stages
    assert after.figures() == whole.figures()
    assert len(set(expected_stages)) > 2


def test_an_epoch_keeps_its_rows_when_the_stage_changes_inside_it():
    """A resume between two validations of one epoch would otherwise go on in another order, and count it twice."""
    curriculum = make()
    rows = curriculum.order(2)
    curriculum.on_validation_end({}, fraction=0.25)
    assert curriculum.stage == 1
    again = make()
    again.load_state_dict(curriculum.state_dict())
    for one in (curriculum, again):
        assert torch.equal(one.order(2), rows)
        assert one.samples == ROWS
    assert not torch.equal(curriculum.order(3), make().order(3))


def test_a_state_of_another_order_is_refused():
    """Difficulties measured anew on resume would change the subsets in the middle."""
    state = make().state_dict()
    with pytest.raises(InputError, match="measured anew"):
        make(difficulty=DIFFICULTY[::-1].copy()).load_state_dict(state)
    with pytest.raises(InputError, match="seed 1"):
        make(seed=1).load_state_dict(state)


def test_weights_and_temperature_follow_the_stages_as_released():
    """POCL: kd_ratio .7 .8 .9 1 with T 1, 1.33, 1.67, 2; its table says the opposite."""
    curriculum = make(label_weights=(0.3, 0.2, 0.1, 0.0), signal_weights=(0.7, 0.8, 0.9, 1.0))
    rising, seen = Linear(start=1.0, end=2.0, over="stages"), []
    for fraction in (0.0, 0.25, 0.5, 0.75):
        curriculum.on_validation_end({}, fraction=fraction)
        weights = curriculum.weights()
        temperature = rising(Progress(0, 1, stage=curriculum.stage, stages=curriculum.stages))
        seen.append((weights["labels"], weights["signals"], round(temperature, 2)))
    assert seen == [(0.3, 0.7, 1.0), (0.2, 0.8, 1.33), (0.1, 0.9, 1.67), (0.0, 1.0, 2.0)]
    assert make().weights() == {"labels": 1.0, "signals": 1.0}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"labels": None}, "turn by_class off"),
        ({"difficulty": np.full(ROWS, np.nan)}, "difficulty: expected"),
        ({"difficulty": [], "labels": []}, "difficulty: expected"),
        ({"shares": (0.05, 1.0)}, "holds all 10 classes, got 6 rows"),
    ],
)
def test_data_that_do_not_fit_are_refused(settings, text):
    """By name, with what came."""
    with pytest.raises(InputError, match=text):
        make(**settings)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"shares": (0.5, 0.9)}, "rise to 1.0"),
        ({"transition": ByTime(ends=(0.5, 1.0))}, "one for each of 4 shares"),
        ({"label_weights": (1.0,)}, "label_weights: expected 4 factors"),
        ({"signal_weights": (1.0, -1.0, 1.0, 1.0)}, "signal_weights: expected 4 factors from 0"),
        ({"label_weights": (0.0,) * 4, "signal_weights": (1.0, 1.0, 0.0, 1.0)}, "something to learn in stage 2"),
        ({"measures": ("loss", "loss")}, "each once"),
        ({"measures": ()}, "at least 1"),
        ({"replay": 1.0}, "less than 1"),
    ],
)
def test_senseless_configurations_are_refused(settings, text):
    """By the field's name, before the run."""
    with pytest.raises(ValueError, match=text):
        CurriculumConfig(**settings)
