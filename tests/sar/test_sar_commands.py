"""`stillhouse sar ...` as a user meets it: every command on tiny data, resumed runs, and plain words for what is wrong."""

import json
import re

import numpy as np
import pytest
import torch
import yaml
from sar_tiny import DATA, STUDENT, TEACHER, distill_words, sar, written

from stillhouse.cli.main import main
from stillhouse.core.config import parse
from stillhouse.tasks.sar.data import SarConfig
from stillhouse.tasks.sar.data.arrays import write_file
from stillhouse.tasks.sar.documented import get_model_from_configs
from stillhouse.tasks.sar.saved import load_model


def said(capsys, *words):
    status = sar(*words)
    captured = capsys.readouterr()
    return status, captured.out + captured.err


def test_simulate_writes_arrays_once(tmp_path, capsys):
    """The seed fixes them; a file that is there is not overwritten."""
    words = ["train=3", "validation=2", "test=2", "length=96"]
    assert said(capsys, "simulate", "--out", tmp_path / "a.npz", *words)[0] == 0
    assert said(capsys, "simulate", "--out", tmp_path / "b.npz", *words)[0] == 0
    first, second = (np.load(tmp_path / name) for name in ("a.npz", "b.npz"))
    assert first["train_inputs"].shape == (3, 96)
    assert first["train_inputs"].dtype == np.complex64
    assert all(np.array_equal(first[name], second[name]) for name in first.files)
    status, text = said(capsys, "simulate", "--out", tmp_path / "a.npz", *words)
    assert status == 2
    assert "it exists" in text


def test_train_leaves_the_documented_files(teacher_run):
    """The document loads results/.../checkpoints/best_model.pth, which the public code never wrote."""
    model, _ = load_model(teacher_run)
    state = torch.load(teacher_run / "checkpoints" / "best_model.pth", weights_only=True)
    assert set(state) == set(model.state_dict())
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    result = json.loads((teacher_run / "result.json").read_text())
    assert np.isfinite(result["metrics"]["quality"])


def test_distill_says_whether_it_helped(student_run):
    """Both arms, all seeds, verdicts on quality and coherence, and the documented student files."""
    summary = json.loads((student_run / "summary.json").read_text())
    assert [row["metric"] for row in summary["comparisons"]] == ["quality", "coherence"]
    assert summary["verdict"].startswith(("helps", "hurts", "no difference shown", "not tested ("))
    assert {arm: len(entry["quality"]["values"]) for arm, entry in summary["arms"].items()} == {"kd": 2, "no-kd": 2}
    watched = {path.parent.name for path in (student_run / "distillation").glob("*/events*")}
    assert watched == {f"{arm}-seed-{seed}" for arm in ("kd", "no-kd") for seed in (0, 1)}
    block = yaml.safe_load((student_run / "final_student_config.yaml").read_text())["model"]
    model = get_model_from_configs(**block)
    model.load_state_dict(torch.load(student_run / "final_student_model.pth", weights_only=True))
    kept, _ = load_model(student_run / "student")
    lines = torch.randn(1, 50, 1, dtype=torch.complex64)
    with torch.no_grad():
        assert torch.equal(model.eval()(lines), kept(lines))


def test_stream_and_evaluate_read_what_was_saved(student_run, capsys):
    """One network, two commands, one set of numbers."""
    folder = student_run / "arms" / "kd" / "seed-0"
    status, text = said(capsys, "stream", folder, "--lines", "300", "--check")
    assert status == 0
    assert "300 lines of 1 range bins, latency 32 lines" in text
    assert re.search(r"\d ms a line by the clock, [\d.]+ ms a line of processor time\n", text)
    assert float(text.rsplit("form: ", 1)[1].split()[0]) < 1e-5
    assert main(["evaluate", str(folder)]) == 0
    figures = json.loads(capsys.readouterr().out)
    result = json.loads((folder / "result.json").read_text())
    assert figures["quality"] == pytest.approx(result["metrics"]["quality"], abs=1e-6)
    assert figures["matched_filter_quality"] > 0.95
    assert figures["points"]["points"] == 16


def test_compare_without_runs_shows_the_documented_sizes(capsys, monkeypatch):
    """`distillation_example.py --compare`: real parameters and times beside the percentages of the document."""
    import stillhouse.tasks.sar.compare as part

    monkeypatch.setattr(part, "measure_cpu_milliseconds", lambda call, count, warm_up: 1.0)
    status, text = said(capsys, "compare")
    assert status == 0
    assert "320,299" in text
    assert "40-60 %" in text


def test_flags_take_dashes_and_underscores(files, capsys):
    """The document writes --num_epochs; every other command here --num-epochs."""
    found = []
    for form in (str, lambda flag: flag.replace("_", "-")):
        flags = ["--num_epochs", "--learning_rate", "--batch_size", "--scheduler_type"]
        values = ["7", "3e-4", "2", "constant"]
        words = [word for flag, value in zip(flags, values) for word in (form(flag), value)]
        status, text = said(capsys, "train", "--config", files[0], *words, "--print_config")
        assert status == 0
        found.append(yaml.safe_load(text)["training"])
    assert found[0] == found[1]
    assert [found[0][key] for key in ("epochs", "learning_rate", "batch_size", "schedule")] == [7, 3e-4, 2, "constant"]


def test_the_documented_tiny_command(files, capsys):
    """Flag by flag as the document prints it; alpha and beta alone leave the rest to the features."""
    words = ["distill", "--teacher_config", files[0], "--teacher_checkpoint", "x", "--student_config", files[1]]
    words += ["--student_model_dim", "24", "--student_state_dim", "128", "--student_num_layers", "3"]
    words += ["--temperature", "6.0", "--alpha", "0.1", "--beta", "0.7", "--save_dir", "y", "--print-config"]
    status, text = said(capsys, *words)
    assert status == 0
    config = yaml.safe_load(text)
    assert [config["student"][k] for k in ("model_dim", "state_dim", "num_layers")] == [24, 128, 3]
    assert [config["objective"][k] for k in ("temperature", "alpha", "beta", "gamma")] == [6.0, 0.1, 0.7, None]
    text = said(capsys, *words, "distillation.gamma=0.3")[1]  # named, so it is kept
    assert yaml.safe_load(text)["objective"]["gamma"] == 0.3


def test_a_teacher_that_is_not_there_or_another_one(files, teacher_run, tmp_path, capsys):
    """Missing, of another width, a plain file of another network: each said in a line."""
    words = ["distill", "--teacher_config", files[0], "--student_config", files[1], "--save_dir", tmp_path / "out"]
    status, text = said(capsys, *words, "--teacher_checkpoint", tmp_path / "none.pth")
    assert (status, "there is nothing; train one first" in text) == (2, True)
    wide = {**TEACHER, "model": {**TEACHER["model"], "model_dim": 6}}
    words[2] = written(tmp_path / "wide.yaml", wide)
    status, text = said(capsys, *words, "--teacher_checkpoint", teacher_run)
    assert (status, "model_dim: 6 there, 4 trained" in text) == (2, True)
    loose = tmp_path / "loose.pth"
    loose.write_bytes((teacher_run / "checkpoints" / "best_model.pth").read_bytes())
    status, text = said(capsys, *words, "--teacher_checkpoint", loose)
    assert (status, "of another model_dim" in text and "size mismatch for" in text) == (2, True)
    assert not (tmp_path / "out" / "summary.json").exists()


def test_the_documented_checkpoint_path_is_a_teacher(files, teacher_run, tmp_path, capsys):
    """--teacher_checkpoint .../checkpoints/best_model.pth, as the document has it, with the scale of its run."""
    words = ["distill", "--teacher_config", files[0], "--student_config", files[1], "--save_dir", tmp_path / "out"]
    words += [
        "--teacher_checkpoint",
        teacher_run / "checkpoints" / "best_model.pth",
        "--seeds",
        "1",
        "--num_epochs",
        "1",
    ]
    status, text = said(capsys, *words, "--arms", "kd", "--quiet", "--force")
    assert status == 0
    assert "verdict on the teacher: not tested" in text


def test_a_teacher_worse_than_silence_is_refused(files, tmp_path, capsys):
    """Distilling noise costs hours; --force is there for those who want it."""
    model = get_model_from_configs(**TEACHER["model"])
    with torch.no_grad():
        model.output.weight.mul_(100)
    torch.save(model.state_dict(), tmp_path / "loud.pth")
    words = ["distill", "--teacher_config", files[0], "--student_config", files[1], "--save_dir", tmp_path / "out"]
    status, text = said(capsys, *words, "--teacher_checkpoint", tmp_path / "loud.pth", "--quiet")
    assert status == 3
    assert "validation quality -" in text
    assert re.search(r"\(chance 0\.0[1-9]\d\d, .*\): at chance", text)  # what noise passes, see `noise_quality`
    assert "--force" in text
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    path = tmp_path_factory.mktemp("lines") / "toy.npz"
    write_file(path, parse(SarConfig, {**DATA, "seed": 5}).build())
    return path


def without(mapping, *keys):
    return {key: value for key, value in mapping.items() if key not in keys}


@pytest.mark.parametrize("block", ["none", "own", "student"])
def test_data_of_distill_takes_the_place_of_any_block(lines, tmp_path, capsys, block):
    """A teacher's file without lines of its own was refused beside --data, though `sar train` took it."""
    teacher = without(TEACHER, "data") if block == "none" else TEACHER
    student = {**STUDENT, "data": DATA} if block == "student" else STUDENT
    files = written(tmp_path / "t.yaml", teacher), written(tmp_path / "s.yaml", student)
    assert sar("train", "--config", files[0], "--data", lines, "--print-config") == 0
    trained = yaml.safe_load(capsys.readouterr().out)["data"]
    assert sar(*distill_words(files, tmp_path / "x", tmp_path / "out", "--data", lines, "--print-config")) == 0
    assert yaml.safe_load(capsys.readouterr().out)["data"] == trained
    assert (trained["source"], trained["file"]) == ("npz", str(lines))


def test_a_changed_setting_of_the_lines_is_laid_over_the_teachers(files, tmp_path, capsys):
    """data.train=4 left the teacher's other settings behind, and the student learned on lines of another length."""
    assert sar(*distill_words(files, tmp_path / "x", tmp_path / "out", "data.train=4", "--print-config")) == 0
    data = yaml.safe_load(capsys.readouterr().out)["data"]
    assert (data["train"], data["length"], data["preset"]) == (4, DATA["length"], DATA["preset"])
