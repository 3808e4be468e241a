"""Teachers: frozen to the bit, normalized as they were trained, refused when they are no use."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import StratifiedKFold
from torch import nn

from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, ImageSpec, OutputSpec
from stillhouse.tasks.classification.data.config import DataConfig
from stillhouse.teachers.cached import CachedTeacher
from stillhouse.teachers.check import check_teacher, wilson_low
from stillhouse.teachers.checkpoint import read_state_dict, save_teacher
from stillhouse.teachers.config import TeacherConfig
from stillhouse.teachers.networks import final_linear
from stillhouse.teachers.probe import fit_head
from stillhouse.teachers.teacher import Teacher

SPEC = ImageSpec(("a", "b", "c"), (1, 8, 8), (0.5,), (0.25,))
TINY = {"source": "timm:test_resnet", "pretrained": False}


@pytest.fixture(scope="module")
def digits():
    return DataConfig(name="digits").build()


def batch(rows=4, input_spec=SPEC):
    torch.manual_seed(0)
    return Batch(torch.rand(rows, *input_spec.shape), torch.arange(rows) % input_spec.num_classes, torch.arange(rows))


def small(channels=1):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )


def bits(module):
    return [x.clone() for x in module.state_dict().values()]


def test_a_step_of_the_student_leaves_every_bit_of_the_teacher():
    """timm's own task flips a registered teacher to train mode and its BatchNorm statistics move."""
    module = small()
    teacher = Teacher.from_module(module, SPEC, features=("0",))
    before = bits(module)
    student = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    optimizer = torch.optim.SGD(student.parameters(), lr=1.0, weight_decay=1.0)
    module.train()  # whoever holds the module may do that
    for _ in range(3):
        loss = (student(batch().inputs) - teacher(batch()).logits).square().mean()
        loss.backward()
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, bits(module)))
    assert not any(p.requires_grad for p in module.parameters())
    assert not isinstance(teacher, nn.Module)


def test_its_features_can_enter_a_backward_pass():
    """Inference tensors raise "cannot be saved for backward" in a projector on the teacher's side."""
    teacher = Teacher.from_module(small(), SPEC, features=("2",))
    projector = nn.Conv2d(4, 2, 1)
    projector(teacher(batch()).features["2"]).sum().backward()
    assert projector.weight.grad.abs().sum() > 0
    assert teacher.spec.features["2"] == (4, 6, 6)


def test_it_sees_pixels_normalized_as_it_was_trained():
    """A teacher that gets the student's normalization is another teacher: closed form with a network that copies."""
    copy = nn.Flatten()
    input_spec = ImageSpec(tuple("abcdefgh"), (2, 2, 2), (0.1, 0.2), (0.3, 0.4))
    teacher = Teacher.from_module(copy, input_spec, mean=(0.5, 0.25), std=(0.5, 0.125))
    pixels = torch.rand(3, 2, 2, 2)
    expected = torch.stack([(pixels[:, 0] - 0.5) / 0.5, (pixels[:, 1] - 0.25) / 0.125], dim=1).flatten(1)
    torch.testing.assert_close(teacher(Batch(pixels, torch.zeros(3), torch.arange(3))).logits, expected)


def test_gray_is_repeated_colour_is_averaged_and_sides_are_resized():
    """Constant images stay constant, whatever the bridge."""
    for shape, channels in (((1, 8, 8), 3), ((3, 8, 8), 1)):
        input_spec = ImageSpec(("a", "b", "c"), shape, (0.5,), (0.2,))
        seen = []
        module = small(channels)
        module.register_forward_pre_hook(lambda m, args, seen=seen: seen.append(args[0]))
        teacher = Teacher.from_module(module, input_spec, side=20, channels=channels)
        teacher(Batch(torch.full((2, *shape), 0.6), torch.zeros(2), torch.arange(2)))
        assert seen[-1].shape == (2, channels, 20, 20)
        torch.testing.assert_close(seen[-1], torch.full_like(seen[-1], 0.6))


@pytest.mark.parametrize(
    "settings",
    [
        {"source": "timm:test_vit", "image_size": 32},
        {
            "source": "timm:swin_tiny_patch4_window7_224",
            "image_size": 32,
            "architecture": {"embed_dim": 24, "depths": "1"},
        },
        {"source": "timm:test_efficientnet"},
        {"source": "timm:test_convnext"},
        {"source": "torchvision:resnet18"},
        {"source": "torchvision:mobilenet_v3_small"},
    ],
)
def test_any_task_is_built_for_the_task(settings):
    """Channels, image size and class count are matched, whatever the architecture calls its head."""
    if "architecture" in settings:
        settings = {**settings, "architecture": {"window_size": 4}}
    teacher = TeacherConfig(pretrained=False, **settings).build(SPEC)
    assert teacher(batch()).logits.shape == (4, 3)
    assert teacher.head_is_new


def test_swin_v2_is_built_too():
    """The second generation has other constructor arguments."""
    teacher = TeacherConfig(source="timm:swinv2_cr_tiny_224", pretrained=False, image_size=64).build(SPEC)
    assert teacher(batch()).logits.shape == (4, 3)


def test_a_fitted_head_equals_the_probe_and_beats_chance(digits):
    """A re-made head is random: the public code distilled from it. Frozen random features already carry a good probe."""
    torch.manual_seed(0)
    teacher = TeacherConfig(**TINY).build(digits.input_spec)
    assert check_teacher(teacher, digits.validation.batches(256)).head == "new"
    path = final_linear(teacher.module, "x")
    seen = []
    hook = teacher.module.get_submodule(path).register_forward_pre_hook(lambda m, a: seen.append(a[0].clone()))
    for b in digits.train.batches(256):
        teacher(b)
    hook.remove()
    x = torch.cat(seen).double().numpy()
    mean, std = x.mean(0), x.std(0) + 1e-6
    z, labels, folds = (x - mean) / std, digits.train.labels.numpy(), StratifiedKFold(5, shuffle=True, random_state=0)
    choice = LogisticRegressionCV(Cs=np.logspace(-4, 1, 6), cv=folds, scoring="neg_log_loss", max_iter=300)
    probe = LogisticRegression(max_iter=300, C=float(np.ravel(choice.fit(z, labels).C_)[0])).fit(z, labels)
    fit_head(teacher, digits.train.batches(256))
    first = next(digits.train.batches(256))
    expected = probe.decision_function(z[:256])
    np.testing.assert_allclose(teacher(first).logits.numpy(), expected, atol=1e-3)
    report = check_teacher(teacher, digits.validation.batches(256))
    assert (report.status, report.head) == ("ready", "fitted")
    assert report.score > 0.6


def test_two_classes_are_fitted_too():
    """scikit-learn gives one row of coefficients for two classes."""
    input_spec = ImageSpec(("dark", "light"), (1, 8, 8), (0.5,), (0.3,))
    images = torch.cat([torch.rand(40, 1, 8, 8) * 0.4, 0.6 + torch.rand(40, 1, 8, 8) * 0.4])
    rows = Batch(images, torch.arange(80) // 40, torch.arange(80))
    teacher = TeacherConfig(**TINY).build(input_spec)
    fit_head(teacher, [rows])
    assert check_teacher(teacher, [rows]).score > 0.9


def test_a_teacher_at_chance_is_found_out(digits):
    """And a good one is not: the interval's lower end is held against the commonest class."""
    torch.manual_seed(0)
    random = TeacherConfig(**TINY, head="keep").build(digits.input_spec)
    assert check_teacher(random, digits.validation.batches(256)).status == "at chance"
    builtin = TeacherConfig().build(digits.input_spec)
    report = check_teacher(builtin, digits.validation.batches(256))
    assert report.status == "ready"
    assert report.score > 0.97
    assert report.chance == pytest.approx(
        float(torch.bincount(digits.validation.labels).max()) / len(digits.validation)
    )


def test_check_counts_as_scikit_learn_would():
    """Score and calibration by hand; Wilson's interval against its textbook value."""
    answers = torch.tensor([[4.0, 0.0], [4.0, 0.0], [0.0, 4.0], [0.0, 4.0]])

    class Fixed(nn.Module):
        def forward(self, x):
            return answers[: len(x)]

    input_spec = ImageSpec(("a", "b"), (1, 2, 2), (0.5,), (0.5,))
    rows = Batch(torch.rand(4, 1, 2, 2), torch.tensor([0, 1, 1, 1]), torch.arange(4))
    report = check_teacher(Teacher.from_module(Fixed(), input_spec), [rows])
    confidence = torch.sigmoid(torch.tensor(4.0)).item()
    assert (report.score, report.chance, report.rows) == (0.75, 0.75, 4)
    assert report.ece == pytest.approx(confidence - 0.75, abs=1e-5)
    assert report.status == "at chance"
    assert wilson_low(0.5, 10) == pytest.approx(0.2366, abs=1e-4)


def test_a_foreign_state_dict_is_loaded_over_the_architecture(tmp_path):
    """Wrappers and prefixes of other trainers come off; the checkpoint wins over what was there before."""
    torch.manual_seed(1)
    source = TeacherConfig(**TINY).build(SPEC)
    weights = {f"module.{name}": x for name, x in source.module.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": weights}, tmp_path / "c.pt")
    torch.manual_seed(2)
    teacher = TeacherConfig(**TINY, checkpoint=str(tmp_path / "c.pt")).build(SPEC)
    assert all(torch.equal(a, b) for a, b in zip(bits(source.module), bits(teacher.module)))
    assert not teacher.head_is_new


def test_half_a_match_is_no_match(tmp_path):
    """Loaded non-strictly, half the weights would stay random and nobody would know."""
    source = TeacherConfig(**TINY).build(SPEC)
    weights = dict(source.module.state_dict())
    first, second, *_ = weights
    weights["extra"] = weights.pop(first)
    weights[second] = torch.zeros(99)
    torch.save(weights, tmp_path / "c.pt")
    with pytest.raises(InputError) as error:
        TeacherConfig(**TINY, checkpoint=str(tmp_path / "c.pt")).build(SPEC)
    text = str(error.value)
    assert f'Missing key(s) in state_dict: "{first}"' in text
    assert 'Unexpected key(s) in state_dict: "extra"' in text
    assert f"size mismatch for {second}" in text
    assert "\n" not in text


def test_another_class_count_is_refused_and_mended_by_a_probe(tmp_path):
    """Both counts in the message; `head: probe` re-makes the layer."""
    other = ImageSpec(tuple("abcdefg"), (1, 8, 8), (0.5,), (0.25,))
    source = TeacherConfig(**TINY).build(other)
    torch.save(source.module.state_dict(), tmp_path / "c.pt")
    save_teacher(tmp_path / "t.safetensors", source, data_name="d", data_sha256="0", score=None)
    for settings in ({**TINY, "checkpoint": str(tmp_path / "c.pt")}, {"source": f"ckpt:{tmp_path / 't.safetensors'}"}):
        with pytest.raises(InputError, match=r"expected 3 classes, .* 7"):
            TeacherConfig(**settings).build(SPEC)
        teacher = TeacherConfig(**settings, head="probe").build(SPEC)
        assert teacher.head_is_new
        assert teacher.spec.num_classes == 3


def test_files_that_are_no_checkpoint_are_said_plainly(tmp_path):
    """Missing, truncated, a pickle that would run code, a foreign file without an architecture."""
    source = TeacherConfig(**TINY).build(SPEC)
    torch.save(source.module.state_dict(), tmp_path / "good.pt")
    save_teacher(tmp_path / "good.safetensors", source, data_name="d", data_sha256="0", score=None)
    for suffix in ("pt", "safetensors"):
        whole = (tmp_path / f"good.{suffix}").read_bytes()
        (tmp_path / f"cut.{suffix}").write_bytes(whole[: len(whole) // 2])
    torch.save(source.module, tmp_path / "module.pt")
    (tmp_path / "text.pt").write_text("not a checkpoint")
    for name, words in (
        ("none.pt", "does not exist"),
        ("cut.pt", "truncated"),
        ("cut.safetensors", "truncated"),
        ("module.pt", "not unpickled"),
        ("text.pt", "no checkpoint"),
    ):
        with pytest.raises(InputError, match=words):
            read_state_dict(tmp_path / name)
    with pytest.raises(InputError, match=r"teacher\.source=timm:NAME"):
        TeacherConfig(source=f"ckpt:{tmp_path / 'good.pt'}").build(SPEC)
    with pytest.raises(InputError, match="does not exist"):
        TeacherConfig(source="ckpt:nowhere.safetensors").build(SPEC)


def test_the_cache_says_what_the_teacher_says():
    """By row, in any order of asking."""
    teacher = Teacher.from_module(small(), SPEC)
    rows = batch(10)
    cached = CachedTeacher(teacher, [rows], 10)
    order = torch.tensor([7, 2, 2, 9])
    asked = Batch(rows.inputs[order], rows.labels[order], order)
    torch.testing.assert_close(cached(asked).logits, teacher(asked).logits)
    with pytest.raises(InputError, match="2 of 12 rows"):
        CachedTeacher(teacher, [rows], 12)
    extractor = Teacher.from_module(small(), SPEC, features=("0",))
    torch.testing.assert_close(
        CachedTeacher(extractor, [rows], 10)(asked).features["0"], extractor(asked).features["0"]
    )
    huge = SimpleNamespace(spec=OutputSpec(3, {"a": (2**20,)}), name="huge")
    with pytest.raises(InputError, match="ask the teacher itself"):
        CachedTeacher(huge, [rows], 2**10)


@pytest.mark.parametrize("lazy", [nn.LazyLinear(2), nn.LazyBatchNorm1d(affine=False)])
def test_a_layer_without_weights_is_named(lazy):
    """torch spoke of an uninitialized parameter in <method 'requires_grad_' of 'torch._C.TensorBase' objects>."""
    module = nn.Sequential(nn.Flatten(), lazy)
    kind = type(lazy).__name__
    with pytest.raises(
        InputError, match=rf"^teacher Sequential: layer '1' \({kind}\) has no weights yet; call the network"
    ):
        Teacher.from_module(module, SPEC)
