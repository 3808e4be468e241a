"""`embed capture`: files to vectors with the names of the files as labels, and on into a run."""

import json

import numpy as np
import pytest

from stillhouse.cli.main import main
from stillhouse.core.checks import InputError
from stillhouse.tasks.embed import capture
from stillhouse.tasks.embed.data.texts import Source, gather
from stillhouse.tasks.embed.data.vectors import VectorsConfig, open_vectors


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
    words += ["--out", str(tmp_path / "out"), "--min_chars", "9", "--quiet"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "a: 29 texts" in said
    assert "48 vectors of 8" in said
    store = open_vectors(tmp_path / "out")
    assert store.texts[30] == "one cc cab"
    np.testing.assert_allclose(store.read([30])[0], Letters().encode([store.texts[30]], normalize_embeddings=True)[0])
    data = VectorsConfig(path=str(tmp_path / "out")).build()
    assert data.labels(np.array([0, 28, 29, 47])).tolist() == ["a", "a", "b", "b"]
    assert main(words) == 0  # finished: it returns at once
    assert main([*words, "--no-resume"]) == 2


def test_sources_say_what_is_read(tmp_path):
    """Columns by number or name, a field; a path with a colon that is there is taken as it stands."""
    (tmp_path / "odd:0").mkdir()
    assert Source.parse(str(tmp_path / "odd:0")).columns is None
    assert Source.parse("t.csv:first,2").columns == ("first", 2)
    (tmp_path / "t.jsonl").write_text(json.dumps({"body": "One. Two."}) + "\n")
    assert gather([f"{tmp_path / 't.jsonl'}:body"]) == (["One. Two."], ["t"])
    with pytest.raises(InputError, match="expected at least one file"):
        gather([])
