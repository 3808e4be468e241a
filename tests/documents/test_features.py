"""features.md beside this file: every feature of the five documents beside a test that is there; and two of these tests."""

import ast
import json
import os
import re
from functools import cache
from pathlib import Path

import pytest
import torch
from benchmarks.documents import SEEDS as HERE

from fptm_ste import imagenet_sweeps
from stillhouse.compat import flags
from stillhouse.core.types import Batch, ImageSpec, Progress
from stillhouse.layers.hooks import FeatureExtractor
from stillhouse.signals import build_signals, student_features
from stillhouse.signals.ensemble import EnsembleConfig
from stillhouse.signals.hidden import HiddenConfig
from stillhouse.teachers.ensemble import EnsembleTeacher
from stillhouse.teachers.teacher import Teacher

ROOT = Path(__file__).parents[2]
SEEDS = Path(os.environ.get("STILLHOUSE_DOCUMENTS", HERE))
PAGE = Path(__file__).with_name("features.md").read_text()
PARTS = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:5]
DOCUMENTS = (("000", "001"), ("002",), ("003",), ("004",))


def rows():
    """(documents, features, tests) of every row."""
    for numbers, part in zip(DOCUMENTS, PARTS, strict=True):
        for line in part.splitlines():
            cells = [cell.strip() for cell in line.split(" | ")]
            if line.startswith("| ") and len(cells) == 2 and cells[0] != "| feature":
                yield numbers, cells[0].removeprefix("| ").split("; "), re.findall(r"`([^`]+)`", cells[1])


@cache
def defined_in(path):
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


def test_every_test_that_is_named_is_there():
    """A test that was renamed would leave the page claiming what nobody looks at."""
    missing = []
    for _, features, named in rows():
        assert named, features
        for node in named:
            file, _, name = node.partition("::")
            path = ROOT / "tests" / f"{file}.py"
            if not path.is_file() or f"test_{name}" not in defined_in(path):
                missing.append(node)
    assert not missing


def test_all_features_are_counted_once():
    """About 230 were counted in the documents; here some stand apart that were one there."""
    features = [feature for _, found, _ in rows() for feature in found]
    assert len(features) >= 280
    assert len(set(features)) == len(features)


def test_every_documented_flag_is_on_the_page():
    """84 flags of documents 000 and 001, and no other of theirs."""
    named = set(re.findall(r"`(--[\w-]+)", PARTS[0]))
    assert set(flags("vision")) <= named <= set(flags("vision", "vision-more"))


@pytest.mark.skipif(not list(SEEDS.glob("00*.txt")), reason="the five documents are not here")
def test_names_in_code_are_the_documents():
    """What the page says a document names is printed there; flags of ours say so."""
    texts = {path.name[:3]: path.read_text("utf-8").replace("\\_", "_") for path in SEEDS.glob("00*.txt")}
    strange = []
    for numbers, features, _ in rows():
        text = "".join(texts[number] for number in numbers)
        ours = {"teacher.data_size=true", "--curriculum=false", *flags("vision")}
        strange += [n for f in features for n in re.findall(r"`([^`]+)`", f) if n not in text and n not in ours]
    assert not strange


GRID = {
    "--transformer-patch": "",
    "--transformer-drop-path": "0.15",
    "--transformer-clauses": "384",
    "--dataset-root": "x",
    "--dataset": "folder",
}


def test_the_sweep_writes_a_summary(tmp_path, monkeypatch):
    """Best first by validation; each combination once, resumed where its folder is; a failure ends it with its status."""
    asked = []

    def vision(words):
        asked.append(words)
        out = Path(words[words.index("--out") + 1])
        out.mkdir(parents=True, exist_ok=True)
        patch = int(words[words.index("--transformer-patch") + 1])
        found = {"validation_accuracy": 1 / patch, "test_accuracy": 0.5, "params": patch, "seconds_per_epoch": 1.0}
        (out / "results.json").write_text(json.dumps({"models": {"transformer": found}}))
        return 3 if "--fail" in words else 0

    monkeypatch.setattr(imagenet_sweeps, "vision", vision)
    words = [
        "--patches",
        "32,16",
        "--drop-paths",
        "0.15",
        "--clauses",
        "384",
        "--out",
        str(tmp_path),
        "--dataset-root",
        "x",
    ]
    assert imagenet_sweeps.main([*words, "--epochs", "1"]) == 0
    assert [row["patch"] for row in json.loads((tmp_path / "summary.json").read_text())] == ["16", "32"]
    assert all(line[-2:] == ["--epochs", "1"] and "--resume" not in line for line in asked)
    for line, patch in zip(asked, ("32", "16"), strict=True):
        chosen = {name: line[line.index(name) + 1] for name in line if name in GRID}
        assert chosen == {**GRID, "--transformer-patch": patch}
    assert imagenet_sweeps.main([*words, "--fail"]) == 3
    assert "--resume" in asked[-1]


def test_hints_of_several_layers_of_several_teachers():
    """AMTML-KD: two layers of each of two teachers beside their weighed scores; every hint reaches its student's layer."""
    input_spec = ImageSpec(tuple("abcd"), (1, 8, 8), (0.5,), (0.5,))

    def network(width):
        return torch.nn.Sequential(
            torch.nn.Conv2d(1, width, 3),
            torch.nn.Conv2d(width, width, 3),
            torch.nn.Flatten(),
            torch.nn.Linear(16 * width, 4),
        )

    torch.manual_seed(0)
    members = [Teacher.from_module(network(w), input_spec, name=str(w), features=("0", "1")) for w in (5, 7)]
    teacher, student = EnsembleTeacher(members), network(3)
    hints = [
        HiddenConfig(name=f"hint{n}", student=("0", "1"), teacher=(f"{n}:0", f"{n}:1"), pool="none") for n in (0, 1)
    ]
    configs = [EnsembleConfig(pool="learned", student="1"), *hints]
    extractor = FeatureExtractor(student, student_features(configs))
    signals = build_signals(configs, extractor.spec(input_spec.example(2)), teacher.spec)
    batch = Batch(torch.rand(6, 1, 8, 8), torch.arange(6) % 4, torch.arange(6))
    out = extractor(batch.inputs)
    answers = teacher(batch)
    for signal in list(signals)[1:]:
        value = signal(out, answers, batch, Progress(0, 1)).mean()
        gradients = torch.autograd.grad(value, [student[0].weight, student[1].weight], retain_graph=True)
        assert value > 0
        assert all(g.abs().max() > 0 for g in gradients)
    pooled = signals[0](out, answers, batch, Progress(0, 1))
    assert pooled.shape == (6,)
    assert {"choice", "entropy"} <= set(signals[0].regularizers())
