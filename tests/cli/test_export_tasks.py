"""`stillhouse export` of tiny students of the tasks beside images: what is written answers as the network, or is not kept."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from stillhouse.cli.main import main
from stillhouse.tasks.embed.config import EmbeddingStudentConfig
from stillhouse.tasks.embed.network import EmbeddingStudent, save_embedder
from stillhouse.tasks.lm.packed import load_packed
from stillhouse.tasks.lm.students import SpikingLMConfig
from stillhouse.tasks.lm.tokenizer import byte_tokenizer
from stillhouse.tasks.lm.use import save_lm
from stillhouse.tasks.sar.data import SarConfig
from stillhouse.tasks.sar.saved import save_model
from stillhouse.tasks.sar.students import StateSpaceConfig


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    torch.manual_seed(0)
    vectors = np.random.default_rng(0).standard_normal((200, 24)).astype(np.float32)
    model = EmbeddingStudent.from_vectors(EmbeddingStudentConfig(hidden=(16, 8)), vectors)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("embedder")
    save_embedder(folder, model.eval())
    return folder, model, vectors


def test_an_embedders_onnx_graph_gives_its_codes(embedder, tmp_path, capsys):
    """By onnxruntime alone, against the network in torch."""
    runtime = pytest.importorskip("onnxruntime")
    folder, model, vectors = embedder
    assert main(["export", str(folder), "--to", "onnx", "--out", str(tmp_path / "out")]) == 0
    assert "bytes" in capsys.readouterr().out
    got = runtime.InferenceSession(str(tmp_path / "out" / "model.onnx")).run(["codes"], {"vectors": vectors})[0]
    with torch.no_grad():
        np.testing.assert_allclose(got, model(torch.from_numpy(vectors)).numpy(), atol=1e-4)


def test_a_language_models_weights_are_three_values_a_row(tmp_path, capsys):
    """Packed, read back: minus, zero and plus one scale, as ternary weights are."""
    torch.manual_seed(0)
    model = SpikingLMConfig(vocab_size=256, width=16, layers=1, heads=2, chunk=8).build()
    model.quantize(1)
    save_lm(tmp_path / "student", model, byte_tokenizer(), window=16)
    assert main(["export", str(tmp_path / "student"), "--to", "packed", "--out", str(tmp_path / "out")]) == 0
    assert "equal the network's" in capsys.readouterr().out
    (file,) = (tmp_path / "out").glob("*.safetensors")
    weight = load_packed(file).weight("blocks.0.ffn.up")
    assert {len(np.unique(np.abs(row[row != 0]))) for row in weight} <= {0, 1}
    assert main(["export", str(tmp_path / "student"), "--to", "onnx", "--out", str(tmp_path / "no")]) == 2
    assert "has no such form; it has packed" in capsys.readouterr().err


PROGRAM = """
import sys, numpy as np, torch
program = torch.export.load(sys.argv[1]).module()
with torch.no_grad():
    np.save(sys.argv[3], program(torch.from_numpy(np.load(sys.argv[2]))).numpy())
"""


def run_program(file, rows, folder):
    """Answers of a program in a process that cannot import this library."""
    np.save(folder / "rows.npy", rows)
    words = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        PROGRAM,
        str(file),
        str(folder / "rows.npy"),
        str(folder / "out.npy"),
    ]
    hidden = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run(words, check=True, cwd=folder, env=hidden)
    return np.load(folder / "out.npy")


def test_an_embedders_program_gives_its_codes(embedder, tmp_path, capsys):
    """For any number of rows, by torch alone; of a folder without a run on made-up vectors, and it says so."""
    folder, model, vectors = embedder
    assert main(["export", str(folder), "--to", "torch", "--out", str(tmp_path / "codes.pt2")]) == 0
    assert "1,000 made-up vectors (no test rows: it belongs to no run" in capsys.readouterr().out
    with torch.no_grad():
        expected = model(torch.from_numpy(vectors)).numpy()
    np.testing.assert_allclose(run_program(tmp_path / "codes.pt2", vectors, tmp_path), expected, atol=1e-4)


def test_a_program_that_answers_otherwise_is_not_kept(embedder, tmp_path, monkeypatch, capsys):
    """What is read back is asked, not what was traced."""
    load = torch.export.load

    class Wrong:
        def __init__(self, program):
            self.program = program

        def module(self):
            return lambda x: self.program.module()(x) + 0.01

    monkeypatch.setattr(torch.export, "load", lambda file: Wrong(load(file)))
    assert main(["export", str(embedder[0]), "--to", "torch", "--out", str(tmp_path / "codes.pt2")]) == 2
    assert "expected the answers of the network within" in capsys.readouterr().err
    assert not (tmp_path / "codes.pt2").exists()


def test_a_focusing_networks_program_gives_its_lines(tmp_path):
    """Complex lines in, complex lines out."""
    torch.manual_seed(0)
    model = StateSpaceConfig(model_dim=3, state_dim=8, num_layers=2, look_ahead=4).build().eval()
    data = SarConfig(preset="toy-64", length=120, train=8, validation=4, test=4).build()
    (tmp_path / "student").mkdir()
    save_model(tmp_path / "student", model, data)
    assert main(["export", str(tmp_path / "student"), "--to", "torch", "--out", str(tmp_path / "lines.pt2")]) == 0
    lines = torch.randn(3, 200, model.config.input_dim, dtype=torch.complex64)
    with torch.no_grad():
        expected = model(lines).numpy()
    got = run_program(tmp_path / "lines.pt2", lines.numpy(), tmp_path)
    np.testing.assert_allclose(got, expected, atol=1e-4 * abs(expected).max())
