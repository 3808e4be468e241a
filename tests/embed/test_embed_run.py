"""A whole embedding run: every arm on the same held-out rows, resumable, with its data's faults told before anything is trained."""

import json

import numpy as np
import pytest
from embed_tiny import HASHED, config_of, distill, write_vectors

from stillhouse.core.checks import InputError
from stillhouse.core.records import read_json
from stillhouse.tasks.embed import task as task_module
from stillhouse.tasks.embed.data.vectors import open_vectors
from stillhouse.tasks.embed.evaluate import evaluate
from stillhouse.tasks.embed.light import FAR, NEAR
from stillhouse.tasks.embed.material import open_material
from stillhouse.tasks.embed.metrics.anchors import fit_anchor
from stillhouse.tasks.embed.metrics.neighbourhood import figures_of
from stillhouse.tasks.embed.score import score
from stillhouse.tasks.embed.students.network import load_embedder


def result(out, arm, seed=0):
    return read_json(out / "arms" / arm / f"seed-{seed}" / "result.json")


def test_every_arm_is_judged_on_the_same_rows_near_and_far_apart(finished, vectors):
    """Figures are those of `figures_of` on the test rows of the split, and nothing is averaged into one number."""
    _, summary = finished
    assert list(summary["arms"]) == ["student", "near-0", "text", "pca", "random-projection"]
    material = open_material(config_of(vectors))
    # their lengths differ, and are kept
    encode = fit_anchor("pca", material.anchor_vectors(10**6), 3, normalize=False)
    expected = figures_of(material.test_vectors, encode(material.test_vectors), metric="euclidean").scalars
    for name in ("knn_overlap@10", "spearman", "trustworthiness"):
        assert summary["arms"]["pca"][name]["mean"] == pytest.approx(expected[name], abs=1e-6)
    pairs = {(c["arm"], c["control"], c["metric"]) for c in summary["comparisons"]}
    assert {("student", "pca", NEAR), ("student", "pca", FAR), ("text", "student", FAR)} <= pairs
    assert summary["verdict"].startswith("not tested (")  # of two seeds
    assert [len(summary["arms"][arm]["spearman"]["values"]) for arm in summary["arms"]] == [2, 1, 2, 1, 2]
    assert "label_1nn" in summary["arms"]["student"]


def test_what_is_shipped_is_the_best_seed_by_validation(finished):
    """Chosen by test rows, its figures would be too good."""
    out, _ = finished
    ranks = [result(out, "student", seed)["rank"] for seed in (0, 1)]
    card = read_json(out / "student" / "card.json")
    assert card["shipped"]["seed"] == int(ranks[1] > ranks[0])
    material_codes = np.load(out / "arms" / "student" / f"seed-{card['shipped']['seed']}" / "codes.npz")["test"]
    store = open_vectors(read_json(out / "run.json")["config"]["data"]["path"])
    material = open_material(config_of(store.path))
    np.testing.assert_allclose(load_embedder(out / "student").encode(material.test_vectors), material_codes, atol=1e-5)
    assert card["metrics"]["spearman"] == result(out, "student", card["shipped"]["seed"])["metrics"]["spearman"]
    assert "/" not in json.dumps(card["teacher"])


def test_a_run_is_not_judged_on_a_file_that_changed_its_rows(tmp_path):
    """Split again, its test rows would hold rows that the student was trained on."""
    path = write_vectors(tmp_path / "x.npz", rows=300)
    distill(config_of(path, seeds=1), tmp_path / "run")
    write_vectors(path, rows=250)
    with pytest.raises(InputError, match="is not what the run in"):
        evaluate(tmp_path / "run")


def test_pairs_are_judged_and_not_learnt_from(vectors, tmp_path):
    """A sentence of the pairs in the training split would be no held-out judgement."""
    data = np.load(vectors)
    texts, labels = data["texts"].tolist(), data["labels"]
    same = [(a, b, float(labels[a] == labels[b]) * 5) for a, b in zip(range(0, 80), range(80, 160))]
    lines = "".join(f"{texts[a].upper()},{texts[b]},{gold}\n" for a, b, gold in same)
    (tmp_path / "pairs.csv").write_text(lines)
    config = config_of(vectors, pairs_file=str(tmp_path / "pairs.csv"), seeds=1)
    material = open_material(config)
    assert not set(range(160)) & set(material.data.train.tolist() + material.data.validation.tolist())
    found = score(material, lambda rows: material.data.store.read(rows)[:, :3], (3,), {})
    assert 0 < found.scalars["sts"] <= 1
    (tmp_path / "pairs.csv").write_text("an unknown sentence,another one,3\n" + lines)
    with pytest.raises(
        InputError, match="got none for 2 of 162, the first 'an unknown sentence'; capture that file too"
    ):
        open_material(config)


def test_poles_are_read_by_text_and_judged_where_they_were_not_taught(vectors, tmp_path):
    """A pole of an axis that is not there, or of a text that is not there, is named by its line."""
    data = np.load(vectors)
    rows = [f"{text},size,{'large' if label < 6 else -1}" for text, label in zip(data["texts"], data["labels"])]
    path = tmp_path / "poles.csv"
    axes = [["size", "small", "large"], ["b", "b1", "b2"], ["c", "c1", "c2"]]
    config = config_of(
        vectors,
        student={"axes": axes},
        poles_file=str(path),
        loss={"epoch_steps": 40, "pole_weight": 5.0},
        seeds=1,
        anchors=[],
    )
    path.write_text("\n".join(["text,axis,pole", *rows]))
    material = open_material(config)
    assert len(material.training_poles().positions) == len(material.data.train)
    summary = distill(config, tmp_path / "run")
    assert summary["arms"]["student"]["poles_right"]["mean"] > 0.9
    assert summary["verdict"] == "not tested (nothing to compare with)"
    for line, message in [
        ("no such text,size,1", "row 601: text: expected one of the 600 rows"),
        (f"{data['texts'][0]},colour,1", "axis: expected one of size, b, c, got 'colour'"),
        (f"{data['texts'][0]},size,b2", "pole: expected -1, .1, small or large, got 'b2'"),
    ]:
        path.write_text("\n".join(["text,axis,pole", *rows, line]))
        with pytest.raises(InputError, match=message):
            open_material(config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 1}, "expected rows for training, validation and test, got 1 different"),
        ({"rows": 2}, "expected rows for training, validation and test, got 2 different"),
        ({"rows": 40}, "expected at least 22 test rows"),
        ({"bad": [5, 9]}, "expected finite numbers, got NaN or infinite ones in row 5, 9"),
        ({"width": 3}, "first level below the teacher's width 3, got 3"),
        ({"config": {"teacher_dim": 1536}}, "teacher_dim: expected vectors of width 1536, got 16"),
        (
            {"config": {"data": {"path": "nowhere.npy", "texts_key": None, "labels_key": None}}},
            "expected a file of vectors or a capture folder, got nothing",
        ),
        ({"config": {"training": {"device": "cuda"}}}, "expected a device that is here"),
        ({"config": {"loss": {"perplexity": 40.0}}}, "perplexity: expected below half of a batch"),
        ({"config": {"data": {"texts_key": None}, "text": HASHED}}, "a student that reads texts needs them"),
    ],
)
def test_bad_data_is_told_before_it_is_learnt(change, message, tmp_path):
    """One row, two rows, NaN, another width, no file, no device, no texts."""
    import torch

    if "device" in message and torch.cuda.is_available():
        pytest.skip("there is one")
    path = write_vectors(tmp_path / "x.npz", rows=change.get("rows", 300), width=change.get("width", 16))
    if "bad" in change:
        x = np.load(path)["embeddings"]
        x[change["bad"]] = np.nan
        write_vectors(path, rows=300, embeddings=x)
    with pytest.raises(InputError, match=message):
        distill(config_of(path, **change.get("config", {})), tmp_path / "run")


def test_a_missing_package_is_told_before_training(vectors, tmp_path, monkeypatch):
    """Found out at the end, the hours before it would seem lost."""
    monkeypatch.setattr(task_module, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="'umap' needs a package that is not installed: pip install"):
        distill(config_of(vectors, anchors=["umap"]), tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"anchors": ["pca", "pca"]}, "expected each once"),
        ({"frontier": [1.0, -1.0]}, "different weights from 0"),
        ({"frontier": [0.0], "loss": {"global_weight": 0.0}}, "nothing is left to learn"),
        ({"poles_file": "p.csv"}, "expected student.axes with it"),
        ({"loss": {"tau": [0.5]}}, "take student.output: sphere"),
        ({"training": {"precision": "bf16-mixed"}}, "expected '32-true'"),
        ({"training": {"label_smoothing": 0.1}}, "label_smoothing"),
    ],
)
def test_settings_without_sense_are_refused(change, message):
    """By name, before data are opened."""
    with pytest.raises(ValueError, match=message):
        config_of("x.npy", **change)
