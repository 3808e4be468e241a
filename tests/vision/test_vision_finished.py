"""Clause networks of a finished run, asked for again: what was written is what is there, and no new head is fitted."""

import pytest
from PIL import Image

from fptm_ste import imagenet_sweeps
from stillhouse.core.records import read_json
from stillhouse.tasks.classification import teachers

STUDENT = [
    *("--transformer-d-model", "12", "--transformer-heads", "3", "--transformer-layers", "1"),
    *("--transformer-clauses", "12", "--batch-size", "32", "--threads", "1", "--quiet", "--epochs", "1"),
]
TEACHER = ["--distill-teacher-timm", "test_resnet", "teacher.pretrained=false", "--force"]


def counted(monkeypatch, place, name):
    """How often a function is called from now on."""
    calls, original = [], getattr(place, name)
    monkeypatch.setattr(place, name, lambda *a, **k: calls.append(name) or original(*a, **k))
    return calls


@pytest.mark.filterwarnings("ignore")
def test_a_finished_sweep_fits_no_teacher(tmp_path, monkeypatch):
    """Eighteen finished runs cost nine minutes of fitting the head of their teacher."""
    for split, count in (("train", 12), ("test", 6)):
        for number in range(2 * count):
            place = tmp_path / "pictures" / split / f"class{number % 2}"
            place.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 32), (200 * (number % 2), 3 * number, count)).save(place / f"{number}.png")
    words = [
        *(
            "--dataset-root",
            str(tmp_path / "pictures"),
            "--patches",
            "16",
            "--drop-paths",
            "0.0,0.1",
            "--clauses",
            "12",
        ),
        *("--out", str(tmp_path / "sweep"), "--tm-target-size", "32", "--no-randaugment", *STUDENT, *TEACHER),
    ]
    fits = counted(monkeypatch, teachers, "fit_head")
    assert imagenet_sweeps.main(words) == 0
    assert len(fits) == 2
    first = read_json(tmp_path / "sweep/summary.json")
    assert imagenet_sweeps.main(words) == 0
    assert len(fits) == 2
    assert read_json(tmp_path / "sweep/summary.json") == first
