"""What the teacher changed, row by row, and why no difference may be shown."""

import json
import re

import numpy as np
import pytest

from stillhouse.cli.main import main
from stillhouse.tasks.classification.plain import expected
from stillhouse.tasks.classification.taught import (
    Predictions,
    advice,
    changed,
    reasons,
)

LABELS = np.array([0, 0, 1, 1, 2])
NAMES = ("cat", "dog", "owl")
ROW = {"name": "teacher", "arm": "kd", "control": "no-kd", "difference": 0.01, "low": -0.01, "high": 0.03, "seeds": 3}


def answers(*choices, sure=0.9):
    """Predictions whose answers are these."""
    found = np.full((len(choices), 3), (1 - sure) / 2)
    found[np.arange(len(choices)), choices] = sure
    return Predictions(LABELS, found)


TAUGHT, CONTROL = [answers(0, 0, 1, 1, 0), answers(0, 0, 1, 0, 0)], [answers(1, 0, 1, 0, 2), answers(1, 0, 1, 0, 2)]


def test_rows_are_put_right_and_wrong():
    """Row 0 under both seeds, row 3 under one; the owl is lost under both."""
    gained, lost = changed(TAUGHT, CONTROL)
    assert gained.tolist() == [1, 0, 0, 0.5, 0]
    assert lost.tolist() == [0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ({"taught": 0.8, "linear": 0.9}, "the student is below a linear classifier"),
        ({"teacher": 0.905, "control": 0.9}, "the student is at its ceiling"),
        ({"known": 0.999, "confidence": 0.99, "labelled": 1.0}, "the teacher repeats the labels"),
        ({"agreement": 0.805, "control_agreement": 0.8}, "the student does not follow the teacher"),
        ({"contradicts": 0.05}, "labels are noisy"),
        ({}, "too few seeds"),
    ],
)
def test_the_reason_that_holds_comes_first(figures, expected):
    good = {"teacher": 0.99, "control": 0.8, "known": 0.9, "confidence": 0.8, "labelled": 0.1}
    good |= {"taught": 0.85, "linear": 0.8, "agreement": 0.9, "control_agreement": 0.8, "contradicts": 0.0}
    row = ROW if expected == "too few seeds" else {**ROW, "difference": -0.01, "low": -0.03, "high": 0.01}
    found = reasons(row, good | figures)
    assert [one.name for one in found if one.holds] == [expected]
    assert found[0].name == expected
    assert expected in advice(found)


def test_seeds_that_would_show_it():
    """The interval shrinks with the root of the seeds: 2 points to 1 takes four times three."""
    found, other = reasons(ROW, {"teacher": 0.9, "control": 0.8})
    assert (found.advice, other.holds) == ("seeds=12", False)
    assert not reasons({**ROW, "difference": 0.001}, {})[0].holds  # 1,200 seeds are no advice
    assert not reasons({**ROW, "difference": 0.0}, {})[0].holds


def test_no_reason_is_made_up():
    row = {**ROW, "difference": -0.01}
    assert advice(reasons(row, {})) == ""
    unlabelled = {"known": 0.999, "confidence": 0.99, "labelled": 0.1}
    assert (
        advice(reasons(row, unlabelled))
        == advice(reasons(row, {**unlabelled, "confidence": 0.5, "labelled": 1.0}))
        == ""
    )
    assert reasons({}, {}) == []


def test_the_forecast_is_paired():
    """Both right on most rows: only those in which they differ count."""
    teacher, plain = np.ones(100, bool), np.ones(100, bool)
    plain[:10] = False
    gain, error = expected(teacher, plain)
    assert gain == pytest.approx(0.1)
    assert error == pytest.approx(0.0302, abs=1e-4)  # root of 0.1 x 0.9 / 99


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with 40 labels whose teacher helps."""
    out = tmp_path_factory.mktemp("taught") / "run"
    settings = ["data.label_limit=40", "student.kind=scorecard", "training.epochs=3", "seeds=3", "arms=[kd, no-kd]"]
    assert main(["distill", "banking", *settings, "--out", str(out), "--quiet"]) == 0
    return out


def test_a_run_says_what_was_taught(run):
    summary, kept = (json.loads((run / name).read_text()) for name in ("summary.json", "taught.json"))
    assert summary["verdict"] == "helps"
    assert 1 <= len(kept["examples"]) <= 6
    for one in kept["examples"]:
        assert one["class"] != one["without"]
        assert one["text"]
    assert kept["examples"][0]["seeds"] == 3
    page = (run / "report.html").read_text()
    assert "What the teacher changed" in page
    assert kept["examples"][0]["class"] in page


def test_the_forecast_is_said_before_training(run):
    """Before anything is trained, from the labelled rows alone; the gain lies in it."""
    teacher, summary = (json.loads((run / name).read_text()) for name in ("teacher.json", "summary.json"))
    gain, low, high = map(float, re.match(r"\+(\d+) points \((-?\d+) to (\d+)\)", teacher["forecast"]).groups())
    assert teacher["forecast"].endswith("a gain is likely")
    assert low <= 100 * summary["comparisons"][0]["difference"] <= high
    assert gain > 0
