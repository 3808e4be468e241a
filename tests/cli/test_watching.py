"""What a run shows while it goes on, and what it leaves for TensorBoard."""

import pytest

from stillhouse.cli import show
from stillhouse.cli.main import main
from stillhouse.core.parts import Metric
from stillhouse.core.types import Progress
from stillhouse.report.words import GAP, MINUS, sentence

SMALL = ["training.epochs=2", "seeds=2", "data.train_limit=64", "data.test_limit=60", "training.batch_size=32"]
TINY = ["student.embed_dim=16", "student.clauses=16", "student.depth=1", "training.device=cpu", "arms=[kd,no-kd]"]


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A run off a terminal: its folder and its lines."""
    import contextlib
    import io

    out, lines = tmp_path_factory.mktemp("watched") / "run", io.StringIO()
    with pytest.MonkeyPatch.context() as patched, contextlib.redirect_stdout(lines):
        patched.setattr(show, "LEAST_SECONDS", 0.0)
        # after two epochs clauses decide nothing, and rules are not drawn
        patched.setattr("stillhouse.tasks.classification.rules_file.decides", lambda index: True)
        main(["distill", "digits", "--out", str(out), *SMALL, *TINY])
    return out, lines.getvalue()


def test_each_epoch_has_a_line_off_a_terminal(watched):
    """Which run of how many, which epoch of how many, figures; the last run of all has nothing to go."""
    _, text = watched
    lines = [line for line in text.splitlines() if line.startswith("run ") and "epoch" in line]
    heads = [line.partition(",")[0] for line in lines]
    assert heads == [f"run {n} of 4" for n in (1, 2, 3, 4) for _ in range(2)]
    assert [f"epoch {1 + n % 2} of 2, loss " in line for n, line in enumerate(lines)] == [True] * 8
    assert all("accuracy" in line for line in lines)
    assert [" to go" in line for line in lines] == [True] * 7 + [False]
    ends = [line.partition(", ")[2] for line in text.splitlines() if ", trained " in line]
    assert ends == [f"trained {arm}, seed {seed}" for seed in (0, 1) for arm in ("kd", "no-kd")]


def test_the_end_names_tensorboard_and_the_values_of_two_seeds(watched):
    out, text = watched
    assert f"tensorboard --logdir {out}" in text
    assert "verdict on the teacher: not tested (2 seeds; a verdict needs 3)" in text
    assert "95 % interval" not in text
    assert "each seed" in text


def test_quiet_shows_no_epoch(capsys):
    display = show.RunDisplay(2, quiet=True)
    with display:
        display.on_progress("kd", 0, Progress(1, 2), {"loss": 0.5, "epoch": 1, "epochs": 2})
        display.on_progress("kd", 0, Progress(2, 2), {"loss": 0.5, "epoch": 2, "epochs": 2})
    assert capsys.readouterr().out.splitlines() == ["run 1 of 2, trained kd, seed 0"]


BITS = Metric("bits_per_byte", "bits per byte", "bits per byte", "windows", True, 1.0, 2)


def said(seeds, **arms):
    row = {"name": "teacher", "arm": "kd", "control": "no-kd", "metric": "bits_per_byte", "verdict": "hurts"}
    row |= {"difference": -0.18, "low": -0.2, "high": -0.16, "seeds": seeds, "items": 512}
    found = {
        name: {"bits_per_byte": {"mean": sum(values) / len(values), "values": values}} for name, values in arms.items()
    }
    return sentence(row, found, {"bits_per_byte": BITS}).detail.replace(GAP, " ").replace(MINUS, "-")


def test_more_bits_are_a_cost():
    """Less is better, so a difference below 0 is what the arm costs; two seeds have their values, one is one seed."""
    assert "difference 0.18 bits per byte worse (95 % interval 0.20 worse to 0.16 worse), 3 seeds" in said(
        3, kd=[1.9] * 3, **{"no-kd": [1.72] * 3}
    )
    two = said(2, kd=[1.9, 1.9], **{"no-kd": [1.75, 1.69]})
    assert "difference 0.18 bits per byte worse, 2 seeds" in two
    assert "interval" not in two
    assert "1 seed, 512" in said(1, kd=[1.9], **{"no-kd": [1.72]})


def test_a_key_that_stops_a_command_says_how_to_go_on(monkeypatch, capsys):
    """`interrupted` alone reads as if all were lost; a command that cannot go on promises nothing."""

    def stopped(words):
        raise KeyboardInterrupt

    monkeypatch.setattr("stillhouse.cli.main.run_command", stopped)
    assert main(["embed", "distill", "vectors.npy", "--out", "runs/five"]) == 130
    error = capsys.readouterr().err
    assert "continue with: stillhouse embed distill vectors.npy --out runs/five --resume" in error
    assert main(["predict", "runs/five", "a.png"]) == 130
    assert capsys.readouterr().err == "stillhouse predict: interrupted\n"
