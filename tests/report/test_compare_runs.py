"""Runs side by side: pairs by seed and item, reasons where there are none."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from stillhouse.cli.main import main
from stillhouse.core.manifest import list_files
from stillhouse.core.parts import Metric
from stillhouse.core.records import read_json, write_arrays, write_json
from stillhouse.core.task import Task
from stillhouse.report.compare import compare_runs


class Errors(Task):
    """A task of one metric, of which runs are read only."""

    kind, title, Config = "errors", "runs made by hand", SimpleNamespace
    metrics = (Metric("error", "error", "points", scale=100, digits=2, lower_is_better=True),)


for name in Errors.__abstractmethods__:
    setattr(Errors, name, lambda self, *rest: None)
Errors.__abstractmethods__ = frozenset()


def make(folder, tables, data=None):
    """A finished run of arm kd: seed -> (N) errors."""
    about = {"kind": "errors", "config": {}, "data": data or {"name": "hand", "sha256": "1", "test_sha256": "t"}}
    write_json(folder / "run.json", about)
    write_json(folder / "summary.json", {"shipped": {"arm": "kd", "seed": 0}, "verdict": "helps"})
    for seed, values in tables.items():
        place = folder / "arms" / "kd" / f"seed-{seed}"
        write_arrays(place / "scores.npz", error=np.asarray(values, float))
        write_json(place / "result.json", {"metrics": {"error": float(np.mean(values))}, "seconds": 2.0 + seed})
    list_files(folder)
    return folder


def compared(*folders):
    return compare_runs(Errors(), folders)["runs"]


def test_seeds_stand_beside_themselves(tmp_path):
    """What luck does to both runs alike is no difference: only the same seeds and items are paired, whatever else there is."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=(3, 60)) * 0.01 + np.array([[0.0], [1.0], [2.0]])
    first = make(tmp_path / "a", dict(enumerate(base)))
    better = {2: base[2] - 0.1, 1: base[1] - 0.1 + 0.001 * rng.normal(size=60), 7: np.full(60, 99.0)}
    row = compared(first, make(tmp_path / "b", better))[1]
    assert row["paired_seeds"] == [1, 2]
    assert row["difference"] == pytest.approx(0.1, abs=1e-3)  # an error that is less is better: above 0
    assert row["low"] > 0.09
    assert row["word"] == "not tested (2 seeds; a verdict needs 3)"
    assert row["seeds"] == [1, 2, 7]


def test_two_seeds_are_no_verdict_and_three_are(tmp_path, capsys, monkeypatch):
    """`distill` says that two seeds are too few; a comparison that says that the same two help contradicts it."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=(3, 60))
    a, b = make(tmp_path / "a", dict(enumerate(base))), make(tmp_path / "b", dict(enumerate(base[:2] - 0.1)))
    c = make(tmp_path / "c", dict(enumerate(base - 0.1)))
    two, three = compared(a, b, c)[1:]
    assert two["low"] > 0.09
    assert two["word"] == "not tested (2 seeds; a verdict needs 3)"
    assert three["word"] == "helps"
    monkeypatch.setattr("stillhouse.tasks.results_at", lambda folder: Errors())
    assert main(["compare", str(a), str(b), "--out", str(tmp_path / "p.html")]) == 0
    assert ", helps" not in capsys.readouterr().out
    page = (tmp_path / "p.html").read_text()
    assert ", helps" not in page
    assert "has the best" not in page
    assert main(["compare", str(a), str(c), "--out", str(tmp_path / "q.html")]) == 0
    assert "c has the best error" in (tmp_path / "q.html").read_text()
    near = make(tmp_path / "near", dict(enumerate(base + 0.01 * rng.normal(size=(3, 60)))))
    assert main(["compare", str(a), str(near), "--out", str(tmp_path / "n.html")]) == 0
    assert "No difference is shown. " in (tmp_path / "n.html").read_text()
    assert "has the best" not in (tmp_path / "n.html").read_text()


def test_an_unfinished_run_is_refused_with_what_finishes_it(tmp_path, capsys):
    """A minute of imports for a file that is not there."""
    a, b = (make(tmp_path / name, {0: [0.1, 0.2]}) for name in "ab")
    (b / "summary.json").unlink()
    assert main(["compare", str(a), str(b), "--out", str(tmp_path / "p.html")]) == 2
    assert "finish it with --resume" in capsys.readouterr().err


def test_what_cannot_be_paired_says_why(tmp_path):
    """Another test split, no common seed, one seed only."""
    a = make(tmp_path / "a", {0: [0.1, 0.2], 1: [0.3, 0.1]})
    other = make(tmp_path / "b", {0: [0.1, 0.2]}, {"name": "x", "sha256": "2", "test_sha256": "u"})
    apart = make(tmp_path / "c", {5: [0.1, 0.2]})
    single = make(tmp_path / "d", {0: [0.1, 0.3]})
    shorter = make(tmp_path / "e", {0: [0.1, 0.2, 0.3]}, {"name": "x", "sha256": "1"})
    rows = compared(a, other, apart, single)
    assert "another test split (sha256 t and u)" in rows[1]["why"]
    assert rows[2]["why"] == "they share no seed"
    assert (rows[3]["word"], rows[3]["why"]) == ("not tested (1 seed; a verdict needs 3)", "")
    assert compared(shorter, make(tmp_path / "f", {0: [0.1, 0.2]}, {"sha256": "1"}))[1]["why"].startswith(
        "other test items"
    )


def test_a_file_that_was_changed_is_named(tmp_path, capsys, monkeypatch):
    """Though no figure rests on it, and no student is loaded to count its cost; and one that the run had left and is gone."""
    a, b = (make(tmp_path / name, {0: [0.1, 0.2]}) for name in "ab")
    place = b / "arms" / "kd" / "seed-0"
    for path in (place / "student.bin", b / "rules.json"):
        path.write_bytes(b"weights")
    list_files(b)
    (place / "student.bin").write_bytes(b"other weights")
    (b / "rules.json").unlink()
    monkeypatch.setattr("stillhouse.tasks.results_at", lambda folder: Errors())
    assert main(["compare", str(a), str(b), "--out", str(tmp_path / "page.html")]) == 0
    out, page = capsys.readouterr().out, (tmp_path / "page.html").read_text()
    for words in ("student.bin was changed after it was written", "rules.json is missing, and the run had left it"):
        assert words in out
        assert words in page
    assert compared(a, b)[0]["changed"] == []


def test_runs_with_the_same_metrics_are_compared_whatever_the_student(finished, tmp_path, capsys):
    """A network beside a clause machine is what users ask for; radar beside them is refused, with what to do instead."""
    clauses, images = (shutil.copytree(finished, tmp_path / name) for name in ("clauses", "images"))
    for place in (place for run in (clauses, images) for place in run.glob("arms/kd/seed-*")):
        write_arrays(place / "scores.npz", accuracy=np.array([1.0, 0.0, 1.0]))
    assert main(["compare", str(clauses), str(images)]) == 0
    out = capsys.readouterr().out
    assert "images" in out
    assert "clauses" in out
    write_json(images / "run.json", {**read_json(images / "run.json"), "kind": "sar"})
    assert main(["compare", str(clauses), str(images)]) == 2
    assert "stillhouse verify" in capsys.readouterr().err
