"""The command line as a user meets it: starts at once, teaches, and says plainly what is wrong."""

import json
import multiprocessing
import os
import signal as signals
import subprocess
import sys
import time

import pytest

from stillhouse.cli.main import main

TINY = ["--epochs", "1", "--seeds", "1", "data.train_limit=40", "data.test_limit=40", "student.embed_dim=16"]
TINY += ["student.clauses=16", "student.depth=1", "--device", "cpu", "--quiet"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Runs go to runs/NAME of the current folder unless told otherwise."""
    monkeypatch.chdir(tmp_path)


def said(capsys, *words):
    status = main([str(w) for w in words])
    captured = capsys.readouterr()
    return status, captured.out + captured.err


def loads(code):
    """Which heavy modules a piece of code loads, in a fresh process."""
    heavy = "('torch', 'timm', 'torchvision', 'lightning_fabric', 'sklearn', 'matplotlib', 'pydantic')"
    script = f"import sys\n{code}\nprint([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.strip().splitlines()[-1]


def test_importing_and_helping_load_nothing_heavy():
    """A help text that takes five seconds is not read."""
    assert loads("import stillhouse") == "[]"
    assert loads("from stillhouse.cli.main import main; main(['--help'])") == "[]"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["distil"], "did you mean 'distill'"),
        (["distill"], "which recipe?"),
        (["distill", "digit"], "did you mean 'digits'"),
        (["distill", "digits", "--epohcs", "3"], "did you mean '--epochs'"),
        (["distill", "digits", "--learning-rat=3"], "did you mean '--learning-rate'"),
        (["distill", "digits", "--epochs", "three"], "training.epochs: expected"),
        (["distill", "digits", "training.epoch=3"], "did you mean 'epochs'"),
        (["distill", "digits", "extra"], "extra"),
        (["distill", "digits", "arms=[kd, nokd]"], "arms"),
        (["distill", "digits", "teacher.source=hub:x"], "timm:"),
        (["distill", "mnist", "data.root=/nowhere", "data.download=false"], "/nowhere (data.root)"),
        (["evaluate", "/nowhere"], "card.json"),
        (["report", "/nowhere"], "run folder"),
        (["check", "digits", "teacher=null", "arms=[no-kd]"], "no teacher"),
    ],
)
def test_mistakes_get_one_clear_message_and_status_2(words, expected, capsys):
    """No traceback, the near word where there is one."""
    status, text = said(capsys, *words)
    assert status == 2
    assert expected in text
    assert "Traceback" not in text


def test_flags_set_and_yaml_give_the_same_configuration(tmp_path, capsys):
    """One schema, three ways in."""
    (tmp_path / "a.yaml").write_text(
        "recipe: digits\nname: digits\ntraining: {epochs: 7}\nstudent: {clauses: 64}\narms: [kd, no-kd]\n"
    )
    ways = [
        ["digits", "--epochs", "7", "student.clauses=64", "arms=[kd, no-kd]"],
        ["student.clauses=64", "digits", "arms=[kd,no-kd]", "training.epochs=7"],
        [tmp_path / "a.yaml"],
        ["digits", "--set", "training.epochs=7", "--set=student.clauses=64", "arms=[kd, no-kd]"],
    ]
    texts = [said(capsys, "distill", *way, "--print-config")[1] for way in ways]
    assert texts[0] == texts[1] == texts[2] == texts[3]
    assert "epochs: 7" in texts[0]


def test_the_path_of_a_user(tmp_path, capsys):
    """distill, evaluate, report and the refusal to overwrite, through the same door as a user."""
    out = tmp_path / "run"
    status, text = said(capsys, "distill", "digits", *TINY, "--out", out)
    assert status == 0, text
    assert "verdict on the teacher: not tested (1 seed; a verdict needs 3)" in text
    status, text = said(capsys, "evaluate", out / "arms" / "kd" / "seed-0")
    assert status == 0
    summary = json.loads((out / "summary.json").read_text())
    assert json.loads(text)["accuracy"] == pytest.approx(summary["arms"]["kd"]["accuracy"]["values"][0])
    (out / "report.html").unlink()
    assert said(capsys, "report", out)[0] == 0
    assert (out / "report.html").is_file()
    status, text = said(capsys, "distill", "digits", *TINY, "--out", out)
    assert (status, "--resume" in text) == (2, True)


def in_a_fork(words, text):
    """Exit with the status of a command; what it prints goes to a file."""
    with open(text, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.stdout = sys.stderr = file
        signals.signal(signals.SIGINT, signals.default_int_handler)
        status = main(list(map(str, words)))
    os._exit(status)


@pytest.mark.slow
@pytest.mark.parametrize("signal", [signals.SIGINT, signals.SIGTERM])
def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path, signal, capfd):
    """A process of its own gets the signal; then --resume finishes the run."""
    words = ["distill", "digits", "--out", tmp_path / "run", "--seeds", "1", "--device", "cpu", "arms=[no-kd]"]
    words += ["--epochs", "40", "data.train_limit=96", "data.test_limit=60", "training.log_every=1", "--quiet"]
    process = multiprocessing.get_context("fork").Process(target=in_a_fork, args=(words, tmp_path / "text"))
    process.start()
    records = tmp_path / "run" / "arms" / "no-kd" / "seed-0" / "records.jsonl"
    deadline = time.monotonic() + 120
    while not (records.is_file() and records.stat().st_size > 300) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal)
    process.join(60)
    assert process.exitcode == 130, (tmp_path / "text").read_text()
    assert "--resume" in (tmp_path / "text").read_text()
    assert not (records.parent / "result.json").is_file()
    assert main([*map(str, words), "--resume"]) == 0
    assert (records.parent / "result.json").is_file()


def test_a_demo_of_pictures_is_the_recipe_of_digits(monkeypatch, tmp_path):
    """Begun once, it goes on."""
    seen = []
    monkeypatch.setattr("stillhouse.cli.runs.distill", lambda words: seen.append(words) or 0)
    out = tmp_path / "demo"
    assert main(["demo", "digits", "--out", str(out)]) == 0
    out.mkdir()
    assert main(["demo", "digits", "--out", str(out), "--seeds", "5"]) == 0
    first = ["digits", "seeds=3", "--out", str(out)]
    assert seen == [first, ["digits", "seeds=5", *first[2:], "--resume"]]
