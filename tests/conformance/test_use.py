"""Every task's students in use: `stillhouse.load` answers what the run itself recorded, and says what is wrong with an input."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import stillhouse
from stillhouse.cli.main import main
from stillhouse.core.checks import InputError
from stillhouse.tasks import task


@pytest.fixture
def student(made):
    return stillhouse.load(made.out / "arms" / made.case.taught / "seed-0")


@pytest.fixture
def recorded(made):
    folder = made.out / "arms" / made.case.taught / "seed-0"

    def arrays(name):
        with np.load(folder / name) as found:
            return {key: found[key] for key in found.files}

    return arrays


def test_answers_are_those_of_the_run(made, student, recorded):
    """On test rows, by another way in than the run's own: files and arrays of a user, in the user's units."""
    data = task(made.case.task).data(made.case.config(), lambda line: None)
    if made.case.kind in ("images", "clauses"):
        answers = student.predict(list(data.test.images.numpy()))
        expected = recorded("predictions.npz")["probabilities"]
        found = np.array([[row["probabilities"][name] for name in student.classes] for row in answers])
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert [row["class"] for row in answers] == [student.classes[k] for k in expected.argmax(1)]
    elif made.case.kind == "embed":
        vectors = np.load(made.case.root / "x.npy")[data.test]
        np.testing.assert_allclose(student.predict(vectors), recorded("codes.npz")["test"], atol=1e-4)
    elif made.case.kind == "sar":
        raw = data.test.inputs[..., 0].numpy() * data.scale.input_rms
        focused = student.predict(raw)[:, data.valid] / data.scale.target_rms
        wanted = data.test.targets[..., 0].numpy()[:, data.valid]
        error = np.sum(abs(focused - wanted) ** 2, 1) / np.sum(abs(wanted) ** 2, 1)
        np.testing.assert_allclose(1 - error, recorded("scores.npz")["quality"], atol=1e-3)
    else:
        text = data.tokenizer.decode(np.asarray(data.test[:12]))
        row = student.predict([text])[0]
        ids = student.transform(text)
        with torch.no_grad():
            logits = student.network(ids[None, :-1]).logits[0].double()
        nats = torch.nn.functional.cross_entropy(logits, ids[1:], reduction="sum").item()
        size = len(data.tokenizer.decode(ids[1:].numpy()).encode())
        assert row["bits_per_byte"] == pytest.approx(nats / np.log(2) / size, rel=1e-5)


def test_what_a_student_costs_is_counted(made):
    """Parameters by another count, and no cost that is not above 0."""
    folder = made.out / "arms" / made.case.taught / "seed-0"
    found = task(made.case.task).cost(folder)
    result = json.loads((folder / "result.json").read_text())
    assert found["params"] == result["params"]
    assert found["bytes"] == (folder / "student.safetensors").stat().st_size
    assert all(value > 0 for value in found.values())


def test_the_command_prints_a_row_an_input(made, tmp_path, capsys):
    """CSV with a head, JSON a line each; a source that is not there is one line and status 2."""
    source, rows = source_of(made, tmp_path)
    words = ["predict", str(made.out), str(source)]
    if made.case.kind == "sar":
        assert main(words) == 2
        assert main([*words, "--out", str(tmp_path / "focused.npy")]) == 0
        assert np.load(tmp_path / "focused.npy").shape == (rows, 160)
        return
    assert main([*words, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == rows
    assert main(words) == 0
    text = capsys.readouterr().out.splitlines()
    assert len(text) == rows + 1
    assert text[0].startswith("input,")
    assert main(["predict", str(made.out), str(tmp_path / "nowhere.png")]) == 2
    assert "there is no such file" in capsys.readouterr().err


def source_of(made, folder):
    """A file of inputs as a user has them, and how many there are."""
    if made.case.kind in ("images", "clauses"):
        from PIL import Image

        place = folder / "photos"
        place.mkdir()
        for number in range(2):
            pixels = np.random.default_rng(number).integers(0, 255, (30, 20, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(place / f"{number}.png")
        return place, 2
    if made.case.kind == "lm":
        (folder / "lines.txt").write_text("the river sang\nthe stone ran\n")
        return folder / "lines.txt", 2
    if made.case.kind == "embed":
        np.savetxt(folder / "x.csv", np.load(made.case.root / "x.npy")[:3], delimiter=",")
        return folder / "x.csv", 3
    lines = np.random.default_rng(0).normal(size=(2, 160)) * (1 + 1j)
    np.save(folder / "lines.npy", lines)
    return folder / "lines.npy", 2


SLOW = {
    *("sympy", "timm", "torchvision", "lightning_fabric", "torchmetrics", "transformers", "scipy.stats", "sklearn"),
    *("matplotlib", "tensorboard", "numba"),
}
NEEDED = {
    "images": {"sympy", "timm", "torchvision"}
}  # timm's own student; timm imports torchvision, that torch._dynamo


def test_to_predict_loads_no_package_that_answers_need_not(made, tmp_path):
    """One picture took 5 processor seconds, of which torch has 2: the rest were imports of training and of pages."""
    source = {"embed": made.case.root / "x.npy", "lm": tmp_path / "lines.txt"}.get(made.case.kind, tmp_path / "a.npy")
    if made.case.kind in ("images", "clauses"):
        np.save(source, np.zeros((1, 8, 8), np.uint8))
    elif made.case.kind == "sar":
        np.save(source, np.ones((1, 160), np.complex64))
    elif made.case.kind == "lm":
        source.write_text("the river ran")
    out = tmp_path / ("out.npy" if made.case.kind == "sar" else "out.csv")
    words = ["predict", str(made.out), str(source), "--out", str(out)]
    code = f"import sys; from stillhouse.cli.main import main; assert main({words}) == 0; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert SLOW & {*done.stdout.split()} == NEEDED.get(made.case.kind, set())


@pytest.mark.kinds("clauses", "embed", "images", "sar")
def test_an_exported_program_is_checked_on_test_rows_of_the_run(made, tmp_path, capsys):
    """Made-up rows say little of rows as they come; where they are all there is, the line says so (see tests/cli)."""
    folder = made.out / "arms" / made.case.taught / "seed-0"
    assert main(["export", str(folder), "--to", "torch", "--out", str(tmp_path / "student.pt2")]) == 0
    said = capsys.readouterr().out
    counts = {"embed": "60 test rows of", "sar": "200 samples of noise"}
    assert counts.get(made.case.kind, "104 of 104 answers equal") in said


@pytest.mark.kinds("sar")
def test_radar_lines_come_on_standard_input(made, tmp_path, monkeypatch):
    """The bytes of a .npy file; anything else is named."""
    source, _ = source_of(made, tmp_path)
    words = ["predict", str(made.out), "-", "--out", str(tmp_path / "focused.npy")]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(source.read_bytes())))
    assert main(words) == 0
    assert np.array_equal(np.load(tmp_path / "focused.npy"), stillhouse.load(made.out).predict(np.load(source)))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"1,2\n")))
    with pytest.raises(InputError, match="standard input: expected an array of numbers"):
        stillhouse.load(made.out).read("-")
