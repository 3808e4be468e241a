"""`stillhouse embed`: it teaches, takes documented names, says plainly what is wrong, and its pieces fit each other."""

import base64
import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from stillhouse.families.embed.corpus import gather

from stillhouse.cli.main import main
from stillhouse.core.flags import flags
from stillhouse.families.embed.commands import COMMANDS
from stillhouse.families.embed.export.numpy_embedder import NumpyEmbedder
from stillhouse.families.embed.flags import SHORT
from stillhouse.families.embed.recipes import EMBEDDING_RECIPES, load_embedding

TINY = [
    "--epochs",
    "1",
    "--epoch-steps",
    "4",
    "--batch-size",
    "48",
    "--perplexity",
    "5",
    "--hidden",
    "8,8",
    "--seeds",
    "1",
]
TINY += [
    "--levels",
    "5,25",
    "--anchors",
    "pca",
    "--lesson-anchors",
    "8",
    "--device",
    "cpu",
    "--threads",
    "1",
    "--quiet",
]
TEXT = ["--student", "text", "--set", "text.features=4096", "--texts-key", "texts"]


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
    assert main(["embed", "distill", str(vectors), "--out", str(out), *TINY, *TEXT]) == 0
    return out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches(command, capsys):
    """And names itself, so that a copied line can be found again."""
    assert main(["embed", command, "--help"]) == 0
    assert f"stillhouse embed {command}" in capsys.readouterr().out


def test_the_family_lists_its_commands(capsys):
    """With and without --help; an unknown one is an error that names the near one."""
    assert main(["embed", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in COMMANDS)
    assert said(capsys)[0] == 2
    status, text = said(capsys, "explor")
    assert (status, "did you mean 'explore'" in text) == (2, True)


def test_help_needs_no_torch():
    """It is for looking, at once."""
    code = "import sys; sys.modules['torch'] = None; from stillhouse.cli.main import main; "
    code += "sys.exit(main(['embed', 'distill', '--help']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--neighbor-weight" in done.stdout


def test_print_config_shows_what_a_file_means(capsys):
    """With the changes of the command line in it."""
    assert said(capsys, "distill", "x.npy", "--print-config")[0] == 0


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
    assert (found["lesson"]["neighbor_weight"], found["lesson"]["reconstruction_weight"]) == (0.7, 0.3)
    assert (found["lesson"]["tau"], found["student"]["output"]) == ([4.0, 2.25, 0.5], "sphere")
    training = found["training"]
    assert (training["epochs"], training["patience"], training["batch_size"]) == (9, 3, 32)
    assert (training["learning_rate"], found["data"]["validation_fraction"]) == (1e-4, 0.2)
    dashed = [word.replace("_", "-") for word in words]
    again = printed(capsys, *dashed, "--curriculum", "--curriculum-stages=3", "--curriculum-tau-schedule", "4.0", "0.5")
    assert again == found


def test_a_file_of_documented_settings_is_read(tmp_path, capsys):
    """As `DistillationConfig.to_dict` writes it."""
    from stillhouse.families.embed.documented import CURRICULUM_CONFIG

    path = tmp_path / "documented.json"
    settings = CURRICULUM_CONFIG.replace(teacher_checkpoint="t.npy").to_dict()
    path.write_text(json.dumps(settings))
    found = printed(capsys, path)
    assert found["lesson"]["tau"] == [4.0, 3.125, 2.25, 1.375, 0.5]
    assert (found["training"]["epochs"], found["teacher_dim"]) == (100, 1536)


def test_short_flags_are_the_vector_students(capsys):
    """A short flag that names two settings would change the wrong one."""
    found = printed(capsys, "x.npy", "--epochs", "7", "--neighbor-weight", "2", "--hidden", "8,4", "--noise", "0.1")
    assert (found["training"]["epochs"], found["lesson"]["neighbor_weight"]) == (7, 2)
    assert (found["student"]["hidden"], found["lesson"]["noise"], found["text"]) == ([8, 4], 0.1, None)
    names = {flag.name for flag in flags(load_embedding("x.npy"))}
    assert {f"--{full}" for full in SHORT.values()} <= names


def test_a_file_starts_from_a_recipe_and_flags_come_after_it(tmp_path, capsys):
    """File, then --set, then flags."""
    (tmp_path / "mine.yaml").write_text("recipe: embedding-tree\nname: mine\ndata: {path: x.npy}\nseeds: 5\n")
    found = printed(capsys, tmp_path / "mine.yaml", "--set", "lesson.noise=0.2", "--seeds", "4")
    assert (found["name"], found["student"]["levels"], found["seeds"]) == ("mine", [5, 25, 125], 4)
    assert found["lesson"]["noise"] == 0.2


@pytest.mark.parametrize("name", EMBEDDING_RECIPES)
def test_every_recipe_is_a_run(name):
    """With the controls that a student is held against."""
    config = load_embedding("x.npy", recipe=name)
    assert config.student.levels[0] == 5
    assert {"pca", "random-projection"} <= set(config.anchors)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["distill"], "which recipe?"),
        (["distill", "x.npy", "--perplexty", "3"], "did you mean '--perplexity'"),
        (["distill", "x.npy", "--recipe", "embeding"], "did you mean 'embedding'"),
        (["distill", "x.npy", "--alpha", "1.5"], "alpha must be in [0, 1], got 1.5"),
        (["distill", "x.npy", "--alpha"], "--alpha: expected a value"),
        (
            ["distill", "x.npy", "--curriculum", "--schedule-type", "sine"],
            "schedule_type must be 'linear', 'exponential'",
        ),
        (["distill", "x.npy", "--curriculum-stages", "3"], "does nothing without curriculum"),
        (["distill", "x.npy", "--student_dim", "five"], "student_dim: expected a whole number, got 'five'"),
        (["distill", "x.npy", "--curriculum", "--curriculum_tau_schedule", "4,x"], "expected a number, got 'x'"),
        (["distill", "x.npy", "--tau", "0"], "tau must be positive"),
        (["distill", "x.npy", "--levels", "0"], "levels: expected numbers above 0"),
        (["distill", "x.npy", "--anchors", "isomap"], "anchors"),
        (["distill", "nothing.yaml"], "cannot read the recipe file"),
        (["distill", "nothing.npy", "--quiet"], "expected a file of vectors or a capture folder, got nothing there"),
        (["evaluate", "nowhere"], "nowhere: there is no such file or folder"),
        (["evaluate", "."], "expected the folder of a student"),
        (["capture", "nothing.txt", "--model", "m", "--out", "o"], "nothing.txt: there is no such file or folder"),
        (["capture", "a.txt", "nothing.txt", "--model", "m", "--out", "o"], "cannot read nothing.txt"),
        (["capture", "a.csv:", "--model", "m", "--out", "o"], "expected PATH:COLUMNS"),
        (["capture", "a.txt", "--out", "o"], "required: --model"),
    ],
)
def test_faults_are_said_in_a_line(words, message, capsys, tmp_path, monkeypatch):
    """With the near name or the place, and status 2."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("one text\n")
    for name in ("x.npy", "a.csv"):
        (tmp_path / name).touch()
    status, text = said(capsys, *words)
    assert (status, message in text) == (2, True), text
    assert "Traceback" not in text


def test_pickles_and_empty_files_are_refused(tmp_path, capsys):
    """By the command too, not by the reader alone."""
    import torch

    torch.save({"embeddings": torch.ones(4, 8), "code": print}, tmp_path / "code.pt")
    (tmp_path / "empty.npy").write_bytes(b"")
    for name, message in (("code.pt", "pickle"), ("empty.npy", "got an empty file")):
        status, text = said(capsys, "distill", tmp_path / name, "--out", tmp_path / "run", "--quiet")
        assert (status, message in text) == (2, True), text


def test_texts_of_several_files_are_taken_once(tmp_path):
    """Case and white space make no other text: a lower-case model would see it again in the test split."""
    (tmp_path / "a.txt").write_text("One text.\nTwo  texts.\n")
    (tmp_path / "b.csv").write_text("ONE TEXT.,Three.\n")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.txt").write_text("Four.\n")
    texts, names = gather([str(tmp_path / "a.txt"), f"{tmp_path / 'b.csv'}:0,1", str(tmp_path / "more" / "a.txt")])
    assert texts == ["One text.", "Two texts.", "Three.", "Four."]
    assert names == [f"{tmp_path.name}/a", f"{tmp_path.name}/a", "b", "more/a"]


def test_a_run_prints_its_verdict_and_evaluates_again_to_the_same(run, capsys):
    """`evaluate` on the run's own test rows must say what the run said."""
    status, text = said(capsys, "evaluate", run, "--json")
    assert status == 0
    found = json.loads(text)["methods"]
    summary = json.loads((run / "summary.json").read_text())["arms"]
    for name, arm in (("student", "student"), ("pca", "pca")):
        assert found[name]["local"]["trustworthiness"] == pytest.approx(
            summary[arm]["trustworthiness"]["mean"], abs=1e-5
        )
        assert found[name]["global"]["spearman"] == pytest.approx(summary[arm]["spearman"]["mean"], abs=1e-4)
    assert "10-NN kept" in said(capsys, "evaluate", run)[1]


def test_codes_are_written_in_three_forms(run, vectors, tmp_path, capsys):
    """The same numbers, with texts where the form has room."""
    for name in ("z.npy", "z.csv", "z.jsonl"):
        assert said(capsys, "encode", run, vectors, "--key", "embeddings", "--out", tmp_path / name)[0] == 0
    codes = np.load(tmp_path / "z.npy")
    expected = NumpyEmbedder.load(run / "student").encode(np.load(vectors)["embeddings"])
    np.testing.assert_array_equal(codes, expected)
    rows = list(csv.reader((tmp_path / "z.csv").open()))
    assert (len(rows), rows[0][0]) == (301, "z1")
    np.testing.assert_allclose([float(value) for value in rows[1]], codes[0], rtol=1e-5)
    line = json.loads((tmp_path / "z.jsonl").read_text().splitlines()[0])
    np.testing.assert_allclose(line["code"], codes[0], atol=1e-5)
    assert (
        said(capsys, "encode", run, vectors, "--key", "embeddings", "--level", 1, "--out", tmp_path / "one.npy")[0] == 0
    )
    np.testing.assert_array_equal(np.load(tmp_path / "one.npy"), codes[:, :5])
    status, text = said(capsys, "encode", run, vectors, "--key", "embeddings", "--out", tmp_path / "z.xlsx")
    assert (status, "ends in .npy, .csv or .jsonl" in text) == (2, True)


def test_a_text_student_needs_texts_alone_and_a_vector_student_says_so(run, tmp_path, capsys):
    """No teacher, no vectors."""
    (tmp_path / "t.txt").write_text("word3 in row 2000\nword4\n")
    assert said(capsys, "encode", run / "text-student", tmp_path / "t.txt", "--out", tmp_path / "t.csv")[0] == 0
    rows = list(csv.reader((tmp_path / "t.csv").open()))
    assert (rows[1][-1], rows[0][-1], len(rows)) == ("word3 in row 2000", "text", 3)
    status, text = said(capsys, "encode", run, tmp_path / "t.txt", "--out", tmp_path / "u.csv")
    assert (status, "give --teacher MODEL" in text) == (2, True)
    status, text = said(capsys, "export", run / "text-student", "--out", tmp_path / "out")
    assert (status, "copy the folder" in text) == (2, True)


def test_the_page_holds_the_test_rows_with_texts_and_neighbours(run, tmp_path, capsys):
    """What the browser tests look at is what the command writes."""
    assert said(capsys, "explore", run, "--out", tmp_path / "page.html", "--neighbors", 5)[0] == 0
    page = (tmp_path / "page.html").read_text()
    held = json.loads(page.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    sizes = json.loads((run / "run.json").read_text())["data"]["sizes"]
    assert (held["rows"], held["width"], held["teacher"]["k"], held["student"]["k"]) == (sizes["test"], 5, 5, 5)
    assert held["texts"][0].startswith("word")
    numbers = np.frombuffer(base64.b64decode(held["numbers"]), "<f8").astype(int)
    assert [text.rpartition(" ")[2] for text in held["texts"]] == [str(number) for number in numbers]  # as in the file
    assert held["numbers_of"] == "x.npz"
    assert said(capsys, "explore", run, "--out", tmp_path / "all.html", "--all")[0] == 0
    assert "<b>300</b><span>rows" in (tmp_path / "all.html").read_text()


def test_an_export_is_used_without_this_library(run, vectors, tmp_path, capsys):
    """numpy alone, from the command's folder."""
    status, text = said(capsys, "export", run, "--out", tmp_path / "out", "--no-onnx")
    assert (status, "embedder.py" in text) == (0, True)
    x = np.load(vectors)["embeddings"]
    np.save(tmp_path / "x.npy", x)
    code = "import sys; sys.modules['stillhouse'] = None; import runpy; sys.argv = sys.argv[1:]; "
    code += "runpy.run_path(sys.argv[0], run_name='__main__')"
    words = [
        sys.executable,
        "-c",
        code,
        str(tmp_path / "out" / "embedder.py"),
        str(tmp_path / "x.npy"),
        str(tmp_path / "z.npy"),
    ]
    subprocess.run(words, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "z.npy"), NumpyEmbedder.load(run / "student").encode(x), atol=1e-6)


def test_vectors_of_another_width_are_refused(run, tmp_path, capsys):
    """By every command that takes vectors."""
    np.save(tmp_path / "x.npy", np.ones((30, 8), np.float32))
    for words in (
        ["evaluate", run, "--vectors", tmp_path / "x.npy"],
        ["explore", run, "--vectors", tmp_path / "x.npy"],
    ):
        status, text = said(capsys, *words)
        assert (status, "expected vectors of width 16, as the student was taught, got 8" in text) == (2, True)
    status, text = said(capsys, "encode", run, tmp_path / "x.npy", "--out", tmp_path / "z.npy")
    assert (status, "got 8" in text) == (2, True)


def test_cache_of_vectors_says_what_to_do_instead(tmp_path, capsys):
    """There is nobody to ask: the vectors are the answers; it was "no teacher whose answers could be kept"."""
    np.save(tmp_path / "v.npy", np.random.default_rng(0).normal(size=(400, 16)).astype(np.float32))
    (tmp_path / "mine.yaml").write_text(f"data: {{path: {tmp_path / 'v.npy'}}}\n")
    assert main(["cache", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "c")]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("stillhouse cache:")]
    assert len(lines) == 1
    assert "stillhouse distill" in lines[0]
    assert "stillhouse embed capture" in lines[0]
    assert not (tmp_path / "c").exists()
