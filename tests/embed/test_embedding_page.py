"""Every block of docs/embedding.md is read or run: a renamed flag or setting would leave the page wrong."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml

from stillhouse.cli.main import main
from stillhouse.tasks.embed.recipes import load_embedding

PAGE = (Path(__file__).parents[2] / "docs" / "embedding.md").read_text()
LINES = [re.split(r"\s{2,}", line.strip())[0] for line in re.findall(r"^    (stillhouse .*)$", PAGE, re.MULTILINE)]
YAML = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_every_command_of_embeddings_is_on_the_page():
    """What only they have."""
    assert {"capture", "explore", "distill"} <= {line.split()[2] for line in LINES}


@pytest.mark.parametrize("line", LINES)
def test_the_lines_are_understood(line, capsys):
    """Runs print what they would do; of other commands every flag is one of theirs."""
    words = shlex.split(line, comments=True)[1:]
    if words[1] == "distill":
        assert main([*words, "--print-config"]) == 0
        return
    with pytest.raises(SystemExit):
        main([*words[: 1 + (words[0] == "embed")], "--help"])
    shown = capsys.readouterr().out
    assert all(word in shown for word in words if word.startswith("--"))


@pytest.mark.parametrize("block", YAML)
def test_the_files_are_read(block, tmp_path):
    """As they stand."""
    (tmp_path / "mine.yaml").write_text(block)
    said = load_embedding(str(tmp_path / "mine.yaml"))
    assert said.data.path == yaml.safe_load(block)["data"]["path"]


def test_the_python_of_the_page_runs(tmp_path, monkeypatch):
    """On a few vectors; the run as short as can be."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(8, 12))[rng.integers(8, size=300)] + 0.4 * rng.normal(size=(300, 12))
    np.save("vectors.npy", vectors.astype(np.float32))
    tiny = '"seeds=1", "training.epochs=1", "training.batch_size=64", "loss.epoch_steps=3", "loss.perplexity=5", '
    tiny += '"anchors=[pca]", "training.device=cpu", "training.threads=1"'
    scope = {"vectors": vectors.astype(np.float32)}
    exec(PYTHON[0].replace('"seeds=3"', tiny), scope)
    assert scope["codes"].shape == (300, 5)
