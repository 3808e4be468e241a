"""One attack of each kind of `benchmarks/attacks.py`: bad commands, settings, files, damage, script in a page, a kill."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_a_sample_of_all_attacks_is_withstood():
    """Each ends in a clear line, or in what would have been without it."""
    words = [sys.executable, "-m", "benchmarks.attacks", "--tasks", "embed", "--sample", "1"]
    place = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    done = subprocess.run(words, cwd=ROOT, env=place, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 fell" in done.stdout
    for row in ("commands", "YAML", "settings", "damage, resume", "other JSON", "pages", "kills"):
        assert f"embed, {row}:" in done.stdout, done.stdout
