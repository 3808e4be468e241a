"""A whole embedding run: every arm on the same held-out rows, resumable, with its data's faults told before anything is trained."""

import json

import numpy as np
import pytest
from conftest import HASHED, config_of, distill, write_vectors

from stillhouse.core.checks import InputError
from stillhouse.core.records import read_json
from stillhouse.core.watch import Watch
from stillhouse.families.embed import family as family_module
from stillhouse.families.embed.data.vectors import open_vectors
from stillhouse.families.embed.evaluate import evaluate
from stillhouse.families.embed.family import FAMILY
from stillhouse.families.embed.light import FAR, NEAR
from stillhouse.families.embed.material import open_material
from stillhouse.families.embed.metrics.anchors import fit_anchor
from stillhouse.families.embed.metrics.neighbourhood import figures_of
from stillhouse.families.embed.plan import EmbedRunConfig
from stillhouse.families.embed.score import score
from stillhouse.families.embed.students.network import load_embedder
from stillhouse.report.page import write_page


def result(out, arm, seed=0):
    return read_json(out / "arms" / arm / f"seed-{seed}" / "result.json")


def watching(act):
    """A watch that carries out something at each step."""
    watch = Watch()
    watch.on_progress = act
    return watch


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


def test_levels_are_judged_by_prefix(finished):
    """3 numbers, then 9; the longer prefix of a code says more."""
    said = finished[1]["arms"]["student"]
    assert said["knn_overlap@10/9"]["mean"] > said["knn_overlap@10"]["mean"]


def test_a_killed_run_goes_on_where_it_stopped(vectors, tmp_path):
    """In the middle of the second seed: finished arms are not made again, and the end is that of an unbroken run."""
    config = config_of(vectors)
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    distill(config, whole)

    def kill(arm, seed, progress, news):
        if (arm, seed, progress.step) == ("student", 1, 8):
            raise SystemExit(9)

    with pytest.raises(SystemExit):
        distill(config, torn, watch=watching(kill))
    first = (torn / "arms" / "student" / "seed-0" / "result.json").stat().st_mtime_ns
    with pytest.raises(InputError, match="go on with --resume"):
        distill(config, torn)
    steps = []
    seen = watching(lambda arm, seed, progress, news: steps.append((arm, seed, progress.step)))
    distill(config, torn, resume=True, watch=seen)
    assert steps[0] == ("student", 1, 8)  # the checkpoint is that of step 7
    assert (torn / "arms" / "student" / "seed-0" / "result.json").stat().st_mtime_ns == first
    for arm, seed in (("student", 1), ("random-projection", 1)):
        assert result(torn, arm, seed)["metrics"] == result(whole, arm, seed)["metrics"]


def test_a_run_may_grow_and_not_change(vectors, tmp_path):
    """More seeds and controls are added; another lesson under the same name would mix two runs."""
    small = config_of(vectors, seeds=1, anchors=["pca"])
    distill(small, tmp_path / "run")
    more = config_of(
        vectors, seeds=2, anchors=["pca", "truncation"], frontier=[3.0], text={**HASHED, "strengths": [1.0]}
    )
    summary = distill(more, tmp_path / "run", resume=True)
    assert list(summary["arms"]) == ["student", "near-3", "text", "pca", "truncation"]
    with pytest.raises(InputError, match=r"lesson.perplexity: was 5.0, is 6.0"):
        distill(config_of(vectors, lesson={"perplexity": 6.0}), tmp_path / "run", resume=True)


def test_other_vectors_under_the_same_path_are_noticed(tmp_path):
    """They would be judged beside students that never saw them."""
    path = write_vectors(tmp_path / "x.npz", rows=300)
    config = config_of(path, seeds=1)
    distill(config, tmp_path / "run")
    write_vectors(path, rows=300, seed=1)
    with pytest.raises(InputError, match="--resume needs the data of the run: sha256 was"):
        distill(config, tmp_path / "run", resume=True)


def test_a_run_is_not_judged_on_a_file_that_changed_its_rows(tmp_path):
    """Split again, its test rows would hold rows that the student was trained on."""
    path = write_vectors(tmp_path / "x.npz", rows=300)
    distill(config_of(path, seeds=1), tmp_path / "run")
    write_vectors(path, rows=250)
    with pytest.raises(InputError, match="is not what the run in"):
        evaluate(tmp_path / "run")


def test_a_file_that_shrinks_in_a_run_is_an_error(tmp_path):
    """Not a crash, and not a student of half of the rows."""
    x = np.load(write_vectors(tmp_path / "x.npz", rows=300))["embeddings"]
    np.save(tmp_path / "x.npy", x)
    config = config_of(tmp_path / "x.npy", data={"texts_key": None, "labels_key": None}, seeds=1)

    def cut(arm, seed, progress, news):
        if progress.step == 3:
            with (tmp_path / "x.npy").open("r+b") as file:
                file.truncate(5000)

    with pytest.raises(InputError, match="expected the file that was opened"):
        distill(config, tmp_path / "run", watch=watching(cut))


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
        lesson={"epoch_steps": 40, "pole_weight": 5.0},
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
        ({"config": {"lesson": {"perplexity": 40.0}}}, "perplexity: expected below half of a batch"),
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


def test_zero_rows_are_left_out_and_counted(tmp_path):
    """They have no direction; the report says how many."""
    path = write_vectors(tmp_path / "x.npz", rows=300)
    x = np.load(path)["embeddings"]
    x[[3, 50, 77]] = 0
    write_vectors(path, rows=300, embeddings=x)
    distill(config_of(path, seeds=1, anchors=["pca"]), tmp_path / "run")
    assert read_json(tmp_path / "run" / "run.json")["data"]["zero_rows"] == 3
    assert "3 zero" in (tmp_path / "run" / "report.html").read_text()


def test_a_missing_package_is_told_before_training(vectors, tmp_path, monkeypatch):
    """Found out at the end, the hours before it would seem lost."""
    monkeypatch.setattr(family_module, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="'umap' needs a package that is not installed: pip install"):
        distill(config_of(vectors, anchors=["umap"]), tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"anchors": ["pca", "pca"]}, "expected each once"),
        ({"frontier": [1.0, -1.0]}, "different weights from 0"),
        ({"frontier": [0.0], "lesson": {"global_weight": 0.0}}, "nothing is left to learn"),
        ({"poles_file": "p.csv"}, "expected student.axes with it"),
        ({"lesson": {"tau": [0.5]}}, "take student.output: sphere"),
        ({"training": {"precision": "bf16-mixed"}}, "expected '32-true'"),
        ({"training": {"label_smoothing": 0.1}}, "label_smoothing"),
    ],
)
def test_settings_without_sense_are_refused(change, message):
    """By name, before data are opened."""
    with pytest.raises(ValueError, match=message):
        config_of("x.npy", **change)


def test_a_plan_counts_its_trainings():
    """The bar of the command line would end too early or never."""
    config = config_of("x.npz", frontier=[0.0, 1.0], text=HASHED, anchors=["pca", "umap"], seeds=4)
    assert isinstance(config, EmbedRunConfig)
    assert (config.fits, list(config.trained)) == (4 + 1 + 4 + 1 + 4, ["student", "near-0"])
    assert config.training.precision == "32-true"


def test_the_report_shows_near_and_far_and_needs_nothing_from_outside(finished, tmp_path):
    """Every arm is a point of one plot, and both tables have it."""
    out, _ = finished
    page = (out / "report.html").read_text()
    for words in ("Local against global quality", "random projection", "neighbor weight 0", "text student", "Spearman"):
        assert words in page
    assert page.count("<svg") == 4  # frontier, curves, differences, losses
    assert "http" not in page.replace("http://www.w3.org", "")
    with pytest.raises(InputError, match="is not a run folder"):
        write_page(FAMILY, tmp_path)


def test_an_unfinished_run_has_a_report_that_says_so(finished, tmp_path):
    """A page of a run that was killed is asked for most."""
    (tmp_path / "run.json").write_text((finished[0] / "run.json").read_text())
    assert "not finished" in write_page(FAMILY, tmp_path).read_text()
