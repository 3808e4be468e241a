"""The job of focusing: every term reaches the gradient, every weight counts, and the names are the documented ones."""

import json
from dataclasses import replace

import pytest
import torch
from sar_tiny import network, small_run, stage_context_of

from stillhouse.core.types import Batch, Progress
from stillhouse.tasks.sar.data import SarConfig
from stillhouse.tasks.sar.job import SarMonitor
from stillhouse.tasks.sar.plan import SarObjective, SarTraining
from stillhouse.tasks.sar.signals import measure
from stillhouse.tasks.sar.task import TASK
from stillhouse.tasks.sar.teacher import LineTeacher
from stillhouse.training.loop import fit

QUICK = SarTraining(
    epochs=2,
    batch_size=4,
    learning_rate=1e-2,
    warmup_epochs=0,
    device="cpu",
    threads=1,
    log_every=1,
)
START = Progress(0, 100)
ROWS = torch.arange(4)


@pytest.fixture(scope="module")
def data():
    return SarConfig(preset="toy-64", length=120, train=8, validation=4, test=4).build()


@pytest.fixture
def job(data, tmp_path):
    """A job as the run makes it: teacher, student, delta and the keys of an objective."""

    def made(lines=data, *, teacher=None, student=None, delta=0.0, **objective):
        config = small_run(objective=objective, delta=delta)
        return TASK.job(stage_context_of(config, lines, tmp_path / "run", teacher=teacher, student=student))

    return made


@pytest.fixture
def taught(job):
    """A job with a teacher that is wider and sees the whole scene."""
    return lambda **objective: job(teacher=LineTeacher(network(1, model_dim=5, look_ahead=None)), **objective)


def gradient(job, progress=START):
    """Of the weighted sum, over the student and what is learned along."""
    loss = sum(weight * value for weight, value in job.terms(ROWS, progress).values())
    parameters = [*job.model.parameters(), *job.extras.parameters()]
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters, materialize_grads=True)])


def test_a_line_without_truth_has_the_teacher_alone(data, job):
    """Targets of NaN: the truth's term is that of the other lines over all of them, and what the teacher says there stays."""
    targets = data.train.targets.clone()
    targets[1] = torch.nan
    lacking = replace(data, train=replace(data.train, targets=targets))
    teacher = LineTeacher(network(1, model_dim=5, look_ahead=None))
    whole, some = (job(lines, teacher=teacher, alpha=0.5, beta=0.5, gamma=0.0) for lines in (data, lacking))
    each = [float(whole.terms(torch.tensor([row]), START)["student"][1].detach()) for row in ROWS]
    found = {name: (weight, value.detach()) for name, (weight, value) in some.terms(ROWS, START).items()}
    assert float(found["student"][1]) == pytest.approx((sum(each) - each[1]) / 4, rel=1e-5)
    assert float(found["distillation"][1]) == pytest.approx(
        float(whole.terms(ROWS, START)["distillation"][1].detach()), rel=1e-6
    )
    assert torch.isfinite(gradient(some)).all()
    assert float(some.terms(torch.tensor([1]), START)["student"][1].detach()) == 0


def test_the_total_is_the_documented_sum(taught):
    """total = alpha x student + beta x distillation + gamma x feature: in the public code gamma was dead weight."""
    terms = taught(alpha=0.3, beta=0.5, gamma=0.2).terms(ROWS, START)
    assert {name: weight for name, (weight, _) in terms.items()} == {
        "student": 0.3,
        "distillation": 0.5,
        "feature": 0.2,
    }
    assert all(value.item() > 0 for _, value in terms.values())
    assert SarObjective(alpha=0.3, beta=0.5).weights == pytest.approx((0.3, 0.5, 0.2))


def test_features_reach_the_gradient(taught):
    """The public step passed features = None, and projected with new random numbers at every call."""
    alone = taught(alpha=0.0, beta=0.0, gamma=1.0)
    found = gradient(alone)
    assert float(found.norm()) > 1e-6
    student = sum(p.numel() for p in alone.model.parameters())
    assert sum(p.numel() for p in alone.extras.parameters()) == 3 * 5 * 2
    assert float(found[student:].norm()) > 1e-6
    first, second = (alone.terms(ROWS, START)["feature"][1].item() for _ in range(2))
    assert first == second


def test_features_are_those_of_equal_depth(job):
    """n // 2 of both, as documented."""
    deep = job(teacher=LineTeacher(network(1, num_layers=4)), alpha=0.3, beta=0.3, gamma=0.4)
    config = deep.own[1].config
    assert (config.student_paths, config.teacher_paths) == (("blocks.1",), ("blocks.2",))


def test_no_teacher_no_teacher_terms(job):
    """The control has the same total weight on the truth alone, so that clipping treats both arms alike."""
    terms = job(alpha=0.3, beta=0.5, gamma=0.2).terms(ROWS, START)
    assert {name: weight for name, (weight, _) in terms.items()} == {"student": 1.0}


def test_only_the_valid_region_counts(data, job):
    """Outside it targets have no full aperture: an error there must not move anything."""
    model, inside = network(), data.valid
    lines, targets = data.train.batch(ROWS)
    spoiled = targets.clone()
    spoiled[:, : inside.start] = 100
    spoiled[:, inside.stop :] = 100
    clean, dirty = (measure(model(lines)[:, inside], t[:, inside], "nmse") for t in (targets, spoiled))
    assert torch.equal(clean, dirty)
    assert job().terms(ROWS, START)["student"][1].item() == pytest.approx(clean.mean().item(), rel=1e-5)


def test_temperature_means_something(taught):
    """It was stored and never read in public. Here: far above all differences nothing changes, below them outliers fade."""

    def found(temperature):
        return gradient(taught(alpha=0.0, beta=1.0, gamma=0.0, temperature=temperature))

    plain = found(None)
    torch.testing.assert_close(found(1e4), plain, rtol=1e-3, atol=1e-6)
    assert float(found(0.3).norm()) < 0.9 * float(plain.norm())


def test_a_frozen_teacher_keeps_its_bits_and_its_mode(job, tmp_path):
    """A teacher that drifts with its student proves nothing."""
    model = network(1, model_dim=5, dropout=0.5)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fit(job(teacher=LineTeacher(model), alpha=0.3, beta=0.5), QUICK, seed=0, folder=tmp_path)
    assert not model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_an_unfrozen_teacher_learns_from_the_truth_alone(job, tmp_path):
    """freeze_teacher: false was documented; the distance to its student must not pull it down."""
    free = job(
        teacher=LineTeacher(network(1, model_dim=5), frozen=False), alpha=0.0, beta=1.0, gamma=0.0, freeze_teacher=False
    )
    model = free.learning.module  # each training has a teacher of its own
    terms = free.terms(ROWS, START)
    assert set(terms) == {"distillation", "teacher"}
    own = list(model.parameters())
    pulled = torch.autograd.grad(terms["distillation"][1], own, retain_graph=True, allow_unused=True)
    assert all(g is None for g in pulled)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fit(free, QUICK, seed=0, folder=tmp_path)
    assert any(not torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_units_of_the_teacher(data):
    """A teacher of other data has learned other factors; ours and its must cancel."""
    model = network(1)
    lines = data.train.inputs[:2]
    batch = Batch(lines, lines, torch.arange(2))
    plain = LineTeacher(model)(batch).logits
    scaled = LineTeacher(model, input_factor=0.5, output_factor=2.0)(batch).logits
    assert not torch.equal(LineTeacher(model, output_factor=2.0)(batch).logits, plain)
    torch.testing.assert_close(plain, scaled, rtol=1e-4, atol=1e-5)  # no activation: linear


def test_validation_is_what_was_trained_for(taught, data):
    """val_* beside quality and coherence; the quality is 1 - NMSE in the valid region."""
    one = taught(alpha=0.3, beta=0.5, gamma=0.2)
    found = one.validate(one.model).metrics
    assert {"val_total_loss", "val_student_loss", "val_distillation_loss", "val_feature_loss"} <= set(found)
    assert found["quality"] == pytest.approx(1 - found["nmse"])
    whole = 0.3 * found["val_student_loss"] + 0.5 * found["val_distillation_loss"] + 0.2 * found["val_feature_loss"]
    assert found["val_total_loss"] == pytest.approx(whole)
    with torch.no_grad():
        said = one.model(data.validation.inputs)[:, data.valid]
    wanted = data.validation.targets[:, data.valid]
    nmse = ((said - wanted).abs().square().sum((1, 2)) / wanted.abs().square().sum((1, 2))).mean().item()
    assert found["nmse"] == pytest.approx(nmse, rel=1e-4)


def test_delta_is_the_least_that_counts_as_better(job):
    """`delta` was documented and unused: a gain below it must not reset patience, one above it must."""
    worse, better = sorted((network(5), network(6)), key=lambda model: job().validate(model).metrics["quality"])
    gain = job().validate(better).metrics["quality"] - job().validate(worse).metrics["quality"]
    assert gain > 1e-3

    def ranks(delta):
        one = job(delta=delta)
        return [one.validate(model).rank for model in (worse, better)]

    first, second = ranks(0.5 * gain)
    assert second > first
    first, second = ranks(2 * gain)
    assert second == first


def test_documented_losses_are_recorded(taught, tmp_path):
    """train_total_loss is the weighted sum of the documented three at every logged step."""
    seen = {}
    monitor = SarMonitor(tmp_path / "tb")
    monitor.log = lambda step, values: seen.setdefault(step, {}).update(values)
    watched = taught(alpha=0.3, beta=0.5, gamma=0.2)
    watched.monitor = monitor
    fit(watched, QUICK, seed=0, folder=tmp_path)
    first = seen[1]
    parts = [first[f"train_{name}_loss"] for name in ("student", "distillation", "feature")]
    assert first["train_total_loss"] == pytest.approx(0.3 * parts[0] + 0.5 * parts[1] + 0.2 * parts[2], rel=1e-5)
    records = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    logged = next(r for r in records if r["split"] == "train")
    assert logged["loss"] == pytest.approx(first["train_total_loss"], rel=1e-5)
    last = seen[max(seen)]
    assert {"val_total_loss", "val_student_loss", "val_distillation_loss", "val_feature_loss"} <= set(last)
