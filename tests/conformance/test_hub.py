"""A student of every task as the folder of a model hub: read by the hub's own library, opened anew, without a network."""

import json
import shutil
import socket

import numpy as np
import pytest
import yaml

import stillhouse
from stillhouse.cli.main import main
from stillhouse.core.model_card import findings
from stillhouse.tasks import results, task


@pytest.fixture
def hub(made, tmp_path, monkeypatch):
    def refused(*args, **more):
        raise AssertionError("an export asked for a network")

    monkeypatch.setattr(socket.socket, "connect", refused)
    words = ["export", str(made.out), "--to", "hub", "--out", str(tmp_path / "hub"), "--license", "apache-2.0"]
    assert main(words) == 0
    return tmp_path / "hub"


def test_the_hubs_own_library_reads_licence_and_score(made, hub):
    """Front matter by huggingface_hub; the score is that of this seed, as its result has it."""
    hugging = pytest.importorskip("huggingface_hub")
    card = hugging.ModelCard.load(hub / "README.md")
    assert card.data.license == "apache-2.0"
    assert card.data.library_name == "stillhouse"
    assert made.case.task in card.data.tags
    first = task(made.case.task).metrics[0].name
    result = json.loads((made.out / "arms" / made.case.taught / "seed-0" / "result.json").read_text())
    found = {one.metric_type: one.metric_value for one in card.data.eval_results}
    assert found[first] == pytest.approx(result["metrics"][first])


def test_verdict_and_hashes_are_on_the_page_and_in_the_card(made, hub):
    """Those of the run: a card without them cannot be believed. No place of this machine goes with it."""
    text, card = (hub / "README.md").read_text(), json.loads((hub / "card.json").read_text())
    run, summary = (json.loads((made.out / name).read_text()) for name in ("run.json", "summary.json"))
    assert f"`{run['data']['sha256']}`" in text
    assert card["data"]["sha256"] == run["data"]["sha256"]
    assert card["license"] == "apache-2.0"
    (row, *_) = card["verdict"]["comparisons"]
    (expected, *_) = [one for one in summary["comparisons"] if made.case.taught in (one["arm"], one["control"])]
    assert {key: row[key] for key in expected} == expected
    assert row["sentence"] in text
    assert card["verdict"]["verdict"] == summary["verdict"] == "not tested (1 seed; a verdict needs 3)"
    for place in (made.case.root, made.case.root.parent):
        assert str(place) not in text + json.dumps(card)


def test_the_folder_answers_as_the_run(made, hub):
    """Opened by `stillhouse.load` where no run is near, it gives the same answers."""
    before, after = stillhouse.load(made.out), stillhouse.load(hub)
    rng = np.random.default_rng(0)
    inputs = {
        "embed": rng.normal(size=(3, 16)),
        "sar": rng.normal(size=(2, 160)) * (1 + 1j),
        "lm": ["the river sang"],
    }.get(made.case.kind, list(rng.random((3, 8, 8)).astype(np.float32)))
    a, b = before.predict(inputs), after.predict(inputs)
    assert np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b


def test_a_finished_run_has_it_in_its_own_card(made):
    """Without an export; the licence is that of the run, which names none."""
    card = json.loads((made.out / "student" / "card.json").read_text())
    assert card["license"] == "other"
    assert card["data"]["sha256"] == json.loads((made.out / "run.json").read_text())["data"]["sha256"]
    assert card["verdict"]["comparisons"][0]["items"] > 0
    assert task(made.case.task).load(made.out / "student") is not None


@pytest.mark.kinds("clauses", "images", "lm", "sar")
def test_an_arm_of_the_run_has_its_own_score(made, tmp_path):
    """The control exported under the score of the taught arm would be another student's page."""
    folder = made.out / "arms" / made.case.control / "seed-0"
    assert main(["export", str(folder), "--to", "hub", "--out", str(tmp_path / "hub")]) == 0
    front = yaml.safe_load((tmp_path / "hub" / "README.md").read_text().split("---")[1])
    (score, *_) = front["model-index"][0]["results"][0]["metrics"]
    assert score["value"] == pytest.approx(
        json.loads((folder / "result.json").read_text())["metrics"][task(made.case.task).metrics[0].name]
    )
    assert front["license"] == "other"


def test_a_folder_without_a_run_says_so(run_of, tmp_path, capsys):
    """No verdict is made up, and a changed file is refused."""
    alone = tmp_path / "alone"
    shutil.copytree(run_of("embed").out / "arms" / "student" / "seed-0", alone)
    assert main(["export", str(alone), "--to", "hub", "--out", str(tmp_path / "hub")]) == 0
    assert (
        "**not tested (nothing to compare with)**. It belongs to no finished run"
        in (tmp_path / "hub" / "README.md").read_text()
    )
    assert "no licence is named" in capsys.readouterr().out
    raw = bytearray((alone / "student.safetensors").read_bytes())
    raw[-1] ^= 1
    (alone / "student.safetensors").write_bytes(raw)
    assert main(["export", str(alone), "--to", "hub", "--out", str(tmp_path / "other")]) == 2
    assert "was changed after it was written" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(("seeds", "verdict"), [(3, "helps"), (2, "not tested (2 seeds; a verdict needs 3)")])
def test_two_seeds_are_no_verdict(seeds, verdict):
    """The rule of reports: with two an interval misses too often. The sentence has difference, interval, seeds and items."""
    row = {"name": "teacher", "arm": "kd", "control": "no-kd", "metric": "accuracy", "verdict": "helps"}
    row |= {"difference": 0.1, "low": 0.05, "high": 0.15, "seeds": seeds, "items": 200}
    arms = {arm: {"accuracy": {"mean": mean, "values": [mean] * seeds}} for arm, mean in (("kd", 0.9), ("no-kd", 0.8))}
    run = {"config": {"name": "mine", "license": "mit"}}
    found = findings(results("classification"), run, {"verdict": "helps", "comparisons": [row], "arms": arms}, "kd", 1)
    assert found["verdict"]["verdict"] == verdict
    assert found["license"] == "mit"
    assert found["run"]["test"]["accuracy"]["value"] == 0.9
    (text,) = (one["sentence"] for one in found["verdict"]["comparisons"])
    assert f"{seeds} seeds, 200 test rows" in text
    assert ("The teacher: helps" in text and "+5.00 to +15.00" in text) == (seeds == 3)
