"""The five documents by their own words: what they print is found, laid out and read; benchmarks/documents.py runs all of it."""

import importlib
import json
import os
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from benchmarks.documents import CANNOT, SEEDS, all_items, given_to, reason_against

from stillhouse.cli.main import main
from stillhouse.compat import documents as programs
from stillhouse.compat.documents import write_document_files
from stillhouse.core.config import ConfigError
from stillhouse.core.records import read_json

DOCUMENTS = Path(os.environ.get("STILLHOUSE_DOCUMENTS", SEEDS))
with_documents = pytest.mark.skipif(not list(DOCUMENTS.glob("00*.txt")), reason="the five documents are not here")
SMALL = [
    "--dataset", "digits", "--models", "transformer", "--transformer-patch", "4", "--transformer-d-model", "16",
    "--transformer-layers", "1", "--transformer-heads", "2", "--transformer-clauses", "8", "--epochs", "1", "data.train_limit=64",
    "data.test_limit=40", "--threads", "1", "--quiet",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A reader's folder, and the reader in it."""
    assert main(["documents", str(tmp_path)]) == 0
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def imported(folder, monkeypatch):
    """Imports begin in the folder, and are forgotten after the test."""
    monkeypatch.syspath_prepend(str(folder))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] in {"atlas", "model"}]:
        del sys.modules[name]


def test_a_file_that_the_reader_changed_is_kept(folder, capsys):
    """A second call would throw away the reader's own settings."""
    (folder / "training" / "s4_ssm_student.yaml").write_text("mine: 1\n")
    (folder / "training_script.py").unlink()
    assert write_document_files(folder) == ["training/s4_ssm_student.yaml"]
    assert (folder / "training" / "s4_ssm_student.yaml").read_text() == "mine: 1\n"
    assert (folder / "training_script.py").is_file()


def test_a_second_command_has_a_run_of_its_own(folder, capsys):
    """It was refused: every command went to runs/vision. What it saves comes back by the words of document 000."""
    first = folder / "runs" / "run_mnist_equiv-1"
    first.mkdir(parents=True)
    (first / "run.json").write_text("{}")
    assert programs.vision([*SMALL, "--transformer-backend", "deeptm", "--transformer-save-path", "two.pth"]) == 0
    assert [path.name for path in first.iterdir()] == ["run.json"]
    results = json.loads((folder / "runs" / "run_mnist_equiv-2" / "results.json").read_text())
    assert results["models"]["transformer"]["config"]["student"]["backend"] == "deeptm"
    import torch

    from fptm_ste.tm_transformer import UnifiedTMTransformer

    ckpt = torch.load("two.pth", map_location="cpu")
    student = UnifiedTMTransformer(**ckpt["model_kwargs"])
    student.load_state_dict(ckpt["model_state"])
    assert student.config.backend == "deeptm"


def test_resuming_goes_on_in_the_last_folder(tmp_path):
    """A number higher would begin anew what is nearly done; two programs that begin together must not share a folder."""
    base = tmp_path / "run"
    assert programs.claim_next_folder(base, resume=True).name == "run-1"
    assert [programs.claim_next_folder(base).name for _ in range(3)] == ["run-1", "run-2", "run-3"]
    assert programs.claim_next_folder(base, resume=True).name == "run-3"


def test_only_sizes_are_cut_and_only_when_asked(monkeypatch, folder):
    """A figure of a cut run must never be taken for one of the command as printed."""
    seen = []
    monkeypatch.setattr("stillhouse.cli.main.main", lambda words: seen.append(words) or 0)
    programs.vision(["--epochs", "100"])
    programs.train(["--config", "x"])
    assert seen == [["vision", "--epochs", "100", "--out", "runs/run_mnist_equiv-1"], ["sar", "train", "--config", "x"]]
    monkeypatch.setenv(programs.SIZE, "tiny")
    programs.vision(["--epochs", "100", "--distill-teacher-timm", "vit_base_patch16_224"])
    assert seen[-1][:5] == ["vision", "--epochs", "100", "--distill-teacher-timm", "vit_base_patch16_224"]
    cut = {word.partition("=")[0] for word in seen[-1][5:] if word.startswith("--") or "=" in word}
    rows = {"--epochs", "data.train_limit", "data.test_limit", "data.validation_fraction", "teacher.image_size"}
    assert cut == {*rows, "--threads", "--force", "--out"}
    monkeypatch.setenv(programs.SIZE, "small")
    with pytest.raises(ConfigError, match="expected tiny"):
        programs.vision([])


def test_the_tiny_size_of_a_small_data_set_is_enough(folder, monkeypatch, capsys):
    """A five-hundredth of the digits is 3 rows of 10 classes: every command on them was refused."""
    monkeypatch.setenv(programs.SIZE, "tiny")
    assert programs.vision(SMALL) == 0
    assert read_json(folder / "runs" / "run_mnist_equiv-1" / "results.json")["data"]["sizes"]["validation"] >= 10


@pytest.mark.parametrize("shell", ["bash", "zsh", "sh"])
def test_the_source_file_is_read_from_anywhere(folder, tmp_path_factory, shell):
    """It looked for its environment in the folder of whoever read it."""
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "a b"
    elsewhere.mkdir()
    place = elsewhere if shell != "sh" else folder  # sh does not say which file it reads: from the folder, as printed
    words = (
        f'. "{folder}/SOURCE.THIS" && printf "%s|%s|%s" "$PYTHONPATH" "$(command -v python)" "${{_documents-unset}}"'
    )
    env = {"PATH": os.environ["PATH"], "CDPATH": str(tmp_path_factory.getbasetemp())}
    done = subprocess.run([shell, "-c", words], cwd=place, env=env, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    path, python, left = done.stdout.split("|")
    assert path == f"{folder}:{folder}/python"
    assert Path(python).parent == Path(sys.executable).parent
    assert left == "unset"


def test_the_example_shows_small_losses(folder, imported, capsys):
    """Losses of 2e-5 were printed as 0.0000: nothing seemed to be learned, and nothing to be left."""
    runpy.run_path("examples/distillation_example.py")
    losses = [
        float(line.rpartition(" ")[2]) for line in capsys.readouterr().out.splitlines() if line.startswith("stage")
    ]
    assert len(losses) == 5
    assert all(0 < loss < 1 for loss in losses)


def test_the_radar_files_are_the_shipped_recipes(folder):
    """A network laid out at another size would not be the document's."""
    from stillhouse.tasks.sar.documented import read_student, read_teacher

    teacher = read_teacher(folder / "training" / "s4_ssm_complex.yaml")
    files = (folder / "training" / "s4_ssm_student.yaml", folder / "training" / "s4_ssm_complex.yaml")
    student = read_student(*files, "results/s4_ssm_results")
    for model in (teacher.model, student.student):
        assert (model.model_dim, model.state_dim, model.num_layers, model.input_dim) == (64, 540, 6, 2)
    assert (teacher.model.use_selectivity, student.student.use_selectivity) == (True, False)
    assert (teacher.training.epochs, student.training.epochs) == (300, 200)
    assert len(programs.commands()) == 4


def test_a_student_is_loaded_by_the_words_of_document_002(folder, imported):
    """Left-out keys took other values than the shipped student's: its weights loaded and its answers differed, silently."""
    from stillhouse.tasks.sar.documented import read_student

    made = importlib.import_module("model.model_utils").get_model_from_configs(
        name="s4_ssm", input_dim=2, model_dim=64, state_dim=540, output_dim=1, num_layers=6, use_selectivity=False,
        complex_valued=True,
    )  # fmt: skip
    files = (folder / "training" / "s4_ssm_student.yaml", folder / "training" / "s4_ssm_complex.yaml")
    student = read_student(*files, "results/s4_ssm_results").student
    assert made.config == student


@with_documents
def test_every_item_has_its_place(folder):
    """Two items cannot be run by anyone, and every reason is of an item that is printed."""
    items = all_items(DOCUMENTS)
    kinds = [item.kind for item in items]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "inline": 12,
        "file": 13,
        "shell": 20,
        "python": 20,
        "yaml": 1,
    }
    assert sum(reason_against(item) is not None for item in items) == len(CANNOT) == 2
    named = [Path(item.text).name for item in items if item.kind == "file"]
    assert set(named) <= {path.name for path in folder.rglob("*")} | {"tm_transformer.py"}


@with_documents
def test_every_printed_flag_is_taken():
    """The quick half of benchmarks/documents.py: each command for clause networks is read; nothing is trained."""
    from stillhouse.compat.vision import read

    read_ones = 0
    for item in all_items(DOCUMENTS):
        for command in item.text.replace("\\\n", " ").splitlines():
            words = shlex.split(command, comments=True)
            at = [n for n, word in enumerate(words) if word.endswith("run_mnist_equiv.py")]
            if at and len(words) > 1 and reason_against(item) is None:
                read(words[at[0] + 1 :])
                read_ones += 1
    assert read_ones == 13


@with_documents
def test_the_example_runs_the_printed_commands():
    """Its student had another teacher_checkpoint, so that --run was refused where the printed command had run before."""
    printed = [shlex.split(item.text.replace("\\\n", " ")) for item in all_items(DOCUMENTS) if item.document == "002"]
    ours = [shlex.split(command) for command in programs.commands()]
    assert all(command in printed for command in ours[:3])
    assert printed[[words[-1:] for words in printed].index(ours[3][-1:])][: len(ours[3]) - 2] == ours[3][:-2]


@with_documents
def test_the_settings_of_document_002_are_those_of_its_student(folder):
    """Weights and temperature, to the digit."""
    (item,) = [item for item in all_items(DOCUMENTS) if item.kind == "yaml"]
    printed = yaml.safe_load(item.text)["distillation"]
    assert (
        yaml.safe_load((folder / "training" / "s4_ssm_student.yaml").read_text())["distillation"].items()
        >= printed.items()
    )


@with_documents
@pytest.mark.parametrize(("document", "count"), [("003", 2), ("004", 16)])
def test_every_snippet_runs_as_printed(folder, imported, document, count, capsys):
    """In one session a document, as a reader has it; nothing is cut."""
    items = [item for item in all_items(DOCUMENTS) if item.kind == "python" and item.document == document]
    assert len(items) == count
    scope = {"__name__": "__main__"}
    for item in items:
        exec(given_to(item) or "", scope)
        exec(item.text, scope)
    if document == "004":
        out = capsys.readouterr().out
        assert "Stage 1: tau=3.12" in out
        assert "Training complete!" in out
