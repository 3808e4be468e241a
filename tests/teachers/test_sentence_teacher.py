"""Capture of sentence embeddings: once, whole, resumable, and never of two models in one folder."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from stillhouse.core.checks import InputError
from stillhouse.tasks.embed import capture as module
from stillhouse.tasks.embed.capture import Encoding, capture
from stillhouse.tasks.embed.data import capture_manifest, open_vectors

WORDS = [
    "a",
    "an",
    "the",
    "man",
    "woman",
    "dog",
    "cat",
    "plays",
    "eats",
    "sees",
    "red",
    "green",
    "old",
    "apple",
    "tree",
    "and",
]
REAL = Path(os.environ.get("STILLHOUSE_MINILM", "all-MiniLM-L6-v2"))


def make_model(folder, seed):
    """A sentence-transformers folder with random weights: 2 layers, width 16, mean pooling, a vocabulary of words."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        BertModel(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=64, **shape)).save_pretrained(folder)
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling")]
    modules = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (path, kind) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "tiny", 0)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "other", 1)


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, size=rng.integers(2, 9))) + f" {n}" for n in range(50)]


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(module, "CHUNK_ROWS", 16)


@pytest.fixture
def encoded(monkeypatch):
    """Counts the texts that go through the model."""
    seen = []
    encode = module.encode

    def counting(encoder, some, first, how):
        seen.extend(some)
        return encode(encoder, some, first, how)

    monkeypatch.setattr(module, "encode", counting)
    return seen


def direct(model, texts):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(model)).encode(texts, normalize_embeddings=True, show_progress_bar=False)


def test_a_capture_holds_what_the_model_says(tmp_path, model, texts, small_chunks):
    """Chunks in the wrong order, or sorted by length, give vectors of other texts."""
    store = open_vectors(capture(texts, model, tmp_path / "out", encoding=Encoding(batch_size=4)))
    assert (len(store), store.width) == (50, 16)
    assert list(store.texts) == texts
    np.testing.assert_allclose(store.read(np.arange(50)), direct(model, texts), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(store.read([0, 17, 49]), axis=1), 1.0, atol=1e-6)
    manifest = capture_manifest(tmp_path / "out")
    assert (manifest["rows"], manifest["width"], manifest["done"]) == (50, 16, 50)
    assert "torch" in manifest["versions"]


def test_a_killed_capture_goes_on_where_it_stopped(tmp_path, model, texts, small_chunks, encoded, monkeypatch):
    """What is whole is not encoded again, and the end is the same."""
    encode, out = module.encode, tmp_path / "out"

    def killed(encoder, some, first, how):
        if first >= 32:
            raise KeyboardInterrupt
        return encode(encoder, some, first, how)

    with monkeypatch.context() as patch:
        patch.setattr(module, "encode", killed)
        with pytest.raises(KeyboardInterrupt):
            capture(texts, model, out)
    with pytest.raises(InputError, match="expected a finished capture"):
        open_vectors(out)
    encoded.clear()
    resumed = open_vectors(capture(texts, model, out)).read(np.arange(50))
    assert encoded == texts[32:]
    np.testing.assert_array_equal(resumed, open_vectors(capture(texts, model, tmp_path / "whole")).read(np.arange(50)))
    encoded.clear()
    capture(texts, model, out)
    assert encoded == []
    with (out / "vectors.npy").open("r+b") as file:
        file.seek(200)
        file.write(b"\0\0\0")
    with pytest.raises(InputError, match=r"vectors\.npy was changed"):
        open_vectors(out)


def test_another_model_or_other_texts_are_refused(tmp_path, model, other, texts, small_chunks):
    """Half of the rows from one teacher and half from another is a data set that nobody would question."""
    out = capture(texts, model, tmp_path / "out")
    with pytest.raises(InputError, match="holds a capture of another model"):
        capture(texts, other, out)
    with pytest.raises(InputError, match="of other texts"):
        capture(texts[::-1], model, out)
    with pytest.raises(InputError, match="of another `normalize`"):
        capture(texts, model, out, encoding=Encoding(normalize=False))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="is not a capture"):
        capture(texts, model, tmp_path / "mine")


def test_a_capture_that_was_killed_before_its_manifest_had_a_name_goes_on(model, texts, tmp_path):
    """Found by killing it at its first rename: what it left is a hidden file."""
    out = tmp_path / "out"
    out.mkdir()
    (out / ".manifest.json.1234.tmp").write_text("{")
    assert len(open_vectors(capture(texts, model, out))) == len(texts)


def test_a_readme_is_no_other_model_and_a_weight_is(model, tmp_path):
    """A hash over too much refuses the same model, one over too little takes another."""
    import shutil

    copy = shutil.copytree(model, tmp_path / "copy")
    same = module.model_sha256(copy)
    assert same == module.model_sha256(model)
    (copy / "README.md").write_text("x")
    (copy / "onnx").mkdir()
    (copy / "onnx" / "config.json").write_text("{}")
    (copy / "pytorch_model.bin").write_bytes(b"the same weights")
    assert module.model_sha256(copy) == same
    (copy / "1_Pooling" / "config.json").write_text('{"word_embedding_dimension": 16, "pooling_mode_cls_token": true}')
    assert module.model_sha256(copy) != same


def test_bad_texts_are_named(tmp_path, model):
    """Before a model is read or a folder made."""
    for texts, told in [([], "got none"), (["a", " "], "got ' ' in row 1"), (["a", None], "got None in row 1")]:
        with pytest.raises(InputError, match=told):
            capture(texts, model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="batch_size: expected at least 1"):
        capture(["a"], model, tmp_path / "out", encoding=Encoding(batch_size=0))


def test_models_that_are_not_there_are_told(tmp_path, monkeypatch):
    """At once, without minutes of retries where there is no network."""
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuse)
    with pytest.raises(InputError, match="got neither: no network"):
        capture(["a"], "no-such-model-anywhere", tmp_path / "out")
    for place in (tmp_path / "nothing", "./nothing", str(tmp_path / "nothing")):
        with pytest.raises(InputError, match="got nothing there"):
            capture(["a"], place, tmp_path / "out")
    (tmp_path / "bert").mkdir()
    with pytest.raises(InputError, match=r"without modules\.json"):
        capture(["a"], tmp_path / "bert", tmp_path / "out")


def refuse(*args, **kwargs):
    raise OSError("no network")


@pytest.mark.assets
@pytest.mark.skipif(not (REAL / "modules.json").is_file(), reason="no folder of all-MiniLM-L6-v2 in STILLHOUSE_MINILM")
def test_minilm_knows_what_is_alike(tmp_path):
    """Real weights, wrong pooling: everything is alike."""
    texts = ["A man is playing a guitar.", "Someone plays the guitar.", "The stock market fell sharply."]
    a, b, c = open_vectors(capture(texts, REAL, tmp_path / "out")).read([0, 1, 2])
    assert a.shape == (384,)
    assert a @ b > 0.7
    assert a @ c < 0.2
