"""Settings without effect are listed, each with its place; a sound configuration is left alone."""

import pytest

from stillhouse.core.callback import Callback
from stillhouse.core.checks import InputError
from stillhouse.core.config import merge, parse, to_mapping
from stillhouse.core.experiment import run
from stillhouse.core.records import read_json
from stillhouse.recipes import load_run
from stillhouse.tasks.classification.plan import ClassificationRunConfig
from stillhouse.tasks.classification.recipes import RECIPES
from stillhouse.tasks.classification.task import TASK

STAGE = {"name": "a", "epochs": 1, "signals": [{"kind": "logits"}]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"training": {"label_weight": 0.0, "label_smoothing": 0.1}, "arms": ["kd"]},
            "label_smoothing: 0.1 does nothing",
        ),
        ({"training": {"epochs": 1, "warmup_epochs": 1.0}}, "peak learning rate is never reached"),
        ({"training": {"teacher_view": "clean"}}, "without augmentation"),
        (
            {"training": {"accumulate": 4}, "signals": [{"kind": "relations", "student": "a", "teacher": "b"}]},
            "micro-batch of",
        ),
        (
            {"training": {"accumulate": 4}, "signals": [{"kind": "logits", "loss": "dist"}]},
            "signals.0 compares within a micro-batch",
        ),
        ({"training": {"gradients": "cosine-gate", "label_weight": 0.0}, "arms": ["kd"]}, "'cosine-gate' holds"),
        ({"arms": ["no-kd"]}, "no arm is taught"),
        ({"more_teachers": [{"source": "timm:resnet18"}]}, "no signal of kind 'ensemble'"),
        ({"difficulty_model": "student"}, "without a curriculum"),
        ({"signals": [{"kind": "exits", "exits": ["blocks.0"]}]}, "no signal with a weight listens"),
        ({"training": {"optimizer": "dot"}, "arms": ["no-kd"]}, "one of them is missing"),
        ({"training": {"gradients": "pcgrad", "label_weight": 0.0}, "arms": ["kd"]}, "'pcgrad' needs two terms"),
        ({"stages": [STAGE], "signals": [{"kind": "logits", "weight": 7.0}]}, "every stage has signals of its own"),
        ({"stages": [STAGE], "training": {"epochs": 9}}, "training.epochs: 9 does nothing"),
        ({"curriculum": {}, "training": {"epochs": 3}}, "4 stages in 3 epochs"),
        (
            {"teacher_assistants": [{"kind": "timm", "architecture": "test_resnet"}], "arms": ["no-kd"]},
            "no assistant is trained",
        ),
        ({"teacher": {"source": "self:average"}, "student": {"dropout": 0.0}}, "puts out nearly the same"),
        ({"student": {"feed_forward": "mlp"}, "arms": ["kd", "mlp"]}, "is the student itself"),
    ],
)
def test_a_setting_without_effect_is_listed(change, words):
    """A flag that does nothing is worse than none: it is reported as tried."""
    base = to_mapping(load_run("digits"))
    found = TASK.unused(parse(ClassificationRunConfig, merge(base, change)))
    assert any(words in line for line in found), found


@pytest.mark.parametrize("name", [name for name in sorted(RECIPES) if not RECIPES[name]().stages])
def test_recipes_have_no_unused_setting(name):
    """A warning that is always there is not read."""
    assert list(TASK.unused(load_run(name))) == []


def test_a_run_logs_it_and_writes_it_down(tmp_path):
    """Shown once on the screen and forgotten, it would not be found again."""
    fast = ["training.epochs=1", "seeds=1", "data.train_limit=40", "data.test_limit=40", "student.depth=1"]
    config = load_run("digits", [*fast, "arms=[no-kd]", "training.device=cpu"])
    lines = []
    callback = Callback()
    callback.log = lines.append
    run(TASK, config, tmp_path / "run", callback=callback)
    assert any(line.startswith("unused: teacher: no arm is taught") for line in lines)
    assert any("no arm is taught" in line for line in read_json(tmp_path / "run" / "run.json")["unused"])


def test_an_ensemble_signal_with_one_teacher_is_refused_before_training(tmp_path):
    """It would fail in the first batch, an hour of teacher checks later."""
    fast = ["training.epochs=1", "seeds=1", "data.train_limit=40", "data.test_limit=40", "arms=[kd]"]
    config = load_run("digits", [*fast, "signals=[{kind: ensemble}]"])
    with pytest.raises(InputError, match="more_teachers"):
        run(TASK, config, tmp_path / "run")
    assert not (tmp_path / "run" / "arms").exists()
