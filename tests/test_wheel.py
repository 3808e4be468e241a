"""The wheel holds what the source tree has: an installed copy without its data fails far from here."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_wheel_holds_every_file_of_the_source(tmp_path):
    """Pages, weights, recipes and styles are data that setuptools leaves out unless each is named."""
    pytest.importorskip("setuptools")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, tmp_path / name)
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=unwanted)
    for folder in (tmp_path / "src").rglob("*/"):  # of a read-only checkout
        folder.chmod(0o755)
    (tmp_path / "src").chmod(0o755)
    code = "from setuptools import build_meta; print(build_meta.build_wheel('wheels'))"
    (tmp_path / "wheels").mkdir()
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, timeout=120)
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    source = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*") if path.is_file()}
    source = {name for name in source if "__pycache__" not in name and ".egg-info/" not in name}
    assert held == source
    assert "fptm_ste/tm_transformer.py" in held
