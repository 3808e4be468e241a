"""`stillhouse curve`: a run for each number of labels, the gain of each with its interval, one page."""

import json

from stillhouse.cli.main import main
from stillhouse.cli.runs import write_curve

FAST = ["student.kind=tf-idf", "training.epochs=2", "seeds=1", "arms=[kd,no-kd]"]


def test_a_curve_has_a_run_for_each_number_of_labels(tmp_path, capsys):
    """Its figures are those of the runs; a second call with --resume trains nothing."""
    out = tmp_path / "curve"
    words = ["curve", "banking", *FAST, "--labels", "60,30", "--out", str(out), "--quiet"]
    assert main(words) == 0
    points = json.loads((out / "curve.json").read_text())["points"]
    assert [point["labels"] for point in points] == [30, 60]
    for point in points:
        run = json.loads((out / f"labels-{point['labels']}" / "run.json").read_text())
        summary = json.loads((out / f"labels-{point['labels']}" / "summary.json").read_text())
        assert run["config"]["data"]["label_limit"] == point["labels"]
        assert point["difference"] == summary["comparisons"][0]["difference"]
        assert point["arms"]["kd"] == summary["arms"]["kd"]["accuracy"]["mean"]
    assert "60 labels: +" in capsys.readouterr().out
    records = out / "labels-30" / "arms" / "kd" / "seed-0" / "records.jsonl"
    before = records.stat().st_mtime_ns
    assert main([*words, "--resume"]) == 0
    assert records.stat().st_mtime_ns == before


def test_the_page_draws_each_gain_and_names_the_largest(tmp_path):
    """In points of accuracy, with the interval."""
    arms = {"kd": 0.9, "no-kd": 0.8}
    points = [
        {"labels": n, "difference": gain, "low": gain - 0.02, "high": gain + 0.02, "verdict": "helps", "arms": arms}
        for n, gain in ((50, 0.123), (500, 0.04))
    ]
    write_curve(tmp_path / "page.html", points, "mine")
    page = (tmp_path / "page.html").read_text()
    assert "50 labels: +12.3 points (10.3 to 14.3), helps" in page
    assert "50 labels: +12.3" in page


def test_a_curve_without_a_teacher_is_refused_before_it_trains(tmp_path, capsys):
    """What would be drawn is what the teacher adds."""
    assert main(["curve", "banking", "teacher=null", "arms=[no-kd]", "--out", str(tmp_path / "curve")]) == 2
    assert "expected both, got no-kd (kd wants teacher.source)" in capsys.readouterr().err
    assert not (tmp_path / "curve").exists()
