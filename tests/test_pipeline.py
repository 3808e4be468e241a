"""Stages, chains of assistants and teachers that follow the student: whole runs, small."""

import json
from dataclasses import replace

import pytest
import torch

from stillhouse.core import experiment, records
from stillhouse.core.callback import Callback
from stillhouse.core.checks import StillhouseError
from stillhouse.curricula import CurriculumConfig
from stillhouse.recipes import load_run
from stillhouse.signals import FeaturesConfig, LogitsConfig
from stillhouse.tasks import task_of
from stillhouse.tasks.classification.plan import ClassificationRunConfig, ClassificationTrainingConfig, StageConfig
from stillhouse.tasks.classification.students.networks import TimmStudentConfig
from stillhouse.tasks.classification.task import TASK
from stillhouse.teachers.config import TeacherConfig
from stillhouse.training.state import load_checkpoint

FEATURES = FeaturesConfig(student="blocks.0", teacher="layer2", weight=1.0)


class Calls(Callback):
    """Calls a function at every step."""

    def __init__(self, call):
        self.on_progress = call


def run(config, out, *, on_progress=None, **choices):
    callback = Callback() if on_progress is None else Calls(on_progress)
    return experiment.run(task_of(config), config, out, callback=callback, **choices)


def small(**changes):
    settings = ["training.epochs=2", "seeds=1", "data.train_limit=64", "data.test_limit=60", "training.batch_size=32"]
    shape = ["student.embed_dim=16", "student.clauses=16", "student.depth=1", "training.device=cpu", "arms=[kd]"]
    return replace(load_run("digits", [*settings, *shape]), **changes)


def weights(folder):
    return {name: x.clone() for name, x in TASK.load(folder).state_dict().items()}


def lines(folder):
    return [r for r in records.read_records(folder / records.RECORDS) if r["split"] == "train"]


def test_a_stage_starts_from_the_weights_of_the_one_before(tmp_path):
    """A pipeline whose second stage starts anew would look like one that works."""
    general = StageConfig(name="general", epochs=1, label_weight=0.0, signals=(FEATURES,))
    run(small(stages=(general, StageConfig(name="task", epochs=1))), tmp_path / "two")
    folder = tmp_path / "two" / "arms" / "kd" / "seed-0"
    assert set(lines(folder / "stages" / "general")[0]["terms"]) == {"features:blocks.0->layer2"}
    assert set(lines(folder)[0]["terms"]) == {"labels", "logits"}
    run(small(training=replace(small().training, epochs=1)), tmp_path / "one")
    assert lines(folder)[0]["loss"] != lines(tmp_path / "one" / "arms" / "kd" / "seed-0")[0]["loss"]
    first = load_checkpoint(folder / "stages" / "general" / records.CHECKPOINT)["best_weights"]
    run(small(stages=(general, StageConfig(name="still", epochs=1, learning_rate=1e-5))), tmp_path / "still")
    kept = weights(tmp_path / "still" / "arms" / "kd" / "seed-0")
    assert all(torch.allclose(kept[name], first[name], atol=1e-4) for name in first)


def test_a_killed_pipeline_goes_on_where_it_was(tmp_path):
    """Finished stages are not trained again, and the end is the same to the bit."""
    stages = (StageConfig(name="general", signals=(FEATURES,)), StageConfig(name="task"))
    config = small(stages=stages)
    run(config, tmp_path / "whole")

    class Killed(Exception):
        pass

    def kill(arm, seed, progress, news):
        calls.append(progress.step)
        if len(calls) == 7:  # four steps of the first stage, three of the second
            raise Killed

    calls = []
    with pytest.raises(Killed):
        run(config, tmp_path / "cut", on_progress=kill)
    calls = []
    run(
        config, tmp_path / "cut", resume=True, on_progress=lambda arm, seed, progress, news: calls.append(progress.step)
    )
    assert calls == [3, 4]
    folders = [tmp_path / name / "arms" / "kd" / "seed-0" for name in ("whole", "cut")]
    a, b = map(weights, folders)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_only_the_named_parts_learn_in_a_stage(tmp_path):
    """A frozen part that moves is not frozen."""
    config = small(stages=(StageConfig(name="head", train_only=("head",)),))
    run(config, tmp_path / "run")
    torch.manual_seed(0)
    from stillhouse.core.types import ImageSpec

    card = json.loads((tmp_path / "run/arms/kd/seed-0" / records.CARD).read_text())
    input_spec = ImageSpec(**{name: tuple(value) for name, value in card["input_spec"].items()})
    torch.manual_seed(0)
    start = config.student.build(input_spec).state_dict()
    end = weights(tmp_path / "run/arms/kd/seed-0")
    moved = {name for name in start if not torch.equal(start[name], end[name])}
    assert moved == {"head.weight", "head.bias"}
    with pytest.raises(StillhouseError, match="did you mean 'head'"):
        run(small(stages=(StageConfig(name="a", train_only=("heads",)),)), tmp_path / "wrong")


def test_an_untaught_pipeline_has_as_many_steps(tmp_path):
    """A control with a smaller budget proves nothing."""
    stages = (StageConfig(name="general", label_weight=0.0, signals=(FEATURES,)), StageConfig(name="task"))
    run(small(stages=stages, arms=("kd", "no-kd")), tmp_path / "run")
    counts = {
        arm: [
            load_checkpoint(folder / records.CHECKPOINT)["fit"]["step"]
            for folder in (tmp_path / f"run/arms/{arm}/seed-0/stages/general", tmp_path / f"run/arms/{arm}/seed-0")
        ]
        for arm in ("kd", "no-kd")
    }
    assert counts["kd"] == counts["no-kd"]
    assert set(lines(tmp_path / "run/arms/no-kd/seed-0/stages/general")[0]["terms"]) == {"labels"}


def test_the_assistant_teaches_the_student(tmp_path):
    """A chain whose student still listens to the first teacher has an assistant for show."""
    assistant = TimmStudentConfig(architecture="test_resnet")
    config = small(teacher_assistants=(assistant,), arms=("kd", "direct"))
    summary = run(config, tmp_path / "run")
    folder = tmp_path / "run" / "arms"
    assert (folder / "kd/seed-0/assistant-0" / records.STUDENT).is_file()
    assert not (folder / "direct/seed-0/assistant-0").exists()
    direct, chained = lines(folder / "direct/seed-0")[0], lines(folder / "kd/seed-0")[0]
    assert direct["terms"]["labels"] == chained["terms"]["labels"]
    assert direct["terms"]["logits"] != chained["terms"]["logits"]
    assert [c["name"] for c in summary["comparisons"]] == ["teacher", "chain", "linear", "majority"]
    everyone = run(replace(config, assistant_teachers="all", arms=("kd",)), tmp_path / "all")
    assert everyone["arms"]["kd"]
    together = lines(tmp_path / "all/arms/kd/seed-0")[0]["terms"]["logits"]
    assert together not in (direct["terms"]["logits"], chained["terms"]["logits"])


def test_the_students_average_teaches_it(tmp_path):
    """At the start both are one network, so the first term is 0; later it is not."""
    config = small(teacher=TeacherConfig(source="self:average", decay=0.5), signals=(LogitsConfig(),))
    student = replace(config.student, dropout=0.0)  # which would drop other numbers than the average keeps
    config = replace(config, student=student, training=replace(config.training, log_every=1))
    run(config, tmp_path / "run")
    terms = [line["terms"]["logits"] for line in lines(tmp_path / "run/arms/kd/seed-0")]
    assert terms[0] == pytest.approx(0, abs=1e-6)
    assert max(terms[1:]) > 1e-6
    # an average that keeps nothing is the student itself at every step; one that stands still is not
    run(replace(config, teacher=replace(config.teacher, decay=0.0)), tmp_path / "itself")
    terms = [line["terms"]["logits"] for line in lines(tmp_path / "itself/arms/kd/seed-0")]
    assert terms == pytest.approx([0.0] * len(terms), abs=1e-6)


def test_a_curriculum_orders_the_rows_and_survives_a_kill(tmp_path):
    """Easy rows first, by the teacher's scores; stages move by time; a resumed run is the same to the bit."""
    curriculum = CurriculumConfig(shares=(0.5, 1.0), replay=0.0)
    config = small(curriculum=curriculum)
    config = replace(config, training=replace(config.training, epochs=4, log_every=1))
    run(config, tmp_path / "whole")
    folder = tmp_path / "whole/arms/kd/seed-0"
    figures = [line["figures"] for line in lines(folder)]
    assert [f["curriculum/stage"] for f in figures] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert figures[0]["curriculum/subset-rows"] == 32
    run(replace(config, curriculum=replace(curriculum, order="hard-first")), tmp_path / "hard")
    assert lines(folder)[0]["terms"]["labels"] != lines(tmp_path / "hard/arms/kd/seed-0")[0]["terms"]["labels"]

    class Killed(Exception):
        pass

    def kill(arm, seed, progress, news):
        if progress.step == 5:
            raise Killed

    with pytest.raises(Killed):
        run(config, tmp_path / "cut", on_progress=kill)
    run(config, tmp_path / "cut", resume=True)
    a, b = weights(folder), weights(tmp_path / "cut/arms/kd/seed-0")
    assert all(torch.equal(a[name], b[name]) for name in a)
    run(replace(config, difficulty_model="student"), tmp_path / "student")
    assert (tmp_path / "student/arms/kd/seed-0/judge" / records.CHECKPOINT).is_file()


def test_weights_of_a_curriculum_reach_the_loss(tmp_path):
    """Factors that nothing multiplies by are the commonest dead setting of all."""
    curriculum = CurriculumConfig(shares=(0.5, 1.0), label_weights=(0.25, 1.0), signal_weights=(0.0, 2.0))
    config = small(curriculum=curriculum)
    run(replace(config, training=replace(config.training, log_every=1)), tmp_path / "run")
    for line in lines(tmp_path / "run/arms/kd/seed-0"):
        terms = line["terms"]
        first = line["figures"]["curriculum/stage"] == 0
        expected = 0.25 * terms["labels"] if first else terms["labels"] + 2 * terms["logits"]
        assert line["loss"] == pytest.approx(expected, rel=1e-5)
        assert ("logits" in terms) is not first


def test_a_student_starts_from_parts_of_its_teacher(tmp_path):
    """An inherited layer that was never copied looks like one that learned nothing new."""
    from stillhouse.tasks.classification.data.config import DataConfig
    from stillhouse.teachers.teacher import Teacher

    torch.manual_seed(3)
    data = DataConfig(name="digits", train_limit=64, test_limit=60).build()
    body = TimmStudentConfig(architecture="test_resnet").build(data.input_spec)
    teacher = Teacher.from_module(body, data.input_spec)
    config = ClassificationRunConfig(
        data=small().data,
        student=TimmStudentConfig(architecture="test_resnet"),
        training=ClassificationTrainingConfig(epochs=2, batch_size=32, device="cpu"),
        seeds=1,
        init_from_teacher={"network.layer1": "network.layer1"},
        arms=("kd", "no-kd"),
        stages=(StageConfig(name="head", train_only=("network.fc",)),),
    )
    run(config, tmp_path / "run", data=data, teacher=teacher, force=True)
    kept, own = (weights(tmp_path / f"run/arms/{arm}/seed-0") for arm in ("kd", "no-kd"))
    name = "network.layer1.0.conv1.weight"
    assert torch.equal(kept[name], body.state_dict()[name])
    assert not torch.equal(own[name], body.state_dict()[name])
    assert torch.equal(kept["network.layer2.0.conv1.weight"], own["network.layer2.0.conv1.weight"])


def test_a_control_has_the_order_of_a_student_but_never_of_the_teacher(tmp_path):
    """Ordered by the teacher, the control would hear it by a side door; ordered by a student, both see the same rows."""
    curriculum = CurriculumConfig(shares=(0.5, 1.0), replay=0.0, signal_weights=(0.5, 1.0), label_weights=(0.0, 1.0))
    for judge in ("teacher", "student"):
        config = small(curriculum=curriculum, difficulty_model=judge, arms=("kd", "no-kd"))
        run(replace(config, training=replace(config.training, log_every=1)), tmp_path / judge)
    control = [line.get("figures", {}) for line in lines(tmp_path / "teacher/arms/no-kd/seed-0")]
    assert not any("curriculum/stage" in figures for figures in control)
    states = [
        load_checkpoint(tmp_path / f"student/arms/{arm}/seed-0" / records.CHECKPOINT)["job"]["curriculum"]
        for arm in ("kd", "no-kd")
    ]
    assert states[0]["order"] == states[1]["order"]
    figures = lines(tmp_path / "student/arms/no-kd/seed-0")[0]["figures"]
    assert (figures["curriculum/stage"], figures["curriculum/label-factor"]) == (0, 1)  # labels are all that it has


def test_the_reference_arm_is_shipped_whatever_the_order(tmp_path):
    """With a taught control in front, users got the student without its clauses."""
    summary = run(small(arms=("clauses-off", "no-kd", "kd")), tmp_path)
    assert summary["shipped"] == {"arm": "kd", "seed": 0}
    shipped, taught = (weights(tmp_path / folder) for folder in ("student", "arms/kd/seed-0"))
    assert all(torch.equal(shipped[name], taught[name]) for name in taught)
