"""Schedules against closed forms, worked by hand."""

import pytest

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass, dump_yaml, parse
from stillhouse.core.schedules import Constant, Cosine, Exponential, Linear, ScheduleConfig, Steps, reach
from stillhouse.core.types import Progress

SHAPES = {
    Linear: [4.0, 3.125, 2.25, 1.375, 0.5],
    Exponential: [4.0, 4 / 8**0.25, 2**0.5, 4 / 8**0.75, 0.5],
    Cosine: [4.0, 2.25 + 1.75 / 2**0.5, 2.25, 2.25 - 1.75 / 2**0.5, 0.5],
}


@configclass
class Holder:
    schedule: ScheduleConfig = Constant(value=1.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_five_stages_from_4_to_a_half(shape):
    """Stage s of S at s / S instead of s / (S - 1) never reaches the end."""
    schedule = shape(start=4.0, end=0.5, over="stages")
    values = [schedule(Progress(99, 100, stage=s, stages=5)) for s in range(5)]
    assert values == pytest.approx(SHAPES[shape], abs=1e-12)
    assert values == pytest.approx([round(v, 3) for v in SHAPES[shape]], abs=6e-4)
    assert (values[0], values[-1]) == (4.0, 0.5)


@pytest.mark.parametrize("shape", SHAPES)
def test_rising_is_falling_backwards(shape):
    """A direction that is built in somewhere would show."""
    up, down = shape(start=0.5, end=4.0), shape(start=4.0, end=0.5)
    for step in range(0, 101, 10):
        assert up(Progress(step, 100)) == pytest.approx(down(Progress(100 - step, 100)), abs=1e-12)
    assert reach(up) == reach(down) == (0.5, 4.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_values_are_clamped_past_the_end(shape):
    """A run that goes on (resume with more steps) must not extrapolate to a negative temperature."""
    early = shape(start=4.0, end=0.5, until=0.25)
    assert [early(Progress(step, 100)) for step in (25, 26, 100, 500)] == [0.5] * 4
    assert early(Progress(0, 100)) == 4.0
    assert shape(start=4.0, end=0.5, over="stages")(Progress(0, 1, stage=9, stages=3)) == 0.5


def test_stages_of_a_run_without_a_curriculum_are_refused():
    """It would be constant without a word."""
    with pytest.raises(InputError, match="at least two stages"):
        Linear(start=1.0, end=2.0, over="stages")(Progress(5, 10))


def test_steps_take_their_values_in_turn():
    """Boundaries belong to the later value; the last value stays."""
    by_share = Steps(values=(1.0, 2.0, 3.0), at=(0.4, 0.7))
    assert [by_share(Progress(s, 100)) for s in (0, 39, 40, 69, 70, 100)] == [1, 1, 2, 2, 3, 3]
    by_stage = Steps(values=(0.7, 0.8, 0.9), over="stages")
    assert [by_stage(Progress(0, 1, stage=s, stages=4)) for s in range(4)] == [0.7, 0.8, 0.9, 0.9]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Steps(values=(1.0, 2.0)), "at: expected 1 rising shares"),
        (lambda: Steps(values=(1.0, 2.0, 3.0), at=(0.7, 0.4)), "rising shares"),
        (lambda: Steps(values=(1.0, 2.0), at=(1.0,)), "rising shares strictly between 0 and 1"),
        (lambda: Steps(values=(1.0, 2.0), at=(0.5,), over="stages"), "at: expected 0 rising shares"),
        (lambda: Linear(start=1.0, end=2.0, over="stages", until=0.5), "until: is a share of the steps"),
        (lambda: Exponential(start=0.0, end=2.0), "greater than 0"),
        (lambda: Linear(start=float("nan"), end=2.0), "finite"),
        (lambda: Steps(values=()), "at least 1"),
    ],
)
def test_senseless_schedules_are_refused(make, text):
    """Before the run, with the field's name."""
    with pytest.raises(ValueError, match=text):
        make()


@pytest.mark.parametrize(
    "schedule",
    [
        Constant(value=2.0),
        Linear(start=1.0, end=2.0, over="stages"),
        Cosine(start=0.0, end=1.0, until=0.1),
        Exponential(start=4.0, end=0.5),
        Steps(values=(1.0, 2.0), at=(0.5,)),
    ],
)
def test_a_schedule_survives_yaml(schedule):
    """The union is told apart by `kind` alone."""
    import yaml

    holder = Holder(schedule=schedule)
    assert parse(Holder, yaml.safe_load(dump_yaml(holder))) == holder
