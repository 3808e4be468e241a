"""A whole embedding run: every arm on the same held-out rows, with its data's faults told before anything is trained."""

import json

import numpy as np
import pytest
from embed_tiny import config_of, distill, write_vectors

from stillhouse.core.checks import InputError
from stillhouse.core.records import read_json
from stillhouse.tasks.embed import task as task_module
from stillhouse.tasks.embed.material import EmbeddingData
from stillhouse.tasks.embed.metrics import figures_of
from stillhouse.tasks.embed.network import load_embedder
from stillhouse.tasks.embed.results import FAR, NEAR
from stillhouse.tasks.embed.score import evaluate, fit_anchor


def result(out, arm, seed=0):
    return read_json(out / "arms" / arm / f"seed-{seed}" / "result.json")


def test_every_arm_is_judged_on_the_same_rows_near_and_far_apart(finished, vectors):
    """Figures are those of `figures_of` on the test rows of the split, and nothing is averaged into one number."""
    _, summary = finished
    arms = summary["arms"]
    assert list(arms) == ["student", "pca", "random-projection", "autoencoder"]
    data = EmbeddingData(config_of(vectors))
    wide = data.store.read(data.test)
    # their lengths differ, and are kept
    codes = fit_anchor("pca", data.sample(10**6).numpy(), 3, normalize=False)(wide)
    expected = figures_of(wide, codes, metric="euclidean").scalars
    for name in ("knn_overlap@10", "spearman", "trustworthiness"):
        assert arms["pca"][name]["mean"] == pytest.approx(expected[name], abs=1e-6)
    pairs = {(c["arm"], c["control"], c["metric"]) for c in summary["comparisons"]}
    assert {("student", "pca", NEAR), ("student", "autoencoder", FAR)} <= pairs
    assert summary["verdict"].startswith("not tested (")  # of two seeds
    assert [len(found["spearman"]["values"]) for found in arms.values()] == [2, 1, 2, 2]
    assert "label_1nn" in arms["student"]


def test_the_autoencoder_rebuilds_and_learns_nothing_else(finished):
    """It is the student's own network: neighbours among its terms would make it the student."""
    lines = [
        json.loads(line) for line in (finished[0] / "arms/autoencoder/seed-0/records.jsonl").read_text().splitlines()
    ]
    terms = next(line["terms"] for line in lines if line["split"] == "train")
    assert set(terms) == {"reconstruction"}
    assert result(finished[0], "autoencoder")["best_epoch"] > 0  # chosen by neighbours, it would be PCA again


def test_what_is_shipped_is_the_best_seed_by_validation(finished, vectors):
    """Chosen by test rows, its figures would be too good."""
    out, summary = finished
    ranks = [result(out, "student", seed)["rank"] for seed in (0, 1)]
    best = int(ranks[1] > ranks[0])
    assert summary["shipped"]["seed"] == best
    data = EmbeddingData(config_of(vectors))
    codes = np.load(out / "arms" / "student" / f"seed-{best}" / "codes.npz")["test"]
    np.testing.assert_allclose(load_embedder(out / "student").encode(data.store.read(data.test)), codes, atol=1e-5)
    assert "/" not in json.dumps(read_json(out / "student" / "card.json")["teacher"])


def test_a_run_is_not_judged_on_a_file_that_changed_its_rows(tmp_path):
    """Split again, its test rows would hold rows that the student was trained on."""
    path = write_vectors(tmp_path / "x.npz", rows=300)
    distill(config_of(path, seeds=1), tmp_path / "run")
    write_vectors(path, rows=250)
    with pytest.raises(InputError, match="is not what the run in"):
        evaluate(tmp_path / "run")


def test_poles_are_read_by_text_and_judged_where_they_were_not_taught(vectors, tmp_path):
    """A pole of an axis that is not there, or of a text that is not there, is named by its line."""
    data = np.load(vectors)
    rows = [f"{t.upper()},size,{'large' if label < 6 else 'small'}" for t, label in zip(data["texts"], data["labels"])]
    path = tmp_path / "poles.csv"
    axes = [["size", "small", "large"], ["b", "b1", "b2"], ["c", "c1", "c2"]]
    loss = {"epoch_steps": 40, "pole_weight": 5.0}
    config = config_of(vectors, student={"axes": axes}, poles_file=str(path), loss=loss, seeds=1, anchors=[])
    path.write_text("\n".join(["text,axis,pole", *rows]))
    summary = distill(config, tmp_path / "run")
    assert summary["arms"]["student"]["poles_right"]["mean"] > 0.9
    assert summary["verdict"] == "not tested (nothing to compare with)"
    assert read_json(tmp_path / "run" / "student" / "card.json")["axes"] == axes
    for line, message in [
        ("no such text,size,large", "row 601: expected a text of the vectors"),
        (f"{data['texts'][0]},colour,large", "row 601: expected a pole of student.axes"),
        (f"{data['texts'][0]},size,b2", "row 601: expected a pole of student.axes"),
    ]:
        path.write_text("\n".join(["text,axis,pole", *rows, line]))
        with pytest.raises(InputError, match=message):
            EmbeddingData(config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 40}, "expected at least 22 test rows"),
        ({"bad": 5}, "expected finite numbers, got NaN or infinite ones in row 5"),
        ({"width": 3}, "first level below the teacher's width 3, got 3"),
        ({"config": {"teacher_dim": 1536}}, "teacher_dim: expected vectors of width 1536, got 16"),
        ({"config": {"loss": {"level_weights": [1.0]}}}, "level_weights: expected 2 numbers"),
    ],
)
def test_bad_data_is_told_before_it_is_learnt(change, message, tmp_path):
    """Few rows, NaN, another width, no file."""
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
        ({"student": {"axes": [["Size", "small", "large"]]}}, "axes: expected 3"),
        ({"student": {"levels": [1], "output": "sphere"}}, "two points"),
        ({"loss": {"tau": [0.5]}}, "take student.output: sphere"),
        ({"loss": {"neighbor_weight": 0.0, "global_weight": 0.0}}, "nothing to learn"),
        ({"signals": [{"kind": "logits"}]}, r"signals.0 \(logits\): vectors and codes have no classes"),
        ({"stages": [{"name": "a", "signals": [{"kind": "logits"}]}]}, r"stages.0.signals.0 \(logits\)"),
        ({"auxiliary_losses": [{"kind": "contrastive", "place": "code"}]}, "auxiliary_losses: codes have neither"),
    ],
)
def test_settings_without_sense_are_refused(change, message):
    """By name, before data are opened."""
    with pytest.raises(ValueError, match=message):
        config_of("x.npy", **change)
