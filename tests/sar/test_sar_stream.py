"""Streaming from the command: constant memory, the numbers of the training form, files in and out, and bad lines named."""

import numpy as np
import pytest
import torch
from sar_tiny import sar

from stillhouse.core.checks import InputError
from stillhouse.families.sar.saved import load_model
from stillhouse.families.sar.stream import CHUNK, stream
from stillhouse.families.sar.students.cost import step_cost


@pytest.fixture
def folder(student_run):
    return student_run / "arms" / "kd" / "seed-0"


def test_files_in_and_out_are_the_whole_scene(folder, tmp_path):
    """Units of the raw data in, units of the focus out, two bins side by side, latency taken off at the end."""
    rng = np.random.default_rng(0)
    lines = (rng.normal(size=(120, 2)) + 1j * rng.normal(size=(120, 2))).astype(np.complex64) * 300
    np.save(tmp_path / "raw.npy", lines)
    said = stream(folder, source=tmp_path / "raw.npy", out=tmp_path / "focus.npy", check=True)
    assert (said.lines, said.latency_lines) == (120, 32)
    assert said.error < 1e-5
    model, scale = load_model(folder)
    with torch.no_grad():
        whole = (
            model(torch.from_numpy(lines.T[..., None] / np.float32(scale.input_rms)))[..., 0].T.numpy()
            * scale.target_rms
        )
    np.testing.assert_allclose(np.load(tmp_path / "focus.npy"), whole, rtol=1e-3, atol=1e-4 * np.abs(whole).max())


def test_memory_does_not_grow_across_chunks(folder):
    """The state has the bytes after three chunks that it had before the first line."""
    said = stream(folder, lines=2 * CHUNK + 10)
    assert said.state_bytes == said.state_bytes_end == step_cost(load_model(folder)[0]).state_bytes
    assert said.peak_growth_bytes < 32 * 2**20


def test_bad_lines_are_named(folder, tmp_path, capsys):
    """Real numbers, a NaN, an empty file, no file, archives: each in one line and without a traceback."""
    good = np.ones(40, np.complex64)
    broken = good.copy()
    broken[17] = np.nan
    cases = {
        "real": (np.ones(40), "expected complex lines (L) or (L, B) in azimuth order, got float64"),
        "cube": (np.ones((4, 2, 2), complex), "of shape (4, 2, 2)"),
        "empty": (np.ones(0, complex), "of shape (0,)"),
        "nan": (broken, "line 17: expected finite numbers"),
    }
    for name, (values, words) in cases.items():
        np.save(tmp_path / f"{name}.npy", values)
        assert sar("stream", folder, "--input", tmp_path / f"{name}.npy") == 2
        assert words in capsys.readouterr().err
    np.savez(tmp_path / "many.npz", a=good, b=good)
    assert sar("stream", folder, "--input", tmp_path / "many.npz") == 2
    assert "several arrays" in capsys.readouterr().err
    assert sar("stream", folder, "--input", tmp_path / "none.npy") == 2
    assert "cannot read lines" in capsys.readouterr().err
    assert sar("stream", folder, "--lines", "0") == 2
    assert "lines: expected 1 or more" in capsys.readouterr().err


def test_a_single_line_is_a_scene(folder, tmp_path):
    """Length 1: shorter than the latency, so all of it comes from the flush."""
    np.save(tmp_path / "one.npy", np.ones(1, np.complex64))
    said = stream(folder, source=tmp_path / "one.npy", out=tmp_path / "out.npy", check=True)
    assert said.error < 1e-5
    assert np.load(tmp_path / "out.npy").shape == (1, 1)


def test_networks_that_cannot_stream_say_why(teacher_run, tmp_path):
    """The teacher sees the whole scene; a folder without a network is no network."""
    with pytest.raises(InputError, match="bidirectional"):
        stream(teacher_run, lines=10)
    with pytest.raises(InputError, match=r"card\.json"):
        stream(tmp_path, lines=10)
