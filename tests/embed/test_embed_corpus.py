"""`embed capture`: files to vectors with the names of the files as labels, and on into a run."""

import numpy as np
import pytest

from stillhouse.cli.main import main
from stillhouse.tasks.embed import capture
from stillhouse.tasks.embed.data import VectorsConfig


class Letters:
    """A teacher that counts letters."""

    def encode(self, texts, *, normalize_embeddings, **settings):
        x = np.array([[1.0 + text.lower().count(letter) for letter in "abcdefgh"] for text in texts], np.float32)
        return x / np.linalg.norm(x, axis=1, keepdims=True) if normalize_embeddings else x


@pytest.fixture
def model(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "modules.json").write_text("[]")
    monkeypatch.setattr(capture, "load_encoder", lambda folder, device: Letters())
    return folder


def test_a_capture_is_opened_with_texts_and_names(model, tmp_path, capsys):
    """Texts and rows must stay in one order, through the command line."""
    (tmp_path / "a.txt").write_text("".join(f"a bag of {n} beads and {'g' * n}\n" for n in range(1, 30)))
    (tmp_path / "b.csv").write_text("".join(f"one {'c' * n} cab,{n}\n" for n in range(1, 20)))
    words = ["embed", "capture", str(tmp_path / "a.txt"), f"{tmp_path / 'b.csv'}:0", "--model", str(model)]
    words += ["--out", str(tmp_path / "out"), "--min_chars", "9"]
    assert main(words) == 0
    assert "48 different texts" in capsys.readouterr().out
    data = VectorsConfig(path=str(tmp_path / "out")).build()
    store = data.store
    assert (len(store), store.width, store.texts[30]) == (48, 8, "one cc cab")
    np.testing.assert_allclose(store.read([30])[0], Letters().encode([store.texts[30]], normalize_embeddings=True)[0])
    assert store.labels[[0, 28, 29, 47]].tolist() == ["a", "a", "b", "b"]
    assert main(words) == 0  # finished: it returns at once
