"""What document 002 prints about radar networks: levels, plain losses, smaller networks on disk, the stream of two channels."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sar_tiny import STUDENT, TEACHER, sar, stage_context_of, written

from stillhouse.core.config import parse
from stillhouse.core.types import Progress
from stillhouse.tasks.sar import compare
from stillhouse.tasks.sar.data import SarConfig
from stillhouse.tasks.sar.data.products import Product, migration_corrected, pulse_compressed, write_products
from stillhouse.tasks.sar.data.radar import SarParameters
from stillhouse.tasks.sar.documented import read_student, read_teacher
from stillhouse.tasks.sar.recipes import recipe_path
from stillhouse.tasks.sar.saved import load_model, save_model
from stillhouse.tasks.sar.students import StateSpaceConfig
from stillhouse.tasks.sar.students.compression import quantize
from stillhouse.tasks.sar.task import TASK, train
from stillhouse.tasks.sar.teacher import LineTeacher
from stillhouse.tasks.sar.use import stream


def student(tmp_path, **distillation):
    """A documented student's file as the run that it means."""
    teacher = written(tmp_path / "t.yaml", TEACHER)
    return read_student(written(tmp_path / "s.yaml", {**STUDENT, "distillation": distillation}), teacher, "x")


@pytest.fixture(scope="module")
def products(tmp_path_factory):
    """Simulated products of every level, and the radar of theirs."""
    out = tmp_path_factory.mktemp("products") / "maya4"
    config = parse(SarConfig, {"preset": "toy-64", "length": 160, "train": 8, "validation": 8, "test": 8})
    data = config.build()
    return out, write_products(out, data), data.parameters


def test_every_level_is_the_one_below_it_processed(products):
    """raw -> pulse compression -> rc -> migration correction -> rcmc, by the range-Doppler steps; neither is the identity."""
    out, files, radar = products
    product = Product.at(out / files[0])
    level = {n: product.level(n)[:].astype(complex) for n in ("raw", "rc", "rcmc", "az")}
    pulse = product.group().attrs["pulse_seconds"]
    size = np.abs(level["rcmc"]).max()
    np.testing.assert_allclose(pulse_compressed(radar, level["raw"], pulse), level["rc"], atol=1e-5 * size)
    np.testing.assert_allclose(migration_corrected(radar, level["rc"]), level["rcmc"], atol=1e-5 * size)
    assert np.abs(level["raw"] - level["rc"]).max() > 0.01 * size
    energy = [float(np.square(np.abs(level[n])).sum()) for n in ("raw", "rc", "rcmc")]
    assert energy == pytest.approx([energy[0]] * 3, rel=1e-4)  # phases alone are changed


def test_a_chirp_is_compressed_to_the_width_of_its_band():
    """A pulse drawn in the time domain, exp(j pi B / T t^2), comes out sqrt(B T) times higher, and one cell wide."""

    radar = SarParameters(range_bandwidth=50e6, range_sampling=100e6, azimuth_rate=1e4)
    seconds, count = 4e-6, 1024
    t = (np.arange(count) - count // 2) / radar.range_sampling
    pulse = np.where(np.abs(t) <= seconds / 2, np.exp(1j * np.pi * radar.range_bandwidth / seconds * t**2), 0)
    found = np.abs(pulse_compressed(radar, pulse[None].astype(complex), seconds)[0])
    assert int(found.argmax()) == count // 2
    assert found.max() == pytest.approx(np.sqrt(radar.range_bandwidth * seconds), rel=0.05)
    assert (found > found.max() / 2**0.5).sum() <= 3


@pytest.mark.parametrize("level", ["raw", "rc", "rcmc"])
def test_the_documented_teacher_runs_from_every_level(products, tmp_path, level):
    """`level_from: rc` of the documented file found no such level. Sizes are cut; every other key is the file's."""
    cut = {
        "data_dir": str(products[0]),
        "model": {"model_dim": 3, "state_dim": 8, "num_layers": 1},
        "training": {"epochs": 1, "warmup_epochs": 0, "patience": 1, "threads": 1},
        "dataloader": {
            "level_from": level, "patch_size": [128, 1], "buffer": [4, 0], "stride": [32, 1],
            **{part: {"batch_size": 4, "samples_per_prod": 4, "max_products": 1} for part in ("train", "validation", "test")},
        },
    }  # fmt: skip
    config = read_teacher(recipe_path("s4_ssm_complex"), cut)
    assert (config.model.input_dim, config.model.use_selectivity, config.loss) == (2, True, "mse")
    assert np.isfinite(train(config, tmp_path / "run")["metrics"]["quality"])


def test_feature_matching_off_beside_gamma_as_documented(tmp_path):
    """Was refused until gamma went; now gamma is without effect."""
    config = student(tmp_path, alpha=0.3, beta=0.5, gamma=0.2, feature_matching=False)
    assert config.objective.weights == (0.3, 0.5, 0.0)


def test_plain_mse_by_the_documents_word(tmp_path):
    """alpha MSE(student, truth) + beta MSE(student, teacher): computed by numpy; a temperature changes none of it."""
    config = student(
        tmp_path, alpha=0.3, beta=0.7, gamma=0.0, temperature=4.0, student_loss="mse", distillation_loss="MSE"
    )

    data = config.data.build()
    torch.manual_seed(0)
    network, teacher = config.student.build().eval(), config.teacher.build().eval()
    job = TASK.job(stage_context_of(config, data, tmp_path, teacher=LineTeacher(teacher), student=network))
    rows = torch.arange(4)
    terms = job.terms(rows, Progress(0, 9))
    lines, truth = data.train.inputs[rows], data.train.targets[rows]
    with torch.no_grad():
        s, t = network(lines).numpy(), teacher(lines).numpy()
    part = data.valid
    expected = [float(np.square(np.abs(s - x))[:, part].mean()) for x in (truth.numpy(), t)]
    found = {name: (weight, float(value.detach())) for name, (weight, value) in terms.items()}
    assert found["student"] == (0.3, pytest.approx(expected[0], rel=1e-4))
    assert found["distillation"] == (0.7, pytest.approx(expected[1], rel=1e-4))


def test_eight_bits_lie_on_the_disk(student_run, tmp_path, capsys):
    """int8 was measured and never written: what is loaded is what `quantize` computes with, in a quarter of the bytes."""
    out = tmp_path / "small"
    assert sar("compress", student_run, "--to", "int8", "--out", out) == 0
    found = json.loads(capsys.readouterr().out)
    stored = load_file(out / "student.safetensors")
    matrices = [name for name, tensor in stored.items() if tensor.dtype == torch.int8]
    assert "output.weight" in matrices
    assert all(int(stored[name].abs().max()) == 127 for name in matrices)
    assert max(len(stored[name].unique()) for name in matrices) > 2**5  # more than 5 bits would hold
    model, scale = load_model(student_run)
    again, same = load_model(out)
    expected, rounded, _ = quantize(model, torch.randn(1, 64, 1, dtype=torch.complex64))
    assert same == scale
    assert set(matrices) == set(rounded)
    for (name, a), (_, b) in zip(expected.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(a, b), name
    assert found["after"]["quality"] == pytest.approx(found["before"]["quality"], abs=0.05)
    assert sar("compress", student_run, "--to", "int8", "--out", out) == 2  # taken


def test_pruned_and_truncated_networks_are_networks(student_run, tmp_path, capsys):
    """A quarter of a matrix is zero; 16 states become 8; both load, score and stream."""
    assert sar("compress", student_run, "--to", "sparse", "--share", 0.25, "--out", tmp_path / "p") == 0
    assert json.loads(capsys.readouterr().out)["snr_db"] < 60
    mix = load_model(tmp_path / "p")[0].blocks[0].mix.weight
    assert int((mix.norm(dim=-1) == 0).sum()) == int(0.25 * mix.shape[0] * mix.shape[1])
    assert sar("compress", student_run, "--to", "truncated", "--state-dim", 8, "--out", tmp_path / "t") == 0
    found = json.loads(capsys.readouterr().out)
    files = {
        "before": student_run / "student",
        "after": tmp_path / "t",
    }  # 4 bytes a parameter stood beside a file's size
    sizes = {name: (folder / "student.safetensors").stat().st_size for name, folder in files.items()}
    assert {name: found[name]["file_bytes"] for name in files} == sizes
    assert found["before"]["file_bytes"] > 4 * found["before"]["parameters"] > 4 * found["after"]["parameters"]
    assert load_model(tmp_path / "t")[0].config.state_dim == 8
    assert stream(tmp_path / "t", lines=100, check=True).error < 1e-3


def test_two_input_channels_stream(tmp_path):
    """The documented network with a stated look-ahead: line by line it answers as over the whole scene, places and all."""
    config = {"preset": "toy-64", "length": 160, "train": 4, "validation": 4, "test": 4, "position_channel": True}
    data = parse(SarConfig, config).build()
    torch.manual_seed(0)
    model = StateSpaceConfig(
        input_dim=2,
        use_pos_encoding=True,
        use_selectivity=True,
        activation_function="gelu",
        model_dim=4,
        state_dim=8,
        num_layers=2,
        look_ahead=20,
    ).build()
    with torch.no_grad():
        model.modulation.data.add_(
            torch.randn_like(model.modulation)
        )  # places must matter for this test to mean anything
    save_model(tmp_path / "n", model, data)
    found = stream(tmp_path / "n", lines=300, check=True)
    assert found.latency_lines == 20
    assert found.error < 1e-4


def test_compare_prints_the_networks_that_the_recipes_build(monkeypatch):
    """It printed 286 472 weights of the stream form; the recipe has 493 832. Operations count the gate's."""
    monkeypatch.setattr(compare, "measure_cpu_milliseconds", lambda call, count, warm_up: 1.0)
    rows = {row["name"]: row for row in compare.compare_sizes(100)}
    built = read_teacher(recipe_path("s4_ssm_complex")).model.build()
    assert rows["teacher"]["parameters"] == sum(p.numel() for p in built.parameters()) == 493_832
    assert rows["teacher, streaming"]["parameters"] == 286_472
    # two filters of 270 modes and 64 channels, feedthrough, mixing, in (2) and out, four real ones each; a gate of two matrices
    macs = 6 * (2 * 2 * 64 * 270 + 64 + 64 * 64) + 64 * 2
    gates = sum(b.gate.inner.weight.numel() + b.gate.outer.weight.numel() for b in built.blocks)
    assert gates > 0
    assert 4 * rows["teacher"]["complex_macs"] + rows["teacher"]["real_macs"] == pytest.approx(
        4 * macs + gates, rel=0.001
    )
    assert rows["standard"]["documented"] == "10-20 %"
