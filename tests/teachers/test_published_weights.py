"""Weights as they are published: without counters of batches, of 3 channels over gray images."""

import warnings
from functools import partial

import pytest
import timm
import torch
from torch import nn
from torchvision import models

from stillhouse.cli.main import main
from stillhouse.core.checks import InputError
from stillhouse.core.records import read_json
from stillhouse.core.types import Batch, ImageSpec
from stillhouse.tasks.classification.teachers import flops_of
from stillhouse.tasks.embed.data import open_vectors
from stillhouse.tasks.sar.saved import load_weights
from stillhouse.tasks.sar.students import StateSpaceConfig
from stillhouse.teachers.config import TeacherConfig
from stillhouse.teachers.ensemble import EnsembleTeacher
from stillhouse.teachers.networks import check_adapts
from stillhouse.teachers.teacher import Teacher

TEN = ImageSpec(tuple("abcdefghij"), (3, 32, 32), (0.1, 0.2, 0.3), (0.2, 0.2, 0.2))
GRAY = ImageSpec(("a", "b", "c"), (1, 32, 32), (0.1,), (0.3,))
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def trained(module):
    """As after training: BatchNorm has statistics of its own, and a count."""
    torch.manual_seed(1)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, std=0.1)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            part.num_batches_tracked.fill_(7)
    return module.eval()


def without_counters(module):
    return {name: x for name, x in module.state_dict().items() if not name.endswith("num_batches_tracked")}


def batch(input_spec, rows=3):
    torch.manual_seed(2)
    return Batch(torch.rand(rows, *input_spec.shape), torch.zeros(rows, dtype=torch.int64), torch.arange(rows))


# ---------------------------------------------------------------------------------------------- counters of batches


@pytest.mark.parametrize("source", ["timm:test_resnet", "torchvision:resnet18"])
def test_weights_without_counters_of_batches_load(tmp_path, source):
    """Files of old and of other libraries have none; torch's own strict load takes them: "97 of 116 entries match"."""
    kind, _, name = source.partition(":")
    made = trained(timm.create_model(name, num_classes=10) if kind == "timm" else models.resnet18(num_classes=10))
    torch.save(without_counters(made), tmp_path / "net.pth")
    file = str(tmp_path / "net.pth")
    teacher = TeacherConfig(source=source, checkpoint=file, pretrained=False).build(TEN)
    x = batch(TEN)
    torch.testing.assert_close(teacher(x).logits, made(teacher.prepare(x.inputs)))


def test_counters_that_are_there_are_kept_and_what_else_is_missing_is_an_error(tmp_path):
    """Else a saved teacher would be another by its hash; and only counters may be missing."""
    net = trained(timm.create_model("test_resnet", num_classes=10))
    torch.save(net.state_dict(), tmp_path / "whole.pth")
    kept = TeacherConfig(source="timm:test_resnet", checkpoint=str(tmp_path / "whole.pth")).build(TEN)
    assert {int(x) for name, x in kept.module.state_dict().items() if "tracked" in name} == {7}
    torch.save({k: x for k, x in net.state_dict().items() if "running_mean" not in k}, tmp_path / "part.pth")
    with pytest.raises(InputError, match=r"Missing key.*running_mean") as found:
        TeacherConfig(source="timm:test_resnet", checkpoint=str(tmp_path / "part.pth")).build(TEN)
    assert "\n" not in str(found.value)


# ---------------------------------------------------------------------------------------------- 3 channels over gray


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("test_vit", 32),
        ("test_resnet", 32),
        ("test_efficientnet", 32),
        ("test_convnext", 32),
        ("mixer_s32_224", 224),
        ("densenet121", 32),
    ],
)
def test_weights_of_three_channels_take_gray_images(tmp_path, name, side):
    """Summed over the three, a first convolution gives of gray what it gave of gray repeated: the same network, by closed form."""
    torch.manual_seed(0)
    fixed = {"img_size": side} if name == "test_vit" else {}
    net = trained(timm.create_model(name, num_classes=3, **fixed))
    torch.save(net.state_dict(), tmp_path / "net.pth")
    config = TeacherConfig(source=f"timm:{name}", checkpoint=str(tmp_path / "net.pth"), image_size=side)
    teacher = config.build(GRAY)
    x = batch(GRAY)
    with torch.no_grad():
        torch.testing.assert_close(
            teacher(x).logits, net(teacher.prepare(x.inputs).expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4
        )


KINDS = (
    *("beit", "convnext", "densenet", "efficientnet", "levit", "mlp_mixer", "resnet", "swin_transformer", "tresnet"),
    *("vision_transformer", "xcit", "naflexvit"),
)


def test_published_weights_that_timm_would_leave_at_random_are_refused():
    """timm fetches such weights, drops the first layer with a warning, and the teacher looks whole."""
    with torch.device("meta"):
        net = timm.create_model("naflexvit_base_patch16_gap", in_chans=1)
    with pytest.raises(
        InputError, match=r"its first layer \(embeds.proj\) is for 3 channels, .*; take data.channels=3"
    ):
        check_adapts(net, 1, "timm:x")
    check_adapts(net, 3, "timm:x")


# ---------------------------------------------------------------------------------------------- operations


def test_operations_of_a_teacher_are_those_counted_by_hand():
    """Two a multiply-add: of a matrix, of a convolution by its shapes, of two teachers together; of another kind unknown."""
    small = ImageSpec(("a", "b", "c"), (1, 4, 4), (0.5,), (0.5,))
    linear = Teacher.from_module(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), small)
    assert flops_of(linear) == 2 * 16 * 3
    assert flops_of(EnsembleTeacher([linear, linear])) == 4 * 16 * 3
    net = Teacher.from_module(nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten(), nn.Linear(5 * 900, 10)), TEN)
    assert flops_of(net) == 2 * (900 * 5 * 27 + 4500 * 10)
    assert net.module.training is False

    class Own(Teacher):
        name = "own"

    Own.__abstractmethods__ = frozenset()
    assert flops_of(Own()) is None
    assert flops_of(EnsembleTeacher([linear])) == flops_of(linear)


def test_a_run_says_what_both_sides_cost(tmp_path):
    """teacher.json, summary.json and the table of costs in the report."""
    (tmp_path / "a.yaml").write_text(
        "recipe: digits\nseeds: 1\narms: [kd]\ntraining: {epochs: 1, threads: 1, device: cpu}\nsignals: [{kind: logits}]\n"
        "student: {kind: flat-tm, clauses: 20}\ndata: {name: digits, train_limit: 100}\n"
    )
    assert main(["distill", str(tmp_path / "a.yaml"), "--out", str(tmp_path / "run"), "--quiet"]) == 0
    summary = read_json(tmp_path / "run" / "summary.json")
    counted = read_json(tmp_path / "run" / "teacher.json")["flops"]
    assert counted == summary["teacher"]["flops"] > summary["student"]["flops"] > 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert f"{counted:,}" in page
    assert f"{summary['student']['flops']:,}" in page


# ---------------------------------------------------------------------------------------------- one line an error


class Harm:
    def __reduce__(self):
        return print, ("harm",)


@pytest.fixture
def pickled(tmp_path):
    import pickle

    (tmp_path / "harm.pt").write_bytes(pickle.dumps(Harm(), protocol=4))
    return tmp_path / "harm.pt"


def test_pickles_in_the_place_of_other_files_are_one_line_too(pickled):
    """Vectors, radar teachers, clause networks; and none repeats torch's advice to load it unsafely."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for opened in (open_vectors, partial(load_weights, StateSpaceConfig())):
            with pytest.raises(InputError) as found:
                opened(pickled)
            assert "\n" not in str(found.value)
            assert "trusted" not in str(found.value)


@pytest.mark.parametrize("name", ["Init", "Forward", "Missing"])
def test_an_error_of_two_lines_is_shown_in_one(tmp_path, capsys, name):
    """What a file of the user's own raises is quoted."""
    (tmp_path / "net.py").write_text(
        "from torch import nn\nclass Init(nn.Module):\n    def __init__(self):\n        raise ValueError('first\\nsecond')\n"
        "class Forward(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.a = nn.Linear(2, 10)\n"
        "    def forward(self, x):\n        raise RuntimeError('first\\nsecond')\n"
    )
    (tmp_path / "broken.py").write_text("raise OSError('first\\nsecond')\n")
    source = f"py:{tmp_path / 'broken.py'}:Missing" if name == "Missing" else f"py:{tmp_path / 'net.py'}:{name}"
    assert main(["check", "digits", f"teacher.source={source}"]) == 2
    shown = capsys.readouterr().err.strip()
    assert len(shown.splitlines()) == 1
    assert "first second" in shown
