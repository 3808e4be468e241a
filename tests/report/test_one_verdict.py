"""One function decides and words the verdict; every place that prints one prints that."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from markupsafe import Markup

from stillhouse.cli.main import main
from stillhouse.cli.show import print_summary
from stillhouse.core import records, verdict
from stillhouse.core.folder import RunFolder
from stillhouse.core.model_card import findings, readme
from stillhouse.core.parts import Arm, Scores, contrasts_of
from stillhouse.core.summary import summarize
from stillhouse.core.task import Task
from stillhouse.recipes import load_run
from stillhouse.report.page import write_page
from stillhouse.report.words import GAP, describe_against_baselines
from stillhouse.tasks import results, task
from stillhouse.tasks.classification.task import TASK

WORDS = ("helps", "no difference shown", "hurts", "not tested (2 seeds; a verdict needs 3)")
EARLIER = ("none yet", "too few for a verdict", "too few seeds", "for a verdict to stand on")


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Figures are built and not written out, which takes most of the time."""
    monkeypatch.setattr("stillhouse.report.figures._svg", lambda figure, name, label: Markup("<svg></svg>"))


def tables(word):
    """(S, N) right answers of an arm and of its control, from which the word follows."""
    rng = np.random.default_rng(0)
    control = rng.random((2 if word.startswith("not") else 3, 200)) < 0.5
    arm = control.copy()
    if not word.startswith("no difference"):
        arm[:, :60] = word != "hurts"  # twenty and more items won, or lost, under every seed
    return arm.astype(float), control.astype(float)


class Hand(Task):
    """Runs of two arms whose items are written by hand."""

    kind, title, Config = "classification", "runs made by hand", object
    metrics = tuple(replace(one, judged=one.name == "nll") for one in results("classification").metrics)


for name in Hand.__abstractmethods__:
    setattr(Hand, name, lambda self, *rest: ())
Hand.__abstractmethods__ = frozenset()


def made(out, items, plain=None):
    """A finished run: arm -> metric -> (S, N)."""
    folder, seeds = RunFolder(out), len(next(iter(items["kd"].values())))
    config = {"name": "hand", "arms": list(items)}
    data = {"name": "hand", "sizes": {"test": 200}, "sha256": "1", "test_sha256": "2"}
    records.write_json(out / "run.json", {"kind": "classification", "config": config, "data": data, "command": "c"})
    records.write_json(out / "teacher.json", {"name": "net", "score": 0.9, "chance": 0.1, "status": "ready"})
    for arm, found in items.items():
        for seed in range(len(next(iter(found.values())))):
            answers = {records.PREDICTIONS: {"labels": np.zeros(200, int), "probabilities": np.eye(2)[[0] * 200]}}
            scores = Scores({name: values[seed] for name, values in found.items()}, {}, answers)
            folder.keep(arm, seed, scores, {"seconds": 1.0})
    plain = plain or {}
    arms = [
        Arm(arm, None, arm == "kd", seeds)
        if arm not in plain
        else Arm(arm, None, False, plain=plain[arm], controls=((arm, "kd"),))
        for arm in items
    ]
    summary = summarize(Hand(), arms, folder, {"arm": "kd", "seed": 0})
    summary = {**summary, "command": "c", "data": data}
    records.write_json(out / "summary.json", summary)
    return summary


def said_everywhere(out, summary, tmp_path, capsys):
    """What each place prints: summary, terminal, page, card, compare, verify."""
    found = {"summary": summary["verdict"]}
    print_summary(summary, out)
    found["terminal"] = capsys.readouterr().out.rpartition("verdict on the teacher: ")[2].splitlines()[0]
    found["page"] = re.sub(r"\s+", " ", write_page(results("classification"), out).read_text().replace("&nbsp;", " "))
    task = results("classification")
    card = findings(task, json.loads((out / "run.json").read_text()), summary, "kd", 0)
    found["card"] = card["verdict"]["verdict"]
    found["readme"] = readme(
        task, {**card, "license": "mit"}, student=SimpleNamespace(takes="x", hub_task=""), costs={}
    )
    return found


@pytest.mark.parametrize("word", WORDS)
def test_every_place_prints_the_same_word(word, tmp_path, capsys):
    """README said "not tested", the terminal "none yet", the page "too few for a verdict", verify "better"; the summary "helps"."""
    arm, control = tables(word)
    items = {"kd": {"accuracy": arm, "nll": -arm}, "no-kd": {"accuracy": control, "nll": -control}}
    summary = made(tmp_path / "run", items)
    found = said_everywhere(tmp_path / "run", summary, tmp_path, capsys)
    assert found["summary"] == found["terminal"] == found["card"] == word
    assert f"**{word}**." in found["readme"]
    head = found["page"].partition("<h1>")[2].partition("</h1>")[0]
    assert f"The teacher: {word}" in head
    other = made(tmp_path / "other", {"kd": {"accuracy": control}, "no-kd": {"accuracy": control}})
    assert main(["compare", str(tmp_path / "other"), str(tmp_path / "run")]) == 0
    assert word in capsys.readouterr().out
    for side, values in (("a", arm), ("b", control)):
        for seed, row in enumerate(values):
            records.write_json(tmp_path / side / f"{seed}.json", {"scores": {str(n): x for n, x in enumerate(row)}})
    main(["verify", str(tmp_path / "a"), str(tmp_path / "b")])
    verified = capsys.readouterr().out
    assert verified.splitlines()[0] == word
    assert not any(one in text for one in EARLIER for text in (*found.values(), verified))
    assert other["verdict"].startswith("no" if len(control) == 3 else "not tested")


def test_the_number_of_seeds_is_asked_of_one_place(tmp_path, monkeypatch, capsys):
    """Eight files had a 3 of their own; with another fewest number every place must follow."""
    monkeypatch.setattr(verdict, "FEWEST_SEEDS", 4)
    arm, control = tables("helps")
    summary = made(
        tmp_path / "run", {"kd": {"accuracy": arm, "nll": -arm}, "no-kd": {"accuracy": control, "nll": -control}}
    )
    found = said_everywhere(tmp_path / "run", summary, tmp_path, capsys)
    word = "not tested (3 seeds; a verdict needs 4)"
    assert found["summary"] == found["terminal"] == found["card"] == word
    assert word in found["page"]
    assert "Below each mean: each seed" in found["page"]
    values = [f"{100 * value:.2f} %" for value in summary["arms"]["kd"]["accuracy"]["values"]]
    assert " and ".join(values) in found["page"].replace(GAP, " ")  # in the place of an interval
    assert "3 seeds, too few for an interval over seeds" in found["page"]
    assert "The teacher: helps" not in found["page"] + found["readme"]
    made(tmp_path / "other", {"kd": {"accuracy": control}, "no-kd": {"accuracy": control}})
    assert main(["compare", str(tmp_path / "other"), str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert word in said
    assert "each seed" in said


def test_a_trade_off_is_two_verdicts(tmp_path, capsys):
    """More right answers and a worse likelihood: "hurts" hid the gain, "helps" the loss."""
    arm, control = tables("helps")
    summary = made(
        tmp_path / "run", {"kd": {"accuracy": arm, "nll": arm + 1}, "no-kd": {"accuracy": control, "nll": control}}
    )
    found = said_everywhere(tmp_path / "run", summary, tmp_path, capsys)
    word = "helps (accuracy), hurts (negative log-likelihood (nats))"
    assert found["summary"] == found["terminal"] == found["card"] == word
    head = found["page"].partition("<h1>")[2].partition("</h1>")[0]
    assert "The teacher: helps (accuracy: with the teacher" in head
    assert "; The teacher: hurts (negative log-likelihood (nats): with the teacher" in head


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("helps", "helps"), "helps"),
        (("no difference shown", "helps"), "helps"),
        (("hurts", "no difference shown"), "hurts"),
        (("hurts", "helps"), "hurts (near), helps (far)"),
        (("not tested", "helps"), "not tested (an arm is missing)"),
        (("no difference shown", "no difference shown"), "no difference shown"),
    ],
)
def test_hurts_is_said_only_where_nothing_is_gained(words, expected):
    rows = [
        {"name": "pca", "arm": "student", "control": "pca", "metric": metric, "verdict": word}
        for metric, word in zip(("a", "b"), words)
    ]
    stranger = {"name": "umap", "arm": "student", "control": "umap", "metric": "a", "verdict": "hurts"}
    assert verdict.overall_verdict([*rows, stranger], {"a": "near", "b": "far"}) == expected


def test_embeddings_are_judged_by_near_and_far_together():
    """Near +0.091 and far -0.019 against PCA: the run said "hurts"."""
    embed = task("embed")
    near, far, *rest = contrasts_of(embed.arms(load_run("embedding", ["data.path=x"])), embed.metrics)
    assert (near.arm, near.control, far.arm, far.control) == ("student", "pca", "student", "pca")
    rows = [{"name": c.name, "arm": c.arm, "control": c.control, "metric": c.metric, "verdict": "hurts"} for c in rest]
    both = [
        {"name": c.name, "arm": c.arm, "control": c.control, "metric": c.metric, "verdict": word, "seeds": 3}
        for c, word in ((near, "helps"), (far, "hurts"))
    ]
    labels = {metric.name: metric.label for metric in results("embed").metrics}
    word = "helps (10 nearest kept), hurts (distances kept (Spearman, row by row))"
    assert verdict.overall_verdict([*both, *rows], labels) == word


def test_a_student_below_a_plain_model_is_said_on_page_card_and_terminal(tmp_path, capsys, monkeypatch):
    """57.8 % beside the tool's own linear classifier at 62.5 %: nothing said so."""
    arm, control = tables("hurts")
    items = {"kd": {"accuracy": arm, "nll": -arm}, "no-kd": {"accuracy": arm, "nll": -arm}}
    items["linear"] = {"accuracy": control[:1], "nll": -control[:1]}
    monkeypatch.setattr(Hand, "metrics", results("classification").metrics)
    summary = made(tmp_path / "run", items, plain={"linear": "a linear classifier"})
    found = said_everywhere(tmp_path / "run", summary, tmp_path, capsys)
    words = f"is worse than a linear classifier ({100 * control[0].mean():.2f} %)"
    print_summary(summary, tmp_path / "run")
    assert words in capsys.readouterr().out.replace(GAP, " ")
    assert words in found["page"].partition("<h1>")[2].partition("</h1>")[0].replace(GAP, " ")
    assert words in found["readme"]
    assert describe_against_baselines(summary, {m.name: m for m in TASK.metrics})
    summary["comparisons"][1]["verdict"] = "helps"
    assert describe_against_baselines(summary, {m.name: m for m in TASK.metrics}) == ""
