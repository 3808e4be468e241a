"""Any signal, any student: each kind reaches the language student with a live gradient, or one line says why not."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from stillhouse.core import pipeline
from stillhouse.core.callback import NULL_CALLBACK
from stillhouse.core.checks import ConfigError
from stillhouse.core.config import parse
from stillhouse.core.experiment import run
from stillhouse.core.folder import RunFolder
from stillhouse.core.pipeline import StageContext
from stillhouse.core.records import read_records
from stillhouse.core.task import RunContext
from stillhouse.core.types import Progress
from stillhouse.recipes import load_run
from stillhouse.tasks.lm.plan import LmRunConfig, LmTeacherRunConfig
from stillhouse.tasks.lm.task import TASK
from stillhouse.tasks.lm.teachers.teacher import LanguageTeacher
from stillhouse.tasks.lm.use import load_lm
from stillhouse.teachers.ensemble import EnsembleTeacher

WINDOW = 8
STUDENT, TEACHER = "blocks.1", "model.layers.1"
BETWEEN = {"student": STUDENT, "teacher": TEACHER}
LAYERS = {
    "student": "blocks.{}", "student_layers": 2, "teacher": "model.layers.{}", "teacher_layers": 2, "pool": "none",
    "student_layout": "sequence", "teacher_layout": "sequence",
}  # fmt: skip
VALUES = {
    "student": [f"blocks.1.mixer.{part}" for part in ("receptance", "key", "value")],
    "teacher": [f"model.layers.1.self_attn.{part}_proj" for part in "qkv"],
    "student_heads": 2,
    "teacher_heads": 2,
}
LIVE = {
    "logits": {"kind": "logits"},
    "logits, dkd": {"kind": "logits", "loss": "dkd"},
    "logits, learned temperature": {"kind": "logits", "temperature": {"kind": "learned", "per_sample": True}},
    "logits, scheduled": {
        "kind": "logits",
        "temperature": {"kind": "scheduled", "schedule": {"kind": "linear", "start": 1.0, "end": 4.0}},
    },
    "features": {"kind": "features", **BETWEEN},
    "hidden": {"kind": "hidden", **LAYERS},
    "hidden, cka": {"kind": "hidden", **LAYERS, "distance": "cka", "projector": "none"},
    "relations": {"kind": "relations", **BETWEEN, "relation": "rkd"},
    "attention, values": {"kind": "attention", **VALUES, "what": "values"},
    "attention, qkv-relations": {"kind": "attention", **VALUES, "what": "qkv-relations", "causal": True},
    "attention, scores": {"kind": "attention", **VALUES, "what": "scores", "causal": True},
    "attention, probabilities": {"kind": "attention", **VALUES, "what": "probabilities", "causal": True},
    "dynamics": {"kind": "dynamics", **LAYERS},
    "dynamics, logits": {"kind": "dynamics", **LAYERS, "space": "logits", "start": 0.0},
    "dual-head": {"kind": "dual-head", "student": STUDENT},
    "ensemble": {"kind": "ensemble", "pool": "confidence"},
}
PACKED = {"kind": "attention", **VALUES, "student": "blocks.1.mixer"}
REFUSED = {
    "attention, scores": ({**PACKED, "what": "scores"}, "has no attention map"),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A text and its teacher."""
    root = tmp_path_factory.mktemp("signals")
    (root / "text").mkdir()
    rng = np.random.default_rng(0)
    words = np.array(["the", "river", "stone", "sang", "over", "."])
    for name, count in {"train": 400, "valid": 100, "test": 100}.items():
        (root / "text" / f"{name}.txt").write_text(" ".join(words[rng.integers(6, size=count)]))
    teacher = {
        "corpus": {"source": str(root / "text"), "tokenizer": "bpe:270", "cache": str(root / "ids")},
        "model": {"width": 12, "layers": 2, "heads": 2, "context": 16},
        "window": WINDOW,
        "epoch_steps": 3,
        "validation_tokens": 32,
        "training": {"epochs": 1, "threads": 1, "batch_size": 4},
        "score": {"tokens": 64},
    }
    TASK.train_teacher(parse(LmTeacherRunConfig, teacher), root / "teacher", resume=False, callback=NULL_CALLBACK)
    return root


def config(root, **changes):
    text = {"source": str(root / "text"), "tokenizer": str(root / "teacher"), "cache": str(root / "ids")}
    plan = {
        "corpus": text,
        "teacher": {"source": str(root / "teacher")},
        "student": {"width": 8, "layers": 2, "heads": 2, "chunk": 4},
        "loss": {"window": WINDOW, "epoch_steps": 2, "k": 8, "validation_tokens": 32, **changes.pop("loss", {})},
        "training": {
            **{"epochs": 2, "batch_size": 4, "threads": 1, "log_every": 1, "learning_rate": 0.01},
            **changes.pop("training", {}),
        },
        "score": {"tokens": 64, "ngram": 0},
        "arms": ["kd"],
        "seeds": 1,
        **changes,
    }
    return parse(LmRunConfig, plan)


def made_job(plan, folder):
    """The job of the first arm, as a run makes it."""
    data = TASK.data(plan, str)
    context = RunContext(plan, data, RunFolder(folder), TASK.teachers(plan, data, None, str))
    arm = TASK.arms(plan)[0]
    torch.manual_seed(0)
    student = TASK.student(arm, arm.student, 0, context)
    stage = plan.stages_of(True)[0]
    return TASK.job(StageContext(student, stage, arm, 0, 0, TASK.stage_teachers(context)[0], None, context))


def gradient_of(job, name):
    job.network.zero_grad()
    weight, value = job.terms(torch.arange(4), Progress(0, 4))[name]
    assert weight > 0
    assert torch.isfinite(value)
    value.backward()
    return sum(p.grad.abs().sum().item() for p in job.network.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", LIVE)
def test_every_signal_has_a_live_gradient(root, tmp_path, name):
    """The same YAML as in every task, beside a cache, which serves the divergence of the loss alone."""
    plan = yaml.safe_load(yaml.safe_dump(LIVE[name]))
    more = [{"source": str(root / "teacher")}] if plan["kind"] == "ensemble" else []
    job = made_job(config(root, signals=[plan], more_teachers=more), tmp_path)
    assert gradient_of(job, str(job.active[0].name)) > 0
    assert all(p.grad is None for p in job.stage_teacher.teacher.members[0].module.parameters()) if more else True


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_with_its_reason(root, tmp_path, name):
    """Before the teacher is loaded."""
    signal, why = REFUSED[name]
    with pytest.raises(ConfigError, match=rf"signals\.0 \({signal['kind']}\): .*{why}"):
        config(root, signals=[signal])
    with pytest.raises(ConfigError, match=rf"stages\.0\.signals\.0 .*{why}"):
        config(root, signals=[], stages=[{"name": "one", "epochs": 1, "signals": [signal]}])


def test_stages_go_on_along_the_ramps_of_the_run(root, tmp_path, monkeypatch):
    """Each stage is one part of the run: ramps are not begun again, and a stage has signals of its own."""
    jobs, original = [], pipeline.fit

    def watched(job, *words, **more):
        jobs.append((job, job.course.first_step, job.course.total_steps))
        return original(job, *words, **more)

    monkeypatch.setattr(pipeline, "fit", watched)
    stages = [
        {"name": "general", "epochs": 1, "signals": [{"kind": "features", **BETWEEN}]},
        {"name": "task", "epochs": 3, "signals": []},
    ]
    plan = config(root, stages=stages, loss={"weights_ramp": [0, 0.3], "spikes_ramp": [0.2, 0.5]})
    run(TASK, plan, tmp_path / "run", force=True)
    assert [(first, total) for _, first, total in jobs] == [(0, 8), (2, 8)]
    lines = [r for r in read_records(tmp_path / "run/arms/kd/seed-0/records.jsonl") if r["split"] == "train"]
    shares = [r["figures"]["spike_share"] for r in lines]
    assert shares[0] > 0
    assert shares == sorted(shares)
    early = [
        r for r in read_records(tmp_path / "run/arms/kd/seed-0/stages/general/records.jsonl") if r["split"] == "train"
    ]
    assert any(name.startswith("features") for name in early[0]["terms"])
    assert not any(name.startswith("features") for name in lines[0]["terms"])


@pytest.mark.parametrize("assistant_teachers", ["last", "all"])
def test_an_assistant_teaches_the_next_link(root, tmp_path, monkeypatch, assistant_teachers):
    """An assistant that is trained and never heard costs its time for nothing."""
    stage_teachers, original = [], pipeline.fit

    def watched(job, *words, **more):
        stage_teachers.append(
            None if job.stage_teacher is None else (job.stage_teacher.teacher, job.stage_teacher.cache)
        )
        return original(job, *words, **more)

    monkeypatch.setattr(pipeline, "fit", watched)
    assistant = {"width": 12, "layers": 1, "heads": 2, "chunk": 4}
    plan = config(root, teacher_assistants=[assistant], assistant_teachers=assistant_teachers, arms=["kd", "no-kd"])
    run(TASK, plan, tmp_path / "run", force=True)
    (first, cache), (second, no_cache), alone = stage_teachers
    assert cache is not None
    assert no_cache is None
    assert alone is None
    saved = load_lm(tmp_path / "run/arms/kd/seed-0/assistant-0")[0].state_dict()
    taught_by = second if assistant_teachers == "last" else second.members[1]
    assert isinstance(taught_by, LanguageTeacher)
    assert all(torch.equal(x, saved[name]) for name, x in taught_by.module.state_dict().items())
    assert isinstance(second, EnsembleTeacher) == (assistant_teachers == "all")
    if assistant_teachers == "all":
        assert second.members[0] is first


def test_the_yaml_of_the_page_is_read(tmp_path):
    """What docs/language.md shows must parse."""
    page = (Path(__file__).parents[2] / "docs/language.md").read_text()
    found = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert len(found) == 5
    for number, text in enumerate(found):
        file = tmp_path / f"{number}.yaml"
        file.write_text(text)
        plan = load_run(str(file))
    assert [signal.kind for signal in plan.signals] == ["dynamics", "attention"]
