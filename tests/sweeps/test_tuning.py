"""The study of settings: what is chosen by validation rows knows nothing of test rows, and arms get the same draws."""

import argparse
import re
from dataclasses import replace

import pandas as pd
import pytest
import torch
from benchmarks.tuning import defaults, study

from stillhouse.recipes import load_run
from stillhouse.tasks.classification.data import images
from stillhouse.tasks.classification.data.config import DataConfig

DIGITS = DataConfig(name="digits", validation_fraction=0.3)


def with_wrong(data, split):
    """The data with every second label of one split moved on by one class."""
    rows = getattr(data, split)
    return replace(data, **{split: replace(rows, labels=(rows.labels + torch.arange(len(rows)) % 2) % 10)})


def options(out):
    return argparse.Namespace(out=out, root=None, teacher=None, trials=2, seeds=1)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A space of seconds."""
    monkeypatch.setattr(study, "HERE", tmp_path)
    (tmp_path / "flat.yaml").write_text("training.epochs: [1, 2]\nstudent.clauses: [20, 40]\n")
    (tmp_path / "taught.yaml").write_text("signals.0.temperature: [1, 4]\n")
    return tmp_path


def test_wrong_test_labels_change_no_score_of_the_study(small, monkeypatch):
    """A default chosen on test rows looks better there than it is anywhere else, and nothing in the table shows it."""
    assemble, found = images.assemble, {}
    for split in (None, "test", "validation"):
        changed = lambda *words, split=split: with_wrong(assemble(*words), split) if split else assemble(*words)  # noqa: E731
        monkeypatch.setattr(images, "assemble", changed)
        rows = study.swept("flat", "digits", "untaught", options(small / str(split))) + study.rivals(DIGITS.build(), 2)
        found[split] = [row["score"] for row in rows]
    assert found["test"] == found[None]
    assert all(wrong < right for wrong, right in zip(found["validation"], found[None], strict=True))


def test_defaults_are_measured_on_validation_rows(monkeypatch, tmp_path):
    """Defaults that are mended until the test rows like them are no defaults of anyone else."""
    assemble, found = images.assemble, {}
    words = ["--kinds", "spiking", "--set", "training.epochs=2", "data.train_limit=200"]
    for split in (None, "test", "validation"):
        changed = lambda *given, split=split: with_wrong(assemble(*given), split) if split else assemble(*given)  # noqa: E731
        monkeypatch.setattr(images, "assemble", changed)
        defaults.main([*words, "--out", str(tmp_path / str(split))])
        row = pd.read_csv(tmp_path / str(split) / "defaults.csv").iloc[0]
        found[split] = [row["accuracy"], row["logistic regression"]]
    assert found["test"] == found[None]
    assert all(wrong < right for wrong, right in zip(found["validation"], found[None], strict=True))


@pytest.mark.parametrize("data", ["banking", "breast-cancer"])
def test_students_to_read_have_rivals_on_the_same_rows(data, tmp_path):
    """As many draws; boosting and logistic regression read the table's own numbers, not thresholds made for rules."""
    given = argparse.Namespace(out=tmp_path, root=None, teacher=None, trials=2, seeds=1)
    settings = study.settings_of("scorecard", data, "untaught", study.place_of(data, given), None)
    rows = study.rivals(load_run("banking", settings).data.build(), 2)
    arms = {"logistic regression"} | ({"boosting"} if data == "breast-cancer" else set())
    assert {row["arm"] for row in rows} == arms
    assert len(rows) == 2 * len(arms)
    assert all(row["score"] > (0.9 if data == "breast-cancer" else 0.5) for row in rows)


def test_every_arm_gets_the_same_draws(small):
    """A rival with other settings or fewer trials is beaten by luck."""
    arms = {arm: study.swept("flat", "digits", arm, options(small / "out")) for arm in ("untaught", "taught", "mlp")}
    shared = [[(row["training.epochs"], row["student.clauses"]) for row in rows] for rows in arms.values()]
    assert len(shared[0]) == 2
    assert shared[0] == shared[1] == shared[2]
    assert len({row["score"] for rows in (arms["untaught"], arms["mlp"]) for row in rows}) > 2  # other networks
    assert all("signals.0.temperature" in row for row in arms["taught"])


def test_the_page_names_the_best_everywhere():
    """A setting that is best on one data set and bad on the other is no default."""
    scores = {("a", 0): 0.99, ("b", 0): 0.5, ("a", 1): 0.9, ("b", 1): 0.9}
    table = pd.DataFrame(
        [{"data": d, "arm": "untaught", "trial": t, "score": s, "depth": t} for (d, t), s in scores.items()]
    )
    assert study.everywhere(table).index[0] == ("untaught", 1)
    page = study.pages(table, {"depth": [0, 1]})
    assert re.search(r"\| a \| untaught \| 0.99 \|", page)
    assert "| depth | 1 | 2 | 0.9 | 0.9 |" in page
