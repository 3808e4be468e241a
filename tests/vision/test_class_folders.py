"""Folders are read class by class: what a report says of a student must not be what is true of the first classes."""

import re

import numpy as np
import pytest
from PIL import Image

from stillhouse.cli.main import main
from stillhouse.core.records import read_json
from stillhouse.tasks.classification.task import TASK

SETTINGS = "--epochs 4 --batch-size 32 --threads 1 --device cpu --quiet model.tm.clauses=40 --transformer-patch 4 "
SETTINGS += "--transformer-d-model 12 --transformer-heads 2 --transformer-layers 1 --transformer-clauses 16 --lr 0.02 "
SETTINGS += "--visualize-samples 8"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Four classes of 300 pictures; two are easy, two cannot be told from each other: an accuracy of 100 % and one of 50 %.

    Rules are judged on 200 of 480 test images, so that a part is taken at all.
    """
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name, place in {"a": (0, 0), "b": (0, 4), "c": (4, 0), "d": (4, 0)}.items():
        (root / name).mkdir()
        for number in range(300):
            picture = rng.integers(0, 120, (8, 8), dtype=np.uint8)
            picture[place[0] : place[0] + 4, place[1] : place[1] + 4] += 110
            Image.fromarray(picture).save(root / name / f"{number:03}.png")
    out = tmp_path_factory.mktemp("runs")
    words = [
        *SETTINGS.split(),
        "--dataset",
        "folder",
        "--dataset-root",
        str(root),
        "--visualize-overlays",
        str(out / "p"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stillhouse.tasks.classification.students.rules.JUDGED", 200)
        assert main(["vision", *words, "--models", "tm", "transformer", "--out", str(out / "run")]) == 0
    return out / "run"


@pytest.mark.parametrize("model", ["tm", "transformer"])
def test_rules_are_judged_as_the_student_is(run, model):
    """As a sample of 200 can be: three standard errors of a draw without replacement. The first 200 would have been all right."""
    whole = TASK.evaluate(run / model)
    rules = read_json(run / model / "rules.json")
    assert (rules["judged_on"], rules["judged_of"], whole["rows"]) == (200, 480, 480)
    p = whole["accuracy"]
    assert 0.6 < p < 0.9
    assert abs(rules["full"] - p) < 3 * np.sqrt(p * (1 - p) / 200 * (1 - 200 / 480))
    assert read_json(run / model / "summary.json")["arms"]["no-kd"]["accuracy"]["mean"] == pytest.approx(p)


@pytest.mark.parametrize("model", ["tm", "transformer"])
def test_every_accuracy_says_whose_it_is_and_on_which_images(run, model):
    """One page showed 25.67 % and 8.7 % of one student, both as its accuracy."""
    rules = read_json(run / model / "rules.json")
    text = (run / model / "rules.txt").read_text()
    words = f"Accuracy of no-kd, seed 0, on 200 of the 480 test images, drawn by class: {rules['full']:.1%} with all clauses"
    assert text.startswith(words)
    page = re.sub(r"<[^>]+>", "", (run / model / "report.html").read_text()).replace("\N{NO-BREAK SPACE}", " ")
    assert words in page
    assert "of all 480 test rows right: the student (no-kd)" in page
    assert "puts out its mean; 200 of the 480 test images, drawn by class" in page


def test_overlays_show_every_class(run):
    """All eight were of the first class."""
    with np.load(run / "transformer" / "overlays.npz") as shown:
        assert np.bincount(shown["labels"]).tolist() == [2, 2, 2, 2]
