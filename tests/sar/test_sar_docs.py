"""What docs/sar.md promises is run."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from sar_tiny import LINES, line_teacher, sar, small_run, stage_context_of, written

from stillhouse.cli.main import main
from stillhouse.core.config import to_mapping
from stillhouse.core.types import Progress
from stillhouse.tasks.sar.data import SarConfig
from stillhouse.tasks.sar.documented import read_student
from stillhouse.tasks.sar.recipes import recipe_path
from stillhouse.tasks.sar.task import TASK

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "sar.md").read_text()
BLOCKS = {kind: re.findall(rf"```{kind}\n(.*?)```", TEXT, re.DOTALL) for kind in ("sh", "yaml", "python")}
SMALL = "--num_epochs 1 --quiet"


@pytest.mark.slow
def test_the_commands_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    """As printed, on fewer and shorter lines, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    more = {
        "simulate": "train=8 validation=4 test=4 length=96",
        "train": f"{SMALL} model.model_dim=4 model.state_dim=32",
        "distill": "--num_epochs 1 --seeds 1 --quiet --force",
        "stream": "--lines 80",
    }
    done = set()
    for line in BLOCKS["sh"][0].strip().splitlines():
        program, *words = shlex.split(line)
        command, *words = words[words[0] == "sar" :]
        assert program == "stillhouse"
        if command == "compare":
            continue  # sizes of minutes; tests/sar/test_sar_commands.py runs it
        if command == "distill":
            # the teacher's file as the smaller training above left it
            teacher = yaml.safe_load(recipe_path("s4_ssm_complex_toy").read_text())
            teacher["model"] |= {"model_dim": 4, "state_dim": 32}
            words[words.index("s4_ssm_complex_toy")] = str(written(tmp_path / "teacher.yaml", teacher))
        group = shlex.split(line)[1:2] if "stillhouse sar" in line else []
        assert main([*group, command, *words, *shlex.split(more.get(command, ""))]) == 0, line
        done.add(command)
    assert done == {"simulate", "train", "distill", "stream", "evaluate", "compress", "export"}
    assert "kd" in capsys.readouterr().out


def test_the_documented_teacher_starts_from_simulated_products(tmp_path, monkeypatch, capsys):
    """The page's two commands as printed, with a smaller network: level rc, which was never written, and the file's other keys."""
    monkeypatch.chdir(tmp_path)
    first, second = (shlex.split(line)[2:] for line in BLOCKS["sh"][1].strip().splitlines())
    assert sar(*first) == 0
    small = "--num-epochs 1 --quiet model.model_dim=2 model.state_dim=4 model.num_layers=1"
    assert sar(*second, *shlex.split(small)) == 0
    assert "64 train, 16 validation, 16 test" in capsys.readouterr().out


def test_the_yaml_is_a_students_file(files, tmp_path):
    """A renamed key would leave the page wrong."""
    path = tmp_path / "student.yaml"
    path.write_text(BLOCKS["yaml"][0])
    config = read_student(path, files[0], "x")
    assert config.objective.weights == (0.3, 0.5, 0.2)
    assert config.student.look_ahead == 64


def test_the_signals_of_the_page_are_built(files, tmp_path):
    """Each reaches the student of the page's own file, from a teacher of three layers."""
    path = tmp_path / "student.yaml"
    path.write_text(BLOCKS["yaml"][0] + BLOCKS["yaml"][1])
    config = read_student(path, files[0], "x")
    assert config.curriculum.shares == (0.5, 1.0)
    assert len(config.teacher_assistants) == 1
    data = SarConfig(**LINES).build()
    plain = small_run(signals=to_mapping(config.signals), objective={"alpha": 1.0, "beta": 0.0, "gamma": 0.0})
    job = TASK.job(stage_context_of(plain, data, tmp_path, teacher=line_teacher(1, num_layers=3)))
    terms = job.terms(torch.arange(8), Progress(0, 10))
    assert [name.split(":")[0] for name in terms] == ["student", "features", "hidden", "relations", "dynamics"]
    assert all(value.requires_grad and torch.isfinite(value) for _, value in terms.values())


def test_the_python_runs(tmp_path, monkeypatch):
    """And says what its comments say."""
    monkeypatch.chdir(tmp_path)
    scope = {}
    exec(BLOCKS["python"][1], scope)
    torch.testing.assert_close(scope["focused"], scope["whole"], rtol=1e-4, atol=1e-4)
    assert scope["snr_db"] > 0
    assert scope["shorter"].config.state_dim == 16


def test_own_lines_are_read(tmp_path, monkeypatch, capsys):
    """The page promises that anyone's arrays train a network: those of its example, with their radar."""
    monkeypatch.chdir(tmp_path)
    exec(BLOCKS["python"][0], {})
    assert capsys.readouterr().out.strip() == "{'train': 16, 'validation': 4, 'test': 4}"
    data = SarConfig(source="npz", file="mine.npz").build()
    own, focused = data.test.inputs[:, :, 0].numpy(), data.test.targets[:, :, 0].numpy()
    kernels, valid = data.kernels(data.test), data.valid  # the geometry is the lines': its matched filter focuses them
    for line, wanted, kernel in zip(own, focused, kernels):
        found = np.convolve(line, kernel, mode="valid")
        np.testing.assert_allclose(found, wanted[valid], atol=1e-3 * np.abs(wanted).max())
