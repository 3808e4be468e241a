"""Export of the embedding student: the same codes from numpy, torch and ONNX, without torch, and clear errors."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
import torch
import torch.nn.functional as F

from stillhouse.core.checks import InputError
from stillhouse.core.exports import ExportChoices
from stillhouse.core.hashes import with_hashes
from stillhouse.core.records import write_json
from stillhouse.tasks.embed.config import EmbeddingStudentConfig
from stillhouse.tasks.embed.export import write_for_numpy, write_for_onnx
from stillhouse.tasks.embed.network import EmbeddingStudent, save_embedder
from stillhouse.tasks.embed.numpy_embedder import NumpyEmbedder

D = 24


def weights(levels, seed=0, hidden=(16, 8)):
    rng = np.random.default_rng(seed)
    d, (h1, h2) = sum(levels), hidden
    shapes = {"mean": (D,), "skip": (d, D), "w1": (h1, D), "b1": (h1,), "w2": (h2, h1), "b2": (h2,), "w3": (d, h2)}
    return {name: rng.normal(size=shape).astype(np.float32) * 0.5 for name, shape in shapes.items()}


def saved(folder, levels=(5,), output="euclidean", normalize=True):
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(weights(levels), folder / "student.safetensors")
    card = {"format": "stillhouse-embedder-1", "teacher_dim": D, "levels": list(levels), "hidden": [16, 8]}
    card |= {"normalize": normalize, "output": output, "axes": []}
    return sealed(folder, card)


def sealed(folder, card):
    """The folder with a card that has the hashes of what is there now."""
    write_json(folder / "card.json", with_hashes(card, folder, ["student.safetensors"]))
    return folder


def torch_codes(w, x, levels, output, normalize):
    """The network written down in torch's own functions, apart from anything in the library."""
    w = {name: torch.tensor(value) for name, value in w.items()}
    x = torch.tensor(x)
    c = (F.normalize(x, dim=1) if normalize else x) - w["mean"]
    h = F.gelu(F.linear(c, w["w1"], w["b1"]), approximate="tanh")
    h = F.gelu(F.linear(h, w["w2"], w["b2"]), approximate="tanh")
    z = F.linear(c, w["skip"]) + F.linear(h, w["w3"])
    first = z[:, : levels[0]]
    if output == "sphere":
        first = F.normalize(first, dim=1)
    return torch.cat([first, z[:, levels[0] :]], dim=1).numpy()


def exported(folder, out):
    write_for_onnx(folder, out, ExportChoices())
    return out


def vectors(n, seed=1):
    return np.random.default_rng(seed).normal(size=(n, D)).astype(np.float32)


@pytest.mark.parametrize(
    ("levels", "output", "normalize"),
    [((5,), "euclidean", True), ((5, 25, 125), "sphere", True), ((5, 25, 125), "euclidean", False)],
)
def test_numpy_torch_and_onnx_say_the_same(tmp_path, levels, output, normalize):
    """A transposed weight, another GELU or a forgotten mean still gives numbers of the right shape."""
    import onnxruntime

    folder = exported(saved(tmp_path / "in", levels, output, normalize), tmp_path / "out")
    embedder = NumpyEmbedder.load(folder)
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    for n in (1, 2, 200):
        x = vectors(n)
        codes = embedder.encode(x)
        expected = torch_codes(weights(levels), x, levels, output, normalize)
        (said,) = session.run(["codes"], {"vectors": x})
        assert codes.shape == expected.shape == said.shape == (n, sum(levels))
        assert codes.dtype == np.float32
        np.testing.assert_allclose(codes, expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(said, codes, rtol=0, atol=1e-5)


def test_the_onnx_graph_takes_any_number_of_rows_and_passes_the_checker(tmp_path):
    """An exporter that saw two rows may fix the number at two."""
    import onnx

    model = onnx.load(str(exported(saved(tmp_path / "in"), tmp_path / "out") / "model.onnx"))
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version >= 17
    assert [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == ["rows", D]
    assert [d.dim_param or d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim] == ["rows", 5]


def test_a_zero_row_is_defined_everywhere_and_the_same(tmp_path):
    """0 / 0 would be NaN in one runtime and 0 in another."""
    import onnxruntime

    folder = exported(saved(tmp_path / "in"), tmp_path / "out")
    zero = np.zeros((1, D), np.float32)
    codes = NumpyEmbedder.load(folder).encode(zero)
    (said,) = onnxruntime.InferenceSession(str(folder / "model.onnx")).run(None, {"vectors": zero})
    assert np.isfinite(codes).all()
    np.testing.assert_allclose(said, codes, atol=1e-5)


def bad_rows():
    x = vectors(5000)
    x[[3, 4999], 0] = np.nan, np.inf
    return x


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((2, D + 1), np.float32), f"expected vectors of width {D}, .* got float32 of shape .2, {D + 1}."),
        (np.zeros(D, np.float32), f"got float32 of shape .{D},."),
        (np.array([["a"] * D]), "expected vectors of width"),
        (bad_rows(), "in row 3"),
        (bad_rows()[4:], "in row 4995"),
    ],
)
def test_bad_vectors_are_named(tmp_path, x, words):
    """A NaN row becomes a NaN code that no search ever finds."""
    with pytest.raises(InputError, match=words):
        NumpyEmbedder.load(saved(tmp_path / "in")).encode(x)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "another-2"}, "expected format 'stillhouse-embedder-1', got 'another-2'"),
        ({"levels": [6]}, "does not go with its card"),
        ({"teacher_dim": 12}, "does not go with its card"),
    ],
)
def test_a_card_that_makes_no_sense_is_refused(tmp_path, change, words):
    """A card of another student would give codes of another space."""
    folder = saved(tmp_path / "in")
    sealed(folder, json.loads((folder / "card.json").read_text()) | change)
    with pytest.raises(InputError, match=words):
        NumpyEmbedder.load(folder)


def test_damaged_files_are_refused(tmp_path):
    """A truncated file must not be read as far as it goes."""
    folder = saved(tmp_path / "in")
    path = folder / "student.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="was changed after it was written"):
        NumpyEmbedder.load(folder)
    path.unlink()
    with pytest.raises(InputError, match="cannot read"):
        NumpyEmbedder.load(folder)
    (folder / "card.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        NumpyEmbedder.load(folder)


def test_the_exported_folder_works_with_numpy_alone(tmp_path):
    """`embedder.py` must run where neither this library nor torch is installed."""
    folder = exported(saved(tmp_path / "in", (5, 25), "sphere"), tmp_path / "out")
    x = vectors(7)
    np.save(tmp_path / "x.npy", x)
    block = "import sys, runpy\nfor name in ('torch', 'stillhouse', 'onnx'): sys.modules[name] = None\n"
    run = f"sys.argv = ['embedder.py', 'x.npy', 'codes.npy']\nrunpy.run_path({str(folder / 'embedder.py')!r}, run_name='__main__')"
    subprocess.run([sys.executable, "-c", block + run], cwd=tmp_path, check=True, env={**os.environ, "PYTHONPATH": ""})
    assert np.array_equal(np.load(tmp_path / "codes.npy"), NumpyEmbedder.load(folder).encode(x))


@pytest.mark.parametrize("write", [write_for_numpy, write_for_onnx])
def test_the_verb_compares_codes_with_the_network(write, tmp_path, monkeypatch):
    """`stillhouse export RUN --to numpy` computes codes of both; what differs is no export."""
    folder = tmp_path / "in"
    save_embedder(folder, EmbeddingStudent(EmbeddingStudentConfig(hidden=(16, 8), levels=(5,)), D).eval())
    (line,) = write(folder, tmp_path / "out", ExportChoices())
    assert re.match(
        r"codes of 1,000 made-up vectors \(no test rows: it belongs to no run, .*\) within \S+ of the network's", line
    )
    encode = NumpyEmbedder.encode
    monkeypatch.setattr(NumpyEmbedder, "encode", lambda self, x: encode(self, x) + 0.1)
    with pytest.raises(InputError, match="expected the codes of the network within"):
        write_for_numpy(folder, tmp_path / "other", ExportChoices())
