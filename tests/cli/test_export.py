"""`stillhouse export`: what is written answers as the network does, and what does not is not kept."""

import errno
import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import stillhouse
from stillhouse.cli.main import main
from stillhouse.core.checks import CannotWrite, InputError
from stillhouse.core.exports import ExportChoices, Target, compare_answers, write_export
from stillhouse.tasks import TASKS, task
from stillhouse.tasks.classification.card import save_student
from stillhouse.tasks.classification.data.config import DataConfig
from stillhouse.tasks.classification.exports import write_onnx, write_program
from stillhouse.tasks.classification.students.config import FlatTMConfig

DIGITS = ("--data", "digits")


def save(folder, choice, kind="classification", seed=0):
    """A student of the digits with random weights, as a run leaves it."""
    data = DataConfig(name="digits").build()
    torch.manual_seed(seed)
    model = choice.build(data.input_spec).eval()
    folder.mkdir(parents=True)
    save_student(folder, model, choice, data.input_spec, task=kind)
    return model, data


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "student"
    return folder, *save(folder, FlatTMConfig(clauses=40, levels=3))


def test_rules_are_a_page_a_text_and_json(flat, tmp_path, capsys, monkeypatch):
    """The page asks for nothing from outside; the JSON has what the text says."""
    # of random weights, whose clauses decide nothing, no rule is drawn
    monkeypatch.setattr("stillhouse.tasks.classification.rules_file.decides", lambda index: True)
    out = tmp_path / "rules"
    assert main(["export", str(flat[0] / "card.json"), "--to", "rules", "--out", str(out), *DIGITS]) == 0
    assert "with all clauses" in capsys.readouterr().out
    page, index = (out / "rules.html").read_text(), json.loads((out / "rules.json").read_text())
    assert page.count("data:image/png") > 20
    assert "http" not in page.replace("http://www.w3.org", "")
    assert "What the rules alone keep" in page
    rule = next(rule for rule in index["rules"] if rule["words"])
    assert rule["words"][0] in (out / "rules.txt").read_text()
    assert 0 < len(rule["literals"]) <= rule["count"]
    assert [point[0] for point in index["growth"]] == [0, 1, 3, 10, 30]


def test_programs_for_torch_and_onnxruntime(flat, tmp_path, capsys):
    """Both are held against the network on the whole test split, by themselves, in batches of another size than the example."""
    for name, tool in (("torch", "torch"), ("onnx", "onnxscript")):
        pytest.importorskip(tool)
        out = tmp_path / f"student.{name}"
        assert main(["export", str(flat[0]), "--to", name, "--out", str(out), *DIGITS]) == 0
        assert "719 of 719 answers equal" in capsys.readouterr().out
        assert out.stat().st_size > 1000
    import onnxruntime

    inputs = flat[2].test.batch(torch.arange(7)).inputs
    got = onnxruntime.InferenceSession(str(tmp_path / "student.onnx")).run(["logits"], {"inputs": inputs.numpy()})[0]
    with torch.no_grad():
        np.testing.assert_allclose(got, flat[1](inputs).numpy(), atol=1e-4)
        expected = flat[1](inputs).softmax(1).numpy()
    student = stillhouse.load(tmp_path / "student.onnx")  # by onnxruntime, with the classes that the file names
    answers = student.predict(list(flat[2].test.images[:7].numpy()))
    np.testing.assert_allclose([list(row["probabilities"].values()) for row in answers], expected, atol=1e-4)
    assert [row["class"] for row in answers] == [str(k) for k in expected.argmax(1)]


@pytest.mark.parametrize("form", ["packed", "c", "torch", "onnx"])
def test_every_form_of_a_student_of_filters(form, tmp_path, capsys):
    """It is the default of larger images; a packed one answers photos as the student does."""
    if form == "onnx":
        pytest.importorskip("onnxscript")
    model, data = save(tmp_path / "student", FlatTMConfig(clauses=12, square=2))
    out = tmp_path / "written"
    out = out.with_suffix(".safetensors") if form == "packed" else out
    assert main(["export", str(tmp_path / "student"), "--to", form, "--out", str(out), *DIGITS]) == 0
    assert "719 of 719 answers equal" in capsys.readouterr().out
    if form == "packed":
        answers = stillhouse.load(out).predict(list(data.test.images[:40].numpy()))
        with torch.no_grad():
            expected = model(data.test.batch(torch.arange(40)).inputs).softmax(1).numpy()
        np.testing.assert_allclose([list(row["probabilities"].values()) for row in answers], expected, atol=1e-5)


@pytest.mark.parametrize("write", [write_program, write_onnx])
def test_a_full_disk_is_named_and_torch_does_not_meet_it(write, tmp_path, monkeypatch):
    """Torch, writing by itself, blamed the network for it and then ended the process by SIGABRT."""
    if write is write_onnx:
        pytest.importorskip("onnxscript")

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    split = SimpleNamespace(batch=lambda rows: SimpleNamespace(inputs=torch.rand(len(rows), 4)))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CannotWrite, match="No space left"):
        write(torch.nn.Linear(4, 3), split, tmp_path / "student.x")
    assert not list(tmp_path.iterdir())


def test_what_fails_its_check_leaves_nothing(tmp_path):
    """Neither the file nor what was beside it; what was there before stays."""

    def write(folder, out, choices):
        out.write_text("half")
        raise InputError("other answers")

    (tmp_path / "student.c").write_text("the one from yesterday")
    with pytest.raises(InputError, match="other answers"):
        write_export(
            {"c": Target("C", ".c", write)}, "c", tmp_path, tmp_path / "student.c", ExportChoices(), "classification"
        )
    assert [path.name for path in tmp_path.iterdir()] == ["student.c"]
    assert (tmp_path / "student.c").read_text() == "the one from yesterday"


def test_answers_are_compared_row_by_row():
    """Another class is refused, a tie within rounding is not; scores that differ by more than rounding are refused too."""
    network = np.array([[0.0, 1.0], [0.5, 0.4999], [2.0, 0.0]])
    tie = network + np.array([[0, 0], [-0.0002, 0], [0, 0]])
    assert compare_answers(network, tie, "x", bound=1e-3).startswith(
        "2 of 3 answers equal (1 more: a tie within rounding)"
    )
    with pytest.raises(InputError, match="1 other ones"):
        compare_answers(network, network[:, ::-1][[1, 1, 1]] * 0 + network[[0, 1, 0]], "x", bound=1e-3)
    with pytest.raises(InputError, match=r"0 other ones, scores up to 0\.1 apart"):
        compare_answers(network, network + np.array([[0, 0.1], [0, 0], [0, 0]]), "x", bound=1e-3)
    with pytest.raises(InputError, match="expected scores of shape"):
        compare_answers(network, network[:2], "x", bound=1e-3)


def test_what_cannot_be_is_said_in_a_line(flat, tmp_path, capsys):
    """A form that the task lacks, a choice that means nothing, a network that is only partly clauses, a folder in use."""
    words = ["export", str(flat[0]), "--to"]
    assert main([*words, "torch", "--license", "mit", *DIGITS]) == 2
    assert "--license: means nothing to torch" in capsys.readouterr().err
    assert main([*words, "wings"]) == 2
    assert "wings" in capsys.readouterr().err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    assert main([*words, "rules", "--out", str(tmp_path / "full"), *DIGITS]) == 2
    assert "expected a new or empty folder" in capsys.readouterr().err
    from stillhouse.tasks.classification.students.config import HybridTMConfig

    save(tmp_path / "hybrid", HybridTMConfig(clauses=8))
    assert main(["export", str(tmp_path / "hybrid"), "--to", "packed", *DIGITS]) == 2
    assert "forms for it: rules, onnx, torch" in capsys.readouterr().err
    assert not (tmp_path / "hybrid" / "export").exists() or not list((tmp_path / "hybrid" / "export").iterdir())


def test_every_task_names_its_forms():
    """Each target is one that the command knows; nothing heavy is imported for the names."""
    found = {kind: set(task(kind).exports()) for kind in TASKS}
    assert {"rules", "packed", "onnx", "torch"} <= found["classification"]
    assert found["lm"] == {"packed"}
    assert found["sar"] == {"torch"}
