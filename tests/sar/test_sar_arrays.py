"""Lines of one npz file: what `sar simulate` writes is what `sar train --data` reads, and so are anyone's own arrays."""

import json

import numpy as np
import pytest
import torch
import yaml
from sar_tiny import DATA, STUDENT, TEACHER, distill_words, sar, written

from stillhouse.cli.main import main
from stillhouse.core.checks import InputError
from stillhouse.core.config import ConfigError, parse
from stillhouse.core.records import read_json
from stillhouse.tasks.sar.data import SarConfig
from stillhouse.tasks.sar.data.arrays import SPLITS, write_file


def arrays(length=96, counts=(6, 3, 3)):
    """Anyone's lines: nothing of the radar is known."""
    rng = np.random.default_rng(0)
    found = {}
    for split, count in zip(("train", "validation", "test"), counts):
        raw = rng.normal(size=(count, length)) + 1j * rng.normal(size=(count, length))
        found |= {f"{split}_inputs": 3 * raw.astype(np.complex64), f"{split}_targets": 2 * raw.astype(np.complex64)}
    return found


def read(path):
    return SarConfig(source="npz", file=str(path)).build()


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Lines as they were drawn, and the file that holds them."""
    path = tmp_path_factory.mktemp("arrays") / "toy.npz"
    data = parse(SarConfig, {**DATA, "rate_spread": 0.2}).build()
    write_file(path, data)
    return data, path


def test_what_is_simulated_is_what_is_read(simulated):
    """The first command of the page wrote a file that no command read."""
    data, path = simulated
    found = read(path)
    assert (found.sizes, found.valid, found.parameters) == (data.sizes, data.valid, data.parameters)
    assert (found.rate_spread, found.point_amplitude) == pytest.approx((data.rate_spread, data.point_amplitude))
    for name, split in data.splits.items():
        again = found.splits[name]
        for part in ("inputs", "targets"):
            torch.testing.assert_close(getattr(again, part), getattr(split, part), rtol=1e-5, atol=1e-6)
        assert set(again.facts) == set(split.facts)
        assert all(np.array_equal(again.facts[key], value) for key, value in split.facts.items())
        np.testing.assert_allclose(found.kernels(again), data.kernels(split), rtol=1e-5, atol=1e-7)


def test_own_lines_need_no_radar(tmp_path):
    """Arrays written by numpy itself, in units of their own: scaled by the training split, judged on whole lines."""
    np.savez(tmp_path / "mine.npz", **arrays(), train_speed=np.arange(6))
    data = read(tmp_path / "mine.npz")
    assert (data.name, data.valid, data.parameters) == ("mine", slice(0, 96), None)
    assert data.scale.input_rms == pytest.approx(1.5 * data.scale.target_rms, rel=1e-5)
    assert float(data.train.inputs.abs().square().mean()) == pytest.approx(1, rel=1e-4)
    assert data.train.facts["speed"].tolist() == list(range(6))
    assert [set(split.facts["acquisition"]) for split in data.splits.values()] == [{0}, {1}, {2}]


def changed(name, value):
    found = arrays()
    if value is None:
        del found[name]
    else:
        found[name] = value
    return found


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (changed("test_targets", None), "expected the array test_targets"),
        (
            changed("test_targets", np.ones((3, 90), np.complex64)),
            r"test_targets: expected complex \(N, L\).*\(3, 90\)",
        ),
        (changed("train_targets", np.ones((5, 96), np.complex64)), r"as many as its inputs \(6, 96\), got .*\(5, 96\)"),
        (changed("test_inputs", np.ones((3, 96))), "test_inputs: expected complex .* got float64"),
        (changed("test_inputs", np.full((3, 96), np.nan + 0j)), "test_inputs: expected finite numbers"),
        (changed("train_rate", np.ones(2)), "train_rate: expected 6 numbers, one a line"),
        (changed("valid", np.array([90, 10])), "valid: expected two places from 0 to 96"),
        (changed("radar", np.array("{nothing")), "radar: expected a geometry as JSON"),
        (changed("radar", np.array(json.dumps({}))), "more than one aperture"),
    ],
)
def test_arrays_that_do_not_fit_are_named(given, words, tmp_path):
    """Half of these would train on nonsense, the other half end in a traceback of numpy's."""
    np.savez(tmp_path / "mine.npz", **given)
    with pytest.raises(InputError, match=words):
        read(tmp_path / "mine.npz")


def test_train_and_distill_read_the_file(simulated, tmp_path, capsys):
    """A flag that leaves the recipe's own lines in place trains on others than its user thinks."""
    data, path = simulated
    teacher, student = written(tmp_path / "teacher.yaml", TEACHER), written(tmp_path / "student.yaml", STUDENT)
    words = ["train", "--config", teacher, "--data", path, "--num-epochs", 1, "--save_dir", tmp_path / "run", "--quiet"]
    assert sar(*words) == 0
    run = read_json(tmp_path / "run/run.json")
    assert run["data"]["sizes"] == data.sizes
    assert run["data"]["name"] == "toy"
    assert run["data"]["sha256"] == read(path).sha256
    capsys.readouterr()
    assert (
        sar(*distill_words((teacher, student), tmp_path / "run", tmp_path / "out", "--data", path, "--print-config"))
        == 0
    )
    plan = yaml.safe_load(capsys.readouterr().out)
    assert (plan["data"]["source"], plan["data"]["file"], plan["data"]["preset"]) == ("npz", str(path), None)
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    write_file(path, parse(SarConfig, {**DATA, "seed": 7}).build())
    assert main(["evaluate", str(tmp_path / "run")]) == 2
    assert "sha256" in capsys.readouterr().err


def test_what_is_no_npz_is_named(tmp_path):
    """A pickle could run any code."""
    np.savez(tmp_path / "pickle.npz", train_inputs=np.array([{}], dtype=object))
    (tmp_path / "text.npz").write_text("no arrays")
    for name in ("pickle", "text", "none"):
        with pytest.raises(InputError, match="cannot read"):
            read(tmp_path / f"{name}.npz")
    both = {"source": "npz", "file": "a.npz"}
    for settings in ({"source": "npz"}, {"file": "a.npz"}, both | {"length": 9}, both | {"train": 9}):
        with pytest.raises(ConfigError, match=r"file: expected|(length|train): all lines of a file"):
            parse(SarConfig, settings)


def test_transposed_training_lines_are_named_by_their_axes(tmp_path):
    """With the radar beside them their length says it."""
    turned = {f"{s}_{side}": np.ones((160, 8), np.complex64) for s in SPLITS for side in ("inputs", "targets")}
    radar = {"prf": 1690.0, "doppler_bandwidth": 1300.0, "azimuth_rate": 26406.0}
    np.savez(tmp_path / "turned.npz", **turned, radar=json.dumps(radar))
    with pytest.raises(InputError, match=r"azimuth samples\), got 8; arrays are \(N, L\)"):
        read(tmp_path / "turned.npz")
