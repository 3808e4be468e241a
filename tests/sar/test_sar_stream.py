"""Streaming from the command: constant memory, the numbers of the training form, files in and out, and bad lines named."""

import numpy as np
import pytest
from sar_tiny import sar

from stillhouse.cli.main import main
from stillhouse.core.checks import InputError
from stillhouse.tasks.sar.saved import load_model
from stillhouse.tasks.sar.students.compression import step_cost
from stillhouse.tasks.sar.use import CHUNK, stream


@pytest.fixture
def folder(student_run):
    return student_run / "arms" / "kd" / "seed-0"


def test_stream_and_predict_take_one_file(folder, tmp_path):
    """Two conventions of axes: what one command focused, the other took for its transpose, without a word."""
    rng = np.random.default_rng(0)
    lines = (rng.normal(size=(3, 120)) + 1j * rng.normal(size=(3, 120))).astype(np.complex64) * 300
    np.save(tmp_path / "raw.npy", lines)
    assert main(["predict", str(folder), str(tmp_path / "raw.npy"), "--out", str(tmp_path / "whole.npy")]) == 0
    assert sar("stream", folder, "--input", tmp_path / "raw.npy", "--out", tmp_path / "streamed.npy") == 0
    whole, streamed = (np.load(tmp_path / f"{name}.npy") for name in ("whole", "streamed"))
    np.testing.assert_allclose(streamed, whole, rtol=1e-3, atol=1e-4 * np.abs(whole).max())


@pytest.mark.parametrize("shape", [(120, 3), (160, 90)])  # shorter than an aperture; as many bins as training samples
def test_a_transposed_array_is_refused_by_its_length(folder, tmp_path, capsys, shape):
    """Rows for columns gave numbers that looked like an image out of focus."""
    np.save(tmp_path / "raw.npy", np.ones(shape, np.complex64))
    for words in (["predict", str(folder), str(tmp_path / "raw.npy"), "--out", str(tmp_path / "out.npy")],
                  ["sar", "stream", str(folder), "--input", str(tmp_path / "raw.npy")]):  # fmt: skip
        assert main(words) == 2
        printed = capsys.readouterr().err
        assert "(N, L): N range bins, L azimuth samples each" in printed
        assert "transpose" in printed
    assert not (tmp_path / "out.npy").exists()


def test_memory_does_not_grow_across_chunks(folder):
    """The state has the bytes after three chunks that it had before the first line."""
    said = stream(folder, lines=2 * CHUNK + 10)
    assert said.state_bytes == said.state_bytes_end == step_cost(load_model(folder)[0]).state_bytes


def test_bad_lines_are_named(folder, tmp_path, capsys):
    """Real numbers, a NaN, an empty file, no file, archives: each in one line and without a traceback."""
    good = np.ones(80, np.complex64)
    cases = {
        "real": (np.ones(80), "expected complex (N, L): N range bins, L azimuth samples each, got float64"),
        "cube": (np.ones((4, 2, 2), complex), "of shape (4, 2, 2)"),
        "empty": (np.ones(0, complex), "of shape (0,)"),
        "nan": (np.where(np.arange(80) == 17, np.nan, good), "expected finite numbers"),
    }
    for name, (values, words) in cases.items():
        np.save(tmp_path / f"{name}.npy", values)
        assert sar("stream", folder, "--input", tmp_path / f"{name}.npy") == 2
        assert words in capsys.readouterr().err
    np.savez(tmp_path / "many.npz", a=good, b=good)
    for name, words in (("many.npz", "got several"), ("none.npy", "cannot read lines")):
        assert sar("stream", folder, "--input", tmp_path / name) == 2
        assert words in capsys.readouterr().err


def test_one_bin_is_a_scene(folder, tmp_path):
    """(L) is (1, L), as `predict` gives it back."""
    np.save(tmp_path / "one.npy", np.ones(65, np.complex64))
    said = stream(folder, source=tmp_path / "one.npy", out=tmp_path / "out.npy", check=True)
    assert said.error < 1e-5
    assert np.load(tmp_path / "out.npy").shape == (1, 65)
    assert stream(folder, lines=1, check=True).error < 1e-5  # shorter than the latency: all of it comes from the flush


def test_networks_that_cannot_stream_say_why(teacher_run, tmp_path):
    """The teacher sees the whole scene; a folder without a network is no network."""
    with pytest.raises(InputError, match="bidirectional"):
        stream(teacher_run, lines=10)
    with pytest.raises(InputError, match=r"card\.json"):
        stream(tmp_path, lines=10)
