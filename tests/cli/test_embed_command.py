"""`stillhouse embed`: it teaches, takes documented names, says plainly what is wrong, and its pieces fit each other."""

import base64
import json

import numpy as np
import pytest

from stillhouse.cli.main import main
from stillhouse.tasks.embed.recipes import RECIPES, load_embedding

TINY = ["--epochs", "1", "--batch-size", "48", "--seeds", "1", "--device", "cpu", "--threads", "1", "--quiet"]
TINY += ["loss.epoch_steps=4", "loss.perplexity=5", "loss.anchors=8", "student.hidden=[8, 8]"]
TINY += ["student.levels=[5, 25]", "anchors=[pca]", "data.texts=texts"]


def said(capsys, *words):
    status = main(["embed", *map(str, words)])
    captured = capsys.readouterr()
    return status, captured.out + captured.err


def printed(capsys, *words):
    """The configuration that the words mean."""
    import yaml

    status, text = said(capsys, "distill", *words, "--print-config")
    assert status == 0, text
    return yaml.safe_load(text)


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    rng = np.random.default_rng(0)
    label = rng.integers(9, size=300)
    x = rng.normal(size=(9, 16))[label] + 0.4 * rng.normal(size=(300, 16))
    texts = np.array([f"word{k} in row {n}" for n, k in enumerate(label)])
    path = tmp_path_factory.mktemp("vectors") / "x.npz"
    np.savez(path, embeddings=x.astype(np.float32), texts=texts, few=x[:2].astype(np.float32))
    return path


@pytest.fixture(scope="module")
def run(vectors, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "one"
    assert main(["embed", "distill", str(vectors), "--out", str(out), *TINY]) == 0
    return out


def test_documented_names_mean_ours(capsys):
    """With underscores and with dashes; a temperature compares directions."""
    words = [
        "--teacher_checkpoint=t.npy",
        "--teacher_dim",
        "1536",
        "--student_dim",
        "4",
        "--alpha",
        "0.7",
        "--max_epochs",
        "9",
    ]
    words += [
        "--validation-split",
        "0.2",
        "--early_stopping_patience",
        "3",
        "--batch_size",
        "32",
        "--learning_rate",
        "1e-4",
    ]
    found = printed(capsys, *words, "--curriculum", "--curriculum_stages", "3", "--curriculum_tau_schedule", "4.0,0.5")
    assert (found["data"]["path"], found["teacher_dim"], found["student"]["levels"]) == ("t.npy", 1536, [4])
    assert (found["loss"]["neighbor_weight"], found["loss"]["reconstruction_weight"]) == (0.7, 0.3)
    assert (found["loss"]["tau"], found["student"]["output"]) == ([4.0, 2.25, 0.5], "sphere")
    training = found["training"]
    assert (training["epochs"], training["patience"], training["batch_size"]) == (9, 3, 32)
    assert (training["learning_rate"], found["data"]["validation_fraction"]) == (1e-4, 0.2)
    dashed = [word.replace("_", "-") for word in words]
    again = printed(capsys, *dashed, "--curriculum", "--curriculum-stages=3", "--curriculum-tau-schedule", "4.0", "0.5")
    assert again == found


def test_a_file_starts_from_a_recipe_and_flags_come_after_it(tmp_path, capsys):
    """File, then KEY=VALUE, then flags."""
    (tmp_path / "mine.yaml").write_text("recipe: embedding-tree\nname: mine\ndata: {path: x.npy}\nseeds: 5\n")
    found = printed(capsys, tmp_path / "mine.yaml", "loss.noise=0.2", "--seeds", "4")
    assert (found["name"], found["student"]["levels"], found["seeds"]) == ("mine", [5, 25, 125], 4)
    assert found["loss"]["noise"] == 0.2


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_a_run(name):
    """With the controls that a student is held against."""
    config = load_embedding("x.npy", recipe=name)
    assert config.student.levels[0] == 5
    assert {"pca", "random-projection"} <= set(config.anchors)


def test_the_page_holds_the_test_rows_with_texts_and_neighbours(run, vectors, tmp_path, capsys):
    """What the browser tests look at is what the command writes."""
    assert said(capsys, "explore", run, "--out", tmp_path / "page.html")[0] == 0
    page = (tmp_path / "page.html").read_text()
    held = json.loads(page.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    sizes = json.loads((run / "run.json").read_text())["data"]["sizes"]
    assert (held["rows"], held["width"], held["teacher"]["k"], held["student"]["k"]) == (sizes["test"], 5, 10, 10)
    assert held["texts"][0].startswith("word")
    numbers = np.frombuffer(base64.b64decode(held["numbers"]), "<f8").astype(int)
    assert [text.rpartition(" ")[2] for text in held["texts"]] == [str(number) for number in numbers]  # as in the file
    assert held["numbers_of"] == "x.npz"
    assert "<span>10 nearest kept" in page
    assert said(capsys, "explore", run / "student", "--vectors", vectors, "--key", "embeddings", "--limit", 40)[0] == 0
    assert " 40 rows" in (run / "student" / "explorer.html").read_text()
