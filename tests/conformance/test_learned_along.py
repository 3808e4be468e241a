"""What is learned along and not kept (projectors, gates, temperatures, read-outs) moves in a run of every task."""

import pytest
import torch
from cases import task_of_case
from safetensors.torch import load_file
from test_matrix import LEARNED, TINY, another, lab_of, run_of, signal_of

from stillhouse.core import pipeline
from stillhouse.core.pipeline import train_arm
from stillhouse.core.records import STUDENT
from stillhouse.core.task import reference_arm
from stillhouse.tasks import task
from stillhouse.training.distillation import networks_of

LAYERS, READ_OUTS = ("features", "hidden", "dynamics (projector)"), ("exits", "dual-head", "ofa", "probes")
CLASSES = (*LAYERS, "relations", "logits", *READ_OUTS)
RUNS = {  # signals with parameters of their own; and how many tensors learn along
    "images": (CLASSES, 23),
    "clauses": (CLASSES, 23),
    "sar": (LAYERS, 33),
    "lm": (CLASSES, 24),
    "embed": ((*LAYERS, "relations"), 13),
    "images, two teachers": (("features", "ensemble"), 5),
    "clauses, two teachers": (("features", "ensemble"), 5),
    "lm, two teachers": (("features", "ensemble"), 5),
}
BESIDE = {  # what a task learns along besides
    "sar": {"objective": {"alpha": 0.5, "beta": 0.3, "gamma": 0.2, "freeze_teacher": False}},
    "lm": {  # maps of the alignment are for unlike widths
        "student": {"width": 24, "ngram": None},
        "loss": {"epoch_steps": 4, "source": "live", "temperature": LEARNED},
    },
    "embed": {"loss": {"epoch_steps": 2, "reconstruction_weight": 0.5}, "student": {"output": "sphere"}},
}


def changes_of(case, parts, folder):
    """One run with all of these signals, and with one of weight 0."""
    kind, several = case.kind, "ensemble" in parts
    place = signal_of(kind, "features")
    gates = {"map": "learned", "student": [place["student"]]}
    more = {
        "hidden": {} if kind == "embed" else gates,  # its teacher has one layer
        "relations": {"relation": "contrastive"},
        "logits": {"temperature": LEARNED},
        "ensemble": {"pool": "learned", "student": place["student"]},
    }
    more |= {"features": {"teacher": f"0:{place['teacher']}"}} if several else {}
    signals = [{**signal_of(kind, row), **more.get(row, {}), "name": row.split()[0]} for row in parts]
    idle = {**place, **more.get("features", {}), "name": "idle", "weight": 0.0}
    changes = {**run_of(kind, [*signals, idle]), **TINY[kind]}
    if several:
        source = another(case, folder) if kind == "lm" else f"ckpt:{case.checkpoint}"
        return {**changes, "more_teachers": [{"source": str(source)}]}
    return {**changes, **BESIDE.get(kind, {})}


def frozen(job):
    """The teacher's networks that do not learn."""
    found = networks_of(job.signal_set.teacher)
    return torch.nn.ModuleList(x for x in found if not any(p.requires_grad for p in x.parameters()))


@pytest.mark.parametrize("name", RUNS)
def test_what_is_learned_along_moves(name, case_of, tmp_path, monkeypatch):
    """Left out of the optimizer, a projector stays the random map that it began as, and the loss falls all the same."""
    kind, parts, count = name.partition(",")[0], *RUNS[name]
    case, made, ends = case_of(kind), task(task_of_case(kind)), []
    config = case.config(seeds=1, **changes_of(case, parts, tmp_path))
    context = lab_of(case, config, tmp_path)
    plain = pipeline.fit

    def fit(job, *args, **choices):
        idle = next(part for part in job.extras.modules() if getattr(part, "name", "") == "idle")
        watched = [list(x.parameters()) for x in (idle, frozen(job), job.extras)]
        before = [[x.clone() for x in part] for part in watched]
        done = plain(job, *args, **choices)
        ends.append([sum(not torch.equal(*pair) for pair in zip(*part)) for part in zip(watched, before)])
        ends.append([len(part) for part in watched])
        return done

    monkeypatch.setattr(pipeline, "fit", fit)
    arm = reference_arm(made.arms(config))
    student, _ = train_arm(made, arm, 0, context)
    (without_weight, teachers, moved), (still, _, all_of_them) = ends
    assert without_weight == teachers == 0
    assert moved == all_of_them - still == count
    assert still == 2
    untrained = made.student(arm, arm.student, 0, context)
    for name, network in {"trained": student, "untrained": untrained}.items():
        made.save(tmp_path / name, network, arm.student, context)
    trained, fresh = (load_file(tmp_path / name / STUDENT) for name in ("trained", "untrained"))
    assert {key: x.shape for key, x in trained.items()} == {
        key: x.shape for key, x in fresh.items()
    }  # no projector in it
