"""Whether a student was trained long enough: curves by hand."""

import numpy as np
import pytest

from stillhouse.core.epochs import comparable, hints
from stillhouse.core.experiment import run
from stillhouse.core.records import read_json
from stillhouse.recipes import load


def said(*curves, keep="best", last=None):
    length = len(curves[0])
    words = {"arm": "kd", "objective": "validation accuracy", "in_percent": True}
    return hints(curves, last or length, keep=keep, **words)


RISING = [0.1 + 0.02 * n for n in range(20)]
SETTLED = [0.9 - 0.8 * np.exp(-n / 2) for n in range(20)]


@pytest.mark.parametrize(
    ("curve", "improving"),
    [
        (RISING, True),
        ([0.1, 0.4, 0.6], True),
        (SETTLED, False),
        ([0.1, 0.6, 0.61], False),  # a fiftieth of all that was gained
        ([0.1, 0.5, 0.7, 0.5, 0.72, 0.6, 0.66, 0.78], False),  # it falls by as much from one epoch to the next
        ([0.1, 0.8, 0.7, 0.6], False),
        ([0.1, 0.4], False),  # two show no pace
        ([0.1, 0.2, float("nan")], False),
    ],
)
def test_a_student_that_still_improves_is_said_to(curve, improving):
    """A verdict on an under-trained student reads as one on the method."""
    found = said(curve)
    assert any("still improving at the last epoch" in line for line in found) is improving


def test_both_epochs_and_what_to_do_are_named():
    """A hint without numbers is not believed, one without a flag not followed."""
    (line,) = said([0.1, 0.4, 0.6])
    assert "40.00 % after epoch 2, 60.00 % after epoch 3): more epochs may help (--epochs 6)" in line.replace(
        "\xa0", " "
    )


@pytest.mark.parametrize(
    ("curve", "worse"),
    [
        ([0.1, 0.5, 0.8, 0.7, 0.6], True),
        ([0.1, 0.5, 0.8, 0.79], False),
        ([0.1, 0.6, 0.4, 0.8, 0.65], False),  # it fell by more before
    ],
)
def test_a_last_epoch_that_is_worse_is_named_where_it_is_kept(curve, worse):
    """What ships is then not the best that the run had."""
    found = said(curve, keep="last")
    assert bool(found) is worse
    assert said(curve, keep="best") == []
    if worse:
        assert "80.00 % after epoch 3, 60.00 % after epoch 5" in found[0].replace("\xa0", " ")
        assert "--set training.keep=best" in found[0]


def test_the_mean_over_seeds_is_looked_at():
    """One seed that rises late beside one that falls is luck."""
    assert said([0.1, 0.4, 0.6], [0.1, 0.6, 0.4]) == []
    assert said([0.1, 0.4, 0.6], [0.1, 0.6, 0.7, 0.8]) == []  # one stopped by itself


def test_a_dense_network_is_not_compared_with_its_quantized_self():
    """The score falls when the ramp ends; what is learned after it would be called nothing."""
    ranks = [(0.0, -3.0), (0.5, -2.5), (1.0, -4.0), (1.0, -3.5), (1.0, -3.0)]
    curve = comparable(ranks, [rank[1] for rank in ranks])
    assert curve == [-4.0, -3.5, -3.0]
    (line,) = said(curve, last=5)
    assert "after epoch 4," in line


STILL = ("training.learning_rate=1e-6", "training.final_learning_rate=1e-7")


def test_a_student_at_chance_says_nothing_of_its_teacher(tmp_path):
    """Six steps read "no difference shown", and a user blamed his teacher."""
    task, config = load(
        "digits",
        [
            "training.epochs=1",
            "seeds=1",
            "data.train_limit=40",
            "training.learning_rate=1e-6",
            "training.final_learning_rate=1e-7",
        ],
    )
    summary = run(task, config, tmp_path / "run")
    (line,) = summary["hints"]
    assert "not shown to be better than chance after " in line
    assert line[1:] in (tmp_path / "run" / "report.html").read_text()


def test_a_run_says_it_on_its_page_and_keeps_it(tmp_path):
    """The line is of the arm that ships, from what its folders hold."""
    task, config = load("digits", ["training.epochs=3", "seeds=1", "arms=[kd]", "training.learning_rate=3e-3"])
    summary = run(task, config, tmp_path / "run")
    curve = read_json(tmp_path / "run" / "arms" / "kd" / "seed-0" / "result.json")["validations"]
    assert len(curve) == 3
    assert curve[2] > curve[1] + 0.05 > curve[0]  # three epochs are too few here
    (line,) = summary["hints"]
    assert line.startswith("the student (kd) was still improving")
    assert "The student (kd) was still improving" in (tmp_path / "run" / "report.html").read_text()
