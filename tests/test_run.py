"""A whole run, small: teacher, arms, verdict, report; and that controls control what they say."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from stillhouse.core import records
from stillhouse.core.checks import InputError
from stillhouse.core.experiment import run
from stillhouse.core.parts import TeacherAtChance
from stillhouse.recipes import load_run
from stillhouse.tasks.classification.card import read_card
from stillhouse.tasks.classification.recipes import RECIPES
from stillhouse.tasks.classification.students import StudentConfig
from stillhouse.tasks.classification.task import TASK
from stillhouse.teachers.config import TeacherConfig
from stillhouse.teachers.teacher import Teacher

FAST = ["training.epochs=1", "seeds=2", "data.train_limit=64", "data.test_limit=60", "training.batch_size=32"]
SMALL = ["student.embed_dim=16", "student.clauses=16", "student.depth=1", "training.device=cpu"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "digits"
    config = load_run("digits", [*FAST, *SMALL, "arms=[kd,no-kd,clauses-off,mlp]"])
    return out, config, run(TASK, config, out)


def test_the_summary_has_what_it_promises(finished):
    """The keys that other programs read."""
    out, _, summary = finished
    assert json.loads(json.dumps(summary)) == records.read_json(out / records.SUMMARY)
    assert {"verdict", "arms", "teacher", "student", "command", "versions", "data", "seeds"} <= set(summary)
    assert summary["verdict"] == "not tested (2 seeds; a verdict needs 3)"
    for metrics in (summary["arms"][arm] for arm in ("kd", "no-kd", "clauses-off", "mlp")):
        for name in ("accuracy", "nll", "ece", "agreement"):
            assert len(metrics[name]["values"]) == 2
            assert metrics[name]["mean"] == pytest.approx(np.mean(metrics[name]["values"]))
            assert metrics[name]["low"] <= metrics[name]["mean"] <= metrics[name]["high"]
    assert {"score", "chance", "ece"} <= set(summary["teacher"])
    assert {"params", "bytes_on_disk", "ms_batch_1", "ms_batch_64", "flops"} <= set(summary["student"])
    assert {"name", "sizes", "sha256"} <= set(summary["data"])
    assert [c["name"] for c in summary["comparisons"]] == [
        "teacher",
        "clauses",
        "clauses against MLP",
        "linear",
        "majority",
    ]


def test_differences_are_those_of_the_saved_predictions(finished):
    """Recomputed from the files, without the library."""
    out, _, summary = finished
    right = {arm: summary["arms"][arm]["accuracy"]["mean"] for arm in summary["plain"]}  # these keep no probabilities
    for arm in ("kd", "no-kd", "clauses-off", "mlp"):
        files = [np.load(out / "arms" / arm / f"seed-{k}" / records.PREDICTIONS) for k in (0, 1)]
        right[arm] = np.mean([f["probabilities"].argmax(1) == f["labels"] for f in files])
    for entry in summary["comparisons"]:
        assert entry["difference"] == pytest.approx(right[entry["arm"]] - right[entry["control"]], abs=1e-12)


def test_arms_differ_in_what_they_say_and_in_nothing_else(finished):
    """kd and no-kd start from the same weights and see the same order: only the teacher's term differs."""
    out, _, _ = finished
    first = {
        arm: next(records.read_records(out / "arms" / arm / "seed-0" / records.RECORDS))
        for arm in ("kd", "no-kd", "clauses-off", "mlp")
    }
    assert set(first["kd"]["terms"]) == {"labels", "logits"}
    assert set(first["no-kd"]["terms"]) == {"labels"}
    assert first["kd"]["terms"]["labels"] == first["no-kd"]["terms"]["labels"]
    assert set(first["clauses-off"]["terms"]) == {"labels", "logits"}
    kinds = {arm: read_card(out / "arms" / arm / "seed-0", StudentConfig)[0].feed_forward for arm in first}
    assert kinds == {"kd": "clauses", "no-kd": "clauses", "clauses-off": "none", "mlp": "mlp"}


def test_a_saved_student_repeats_its_predictions(finished):
    """The card and the weights are enough."""
    out, config, _ = finished
    folder = out / "arms" / "kd" / "seed-0"
    student = TASK.load(folder)
    data = config.data.build()
    saved = np.load(folder / records.PREDICTIONS)["probabilities"]
    with torch.no_grad():
        again = torch.softmax(student(next(data.test.batches(512)).inputs), 1).numpy()
    np.testing.assert_allclose(again, saved, atol=1e-6)


def test_a_finished_run_is_not_overwritten_and_resume_keeps_it(finished):
    """A second run into the folder would mix two runs; with --resume nothing is trained again."""
    out, config, summary = finished
    with pytest.raises(InputError, match="--resume"):
        run(TASK, config, out)
    before = (out / "arms" / "kd" / "seed-1" / records.STUDENT).stat().st_mtime_ns
    again = run(TASK, config, out, resume=True)
    assert again["comparisons"] == summary["comparisons"]
    assert (out / "arms" / "kd" / "seed-1" / records.STUDENT).stat().st_mtime_ns == before


def test_resume_with_another_configuration_is_refused(finished):
    """Half a run of one kind and half of another; more seeds and arms are welcome, though."""
    out, _, _ = finished
    changed = load_run("digits", [*FAST, *SMALL, "arms=[kd,no-kd,clauses-off,mlp]", "training.learning_rate=0.1"])
    with pytest.raises(InputError, match=r"training.learning_rate: was 0.007, is 0.1"):
        run(TASK, changed, out, resume=True)


def test_a_teacher_at_chance_is_refused_unless_forced(tmp_path):
    """The public pipeline distilled from random heads and reported the result."""
    changes = [
        *FAST,
        *SMALL,
        "teacher.source=timm:test_resnet",
        "teacher.pretrained=false",
        "teacher.head=keep",
        "seeds=1",
    ]
    config = load_run("digits", [*changes, "arms=[kd]"])
    with pytest.raises(TeacherAtChance, match="--force"):
        run(TASK, config, tmp_path / "a")
    assert run(TASK, config, tmp_path / "b", force=True)["teacher"]["status"] == "at chance"


def test_a_module_of_your_own_can_teach_with_features(tmp_path):
    """An unlike teacher, given in Python, teaches logits and features of a convolution to the tokens of a block."""
    config = load_run("digits", [*FAST, *SMALL, "arms=[kd]", "seeds=1"])
    data = config.data.build()
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(384, 10))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for batch in list(data.train.batches(32)) * 15:
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(batch.inputs), batch.labels).backward()
        optimizer.step()
    features = {"kind": "features", "student": "blocks.0", "teacher": "1", "pool": "none"}
    config = load_run(
        "digits", [*FAST, *SMALL, "arms=[kd]", "seeds=1", f"signals=[{{kind: logits}}, {json.dumps(features)}]"]
    )
    teacher = Teacher.from_module(network, data.input_spec, features=("1",))
    run(TASK, config, tmp_path / "run", teacher=teacher)
    record = next(records.read_records(tmp_path / "run" / "arms" / "kd" / "seed-0" / records.RECORDS))
    assert set(record["terms"]) == {"labels", "logits", "features:blocks.0->1"}


@pytest.mark.slow
def test_the_teacher_helps_where_it_alone_knows(tmp_path):
    """The whole machine on a task with a known answer: labels are noise, only the teacher knows; kd must win, and the
    verdict must say so."""
    changes = ["training.epochs=8", "training.learning_rate=0.02", "training.label_weight=0.2", "arms=[kd,no-kd]"]
    config = load_run("digits", [*FAST, *SMALL, *changes, "seeds=3", "data.train_limit=300", "data.test_limit=150"])
    true = config.data.build()
    labels = true.train.labels[torch.randperm(len(true.train), generator=torch.Generator().manual_seed(0))]
    noisy = replace(true, train=replace(true.train, labels=labels))

    teacher = TeacherConfig().build(true.input_spec)  # never saw the noise
    summary = run(TASK, config, tmp_path / "run", data=noisy, teacher=teacher)
    assert summary["verdict"] == "helps"
    assert summary["comparisons"][0]["difference"] > 0.2


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith("digits")])
def test_shipped_offline_recipes_run(name, tmp_path):
    """A recipe that cannot be built is worse than none."""
    config = load_run(
        name, ["training.epochs=1", "seeds=1", "data.train_limit=32", "data.test_limit=30", "training.device=cpu"]
    )
    assert run(TASK, config, tmp_path / "run")["verdict"] == "not tested (1 seed; a verdict needs 3)"
    assert (tmp_path / "run" / records.REPORT).stat().st_size > 10_000
