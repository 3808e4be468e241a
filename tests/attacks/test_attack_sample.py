"""A seeded part of the attacks in `benchmarks/attacks`: kills, damage, bad input, payloads, two writers, a full disk."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_sample_of_all_attacks_is_withstood(tmp_path):
    """Nothing lost and nothing believed: each attempt ends in a named error, or in what would have been without it."""
    words = [sys.executable, "-m", "benchmarks.attacks.sample", "--families", "embed", "--work", str(tmp_path)]
    place = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    done = subprocess.run(words, cwd=ROOT, env=place, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 fell" in done.stdout
    for row in ("kills", "bad input", "pages", "two runs", "each flush", "resumed"):
        assert row in done.stdout, done.stdout
