"""A finished run of every task, made once and copied for each test that changes something."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cases import CASES, Case

from stillhouse.core.experiment import run
from stillhouse.tasks import task


@dataclass
class Made:
    """A case with its finished run."""

    case: Case
    out: Path
    summary: dict[str, Any]


@pytest.fixture(scope="session")
def case_of(tmp_path_factory: Any) -> Callable[[str], Case]:
    """The case of a task, its data and teacher made once."""
    return cache(lambda kind: CASES[kind](tmp_path_factory.mktemp(kind) / "case"))


@pytest.fixture(scope="session")
def run_of(case_of: Callable[[str], Case]) -> Callable[[str], Made]:
    """The run of a task, made once for all files."""

    def train_and_evaluate(kind: str) -> Made:
        case = case_of(kind)
        out = case.root / "run"
        return Made(case, out, run(task(case.task), case.config(), out))

    return cache(train_and_evaluate)


def pytest_generate_tests(metafunc: Any) -> None:
    """A question is asked of the tasks that it is for: the others are not skipped, they are not asked."""
    if "made" in metafunc.fixturenames:
        only = metafunc.definition.get_closest_marker("kinds")
        metafunc.parametrize("made", only.args if only else sorted(CASES), indirect=True, scope="session")


@pytest.fixture(scope="session")
def made(request: Any, run_of: Callable[[str], Made]) -> Made:
    return run_of(request.param)


@pytest.fixture
def copied(made: Made, tmp_path: Path) -> Made:
    """The same in a folder that a test may spoil; paths in the configuration keep pointing at the original case."""
    shutil.copytree(made.out, tmp_path / "run")
    return Made(made.case, tmp_path / "run", made.summary)


@pytest.fixture
def spoiled(made: Made, tmp_path: Path) -> Any:
    """The case whose data and teacher a test may change; both are put back."""
    keep = tmp_path / "keep"
    shutil.copytree(made.case.root, keep, ignore=shutil.ignore_patterns("run"))
    yield made
    for path in keep.rglob("*"):
        if path.is_file():
            shutil.copyfile(path, made.case.root / path.relative_to(keep))
