"""One schema: YAML, key=value, flags and Python agree, and a misspelt word is an error with the near one."""

import dataclasses

import pytest
import yaml

from stillhouse.core.config import ConfigError, dump_yaml, load_yaml, merge, parse, to_mapping
from stillhouse.recipes import known_teachers, load, load_run, load_teacher_run, teacher_task
from stillhouse.tasks import task_of
from stillhouse.tasks.classification.recipes import RECIPES
from stillhouse.tasks.classification.teachers import build_teachers

STARTER = """data: {name: mnist}
teacher: {source: "timm:resnet18"}
student: {kind: tsetlin-vit, embed_dim: 64, depth: 2, heads: 4}
signals: [{kind: logits, loss: forward-kl, temperature: 2.0}]
training: {epochs: 5, learning_rate: 1e-3}
arms: [kd, no-kd, clauses-off]
seeds: 3
"""


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_survive_a_round_trip(name):
    """What is saved with a run must read back to the very run."""
    config = RECIPES[name]()
    assert parse(type(config), yaml.safe_load(dump_yaml(config))) == config


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("student: {kind: timm}", "classification"),
        (
            "student: {kind: text-transformer}\ndata: {name: texts, root: a.csv}\nteacher: {source: 'run:x'}",
            "classification",
        ),
        ("student: {kind: flat-tm}", "classification"),
        ("training: {epochs: 3}", "classification"),
        ("recipe: digits", "classification"),
        ("recipe: digits\nstudent: {kind: timm}\narms: [kd, no-kd]", "classification"),
        ("recipe: digits-timm", "classification"),
    ],
)
def test_a_file_finds_its_task(tmp_path, text, kind):
    """One command for every task: the student decides, clauses where none is named."""
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    task, config = load(str(path))
    assert (task.kind, task_of(config).kind) == (kind, kind)


def test_a_setting_of_another_kind_of_student_is_refused(tmp_path):
    """A recipe's own defaults go where its student becomes of another kind; what the user asked for does not."""
    path = tmp_path / "mine.yaml"
    path.write_text("student: {kind: timm}\narms: [kd, mlp]\n")
    with pytest.raises(ConfigError, match="arms: 'mlp' is a control of clauses"):
        load(str(path))


@pytest.mark.parametrize("name", known_teachers())
def test_teacher_recipes_survive_a_round_trip(name):
    """The same for teachers, of every task."""
    config = known_teachers()[name]()
    assert parse(type(config), to_mapping(config)) == config
    assert load_teacher_run(name) == config


TEACHERS = {
    "classes.yaml": ("teacher: {source: 'timm:resnet18'}\ndata: {name: digits}\n", "tasks.classification.plan"),
    "text.yaml": ("recipe: wikitext-2-teacher\nwindow: 64\n", "tasks.lm.plan"),
    "own_text.yaml": ("corpus: {source: mine.txt}\n", "tasks.lm.plan"),
    "ours.yaml": ("model: {kind: state-space, model_dim: 8}\ntraining: {learning_rate: 0.01}\n", "tasks.sar.plan"),
}


@pytest.mark.parametrize("name", TEACHERS)
def test_a_teachers_file_finds_its_task(name, tmp_path):
    """`train-teacher` knew those of classes alone, and said of a text's that its recipe is not known."""
    path = tmp_path / name
    path.write_text(TEACHERS[name][0])
    config = load_teacher_run(str(path), ["training.epochs=3"])
    assert type(config).__module__ == f"stillhouse.{TEACHERS[name][1]}"
    assert type(config) is teacher_task(config).TeacherRun
    assert (config.training.epochs, config.name) == (3, path.stem)
    if name == "ours.yaml":
        assert (config.model.model_dim, config.training.learning_rate) == (8, 0.01)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "data: {name: digits}\nstudent: {kind: tsetlin-vit}\narms: [kd]\n",
            r"whole run \(student, arms\).*holds name, data",
        ),
        ("corpus: {source: a.txt}\nloss: {window: 64}\n", r"whole run \(loss\).*holds name, corpus"),
        ("data: {path: vectors.npy}\n", "stillhouse embed capture"),
    ],
)
def test_a_file_that_trains_no_teacher_is_one_line(text, words, tmp_path):
    """It was read as one for classes, and its right keys were called unknown."""
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as refused:
        load_teacher_run(str(path))
    assert "\n" not in str(refused.value)


def test_a_starter_file_is_short_and_read_as_meant(tmp_path):
    """YAML 1.1 reads 1e-3 as a word: it must arrive as a number."""
    path = tmp_path / "mine.yaml"
    path.write_text(STARTER)
    config = load_run(str(path))
    assert len(STARTER.splitlines()) <= 12
    assert (config.name, config.training.epochs, config.training.learning_rate) == ("mine", 5, 1e-3)
    assert config.student.heads == 4


def test_a_file_may_start_from_a_recipe(tmp_path):
    """Only what it names changes."""
    path = tmp_path / "mine.yaml"
    path.write_text("recipe: digits\ntraining: {epochs: 2}\n")
    config, base = load_run(str(path)), load_run("digits")
    assert config.training.epochs == 2
    assert dataclasses.replace(config, name=base.name, training=base.training) == base


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trainin: {epochs: 2}", ["trainin: unknown key", "did you mean 'training'"]),
        ("training: {epoch: 2}", ["training.epoch: unknown key", "did you mean 'epochs'"]),
        ("signals: [{kind: logits, wieght: 2}]", ["wieght: unknown key", "did you mean 'weight'"]),
        ("signals: [{kind: logit}]", ["signals.0", "logit"]),
        ("signals: [{kind: logits, loss: forwardkl}]", ["loss: expected", "did you mean 'forward-kl'"]),
        ("training: {epochs: many}", ["training.epochs: expected", "'many'"]),
        ("training: {epochs: 0}", ["training.epochs: expected", "greater than 0", "got 0"]),
        ("training: {learning_rate: .nan}", ["learning_rate", "finite"]),
        ("data: {name: imagenet}", ["data.name", "imagenet"]),
        ("student: {kind: tim}", ["student.kind", "did you mean 'timm'"]),
        ("student: {embed_dim: 50, heads: 3}", ["embed_dim", "multiple of heads"]),
        ("arms: [kd, kd]", ["each arm once"]),
        ("data: {nam: digits}", ["data.nam: unknown key"]),
        ("{teacher: null, arms: [kd]}", ["'kd' needs a teacher"]),
        ("- a\n- b", ["expected a mapping"]),
        ("a: [", ["not YAML"]),
        ("recipe: digit", ["did you mean 'digits'"]),
    ],
)
def test_bad_files_say_where_and_what(tmp_path, text, words):
    """The place, what was expected, what came, and the near word."""
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_run(str(path))
    assert all(word in str(error.value) for word in words), str(error.value)
    assert "factory" not in str(error.value)  # pydantic's, of a default that waits for what was refused


ALL = ["kd", "no-kd", "clauses-off"]


@pytest.mark.parametrize(
    ("text", "source", "arms"),
    [
        ("student: {kind: flat-tm}", "builtin:digits", ALL),
        ("data: {name: folder, root: photos}", None, ALL[1:]),
        ("{data: {name: table, root: t.csv}, student: {kind: rules}}", None, ["no-kd"]),
        ("{teacher: null, student: {kind: timm}}", None, ["no-kd"]),
        ("{data: {name: folder, root: photos}, student: {kind: timm}, signals: []}", None, ["no-kd"]),
        ("{data: {name: folder, root: photos}, teacher: {source: 'timm:resnet18'}}", "timm:resnet18", ALL),
        ("{data: {name: folder, root: photos}, signals: [{kind: exits, places: [blocks.0]}]}", None, ALL),
    ],
)
def test_who_teaches_where_nobody_is_named(tmp_path, text, source, arms):
    """The package has a teacher of digits alone: other data without a teacher are learned from labels, and not from that."""
    path = tmp_path / "run.yaml"
    path.write_text(text)
    config = load_run(str(path))
    assert (config.teacher and config.teacher.source) == source
    assert list(config.arms) == arms


def test_a_run_that_nobody_teaches_says_so():
    """Whoever forgot to name a teacher reads it before training."""
    lines = []
    assert build_teachers(load_run("digits", ["teacher=null", "arms=[no-kd]"]), None, None, lines.append) == []
    assert lines == ["no teacher is named (teacher.source): the student learns from labels alone"]


@pytest.mark.parametrize(
    ("assignment", "read"),
    [
        ("training.epochs=7", lambda c: c.training.epochs == 7),
        ("signals.0.temperature=4", lambda c: c.signals[0].temperature.value == 4),
        ("arms=[kd,no-kd]", lambda c: c.arms == ("kd", "no-kd")),
        ("student.class_token=no", lambda c: True),
        ("data.root=null", lambda c: c.data.root is None),
    ],
)
def test_assignments_reach_the_configuration(assignment, read):
    """`a.b=c`, with lists and indices."""
    changes = [assignment, "student.pool=mean"] if "class_token" in assignment else [assignment]
    assert read(load_run("digits", changes))


def test_merging_replaces_a_mapping_of_another_kind():
    """Keys of one class must not leak into another."""
    base = {"signal": {"kind": "logits", "temperature": 2}}
    assert merge(base, {"signal": {"kind": "features"}}) == {"signal": {"kind": "features"}}
    assert merge(base, {"signal": {"weight": 3}})["signal"] == {"kind": "logits", "temperature": 2, "weight": 3}


def test_a_key_that_stands_twice_is_refused(tmp_path):
    """YAML libraries take the last one: half of a merged file would be lost without a word."""
    path = tmp_path / "twice.yaml"
    path.write_text("seeds: 1\nname: x\nseeds: 2\n")
    with pytest.raises(ConfigError, match="'seeds' stands twice in the mapping of line 1"):
        load_yaml(path)
    path.write_text("a: &a {x: 1}\nb: {<<: *a, x: 2}\n")
    assert load_yaml(path)["b"] == {"x": 2}  # a merge key is no repetition
