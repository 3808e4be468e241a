"""A cache in a teacher's place: its very answers, for the rows that it was asked about and no other."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from stillhouse.cache.content import Content, same, seen
from stillhouse.cache.files import MANIFEST, SHA
from stillhouse.cache.queries import write_cache
from stillhouse.cache.stored import StoredTeacher, spot_check
from stillhouse.core.checks import InputError
from stillhouse.core.config import parse
from stillhouse.core.hashes import sha256_of
from stillhouse.core.types import Outputs, OutputSpec, Progress
from stillhouse.losses.divergence import forward_kl
from stillhouse.losses.top_k import tail_bounds
from stillhouse.signals import LogitsConfig
from stillhouse.signals.exits import DualHeadConfig
from stillhouse.tasks.classification.data.config import DataConfig
from stillhouse.tasks.classification.data.images import ImageData
from stillhouse.tasks.classification.job import ClassificationJob
from stillhouse.tasks.classification.plan import ClassificationRunConfig, ClassificationTrainingConfig
from stillhouse.tasks.classification.students.networks import TimmStudentConfig
from stillhouse.tasks.classification.teachers import _check_stored, build_teachers, flops_of, teacher_queries_of
from stillhouse.teachers.ensemble import EnsembleTeacher
from stillhouse.teachers.teacher import Teacher

K = 6


def images(seed=0, labels=0, **config):
    rng = np.random.default_rng(seed)
    y = np.random.default_rng(labels).permutation(np.arange(90) % K)
    return ImageData.from_arrays(
        (255 * rng.random((90, 8, 8))).astype(np.uint8), y, config=DataConfig(validation_fraction=0.2, **config)
    )


def network(input_spec, seed=0, **wants):
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Tanh(), nn.Linear(12, K))
    with torch.no_grad():
        module[-1].weight.mul_(6)
    return Teacher.from_module(module, input_spec, name="net", features=("1",), **wants)


def config(**changes):
    return parse(
        ClassificationRunConfig, {"student": {"kind": "timm", "architecture": "test_resnet"}, "arms": ["kd"], **changes}
    )


def written(folder, data=None, content=None, told=None, plan=None):
    data = images() if data is None else data
    told = network(data.input_spec) if told is None else told
    teacher_queries = teacher_queries_of(plan or config(), data, told)
    write_cache(teacher_queries, folder, content or teacher_queries.content)
    return teacher_queries, data, told


def rows_of(data, *rows):
    return data.train.batch(torch.tensor(rows))


def test_it_answers_as_the_teacher_does(tmp_path):
    """Scores and features, of training, validation and test rows of the same numbers, in any order."""
    _, data, told = written(tmp_path / "c")
    stored = StoredTeacher(tmp_path / "c")
    assert stored.spec == told.spec
    assert (stored.identity(), stored.params, stored.name) == (told.identity(), told.params, "net")
    assert flops_of(stored) == flops_of(told) == 2 * (64 * 12 + 12 * K)
    for split in (data.validation, data.train, data.test):
        batch = split.batch(torch.tensor([5, 0, 5, 3]))
        live = told(batch)
        torch.testing.assert_close(stored(batch).logits, live.logits)
        torch.testing.assert_close(stored(batch).features["1"], live.features["1"])


def test_half_precision_takes_no_input_for_another():
    """A step of bf16-mixed asks inside autocast, where a product of bf16 has three digits."""
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        found = seen(images)
    assert same(found, seen(images)).all()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda x: x.flip(-1),
        lambda x: x.flip(0),
        lambda x: (x + 0.02).clamp(0, 1),
        lambda x: 0.9 * x + 0.1 * x.roll(1, 0),
    ],
    ids=["mirrored", "rows reversed", "brighter", "mixed"],
)
def test_inputs_that_it_was_not_asked_about_are_refused(tmp_path, spoil):
    """A mirrored image has other hidden maps; reversed rows are other rows' answers."""
    _, data, _ = written(tmp_path / "c")
    batch = rows_of(data, 1, 2, 3, 4)
    with pytest.raises(
        InputError, match=r"expected inputs that its teacher was asked about, got others in 4 of 4 rows"
    ):
        StoredTeacher(tmp_path / "c")(replace(batch, inputs=spoil(batch.inputs)))


def forged(folder, name, change):
    """A file changed with its hash made good again: only the teacher or the inputs can tell."""
    path = folder / name
    np.save(path, change(np.load(path)))
    found = json.loads((folder / MANIFEST).read_text())
    found[SHA][name] = sha256_of(path)
    (folder / MANIFEST).write_text(json.dumps(found))


@pytest.mark.parametrize("content", [Content(), Content(False, 3)], ids=["scores", "topk"])
def test_reversed_rows_with_good_hashes_are_found_by_the_live_teacher(tmp_path, content):
    """It said "within 0.0001 nats of the live teacher" over rows that were turned round."""
    data = images()
    told = Teacher.from_module(network(data.input_spec).module, data.input_spec, name="net")
    teacher_queries, _, _ = written(tmp_path / "c", data, content, told)
    stored = StoredTeacher(tmp_path / "c")
    assert "rows (drawn by seed 7)" in spot_check(stored, teacher_queries, seed=7)
    array = "logits" if content.scores else "scores"
    forged(tmp_path / "c", f"train.{array}.npy", lambda x: x[::-1])
    with pytest.raises(InputError, match=r"its answers of train differ from the live teacher's"):
        spot_check(StoredTeacher(tmp_path / "c"), teacher_queries, rows=100)
    forged(tmp_path / "c", f"train.{array}.npy", lambda x: x[::-1])
    forged(tmp_path / "c", "train.seen.npy", lambda x: x[::-1])
    with pytest.raises(InputError, match=r"row 0 of train is of other inputs"):
        spot_check(StoredTeacher(tmp_path / "c"), teacher_queries, rows=100)


def test_the_rows_of_a_check_are_drawn_anew(tmp_path):
    """Four rows at fixed places are easily good ones."""
    teacher_queries, _, _ = written(tmp_path / "c")
    stored = StoredTeacher(tmp_path / "c")
    lines = {spot_check(stored, teacher_queries).partition("seed")[2] for _ in range(3)}
    assert len(lines) == 3


def test_another_teacher_preprocessing_labels_or_data_are_refused_by_name(tmp_path):
    """Each by its own name: a user must know what to take back."""
    data = images()
    written(tmp_path / "c", data)
    wanted = config(teacher_cache=str(tmp_path / "c"))
    cases = {
        "teacher": (data, network(data.input_spec, seed=1)),
        "preprocessing": (data, network(data.input_spec, mean=(0.2,))),
        "labels": (images(labels=1), network(data.input_spec)),
        "data": (images(seed=1), network(data.input_spec)),
    }
    for name, (here, told) in cases.items():
        words = "other rows or labels .*" if name == "labels" else f"another {name}"
        with pytest.raises(InputError, match=f"it is of {words}: expected"):
            build_teachers(wanted, here, told)
    lines = []
    found = build_teachers(wanted, data, network(data.input_spec), lines.append)
    assert isinstance(found[0], StoredTeacher)
    assert found[0].module is not None
    assert "of the live teacher" in lines[0]


# ------------------------------------------------------------------------------------------------------------ views


def test_views_are_functions_of_seed_view_and_row():
    """Whatever the batch, its order and its epoch: else student and cache see two images."""
    data = images(augment="crop-flip", views=3)
    whole = data.view(1, torch.arange(43)).inputs
    torch.testing.assert_close(data.view(1, torch.tensor([7, 2])).inputs, whole[[7, 2]], rtol=0, atol=0)
    other_seed = replace(data, view_seed=5).view(1, torch.arange(43)).inputs
    for other in (data.view(2, torch.arange(43)).inputs, other_seed, data.train.batch(torch.arange(43)).inputs):
        changed = (other - whole).flatten(1).abs().amax(1) > 0.01
        assert changed.float().mean() > 0.8  # a shift and a mirror have 18 outcomes on so small an image


def test_the_students_batch_is_the_cached_view(tmp_path):
    """Epoch after epoch, view after view, and round again; another seed of views is refused by name."""
    data = images(augment="crop-flip", views=2)
    plan = config(data={"augment": "crop-flip", "views": 2})
    _, _, told = written(tmp_path / "c", data, plan=plan)
    stored = StoredTeacher(tmp_path / "c")
    training = ClassificationTrainingConfig(batch_size=10)
    job = ClassificationJob(
        TimmStudentConfig(architecture="test_resnet").build(data.input_spec), data, training, seed=3
    )
    steps = -(-len(data.train) // 10)
    seen_views = []
    for epoch in range(3):
        batch = job.batch(torch.tensor([4, 0, 9]), Progress(epoch * steps, 3 * steps))
        torch.testing.assert_close(stored(batch).logits, told(batch).logits)
        seen_views.append(stored._last)
    assert seen_views == ["view-0", "view-1", "view-0"]
    other = replace(data, view_seed=1)
    with pytest.raises(InputError, match=r"it has .*views 2.*: another augmentation"):
        stored(other.view(0, torch.arange(5)))
    for changed in (
        other,
        replace(data, views=3),
        replace(data, augmentation="affine"),
        replace(data, augmentation="none"),
    ):
        with pytest.raises(InputError, match="of another augmentation"):
            _check_stored(stored, plan, changed)


def test_what_no_cache_can_hold_is_refused_before_it_is_asked_for():
    """Images that are new at every step."""
    data = images(augment="affine")
    with pytest.raises(InputError, match=r"images are new at every step.*data\.views=N"):
        teacher_queries_of(config(), data, network(data.input_spec))
    mixed = config(training={"mixing": {"mixup_alpha": 0.4}})
    with pytest.raises(InputError, match="images are new at every step"):
        teacher_queries_of(mixed, images(), network(data.input_spec))
    with pytest.raises(InputError, match="images are new at every step"):
        teacher_queries_of(
            config(training={"teacher_view": "independent"}),
            images(augment="affine", views=2),
            network(data.input_spec),
        )
    clean = teacher_queries_of(config(training={"teacher_view": "clean"}), data, network(data.input_spec))
    assert list(clean.parts) == ["train", "validation", "test"]
    with pytest.raises(InputError, match="expected a run with one teacher, got several"):
        teacher_queries_of(config(), images(), EnsembleTeacher([network(data.input_spec), network(data.input_spec, 1)]))


# ------------------------------------------------------------------------------------------------------------ largest scores


def loss_of(told, batch, student, **more):
    spec = OutputSpec(K)
    signal = LogitsConfig(**more).build(spec, told.spec)
    return signal, signal(Outputs(student), told(batch), batch, Progress(3, 10)).mean()


def plain(data):
    return Teacher.from_module(network(data.input_spec).module, data.input_spec, name="net")


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_at_kept_temperatures_the_tail_is_exact(tmp_path, temperature):
    """The loss is the KL over the kept classes and one bucket of all others, computed here from the live scores."""
    data = images()
    _, _, told = written(tmp_path / "c", data, Content(False, 3), plain(data))
    batch, student = rows_of(data, 3, 1, 30, 22), torch.randn(4, K, generator=torch.Generator().manual_seed(0))
    _, value = loss_of(StoredTeacher(tmp_path / "c"), batch, student, temperature=temperature)
    p, q = (torch.softmax(x / temperature, 1).double() for x in (told(batch).logits, student))
    top = p.topk(3, 1).indices
    p, q = (torch.cat([x.gather(1, top), 1 - x.gather(1, top).sum(1, keepdim=True)], 1) for x in (p, q))
    expected = temperature**2 * (p * (p / q).log()).sum(1).mean()
    assert value.item() == pytest.approx(expected.item(), rel=5e-3, abs=1e-3)
    whole = forward_kl(student, told(batch).logits, temperature=temperature).mean()
    assert value.item() <= whole.item() + 1e-3


def test_a_learned_or_scheduled_temperature_works_over_all_kept_scores(tmp_path):
    """With k = K there is no tail: value and gradients are those of the live teacher, up to half precision."""
    data = images()
    _, _, told = written(tmp_path / "c", data, Content(False, K), plain(data))
    stored, batch = StoredTeacher(tmp_path / "c"), rows_of(data, 3, 1, 30, 22)
    for temperature in (
        {"kind": "learned", "initial": 2.5, "strength": {"kind": "constant", "value": 1.0}},
        {"kind": "scheduled", "schedule": {"kind": "linear", "start": 1.0, "end": 3.0}},
    ):
        found = []
        for teacher in (told, stored):
            student = torch.randn(4, K, generator=torch.Generator().manual_seed(0)).requires_grad_()
            signal, value = loss_of(teacher, batch, student, temperature=temperature)
            value.backward()
            learned = [p.grad for p in signal.parameters()]
            found.append([value.detach(), student.grad, *learned])
        for live, kept in zip(*found, strict=True):
            torch.testing.assert_close(kept, live, atol=5e-3, rtol=1e-2)


def test_between_kept_temperatures_the_rest_is_within_its_bounds(tmp_path):
    """The bound that `losses.top_k` states, for a temperature that nobody knew when the cache was written."""
    data = images()
    _, _, told = written(tmp_path / "c", data, Content(False, 2), plain(data))
    batch = rows_of(data, *range(40))
    kept = StoredTeacher(tmp_path / "c")(batch).kept
    for temperature in (0.7, 1.4, 3.1, 8.0):
        log_p = torch.log_softmax(told(batch).logits / temperature, 1)
        known, _ = kept.log_probabilities(temperature)
        low, high = tail_bounds(kept.rest, kept.temperatures, kept.others, kept.cap, temperature)
        widest = (high - low).amax() / 2 + 0.02
        assert (known - log_p.gather(1, kept.ids)).abs().amax() <= widest


@pytest.mark.parametrize(
    ("signal", "words"),
    [
        (
            {"loss": "reverse-kl"},
            "needs all class scores, and the cache holds the 3 largest",
        ),
        ({"loss": "dkd"}, "needs all class scores"),
        ({"standardize": True}, "needs all"),
        ({"temperature": {"kind": "learned", "per_sample": True}}, "read from the scores"),
    ],
)
def test_signals_that_need_all_scores_refuse_the_largest(signal, words):
    """A stand-in for the missing scores would teach something else without a word."""
    with pytest.raises(InputError, match=words):
        parse(LogitsConfig, signal).build(OutputSpec(K), OutputSpec(K, kept=3))
    with pytest.raises(InputError, match="needs all class scores"):
        DualHeadConfig(student="a").build(OutputSpec(K, {"a": (4,)}), OutputSpec(K, kept=3))


def test_few_rows_keep_all_scores(tmp_path):
    """Accuracy and calibration of the teacher are figures of validation and test: no stand-in there."""
    data = images()
    _, _, told = written(tmp_path / "c", data, Content(False, 2), plain(data))
    stored = StoredTeacher(tmp_path / "c")
    batch = data.test.batch(torch.arange(7))
    torch.testing.assert_close(stored(batch).logits, told(batch).logits)
    assert stored(batch).kept is None
    with pytest.raises(InputError, match="its cache holds the 2 largest"):
        EnsembleTeacher([stored, told])


# ------------------------------------------------------------------------------------------------------------ the rest


def test_answers_that_are_not_numbers_are_refused(tmp_path):
    """Before they are on disk."""
    data = images()
    told = network(data.input_spec)
    with torch.no_grad():
        told.module[-1].bias[0] = float("nan")
    with pytest.raises(InputError, match=r"rows of its logits are NaN or infinite"):
        written(tmp_path / "c", data, told=told)
    with pytest.raises(InputError, match="feature 'x'"):
        teacher_queries_of(config(), data, network(data.input_spec), ("x",))


@pytest.mark.parametrize("inputs", ["tokens", "complex"])
def test_other_inputs_are_known_again_too(inputs):
    """One other token in a window, one other sample of a line."""
    generator = torch.Generator().manual_seed(0)
    if inputs == "tokens":
        x = torch.randint(0, 50_000, (3, 128), generator=generator)
        y = x.clone()
        y[1, 77] += 1
    else:
        x = torch.randn(3, 100, 2, dtype=torch.complex64, generator=generator)
        y = x.clone()
        y[1, 50] *= -1
    assert same(seen(x), seen(x)).all()
    assert same(seen(x), seen(y)).tolist() == [True, False, True]


def test_a_part_that_is_empty_or_unknown_is_named(tmp_path):
    """A feature that was not kept cannot be listened to."""
    written(tmp_path / "c")
    with pytest.raises(InputError, match="expected feature '3', it holds 1"):
        StoredTeacher(tmp_path / "c", features=("3",))
    only = StoredTeacher(tmp_path / "c", features=())
    assert only(rows_of(images(), 0)).features == {}
