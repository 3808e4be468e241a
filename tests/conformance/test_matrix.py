"""Any signal, any student: every cell of docs/matrix.md is trained. A live gradient and a visible effect, or the stated refusal."""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from cases import rewrite

from stillhouse.core import pipeline
from stillhouse.core.checks import InputError
from stillhouse.core.config import ConfigError
from stillhouse.core.folder import RunFolder
from stillhouse.core.pipeline import StageContext, train_arm
from stillhouse.core.records import CARD, RECORDS, read_records
from stillhouse.core.task import RunContext, reference_arm
from stillhouse.core.types import Progress
from stillhouse.signals import SignalConfig
from stillhouse.tasks import task
from stillhouse.training.distillation import networks_of
from stillhouse.training.dot import DOT

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks.house import matrix

WEIGHT = 0.7
VIT = {"source": "timm:test_vit", "pretrained": False, "image_size": 32, "head": "keep"}
TIMES = [Progress(0, 4), Progress(3, 4)]
HEADS = {"student_heads": 2, "teacher_heads": 2}
LEARNED = {"kind": "learned", "strength": {"kind": "constant", "value": 1.0}}  # as it is written, it begins with 0
ANYWHERE = {  # an early and a late place of the student, then of the teacher
    "images": ("network.blocks.0", "network.blocks.1", "blocks.0", "blocks.3"),
    "clauses": ("blocks.0", "blocks.0.feed_forward", "blocks.0", "blocks.3"),
    "sar": ("blocks.0", "blocks.1", "blocks.0", "blocks.1"),
    "lm": ("blocks.0.mixer", "blocks.0", "model.layers.0.self_attn.o_proj", "model.layers.0"),
    "embed": ("hidden1", "hidden2", "vector", "vector"),
}
QKV = {  # queries, keys and values of both
    "images": ("network.blocks.0.attn.qkv", "blocks.0.attn.qkv"),
    "clauses": ("blocks.0.attention.qkv", "blocks.0.attn.qkv"),
    "sar": ("blocks.0", "blocks.0"),
    "lm": (
        [f"blocks.0.mixer.{part}" for part in ("receptance", "key", "value")],
        [f"model.layers.0.self_attn.{part}_proj" for part in "qkv"],
    ),
    "embed": ("hidden1", "vector"),
}
SCORES = {"images": ("network.head", "head"), "clauses": ("head", "head")}


def signal_of(kind, row):
    """The signal of a row between real sub-modules of a task's tiny networks."""
    first, last, below, above = ANYWHERE[kind]
    between = {"student": last, "teacher": above}
    layers = {"student": [first, last], "teacher": [below, above]}
    if kind == "embed":  # the teacher has one tensor
        layers = {"student": [last], "teacher": [above]}
    student, teacher = QKV[kind]
    heads = {"student": student, "teacher": teacher, **HEADS}
    if row == "dynamics (logits)" and kind in SCORES:
        layers = dict(zip(("student", "teacher"), ([path] for path in SCORES[kind])))
    given = {
        "logits": {},
        "logits, learned temperature": {"temperature": LEARNED},
        "features": between,
        "hidden": layers,
        "relations": between,
        "attention (values, qkv-relations)": {**heads, "what": "qkv-relations"},
        "attention (scores, probabilities)": heads,
        "dynamics (projector)": layers,
        "dynamics (logits)": layers,
        "exits": {"places": [first]},
        "dual-head": {"student": last},
        "probes": {"places": [first]},
        "contrastive": {"place": last},
        "ofa": {"places": [first]},
        "clause-targets": {"student": "blocks.0.feed_forward.core.layers.0.bank", "teacher": above},
    }
    return {**matrix.SIGNALS[row], **given.get(row, {}), "weight": WEIGHT, "name": "cell"}


def run_of(kind, signals):
    """Changes of a case so that every row's sub-modules are there, and nothing but the signals and the task is learned."""
    several = any(signal["kind"] == "ensemble" for signal in signals)
    if kind == "images":
        vit = {"kind": "timm", "architecture": "test_vit", "arguments": {"patch_size": 4}}
        return {"student": vit, "teacher": VIT, "more_teachers": [VIT] * several, "signals": signals}
    if kind == "clauses":
        return {"teacher": VIT, "more_teachers": [VIT] * several, "signals": signals}
    if kind == "lm":
        # with an n-gram inside, the way to the readout begins at zero, and inner layers get no gradient through it
        return {"signals": signals, "loss": {"source": "live"}, "student": {"ngram": None}}
    if kind == "sar":
        return {"signals": signals, "objective": {"alpha": 1.0, "beta": 0.0, "gamma": 0.0}}
    return {"signals": signals}


def lab_of(case, config, folder):
    """All that an arm needs, by the task's own methods."""
    made = task(case.task)
    data = made.data(config, str)
    context = RunContext(config, data, RunFolder(folder), made.teachers(config, data, None, str))
    context.stage_teachers = made.stage_teachers(context)
    return context


def job_of(case, config, folder):
    """The job of the taught arm's first stage."""
    made, context = task(case.task), lab_of(case, config, folder)
    arm = reference_arm(made.arms(config))
    torch.manual_seed(0)
    student = made.student(arm, arm.student, 0, context)
    return made.job(
        StageContext(student, config.stages_of(True)[0], arm, 0, 0, context.stage_teachers[0], None, context)
    )


def gradient_of(job, term, parameters):
    weight, value = term
    found = torch.autograd.grad(weight * value, list(parameters), allow_unused=True, retain_graph=True)
    return [x for x in found if x is not None]


def test_no_kind_of_signal_is_forgotten():
    """Each kind of the union has a row, and each row's name begins with its kind."""
    kinds = {kind.__dataclass_fields__["kind"].default for kind in SignalConfig.__origin__.__args__}
    assert {signal["kind"] for signal in matrix.SIGNALS.values()} == kinds
    assert all(row.startswith(signal["kind"]) for row, signal in matrix.SIGNALS.items())


@pytest.mark.parametrize("kind", matrix.COLUMNS)
@pytest.mark.parametrize("row", matrix.SIGNALS)
def test_a_signal_reaches_the_student_or_is_refused(kind, row, case_of, tmp_path):
    """By the task's own path: a term of the configured weight with a finite gradient; without its weight, no term."""
    case, signal, why = case_of(kind), signal_of(kind, row), matrix.refusal_of_signal(kind, row)
    if why is not None:
        assert "\n" not in why
        with pytest.raises((InputError, ConfigError)) as caught:
            job_of(case, case.config(**run_of(kind, [signal])), tmp_path)
        assert why in str(caught.value)
        assert signal["kind"] in str(caught.value)
        return
    changes = run_of(kind, [signal])
    if kind == "lm" and row == "ensemble":
        changes["more_teachers"] = [{"source": str(case.root / "teacher")}]
    job = job_of(case, case.config(**changes), tmp_path / "on")
    rows = job.order(0)[:16]
    terms = job.terms(rows, TIMES[0])
    assert terms["cell"][0] == WEIGHT
    assert torch.isfinite(terms["cell"][1])
    found = gradient_of(job, terms["cell"], job.model.parameters())
    assert all(torch.isfinite(x).all() for x in found)
    assert sum(float(x.abs().sum()) for x in found) > 1e-7
    if "learned" in row:
        learned = gradient_of(job, terms["cell"], job.extras.parameters())
        assert sum(float(x.abs().sum()) for x in learned) > 1e-9
    if "scheduled" in row:
        heard = [job.terms(rows, now) and job.figures()["cell/temperature"] for now in TIMES]
        assert heard == pytest.approx([1.0, 3.25])
    job.close()

    changes = {**changes, "signals": [{**signal, "weight": 0.0}, {**BESIDE[kind], "weight": 1.0}]}
    job = job_of(case, case.config(**changes), tmp_path / "off")
    terms = job.terms(rows, TIMES[0])
    assert "beside" in terms
    assert "cell" not in terms
    job.close()


BESIDE = {  # what is learned beside a signal without weight
    kind: {"kind": "features", "student": places[1], "teacher": places[3], "name": "beside"}
    for kind, places in ANYWHERE.items()
}
BESIDE["images"] = BESIDE["clauses"] = BESIDE["lm"] = {"kind": "logits", "name": "beside"}

# ------------------------------------------------------------------------------------------------------ dimensions

TINY = {
    "images": {},
    "clauses": {},
    "sar": {},
    "lm": {"loss": {"epoch_steps": 2, "source": "live"}},
    "embed": {"loss": {"epoch_steps": 2}},
}
BATCH = {"images": 128, "clauses": 128, "sar": 4, "lm": 4, "embed": 64}


def trained(case, folder, monkeypatch, **changes):
    """The taught arm, trained as a run trains it; every training with its stage, weights before and after."""
    made, seen = task(case.task), []
    config = case.config(**TINY[case.kind], seeds=1, **changes)
    context = lab_of(case, config, folder)
    plain_job, plain_fit = made.job, pipeline.fit

    def job(stage_context):
        found = plain_job(stage_context)
        if len(seen) == 0 or seen[-1].after is not None:
            seen.append(SimpleNamespace(after=None))
        seen[-1].loss = stage_context
        return found

    def fit(job, *args, **choices):
        one = seen[-1]
        one.job = job
        one.before = {name: x.clone() for name, x in job.model.state_dict().items()}
        one.folder = choices["folder"]
        done = plain_fit(job, *args, **choices)
        one.after = {name: x.clone() for name, x in job.model.state_dict().items()}
        one.records = list(read_records(one.folder / RECORDS))
        return done

    arm = reference_arm(made.arms(config))
    with monkeypatch.context() as patched:
        patched.setattr(made, "job", job)
        patched.setattr(pipeline, "fit", fit)
        train_arm(made, arm, 0, context)
    assert all(any(not torch.equal(x, one.after[name]) for name, x in one.before.items()) for one in seen)
    return context, arm, seen


def steps(one):
    return [line for line in one.records if line["split"] == "train"]


def changes_of(kind, row, case):
    """A dimension's setting in a case's own run: the very one that the page names."""
    change = dict(matrix.DIMENSIONS[row])
    training = {"epochs": 1, "batch_size": BATCH[kind], "keep": "last", **change.pop("training", {})}
    change["training"] = training
    if kind == "embed":
        change["signals"] = [{"kind": "relations", "student": "code", "teacher": "vector"}]
    if "teacher_assistants" in change:
        change["teacher_assistants"] = [case.mapping()["student"]]
    if "more_teachers" in change:
        change["more_teachers"] = [{"source": "another"}]
    return change


@pytest.mark.parametrize("kind", matrix.COLUMNS)
@pytest.mark.parametrize("row", matrix.DIMENSIONS)
def test_a_dimension_is_seen_in_a_run_or_is_refused(kind, row, case_of, tmp_path, monkeypatch):
    """Two steps of the taught arm, and what the setting leaves behind; or the very line that the page prints."""
    case, why = case_of(kind), matrix.refusal_of_dimension(kind, row)
    changes = changes_of(kind, row, case)
    if why is not None:
        assert "\n" not in why
        with pytest.raises(ConfigError) as caught:
            case.config(**changes)
        assert why == str(caught.value)
        return
    if row == "curriculum":
        changes["curriculum"] = {**changes["curriculum"], "shares": [0.5, 1.0]}
        changes["training"]["epochs"] = 2
    WITNESS[row](case, changes, tmp_path, monkeypatch)


def see_curriculum(case, changes, folder, monkeypatch):
    """Half of the rows in the first stage, all in the second; the easier half by the teacher's judgement."""
    context, _, (one,) = trained(case, folder, monkeypatch, **changes)
    figures = [line["figures"] for line in steps(one)]
    assert [figures[0]["curriculum/stage"], figures[-1]["curriculum/stage"]] == [0.0, 1.0]
    difficulty, _ = task(case.task).difficulty(context.stage_teachers[0], context)
    half, whole = figures[0]["curriculum/subset-rows"], figures[-1]["curriculum/subset-rows"]
    assert half == pytest.approx(len(difficulty) / 2, abs=1)
    assert whole == len(difficulty)
    easy = set(difficulty.argsort()[: int(half)])
    first = set(one.loss.curriculum.subsets[0].tolist())
    assert len(easy & first) >= 0.9 * half


def see_stages(case, changes, folder, monkeypatch):
    """Two trainings, the second from the weights of the first, which stands in a folder of its own."""
    context, arm, (first, second) = trained(case, folder, monkeypatch, **changes)
    place = context.place(arm.name, 0) / "stages" / "first"
    assert first.folder == place
    assert second.folder == context.place(arm.name, 0)
    assert all(torch.equal(x, second.before[name]) for name, x in first.after.items())


def see_chain(case, changes, folder, monkeypatch):
    """An assistant is trained by the teacher and saved; the student listens to it."""
    context, arm, (assistant, student) = trained(case, folder, monkeypatch, **changes)
    assert (context.place(arm.name, 0) / "assistant-0" / CARD).is_file()
    assert assistant.loss.stage_teacher is context.stage_teachers[0]
    assert student.loss.stage_teacher is not context.stage_teachers[0]
    taught_by = networks_of(student.loss.stage_teacher)[0]
    assert taught_by is not None
    weights = [x for x in taught_by.state_dict().values() if x.is_floating_point() and x.ndim]
    shapes = [x for x in assistant.after.values() if x.is_floating_point() and x.ndim]
    assert [x.shape for x in weights] == [x.shape for x in shapes]
    assert all(torch.equal(x, y) for x, y in zip(weights, shapes))


def see_several(case, changes, folder, monkeypatch):
    """Each is a teacher of the run, they teach together, and what is learned is not what the first one alone teaches."""
    changes["more_teachers"] = [VIT if case.kind != "lm" else {"source": str(another(case, folder))}]
    context, _, (both,) = trained(case, folder / "both", monkeypatch, **changes)
    assert len(context.teachers) == 3
    assert len(context.teacher.members) == 2
    assert both.loss.stage_teacher.teacher is context.teacher
    _, _, (alone,) = trained(case, folder / "alone", monkeypatch, **{**changes, "more_teachers": []})
    assert all(torch.equal(x, alone.before[name]) for name, x in both.before.items())
    assert any(not torch.equal(x, alone.after[name]) for name, x in both.after.items())


def another(case, folder):
    """A language teacher with other weights."""
    shutil.copytree(case.root / "teacher", folder / "another")
    rewrite(folder / "another" / "model.safetensors", lambda x: x * 1.5)
    return folder / "another"


def see_own_decay(case, changes, folder, monkeypatch):
    """The student's own average teaches every arm; once they differ, it pulls at the student."""
    changes["auxiliary_losses"] = [{**changes["auxiliary_losses"][0], "name": "self"}]
    changes["training"] |= {"learning_rate": 0.05, "warmup_epochs": 0}
    _, _, (one,) = trained(case, folder, monkeypatch, **changes)
    average = one.job.signal_set.average.module.state_dict()
    assert any(not torch.equal(x, average[name]) for name, x in one.after.items())
    assert steps(one)[-1]["terms"]["self"] > 1e-9


def see_dot(case, changes, folder, monkeypatch):
    """The teacher's gradients and the task's arrive apart, and neither is nothing."""
    heard, plain = [], DOT.step

    def step(self, *args, **choices):
        both = zip(*((p.grad, twin.grad) for p, twin in zip(self._parameters, self.twins)))
        heard.append([sum(float(x.abs().sum()) for x in found if x is not None) for found in both])
        return plain(self, *args, **choices)

    monkeypatch.setattr(DOT, "step", step)
    trained(case, folder, monkeypatch, **changes)
    assert len(heard) == 2
    assert min(map(min, heard)) > 0


WITNESS = {
    "curriculum": see_curriculum,
    "stages": see_stages,
    "chain of assistants": see_chain,
    "several teachers": see_several,
    "self-distillation (auxiliary_decay)": see_own_decay,
    "optimizer dot": see_dot,
}


def test_the_page_is_what_the_tasks_say():
    """`python -m benchmarks.house.matrix > docs/matrix.md` makes it anew."""
    assert matrix.PAGE.read_text() == matrix.page()
