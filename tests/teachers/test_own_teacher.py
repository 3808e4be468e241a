"""A network of one's own file as the teacher: its class, weights, pixels and class order."""

import pytest
import torch
import yaml
from torch import nn

from stillhouse.cli.main import main
from stillhouse.core.checks import InputError
from stillhouse.core.records import read_json
from stillhouse.core.types import Batch, ImageSpec
from stillhouse.recipes import load_run
from stillhouse.tasks.classification.data.config import DataConfig
from stillhouse.tasks.classification.teachers import baseline_score, teacher_check
from stillhouse.teachers.config import TeacherConfig

SPEC = ImageSpec(("ape", "bear", "cat"), (1, 4, 4), (0.5,), (0.25,))
NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, classes=3, width=16):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(width, classes))
    def forward(self, x):
        return self.layers(x)

class Bag(nn.Module):
    def __init__(self, words, classes):
        super().__init__()
        self.words, self.head = nn.EmbeddingBag(words, 8), nn.Linear(8, classes)
    def forward(self, ids):
        return self.head(self.words(ids))

def number():
    return 3
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the user's file and a checkpoint of it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    torch.manual_seed(0)
    network = nn.Module()
    network.layers = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    torch.save({"model_state_dict": network.state_dict()}, tmp_path / "own.pth")
    return tmp_path, network.layers


def batch(input_spec=SPEC, rows=5):
    torch.manual_seed(1)
    return Batch(torch.rand(rows, *input_spec.shape), torch.arange(rows) % input_spec.num_classes, torch.arange(rows))


def build(input_spec=SPEC, **settings):
    return TeacherConfig(**{"source": "py:net.py:Net", "checkpoint": "own.pth", **settings}).build(input_spec)


def test_the_class_of_the_file_with_the_weights_of_the_file(place, monkeypatch):
    """Random weights in place of the checkpoint's would look like a teacher; nothing is asked of a hub."""
    _, layers = place
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *a, **k: pytest.fail("asked the hub"))
    torch.testing.assert_close(build()(batch()).logits, layers(batch().inputs))
    assert build(arguments={"classes": 3}).identity() == build().identity()


def test_scores_come_in_the_order_of_the_datas_classes(place):
    """By name, whatever the case; a teacher of more classes gives those that the data have."""
    _, layers = place
    teacher = build(classes=("cat", "Ape", "bear"))
    torch.testing.assert_close(teacher(batch()).logits, layers(batch().inputs)[:, [1, 2, 0]])
    assert teacher.identity() != build().identity()
    fewer = build(ImageSpec(("cat", "bear"), (1, 4, 4), (0.5,), (0.25,)), classes=("ape", "bear", "cat"))
    assert fewer.spec.num_classes == 2
    torch.testing.assert_close(fewer(batch()).logits, layers(batch().inputs)[:, [2, 1]])


def test_pixels_are_normalized_as_the_file_says(place):
    """(x - mean) / std before the network; a std of 0 and a wrong count are refused."""
    _, layers = place
    torch.testing.assert_close(
        build(mean=(0.4,), std=(0.2,))(batch()).logits, layers((batch().inputs - 0.4) / 0.2), rtol=1e-5, atol=1e-5
    )
    with pytest.raises(ValueError, match="std: expected numbers above 0"):
        build(std=(0.0,))
    with pytest.raises(InputError, match="expected 1 or 1 numbers, got 2"):
        build(mean=(0.1, 0.2))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"source": "py:nothing.py:Net"}, "nothing.py does not exist"),
        ({"source": "py:net.py:Nett"}, "did you mean 'Net'"),
        ({"source": "py:net.py:number"}, "expected a torch.nn.Module, got int"),
        ({"arguments": {"depth": 3}}, r"Net\(depth=3\) fails: TypeError"),
        ({"arguments": {"classes": 4}, "checkpoint": None}, "expected 3 classes, it has 4"),
        ({"arguments": {"width": 16, "classes": 5}}, "does not fit Net"),
        ({"classes": ("ape", "bear", "kat")}, "did you mean 'kat'"),
        ({"classes": ("ape", "bear", "bear")}, "expected each name once"),
    ],
    ids=str,
)
def test_faults_are_named(place, settings, words):
    """Each in one line, with what was expected."""
    with pytest.raises(InputError, match=words):
        build(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"source": "py:Net"},
        {"source": "timm:resnet18", "arguments": {"a": 1}},
        {"source": "py:net.py:Net", "architecture": {"a": 1}},
        {"source": "builtin:digits", "mean": (0.1,)},
        {"source": "timm:resnet18", "classes": ("a", "b")},
    ],
    ids=str,
)
def test_a_setting_that_would_do_nothing_is_refused(settings):
    """It would be believed."""
    with pytest.raises(ValueError, match=r"expected py|does nothing"):
        TeacherConfig(**settings)


def test_check_tells_a_poor_teacher_from_a_good_one(place, capsys):
    """Better than chance is not good: a linear classifier of the pixels is trained in no time."""
    data = DataConfig(name="digits").build()
    assert 0.8 < baseline_score(data) < 0.99
    x, y = next((b.inputs, b.labels) for b in data.train.batches(5_000))
    net = nn.Module()
    net.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    means = torch.stack([x[y == k].flatten(1).mean(0) for k in range(10)])
    with (
        torch.no_grad()
    ):  # nearest mean, of half of the pixels alone: better than chance, worse than a linear classifier
        means[:, ::2] = 0
        net.layers[1].weight.copy_(2 * means)
        net.layers[1].bias.copy_(-means.square().sum(1))
    torch.save(net.state_dict(), place[0] / "poor.pth")
    settings = {"source": "py:net.py:Net", "arguments": {"classes": 10, "width": 64}, "checkpoint": "poor.pth"}
    (place[0] / "mine.yaml").write_text(yaml.safe_dump({"recipe": "digits", "teacher": settings}))
    assert main(["check", "mine.yaml"]) == 0
    text = capsys.readouterr().out
    assert ": poor; a linear classifier of pixels is better" in text
    assert "ready" not in text
    settings = ["seeds=1", "training.epochs=1", "arms=[kd]", "--out", str(place[0] / "run")]
    assert main(["distill", "mine.yaml", *settings]) == 0
    assert ": poor; a linear classifier" in capsys.readouterr().out
    assert read_json(place[0] / "run" / "teacher.json")["status"] == "poor"
    assert main(["check", "digits"]) == 0
    text = capsys.readouterr().out
    assert "fit to teach" in text
    assert "poor" not in text
    assert teacher_check(TeacherConfig().build(data.input_spec), load_run("digits"), data).detail.startswith("ECE")
