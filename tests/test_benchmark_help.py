"""Every script of `benchmarks` reads its command line, so that `--help` says what it does and starts nothing."""

import ast
import os
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from stillhouse.cli.main import main

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = [path for path in sorted(ROOT.glob("benchmarks/**/*.py")) if '__name__ == "__main__"' in path.read_text()]


def names_called(path: Path) -> set[str]:
    """What a file calls, by the last part of its name."""
    calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return {getattr(call, "attr", getattr(call, "id", "")) for call in calls}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_script_parses_its_arguments(script: Path) -> None:
    """`costs --help` ran the benchmark: nothing read the command line. (`options` is the parser that all attacks share.)"""
    assert names_called(script) & {"parse_args", "parse_known_args", "options"}


def test_help_of_costs_measures_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Networks were built and timed before a word was read."""
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setattr(sys, "argv", ["costs", "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("benchmarks.sar.costs", run_name="__main__")
    assert stop.value.code == 0
    assert "usage: costs" in (found := capsys.readouterr().out)
    assert "|" not in found.replace("[-h]", "")


@pytest.mark.parametrize("script", sorted(ROOT.glob("benchmarks/tsetlin/*.sh")), ids=lambda path: path.name)
def test_lines_of_a_shell_script_are_taken(script: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`flat.sh` named flags that were gone. `echo` in the place of the command gives its lines."""
    teacher = tmp_path / "teacher.safetensors"
    teacher.touch()
    known = {
        "BIN": "echo",
        "PYTHON": "true",
        "TEACHER": str(teacher),
        "FASHION_TEACHER": str(teacher),
        "OUT": str(tmp_path),
    }
    done = subprocess.run(["sh", script], env={**os.environ, **known}, capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        assert main([*shlex.split(line), "--print-config"]) == 0, capsys.readouterr().err
