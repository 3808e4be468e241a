"""What a first user runs into: words that mean nothing, arms without a teacher, places not to be written, damaged files."""

import shlex
import time

import numpy as np
import pytest

from stillhouse.cli.main import main
from stillhouse.compat.vision import read
from stillhouse.core.config import ConfigError
from stillhouse.core.records import read_json
from stillhouse.tasks.classification.task import TASK

DIGITS = shlex.split(
    "--dataset digits data.train_limit=160 data.test_limit=40 --device cpu --epochs 2 --transformer-patch 2 "
    "--transformer-d-model 12 --transformer-heads 3 --transformer-layers 1 --transformer-clauses 12 "
    "--transformer-mlp-ratio 2 --threads 1 --quiet"
)


def refused(capsys, *words):
    """What is said, with exit status 2."""
    assert main(["vision", *DIGITS, *words]) == 2
    return capsys.readouterr().err


def test_none_is_a_word_where_it_is_one_of_the_choices():
    """It was read as nothing and refused; nothing is `null`."""
    assert read(["--transformer-ff-gate", "none"])[1].model.transformer.ff_gate == "none"
    assert read(["--tm-prior-template", "none"])[1].prior == "none"
    assert read(["model.transformer.relative_position_type=none"])[1].model.transformer.relative_position_type == "none"
    assert read(["--transformer-clause-bias", "null"])[1].model.transformer.clause_bias_init is None


@pytest.mark.parametrize("source", ["builtin:digits", "ckpt:teacher.safetensors"])
def test_a_teacher_with_its_kind_is_taken_by_either_flag(source):
    assert read(["--distill-teacher-timm", source])[1].teacher.source == source
    assert read(["--distill-teacher-timm", "resnet18"])[1].teacher.source == "timm:resnet18"


@pytest.mark.parametrize("flag", ["--distill-teacher-weight", "--distill-teacher-temp"])
def test_settings_of_no_teacher_are_refused(flag):
    """They changed nothing, or turned a teacher of other data on."""
    with pytest.raises(ConfigError, match="there is no teacher; name one"):
        read([flag, "2"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["arms=[kd, no-kd]"], "'kd' needs at least one signal"),
        (["arms=[clauses-off, mlp]"], "expected 'kd' or 'no-kd'"),
    ],
)
def test_what_would_do_nothing_or_fail_late_is_refused_at_once(words, told, capsys, tmp_path):
    assert told in refused(capsys, "--out", str(tmp_path / "run"), *words)
    assert not (tmp_path / "run").exists()


def test_every_epoch_has_its_losses_and_the_table_the_mean_of_the_seeds(capsys, tmp_path):
    """Epochs shorter than training.log_every=had none; read-outs counted into the loss; validation was the first seed's."""
    started = time.monotonic()
    assert main(["vision", *DIGITS, "--seeds", "2", "arms=[no-kd, mlp]", "--out", str(tmp_path / "run")]) == 0
    took = time.monotonic() - started
    found = read_json(tmp_path / "run" / "results.json")["models"]["transformer"]
    durations = [0.0, *(epoch["seconds"] for epoch in found["epochs"])]
    assert durations[0] < durations[1] < durations[2] < took
    assert durations[2] / 2 <= found["seconds_per_epoch"] < took / 2
    for epoch in found["epochs"]:
        losses = epoch["losses"]
        assert losses["labels"] > 0
        assert losses["loss"] == pytest.approx(losses["labels"], rel=1e-5)  # aux weight 0: nothing else is felt
        assert losses["aux_loss/probes"] > 0
    seeds = tmp_path / "run" / "transformer" / "arms" / "mlp"
    assert sum(p.numel() for p in TASK.load(seeds / "seed-0").parameters()) == found["arm_params"]["mlp"]
    scores = [read_json(seeds / f"seed-{n}" / "result.json")["validation"]["accuracy"] for n in (0, 1)]
    assert found["validation_accuracies"]["mlp"] == pytest.approx(sum(scores) / 2)
    said = capsys.readouterr().out
    assert "transformer: " in said
    assert "The clauses against MLP: not tested" in said

    rules = (tmp_path / "run" / "transformer" / "rules.txt").read_text()
    assert "rules alone" in rules
    assert "block_1, clause" in rules or "no answer needs" in rules

    (seeds / "seed-1" / "predictions.npz").write_bytes(b"cut off")
    again = ["vision", *DIGITS, "--seeds", "2", "arms=[no-kd, mlp]", "--out", str(tmp_path / "run"), "--resume"]
    assert main(again) == 2
    assert "--resume trains it again" in capsys.readouterr().err


def test_boolean_features_from_the_command_line(capsys, tmp_path):
    """The data's fingerprint once asked packed bits for pixels: every such run stopped after building its cache."""
    words = [
        "--models",
        "tm",
        "model.tm.clauses=40",
        "--tm-feature-mode",
        "conv",
        f"features.cache={tmp_path / 'f'!s}",
    ]
    assert main(["vision", *DIGITS, *words, "--out", str(tmp_path / "run")]) == 0
    assert read_json(tmp_path / "run" / "results.json")["models"]["tm"]["test_accuracy"] > 0.2  # chance is 0.1

    # what decides no result may differ, the page is that of the model
    again = [*words, "features.force=true", "--out", str(tmp_path / "run"), "--resume"]
    assert main(["vision", *DIGITS, *again]) == 0
    assert main(["report", str(tmp_path / "run")]) == 0
    assert str(tmp_path / "run" / "tm" / "report.html") in capsys.readouterr().out

    # a teacher reads pixels, its student bits
    taught = [*words, "teacher.source=builtin:digits", "arms=[kd, no-kd]"]
    assert main(["vision", *DIGITS, *taught, "--out", str(tmp_path / "taught")]) == 0
    assert read_json(tmp_path / "taught" / "tm" / "teacher.json")["test_score"] > 0.9
    found = read_json(tmp_path / "taught" / "results.json")["models"]["tm"]
    assert all(epoch["losses"]["teacher_kd_loss"] > 0 for epoch in found["epochs"])
    assert set(found["validation_accuracies"]) == {"kd", "no-kd"}
    capsys.readouterr()

    features = next((tmp_path / "f").glob("*/train.npy"))
    whole = features.read_bytes()
    assert np.load(features).dtype == np.uint8
    features.write_bytes(whole[: len(whole) // 2])
    assert "delete the folder" in refused(capsys, *words, "--out", str(tmp_path / "other"))


@pytest.mark.parametrize("name", ["results.json", "transformer/arms/kd/seed-0/checkpoint.pt"])
def test_a_checkpoint_is_not_written_over_the_run_itself(name, capsys, tmp_path):
    """--transformer-save-path run/results.json was taken, and written after hours of training."""
    out = tmp_path / "run"
    text = refused(capsys, "--out", str(out), "--transformer-save-path", str(out / name))
    assert "expected a place outside of the run's own folder" in text
    assert not out.exists()
