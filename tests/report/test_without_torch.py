"""What a core install can do: pages, comparisons, verdicts and exported students, in a process where nothing of torch imports."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import stillhouse
from stillhouse.core.records import write_arrays
from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.machine import PackedModel
from stillhouse.logic.packed import save_packed
from stillhouse.tasks import task

pytestmark = pytest.mark.drawn
HEAVY = ("torch", "torchvision", "timm", "lightning_fabric", "torchmetrics", "sklearn", "tensorboard", "transformers")
ALONE = """
import json, sys
sys.path[:0] = sys.argv[2:]
from stillhouse.cli.main import main
for words in json.loads(sys.argv[1]):
    status = main(words)
    if status:
        sys.exit(f"{words}: status {status}")
assert "torch" not in sys.modules
"""


@pytest.fixture(scope="session")
def core(tmp_path_factory):
    """A folder of every package that is installed here, but for those of `train`."""
    folder = tmp_path_factory.mktemp("core")
    for entry in Path(np.__file__).parents[1].iterdir():
        if entry.name.split("-")[0].split(".")[0] not in HEAVY and entry.suffix not in (".pth", ".egg-link"):
            (folder / entry.name).symlink_to(entry)
    return folder


@pytest.fixture
def alone(core):
    """Runs commands in a process that has those packages only; its output, or what it said of a fault."""

    def run(*commands, fails=False):
        words = json.dumps([[str(word) for word in command] for command in commands])
        source = str(Path(stillhouse.__file__).parents[1])
        call = [sys.executable, "-S", "-c", ALONE, words, str(core), source]
        done = subprocess.run(call, capture_output=True, text=True, timeout=120)
        assert fails == (done.returncode != 0), done.stderr
        return done.stderr if fails else done.stdout

    return run


def machine():
    """Bright on the left is "left", bright on the right is "right": one clause a class, of one literal."""
    layer = ClauseSet(
        bits=4,
        starts=np.array([0, 1, 2]),
        literals=np.array([0, 1], np.int32),
        capacity=np.array([1, 1], np.int32),
        votes=np.array([[3, 0], [0, 3]], np.int32),
        bias=np.zeros(2, np.int64),
        scale=1.0,
    )
    return PackedModel((1, 2, 2), np.array([0.5], np.float32), (layer,), (), ("left", "right"))


def test_pages_and_comparisons_need_no_torch(alone, finished, tmp_path):
    """The page is, to the byte, that of a process with torch; scores are compared, and why costs are not is said."""
    from stillhouse.report.page import write_page

    a, b = (shutil.copytree(finished, tmp_path / name) for name in "ab")
    expected = write_page(task("classification"), a).read_bytes()
    (a / "report.html").unlink()
    for place in (place for run in (a, b) for place in run.glob("arms/kd/seed-*")):
        with np.load(place / "predictions.npz") as kept:
            right = kept["probabilities"].argmax(1) == kept["labels"]
        write_arrays(place / "scores.npz", accuracy=right)
    out = alone(["report", a], ["compare", a, b, "--out", tmp_path / "both.html"], ["list"])
    assert (a / "report.html").read_bytes() == expected
    assert "against the first" in out
    assert "2 runs compared" in (tmp_path / "both.html").read_text()


def test_a_machine_of_clauses_needs_no_torch(alone, tmp_path):
    """Two photos through the packed file: the clause of the bright side has 3 votes."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, column in (("a", 0), ("b", 1)):
        pixels = np.zeros((2, 2), np.uint8)
        pixels[0, column] = 255
        Image.fromarray(pixels).save(photos / f"{name}.png")
    save_packed(machine(), tmp_path / "m.packed.safetensors")
    alone(["predict", tmp_path / "m.packed.safetensors", photos, "--out", tmp_path / "answers.csv"])
    rows = list(csv.DictReader((tmp_path / "answers.csv").open()))
    assert [row["class"] for row in rows] == ["left", "right"]
    assert float(rows[0]["probability"]) == pytest.approx(1 / (1 + np.exp(-3)), abs=1e-6)  # the softmax of 3 and 0


def test_what_a_machine_answers_is_its_softmax(tmp_path):
    """Of an array in this process: 3 votes for the bright side, 0 for the other."""
    save_packed(machine(), tmp_path / "m.packed.safetensors")
    student = stillhouse.load(tmp_path / "m.packed.safetensors")
    (answer,) = student.predict([np.array([[255, 0], [255, 0]], np.uint8)])
    assert answer["class"] == "left"
    assert answer["probability"] == pytest.approx(1 / (1 + np.exp(-3)), abs=1e-6)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A packed student, and what the network itself answers to a line."""
    pytest.importorskip("numba")
    from stillhouse.tasks.lm.packed import pack_student
    from stillhouse.tasks.lm.results import PACKED
    from stillhouse.tasks.lm.students import SpikingLMConfig
    from stillhouse.tasks.lm.tokenizer import byte_tokenizer
    from stillhouse.tasks.lm.use import save_lm

    folder = tmp_path_factory.mktemp("packed")
    torch.manual_seed(0)
    network = SpikingLMConfig(vocab_size=256, width=16, layers=1, heads=2, chunk=8).build()
    network.quantize(1)
    save_lm(folder / "student", network.eval(), byte_tokenizer(), window=16)
    pack_student(network).save(folder / PACKED)
    byte_tokenizer().save(folder)
    student = stillhouse.load(folder / "student")
    student.tokens = 5
    return folder, student.predict("a stone sang")[0]


def test_a_packed_language_model_reads_on(packed):
    """Bits a byte of a line are those of the network itself, in torch; so is what it writes on."""
    student = stillhouse.load(packed[0])
    student.tokens = 5
    (got,) = student.predict("a stone sang")
    assert got["continuation"] == packed[1]["continuation"]
    assert got["bits_per_byte"] == pytest.approx(packed[1]["bits_per_byte"], rel=1e-4)


def test_a_packed_language_model_needs_no_torch(alone, packed, tmp_path):
    """By the command, where torch cannot be imported."""
    (tmp_path / "lines.txt").write_text("a stone sang\n")
    answers = tmp_path / "answers.jsonl"
    alone(["predict", packed[0], tmp_path / "lines.txt", "--tokens", 5, "--out", answers])
    assert json.loads(answers.read_text())["continuation"] == packed[1]["continuation"]


def test_what_needs_torch_says_what_to_install(alone, tmp_path):
    """In one line, with what there is without it."""
    error = alone(["distill", "digits", "--out", tmp_path / "run"], fails=True)
    assert "pip install 'stillhouse[train]'" in error
    assert "Traceback" not in error
