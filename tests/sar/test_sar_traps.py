"""What looked like an answer and was none: other lines, other axes, another gamma, no teacher, and silence for eight minutes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml
from sar_tiny import DATA, STUDENT, TEACHER, distill_words, sar, written
from threadpoolctl import threadpool_info

from stillhouse.core.checks import InputError
from stillhouse.core.config import parse
from stillhouse.core.records import read_json
from stillhouse.tasks.sar.data import SarConfig
from stillhouse.tasks.sar.data.deramped import check_stripmap, spectrum_to_focus
from stillhouse.tasks.sar.metrics.anchors import fit_fir
from stillhouse.tasks.sar.score import line_figures, noise_quality
from stillhouse.tasks.sar.simulate import simulate
from stillhouse.tasks.sar.students import StateSpaceConfig, truncation
from stillhouse.tasks.sar.task import TASK, load_model
from stillhouse.tasks.sar.teacher import in_units


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    path = tmp_path_factory.mktemp("lines") / "toy.npz"
    simulate(parse(SarConfig, {**DATA, "seed": 5}), path)
    return path


def without(mapping, *keys):
    return {key: value for key, value in mapping.items() if key not in keys}


# ---------------------------------------------------------------------------------------------- whose lines


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
    """--set data.train=4 left the teacher's other settings behind, and the student learned on lines of another length."""
    assert sar(*distill_words(files, tmp_path / "x", tmp_path / "out", "--set", "data.train=4", "--print-config")) == 0
    data = yaml.safe_load(capsys.readouterr().out)["data"]
    assert (data["train"], data["length"], data["preset"]) == (4, DATA["length"], DATA["preset"])


# ---------------------------------------------------------------------------------------------- deramped lines


def deramped(rng, count, length):
    """Inputs whose Fourier transform is their focus, shifted as FFTs shift, under some noise."""
    scene = rng.normal(size=(count, length)) + 1j * rng.normal(size=(count, length))
    signal = np.fft.ifft(scene * np.exp(1j * np.pi * 0.3 * np.arange(length) ** 2 / length))
    noise = rng.normal(size=(count, length)) + 1j * rng.normal(size=(count, length))
    return (signal + 0.2 * np.abs(signal).mean() * noise).astype(np.complex64), np.fft.fftshift(scene, axes=1)


def test_deramped_lines_are_refused_by_name(tmp_path, capsys):
    """Spotlight data trained for an hour, and focused nothing."""
    rng, arrays = np.random.default_rng(0), {}
    for split, count in {"train": 8, "validation": 4, "test": 4}.items():
        inputs, targets = deramped(rng, count, 128)
        arrays |= {f"{split}_inputs": inputs, f"{split}_targets": targets.astype(np.complex64)}
    np.savez(tmp_path / "spot.npz", **arrays)
    config = written(tmp_path / "t.yaml", TEACHER)
    assert sar("train", "--config", config, "--data", tmp_path / "spot.npz", "--out", tmp_path / "run") == 2
    assert "look deramped, as spotlight data are" in capsys.readouterr().err
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize("preset", ["toy-64", "toy-128", "toy-256"])
def test_stripmap_lines_are_not(preset):
    """By a wide margin, in either direction."""
    data = SarConfig(preset=preset, train=8, validation=2, test=2).build()
    inputs, targets = (x[..., 0].numpy() for x in (data.train.inputs, data.train.targets))
    assert spectrum_to_focus(inputs, targets) < 0.1
    check_stripmap(preset, inputs, targets)
    turned, scene = deramped(np.random.default_rng(1), 8, 256)
    assert spectrum_to_focus(turned, scene) > 0.9
    assert spectrum_to_focus(turned, scene[:, ::-1]) > 0.9


# ---------------------------------------------------------------------------------------------- weights and losses


def test_a_changed_gamma_is_said(files, tmp_path, capsys):
    """--alpha and --beta alone took the file's third weight away in silence."""
    words = distill_words(files, tmp_path / "x", tmp_path / "out", "--print-config")
    assert sar(*words, "--alpha", "0.25", "--beta", "0.6") == 0
    printed = capsys.readouterr()
    assert printed.err == "gamma: 0.15 (1 - alpha - beta), no longer the file's 0.2; --gamma sets it\n"
    assert yaml.safe_load(printed.out)["objective"]["gamma"] is None
    for more in ([], ["--alpha", "0.3"], ["--alpha", "0.25", "--beta", "0.6", "--gamma", "0.1"]):
        assert sar(*words, *more) == 0
        assert capsys.readouterr().err == ""
    assert sar(*words, "--alpha", "0.25", "--set", "distillation.gamma=0.3") == 0
    assert yaml.safe_load(capsys.readouterr().out)["objective"]["gamma"] == 0.3  # named, so it is kept


def test_the_loss_is_said_before_its_numbers(student_run, files, teacher_run, tmp_path, capsys):
    """The documents say MSE of the teacher's outputs; what is minimized by default is another."""
    assert sar(*distill_words(files, teacher_run, tmp_path / "run", "--force", "--no-compare", "--seeds", 1)) == 0
    text = capsys.readouterr().out
    line = next(line for line in text.splitlines() if line.startswith("loss: "))
    assert "0.5 distillation (robust NMSE (linear beyond 4 RMS), documented as MSE" in line
    assert text.index("loss: ") < text.index("trained kd")
    assert "robust NMSE (linear beyond 4 RMS)" in (student_run / "report.html").read_text()


# ---------------------------------------------------------------------------------------------- comparing


def test_comparing_can_be_left_out_and_made_up_for(files, teacher_run, tmp_path, capsys):
    """34 seconds of training were followed by 8 minutes of comparing that nobody could stop."""
    words = distill_words(files, teacher_run, tmp_path / "run", "--force", "--seeds", 1)
    assert sar(*words, "--no-compare") == 0
    text = capsys.readouterr().out
    assert not any(line.startswith("comparing") for line in text.splitlines())
    assert f"stillhouse sar compare {tmp_path / 'run'}" in text
    assert not (tmp_path / "run" / "comparison.json").exists()
    assert (tmp_path / "run" / "report.html").is_file()
    assert sar(*words, "--resume") == 0  # with it again: nothing is trained, the table is made
    text = capsys.readouterr().out
    assert "trained kd" not in text
    steps = [line.partition(":")[0] for line in text.splitlines() if line.startswith("comparing ") and " of " in line]
    assert steps == [f"comparing {number} of 5" for number in range(1, 6)]
    rows = read_json(tmp_path / "run" / "comparison.json")["rows"]
    assert {"teacher", "kd", "no-kd", "matched filter"} <= {row["name"] for row in rows}


def test_a_teacher_is_compared_only_where_that_is_wanted(files, tmp_path, capsys):
    """The same switch, and the same end of a training that is finished."""
    words = ["train", "--config", files[0], "--num-epochs", 1, "--save_dir", tmp_path / "run", "--quiet"]
    assert sar(*words, "--no-compare") == 0
    assert not (tmp_path / "run" / "comparison.json").exists()
    assert sar(*words, "--resume") == 0
    assert (tmp_path / "run" / "comparison.json").is_file()
    capsys.readouterr()
    assert sar(*words, "--resume") == 0
    assert not any(line.startswith("comparing") for line in capsys.readouterr().out.splitlines())


def test_truncation_takes_one_thread_and_each_root_once(monkeypatch):
    """Two threads of a busy machine took 17 times as long for these small matrices, and each root was found twice."""
    roots, threads = [], []
    root, balance = truncation._root, truncation.balance
    monkeypatch.setattr(truncation, "_root", lambda gramian: roots.append(gramian) or root(gramian))

    def watched(*given):
        threads.extend(one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas")
        return balance(*given)

    monkeypatch.setattr(truncation, "balance", watched)
    model = StateSpaceConfig(model_dim=3, state_dim=16, num_layers=2).build()
    truncation.truncate(model, 8)
    assert len(roots) == 2 * 3 * 2
    assert set(threads) == {1}


def test_the_fitted_filter_is_the_least_squares_solution():
    """Its normal equations are filled in along diagonals: what enters and leaves at the ends must be right."""
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(3, 40)) + 1j * rng.normal(size=(3, 40)) for _ in range(2))
    for valid in (slice(0, 40), slice(7, 31), slice(3, 40)):
        lags = range(-4, 5)
        rows = [[line[t - lag] if 0 <= t - lag < 40 else 0 for lag in lags] for line in x for t in range(40)[valid]]
        wanted = np.linalg.lstsq(np.array(rows), y[:, valid].ravel(), rcond=None)[0]
        np.testing.assert_allclose(fit_fir(x, y, 9, valid=valid), wanted, rtol=1e-6, atol=1e-8)


# ---------------------------------------------------------------------------------------------- teachers


def test_noise_passes_the_bar_once_in_twenty():
    """By drawing: unrelated lines of a band, each with the best factor in hindsight."""
    rng = np.random.default_rng(0)

    def drawn(count, length=300, band=0.7):
        spectrum = rng.normal(size=(count, length)) + 1j * rng.normal(size=(count, length))
        spectrum[:, int(band * length) :] = 0
        return np.fft.ifft(spectrum).astype(np.complex64)

    wanted, noise = drawn(4000), drawn(4000)
    factor = (noise.conj() * wanted).sum(1) / (abs(noise) ** 2).sum(1)
    quality = line_figures(noise * factor[:, None], wanted)["quality"]
    assert np.mean(quality > noise_quality(wanted)) == pytest.approx(0.05, abs=0.012)
    few = np.mean([noise_quality(wanted[first : first + 4]) for first in range(0, 4000, 4)])
    assert few == pytest.approx(noise_quality(wanted), rel=0.1)  # a validation split may be small


def test_a_teacher_within_noise_of_silence_is_at_chance(teacher_run):
    """A quality of 0.0040, where silence has 0 and its interval was above it, was called ready."""
    data = parse(SarConfig, {**DATA, "validation": 40}).build()
    teacher = in_units(*load_model(teacher_run), data)
    whole = TASK.teacher_check(teacher, None, data)
    faint = TASK.teacher_check(replace(teacher, output_factor=0.002 * teacher.output_factor), None, data)
    assert 0 < faint.low < faint.score < 0.01
    assert faint.status == "at chance"
    assert (
        whole.chance == faint.chance == pytest.approx(1 - 0.05 ** (1 / 73), rel=0.2)
    )  # 96 samples of 0.77 of the band


def test_only_a_good_teacher_is_said_to_be_usable(teacher_run, files, tmp_path, capsys):
    """`use it as --teacher-checkpoint` stood under a quality of -0.74 too."""
    words = ["train", "--config", files[0], "--num-epochs", 1, "--learning-rate", "1e-7", "--no-compare", "--quiet"]
    assert sar(*words, "--save_dir", tmp_path / "run") == 0
    text = capsys.readouterr().out
    assert "at chance (validation quality" in text
    assert "use it as" not in text
    assert "at chance" in text.splitlines()[-1]
    result = json.loads((teacher_run / "result.json").read_text())
    assert result["teacher_check"]["baseline_name"] == "the matched filter"


def test_transposed_training_lines_are_named_by_their_axes(tmp_path):
    """With the radar beside them their length says it."""
    arrays = {
        f"{s}_{side}": np.ones((160, 8), np.complex64)
        for s in ("train", "validation", "test")
        for side in ("inputs", "targets")
    }
    radar = {"prf": 1690.0, "doppler_bandwidth": 1300.0, "azimuth_rate": 26406.0}
    np.savez(tmp_path / "turned.npz", **arrays, radar=json.dumps(radar))
    with pytest.raises(InputError, match=r"azimuth samples\), got 8; arrays are \(N, L\)"):
        SarConfig(source="npz", file=str(tmp_path / "turned.npz")).build()
