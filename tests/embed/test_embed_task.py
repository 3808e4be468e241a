"""Embeddings as a task of the shared run: noise is refused, signals teach, files are what was written."""

import json
import shutil

import numpy as np
import pytest
import torch
from embed_tiny import TINY, config_of, distill

from stillhouse.cli.main import main
from stillhouse.core import records
from stillhouse.core.checks import InputError
from stillhouse.core.config import merge, parse, to_mapping
from stillhouse.core.records import read_json, read_records
from stillhouse.tasks.embed.config import EmbedRunConfig
from stillhouse.tasks.embed.documented import DOCUMENTED, PRESET_KEYS, PRESETS, documented
from stillhouse.tasks.embed.network import load_embedder
from stillhouse.tasks.embed.numpy_embedder import NumpyEmbedder
from stillhouse.tasks.embed.recipes import RECIPES, load_embedding
from stillhouse.tasks.embed.task import TASK, VectorTeacher

RELATION = {"kind": "relations", "student": "code", "teacher": "vector", "relation": "rkd-distance"}


# ------------------------------------------------------------------------------------------------------- noise


def graded(x, tmp_path, **loss):
    np.save(tmp_path / "x.npy", x.astype(np.float32))
    plan = {"data": {"path": str(tmp_path / "x.npy"), "test_fraction": 0.12}, "loss": loss}
    config = parse(EmbedRunConfig, plan)
    data = TASK.data(config, lambda line: None)
    return TASK.teacher_check(TASK.teachers(config, data, None, lambda line: None)[0], config, data)


@pytest.mark.parametrize(("rows", "width"), [(3000, 1536), (3000, 64), (900, 256), (200, 8)])
def test_vectors_that_are_noise_are_refused(rows, width, tmp_path):
    """Of 3000 x 1536 normal numbers a run said `helps`; in 8 numbers of noise five keep half of all neighbours."""
    found = graded(np.random.default_rng(1).normal(size=(rows, width)), tmp_path)
    assert not found.ready, found.describe()
    # five numbers of noise are a projection onto random axes, whichever they are
    assert found.score == pytest.approx(found.chance, abs=0.06)


def test_clusters_in_order_are_not_noise(tmp_path):
    """Sixty of 2 400 rows are judged: the first ones would be of one cluster, whose rows differ by noise alone."""
    rng = np.random.default_rng(0)
    x = 3 * np.repeat(rng.normal(size=(12, 32)), 200, axis=0) + rng.normal(size=(2400, 32))
    found = graded(x, tmp_path, validation_rows=60)
    assert found.facts["rows"] == 60
    assert found.ready, found.describe()


# ------------------------------------------------------------------------------------------------------- signals


def tiny(vectors, **changes):
    return config_of(vectors, **{"seeds": 1, "anchors": [], "student": {"levels": [3]}, **changes})


def test_an_assistant_teaches_by_its_codes(vectors, tmp_path, monkeypatch):
    """The vectors teach the wide one, its codes the narrow one."""
    heard = []
    call = VectorTeacher.__call__

    def watched(self, batch):
        out = call(self, batch)
        if self.student is not None:
            heard.append((self.student.config.levels, batch.index[:3], out.features["vector"][:3]))
        return out

    monkeypatch.setattr(VectorTeacher, "__call__", watched)
    config = tiny(
        vectors, signals=[RELATION], teacher_assistants=[{"hidden": [16, 8], "levels": [9]}], training={"epochs": 1}
    )
    distill(config, tmp_path / "run")
    arm = tmp_path / "run" / "arms" / "student" / "seed-0"
    wide = load_embedder(arm / "assistant-0")
    assert (wide.config.levels, load_embedder(arm).config.levels) == ((9,), (3,))
    assert len(heard) == config.loss.epoch_steps
    data = TASK.data(config, lambda line: None)
    levels, index, codes = heard[-1]
    assert levels == (9,)
    torch.testing.assert_close(codes, torch.from_numpy(wide.encode(data.train(index).numpy())), atol=1e-4, rtol=1e-4)


# ------------------------------------------------------------------------------------------------------- files


def flip(path):
    """One bit in the middle of the last third, where weights are."""
    raw = bytearray(path.read_bytes())
    raw[-len(raw) // 3] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("folder", "file", "load"),
    [
        ("student", "student.safetensors", load_embedder),
        ("student", "student.safetensors", NumpyEmbedder.load),
        ("student", "student.safetensors", TASK.load),
        ("arms/student/seed-1", "student.safetensors", load_embedder),
    ],
)
def test_a_flipped_bit_is_an_error_and_nothing_else_is(folder, file, load, finished, tmp_path):
    """Every student of a run is read; with one bit of a weight or one figure of a card changed it is not."""
    place = tmp_path / "copy"
    shutil.copytree(finished[0] / folder, place)
    load(place)
    card = json.loads((place / "card.json").read_text())
    (place / "card.json").write_text(json.dumps({**card, "metrics": {"spearman": 0.99}}))
    with pytest.raises(InputError, match=r"card.json was changed after it was written"):
        load(place)
    (place / "card.json").write_text(json.dumps({k: v for k, v in card.items() if k != "sha256"}))
    with pytest.raises(InputError, match="sha256"):
        load(place)
    (place / "card.json").write_text(json.dumps(card))
    load(place)
    flip(place / file)
    with pytest.raises(InputError, match=rf"{file} was changed after it was written"):
        load(place)


# ------------------------------------------------------------------------------------------------------- flags


def test_curriculum_false_is_off(tmp_path, capsys, monkeypatch):
    """It turned the curriculum on."""
    import yaml

    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.zeros((4, 4), np.float32))  # that it is there is seen first

    def tau(*words):
        assert main(["embed", "distill", "x.npy", *words, "--print-config"]) == 0
        return yaml.safe_load(capsys.readouterr().out)["loss"]["tau"]

    assert len(tau("--curriculum")) == len(tau("--curriculum=true")) == len(tau("--curriculum", "true")) == 3
    assert tau("--curriculum=false") == tau("--curriculum", "false") == []
    assert main(["embed", "distill", "x.npy", "--curriculum=off-and-on"]) == 2


# ---------------------------------------------------------------------------------------------------- length of vectors


def _lengths(path, *, unit=False):
    """Rows of few directions whose length tells four groups apart."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 3)) @ rng.normal(size=(3, 12)) + 0.05 * rng.normal(size=(600, 12))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    if not unit:
        x *= rng.choice([1.0, 3.0, 9.0, 27.0], size=(600, 1))
    np.save(path, x.astype(np.float32))
    return path


@pytest.mark.parametrize(("unit", "given", "kept"), [(True, None, False), (False, None, True), (False, True, False)])
def test_lengths_are_kept_where_they_differ_and_judged_by(unit, given, kept, tmp_path):
    """By scikit-learn's neighbours of the rows as they are, or of their directions."""
    from sklearn.neighbors import NearestNeighbors

    path = _lengths(tmp_path / "x.npy", unit=unit)
    config = parse(
        EmbedRunConfig,
        merge(TINY, {"data": {"path": str(path)}, "student": {"normalize": given}, "seeds": 1, "anchors": ["pca"]}),
    )
    distill(config, tmp_path / "run")
    data = config.data.build()
    x = data.store.read(data.test)
    x = x if kept else x / np.linalg.norm(x, axis=1, keepdims=True)
    assert read_json(tmp_path / "run" / "student" / "card.json")["normalize"] is not kept
    for arm in ("student", "pca"):
        place = tmp_path / "run" / "arms" / arm / "seed-0"
        with np.load(place / "codes.npz") as codes:
            sides = [x, codes["test"][:, :3]]
        near = [NearestNeighbors(n_neighbors=11).fit(s).kneighbors(s, return_distance=False)[:, 1:] for s in sides]
        share = np.mean([len({*a} & {*b}) / 10 for a, b in zip(*near)])
        assert read_json(place / "result.json")["metrics"]["knn_overlap@10"] == pytest.approx(share, abs=0.005)


# ------------------------------------------------------------------------------------------- documented settings


def test_a_preset_is_a_recipe(capsys):
    """They were names that `embed distill` did not know; what is given on top changes one setting, not the whole."""
    import yaml

    def printed(*words):
        assert main(["embed", "distill", "x.npy", *words, "--print-config"]) == 0
        return yaml.safe_load(capsys.readouterr().out)

    found = printed("--recipe", "embedding-documented-curriculum")
    assert (found["loss"]["tau"], found["loss"]["neighbor_weight"]) == ([4.0, 3.125, 2.25, 1.375, 0.5], 0.7)
    assert (found["training"]["epochs"], found["loss"]["epoch_steps"]) == (100, "pass")
    fewer = printed("--recipe", "embedding-documented-curriculum", "--curriculum_stages", "3")
    assert fewer["loss"].pop("tau") == [4.0, 2.25, 0.5]
    found["loss"].pop("tau")
    assert fewer == found
    fast = printed("--recipe", "embedding-documented-fast", "--batch-size", "16")
    assert (fast["loss"]["tau"], fast["training"]["batch_size"], fast["training"]["epochs"]) == ([0.5], 16, 20)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_in_its_file_what_the_document_says(name):
    """The file is written by hand: each of its settings is the documented one carried over, and there are no others."""
    assert {"tau", "alpha", "batch_size"} <= PRESET_KEYS <= DOCUMENTED
    said = {key: value for key, value in to_mapping(PRESETS[name]).items() if key in PRESET_KEYS}
    whole = merge(to_mapping(RECIPES["embedding"]()), {**documented(said), "name": name})
    assert RECIPES[name]() == parse(EmbedRunConfig, whole)


@pytest.mark.parametrize(("rows", "steps"), [(64, 2), (65, 3), (66, 3)])
def test_an_epoch_is_a_pass(vectors, tmp_path, rows, steps):
    """Epochs were 50 steps whatever the rows; N mod 32 of 1 and 2 left a batch in which nobody has neighbors."""
    x = np.load(vectors)["embeddings"][: rows + 60]
    np.save(tmp_path / "x.npy", x)
    config = load_embedding(
        str(tmp_path / "x.npy"),
        [*("training.epochs=1", "anchors=[]", "seeds=1", "student.hidden=[8,8]", "training.threads=1", "teacher_dim=16"),
         f"data.test_fraction={30 / len(x)}", f"data.validation_fraction={30 / len(x)}"],
        recipe="embedding-documented",
    )  # fmt: skip
    distill(config, tmp_path / "run", force=True)
    sizes = json.loads((tmp_path / "run" / "run.json").read_text())["data"]["sizes"]
    assert sizes["train"] == rows
    lines = list(read_records(tmp_path / "run" / "arms" / "student" / "seed-0" / records.RECORDS))
    assert max(line["step"] for line in lines) == steps


def test_scores_of_classes_are_distilled_by_kl(tmp_path):
    """`loss_type: kl`: the KL of document 004 falls; by hand at tau 2."""
    rng = np.random.default_rng(0)
    logits = (3 * rng.normal(size=(400, 4))).astype(np.float32)
    np.save(tmp_path / "x.npy", logits)
    change = documented({"loss_type": "kl", "student_dim": 4, "tau": 2.0, "max_epochs": 6, "batch_size": 32})
    loop = {"learning_rate": 5e-3, "threads": 1, "device": "cpu"}
    plan = merge(change, {"data": {"path": str(tmp_path / "x.npy")}, "training": loop, "seeds": 1, "anchors": []})
    plan = merge(plan, {"student": {"hidden": [16, 16]}, "loss": {"noise": 0.0, "anchors": 0}})
    distill(parse(EmbedRunConfig, plan), tmp_path / "run", force=True)
    from scipy.special import log_softmax, softmax

    arm = tmp_path / "run" / "arms" / "student" / "seed-0"
    values = [
        line["terms"]["classes"] for line in read_records(arm / records.RECORDS) if "classes" in line.get("terms", {})
    ]
    assert values[-1] < 0.5 * values[0]
    student = load_embedder(arm)
    codes = student.encode(logits)
    p, log_q = softmax(logits / 2, axis=1), log_softmax(codes / 2, axis=1)
    kl = 4 * (p * (log_softmax(logits / 2, axis=1) - log_q)).sum(1).mean()
    assert kl < 0.5 * values[0]
    scored = [line["class_kl"] for line in read_records(arm / records.RECORDS) if line.get("class_kl") is not None]
    assert scored[-1] < 0.5 * scored[0]
    # stops early, as the document has it, by that KL: with a rate of 0 nothing gets better after the first validation
    early = documented({"loss_type": "kl", "student_dim": 4, "max_epochs": 6, "early_stopping_patience": 2})
    still = merge(
        merge(plan, early), {"training": {"learning_rate": 1e-12, "final_learning_rate": 0.0, "warmup_epochs": 0}}
    )
    distill(parse(EmbedRunConfig, still), tmp_path / "still", force=True)
    kept = read_records(tmp_path / "still" / "arms" / "student" / "seed-0" / records.RECORDS)
    assert len([line for line in kept if line.get("class_kl") is not None]) < 6


def test_micro_batches_compare_their_own_rows(vectors, tmp_path):
    """`accumulate` was refused. The terms are those of the parts (tests/training), which need rows to compare."""
    distill(tiny(vectors, training={"accumulate": 4}), tmp_path / "run")
    with pytest.raises(InputError, match="accumulate: expected micro-batches of 4 rows at least"):
        distill(tiny(vectors, training={"accumulate": 32}), tmp_path / "other")


def test_each_temperature_leaves_a_student(vectors, tmp_path):
    """As document 004 advises; they differ, the last is not the best but the last, and each encodes alone."""
    config = tiny(vectors, loss={"tau": [4.0, 0.5, 0.02]}, student={"levels": [3], "output": "sphere"})
    distill(config, tmp_path / "run")
    folders = sorted((tmp_path / "run" / "arms" / "student" / "seed-0" / "stages").iterdir())
    assert [folder.name for folder in folders] == ["tau-1", "tau-2", "tau-3"]
    weights = [load_embedder(folder).w3.detach() for folder in folders]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])
    assert main(["predict", str(folders[0]), str(vectors), "--out", str(tmp_path / "codes.npy")]) == 0
