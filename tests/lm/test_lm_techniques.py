"""What a language student can do beyond plain distillation: write and be scored, learn easy windows first, follow inner layers."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from test_lm_signals import LAYERS, WINDOW, config, made_job, root  # noqa: F401  # a fixture

from stillhouse.core import pipeline
from stillhouse.core.config import ConfigError
from stillhouse.core.experiment import run
from stillhouse.core.records import read_records
from stillhouse.core.types import Outputs, Progress
from stillhouse.curricula import rouge_l
from stillhouse.tasks.lm.corpus import Windows
from stillhouse.tasks.lm.score import window_difficulty, written_overlap
from stillhouse.tasks.lm.signals import student_head, teacher_head
from stillhouse.tasks.lm.students import SpikingLMConfig
from stillhouse.tasks.lm.task import TASK
from stillhouse.tasks.lm.teachers.teacher import LanguageTeacher


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(0)
    return SpikingLMConfig(vocab_size=7, width=16, layers=2, heads=2, chunk=4).build()


def test_a_state_writes_what_the_whole_text_would():
    """Token by token from the state against a pass over everything written so far, for each token."""
    torch.manual_seed(0)
    student = SpikingLMConfig(vocab_size=7, width=16, layers=2, heads=2, chunk=4).build()
    with torch.no_grad():
        for weight in student.parameters():  # so large that what was read decides what follows
            weight.mul_(4.0)
    prompt = torch.randint(0, 7, (64, 5), generator=torch.Generator().manual_seed(1))
    likeliest = prompt
    with torch.no_grad():
        for _ in range(8):
            likeliest = torch.cat([likeliest, student(likeliest).logits[:, -1].argmax(-1, keepdim=True)], 1)
    found = student.generate(prompt, 8)
    assert torch.equal(found, likeliest)
    assert student.training
    assert not found.requires_grad


def lines(folder):
    return [line for line in read_records(folder / "records.jsonl") if line["split"] == "train"]


# ---------------------------------------------------------------------------------------------------- easy windows first


def test_a_window_that_the_student_continues_rightly_is_easy(student):
    """ROUGE-L of its likeliest tokens after half a window; where loss and overlap agree, so does the fused order."""
    generator = np.random.default_rng(0)
    ids = generator.integers(0, 7, 12 * 6 + 1)
    for row in (1, 3):  # the student's own words: it continues them without a fault
        begin = torch.from_numpy(ids[row * 12 : row * 12 + 6])[None]
        ids[row * 12 : row * 12 + 12] = student.generate(begin, 6)[0].numpy()
    windows = Windows(ids.astype(np.uint16), 12)
    found = written_overlap(student, windows)
    with torch.no_grad():
        for row in range(len(windows)):
            text = windows(np.array([row]))[0]
            written = text[:, :6]
            for _ in range(6):
                written = torch.cat([written, student(written).logits[:, -1].argmax(-1, keepdim=True)], 1)
            assert found[row] == rouge_l(written[0, 6:].tolist(), text[0, 6:].tolist())
    assert found[1] == found[3] == 1.0
    order = window_difficulty(LanguageTeacher(student, "judge", vocab_size=7), windows, ("loss", "rouge-l")).argsort()
    assert set(order[:2].tolist()) == {1, 3}


def test_pocl_in_both_budgets_and_its_control(root, tmp_path, monkeypatch):  # noqa: F811
    """Parts of 1/4 to all windows in steps 1 : 2 : 3 : 4, 5/8 of the steps; the student judges, in the control too."""
    pocl = {
        "curriculum": {"by_class": False, "measures": ["loss", "rouge-l"], "replay": 0.0, "budget": "rows",
                       "label_weights": [0.3, 0.2, 0.1, 0.0], "signal_weights": [0.7, 0.8, 0.9, 1.0]},
        "difficulty_model": "student", "arms": ["kd", "no-kd"], "training": {"epochs": 16},
    }  # fmt: skip
    loss = {
        "epoch_steps": 1,
        "temperature": {
            "kind": "scheduled",
            "schedule": {"kind": "linear", "start": 1.0, "end": 2.0, "over": "stages"},
        },
    }
    seen, original = {}, pipeline.fit

    def watched(job, *words, **more):
        seen[more["folder"].parts[-2:]] = job
        return original(job, *words, **more)

    monkeypatch.setattr(pipeline, "fit", watched)
    run(TASK, config(root, loss=loss, **pocl), tmp_path / "run", force=True)
    taught, control = (lines(tmp_path / f"run/arms/{arm}/seed-0") for arm in ("kd", "no-kd"))
    assert [line["figures"]["curriculum/stage"] for line in taught] == [0, 1, 1, 2, 2, 2, 3, 3, 3, 3]
    assert [line["figures"]["curriculum/stage"] for line in control] == [
        line["figures"]["curriculum/stage"] for line in taught
    ]
    jobs = [seen[arm, "seed-0"] for arm in ("kd", "no-kd")]
    assert jobs[1].stage_teacher is None
    assert jobs[0].signal_set.curriculum._order_hash == jobs[1].signal_set.curriculum._order_hash
    assert (tmp_path / "run/arms/no-kd/seed-0/judge").is_dir()
    equal = {**pocl, "curriculum": {**pocl["curriculum"], "budget": "steps"}}
    assert config(root, loss=loss, **equal).total_steps == 16


# ---------------------------------------------------------------------------------------------------- inner layers


def test_heads_make_of_the_last_layer_what_the_network_says(root, tmp_path):  # noqa: F811
    """Through norm and readout of both; they themselves learn nothing by it."""
    signal = {**LAYERS, "kind": "dynamics", "space": "logits", "start": 0.0, "name": "path"}
    job = made_job(config(root, signals=[signal]), tmp_path)
    batch = job.batch(torch.arange(4), Progress(0, 4))
    ours, theirs = job.outputs(batch), job.stage_teacher(batch)
    tokens = batch.inputs
    torch.testing.assert_close(student_head(job.network)(ours.features["blocks.1"]), job.network(tokens).logits)
    torch.testing.assert_close(
        teacher_head(job.stage_teacher.teacher.module, job.stage_teacher.spec.num_classes)(
            theirs.features["model.layers.1"]
        ),
        job.stage_teacher.teacher(batch).logits,
    )
    job.network.zero_grad()
    job.terms(torch.arange(4), Progress(0, 4))["path"][1].backward()
    assert job.network.norm.weight.grad is None or job.network.norm.weight.grad.abs().sum() == 0
    assert job.network.blocks[0].ffn.up.weight.grad.abs().sum() > 0


def test_a_path_equal_to_its_own_is_zero(root, tmp_path):  # noqa: F811
    """Network against itself: trajectory and direction; against another: not."""
    signal = {**LAYERS, "kind": "dynamics", "space": "logits", "start": 0.0, "name": "path"}
    job = made_job(config(root, signals=[signal]), tmp_path)
    batch = job.batch(torch.arange(4), Progress(0, 4))
    path = job.active[0]
    ours = job.outputs(batch)
    (student, teacher), head = path._sides, path._sides[0].keywords["head"]
    path._sides = (student, partial(teacher.func, **{**teacher.keywords, "head": head}))
    pairs = zip(student.keywords["paths"], teacher.keywords["paths"])
    named = {theirs: ours.features[name].detach() for name, theirs in pairs}
    twin = Outputs(ours.logits, named)
    assert path(ours, twin, batch, Progress(0, 4)).abs().max() < 1e-5
    other = Outputs(ours.logits, {name: x.flip(-1) for name, x in named.items()})
    assert path(ours, other, batch, Progress(0, 4)).min() > 1e-3


# ---------------------------------------------------------------------------------------------------- other tokens


def test_a_student_of_bytes_learns_from_a_teacher_of_tokens(root, tmp_path):  # noqa: F811
    """From the configuration to the score: graded, cached, asked, and its own bits beside the student's."""
    text = {"source": str(root / "text"), "tokenizer": "bytes", "cache": str(root / "ids")}
    plan = config(root, corpus=text, teacher={"source": str(root / "teacher"), "tokens": "byte-marginals"})
    summary = run(TASK, plan, tmp_path / "run", force=True)
    assert 0 < summary["teacher"]["test"]["bits_per_byte"] < 20
    assert math.isfinite(summary["arms"]["kd"]["bits_per_byte"]["mean"])
    (record,) = {line["terms"]["kd"] > 0 for line in lines(tmp_path / "run/arms/kd/seed-0")}
    assert record


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"loss": {"spikes_ramp": [0.5, 0.2]}}, "expected a start and a later end"),
        ({"teacher": {"source": "cache:x"}, "more_teachers": [{"source": "x"}]}, "expected live teachers"),
        ({"curriculum": {"measures": ["rouge-l"], "by_class": False}}, "take difficulty_model: student"),
    ],
)
def test_settings_without_sense_are_refused(root, changes, why):  # noqa: F811
    with pytest.raises(ConfigError, match=why):
        config(root, **changes)
