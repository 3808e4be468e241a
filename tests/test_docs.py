"""What the README promises is run."""

import csv
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stillhouse.cli.main import main
from stillhouse.cli.options import help_texts
from stillhouse.core.types import Batch, Outputs, Progress
from stillhouse.layers.hooks import FeatureExtractor
from stillhouse.recipes import load, load_run
from stillhouse.signals import build_signals, student_features, teacher_features
from stillhouse.tasks.classification.data.rows import HERE
from stillhouse.teachers.ensemble import EnsembleTeacher
from stillhouse.training.distillation import init_layers_from_teacher

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_every_command_of_the_readme_exists():
    """`stillhouse X` in the text must be a command."""
    used = set(re.findall(r"^    stillhouse ([a-z-]+)", README, re.MULTILINE))
    tasks = {"embed", "sar", "vision"}  # have pages of their own
    assert used - tasks == {verb.split()[0] for verb in help_texts()["verbs"]} - {"demo"} - tasks


def test_the_yaml_of_the_readme_is_read(tmp_path):
    """And is short."""
    text = re.search(r"```yaml\n(.*?)```", README, re.DOTALL).group(1)
    assert len(text.splitlines()) <= 12
    (tmp_path / "mine.yaml").write_text(text)
    assert load_run(str(tmp_path / "mine.yaml")).data.image_size == 64


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    """On messages of which nine in ten have lost their label, with stored vectors in the place of the encoder."""
    monkeypatch.chdir(tmp_path)
    rows = list(csv.DictReader((HERE / "train.csv").open(encoding="utf-8")))
    with open("messages.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label"])
        writer.writeheader()
        writer.writerows({**row, "label": "" if n % 10 else row["label"]} for n, row in enumerate(rows))
    shutil.copy(HERE / "test.csv", "test.csv")
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert "encoder:all-MiniLM-L6-v2" in code
    code = code.replace("encoder:all-MiniLM-L6-v2", f"vectors:{HERE / 'vectors.npy'}")
    exec(code.replace("seeds=5", "seeds=1"), {})
    said = capsys.readouterr().out
    assert "not tested (1 seed; a verdict needs 3)" in said
    assert " -> " in said
    assert said.splitlines()[-1] == "['card_arrival']"


def test_the_python_of_the_scale_page_runs(tmp_path, monkeypatch):
    """Written, compared, and learned from, as it stands there."""
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs/scale.md").read_text(), re.DOTALL).group(1)
    exec(code.replace('"seeds=1"', '"seeds=1", "training.device=cpu"'), {})
    assert (tmp_path / "runs/from-cache/report.html").is_file()


def test_the_python_of_the_page_of_few_labels_runs(tmp_path, monkeypatch, capsys):
    """As it stands there, with an encoder that is made here."""
    import stillhouse
    from stillhouse.teachers import encoder

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    topics = {"pin": "my pin code is wrong", "card": "my card has not come", "rate": "which exchange rate is used"}
    names = [*topics] * 40
    texts = [f"{topics[name]} {' '.join(rng.choice(['please', 'today', 'help'], 2))}" for name in names]

    def encode(texts):
        return np.array([[word in text for word in ("pin", "card", "rate", "today")] for text in texts], np.float32)

    monkeypatch.setattr(encoder, "model_folder", lambda model: model)
    monkeypatch.setattr(encoder, "model_sha256", lambda folder: "made here")
    monkeypatch.setattr(encoder, "load_encoder", lambda folder, device: folder)
    monkeypatch.setattr(encoder, "encode", lambda model, texts, first, how: encode(texts))
    numbers = rng.normal(size=(300, 4))
    pictures = rng.random((300, 8, 8)).astype(np.float32)
    scope = {
        "texts": texts[:90],
        "labels": [name if n % 2 else None for n, name in enumerate(names[:90])],
        "test_texts": texts[90:],
        "test_labels": names[90:],
        "encode": encode,
        "numbers": numbers,
        "classes": (numbers[:, 0] > 0).astype(int),
        "pictures": pictures,
        "digits": np.arange(300) % 10,
    }
    code = re.findall(r"```python\n(.*?)```", (ROOT / "docs/few-labels.md").read_text(), re.DOTALL)
    assert len(code) == 3
    distill = stillhouse.distill
    quick = {"seeds": 1, "training__epochs": 2, "force": True}
    monkeypatch.setattr(
        stillhouse, "distill", lambda *given, **more: distill(*given, **{**more, **quick}), raising=False
    )
    for block in code:
        exec(block, scope)
    assert scope["kept"].report.is_file()
    assert scope["result"].student.predict(["my card has not come"]).tolist() == ["card"]
    assert "pin" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "CONTRIBUTING.md",
        "docs/architecture.md",
        "docs/choosing.md",
        "docs/matrix.md",
        "docs/techniques.md",
        "docs/sweeps.md",
        "docs/extending.md",
        "docs/embedding.md",
        "docs/tsetlin.md",
        "docs/reproduction.md",
        "docs/sar.md",
        "docs/language.md",
        "docs/scale.md",
        "docs/own-loop.md",
        "docs/own-data.md",
        "docs/few-labels.md",
        "docs/texts.md",
        "benchmarks/README.md",
    ],
)
def test_links_lead_somewhere(name):
    """Relative links only; a moved page leaves a dead one."""
    path = ROOT / name
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_every_room_is_on_the_page_of_the_house():
    """A folder that came or went would leave the map wrong."""
    page = (ROOT / "docs/architecture.md").read_text()
    named = set(re.findall(r"`([\w/]+)`", "".join(re.findall(r"^\| (`.*?) \|", page, re.MULTILINE))))
    source = ROOT / "src/stillhouse"
    rooms = {x.parent.name for x in source.glob("*/__init__.py")} - {"tasks"}
    assert named == rooms | {f"tasks/{x.parent.name}" for x in source.glob("tasks/*/__init__.py")}
    assert len(page.split()) <= 700


def test_print_config_of_the_readme(capsys):
    """The first thing a careful user tries."""
    assert main(["distill", "digits", "--out", "runs/mine", "--epochs", "60", "--print-config"]) == 0
    assert "epochs: 60" in capsys.readouterr().out


def of_member(features, number, several):
    """`1:layer4` is layer4 of the second of several teachers."""
    return tuple(x.partition(":")[2] for x in features if x.startswith(f"{number}:")) if several > 1 else features


BLOCKS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "techniques.md").read_text(), re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS)
def test_every_technique_of_the_page_has_a_live_gradient(block, tmp_path):
    """Built for its own teacher and student, with random weights; a path, a width or a setting that does not fit shows here."""
    (tmp_path / "mine.yaml").write_text("recipe: digits\n" + block)
    _, config = load(str(tmp_path / "mine.yaml"), [] if "arms" in block else ["arms=[kd]"])
    task = config.data.build().input_spec
    labels = torch.arange(4) % task.num_classes
    batch = Batch(task.example(4), labels, torch.arange(4))
    for stage in config.stages_of(True):
        torch.manual_seed(0)
        student = config.student.build(task)
        if config.init_from_teacher:
            init_layers_from_teacher(student, build(stage.teacher, task, ()).module, config.init_from_teacher)
        signals = (*stage.signals, *config.auxiliary_losses)
        extractor, features = FeatureExtractor(student, student_features(signals)), teacher_features(signals)
        sources = [source for source in (stage.teacher, *config.more_teachers) if source and not source.is_student]
        teachers = [build(source, task, of_member(features, n, len(sources))) for n, source in enumerate(sources)]
        teacher = EnsembleTeacher(teachers) if len(teachers) > 1 else next(iter(teachers), None)
        spec = extractor.spec(batch.inputs)
        built = build_signals(signals, spec, spec if teacher is None else teacher.spec)
        for signal in built:
            student.zero_grad()
            student_out = extractor(batch.inputs)
            teacher_out = teacher(batch) if teacher else Outputs(student_out.logits.detach().roll(1, 0))
            signal(student_out, teacher_out, batch, Progress(0, 10)).mean().backward()
            size = sum(float(p.grad.square().sum()) for p in student.parameters() if p.grad is not None)
            assert 0 < size < float("inf"), signal.name


def build(source, task, features):
    """A teacher of the page without its published weights."""
    if source.source.startswith("timm:"):
        source = replace(source, pretrained=False)
    return source.build(task, features)
