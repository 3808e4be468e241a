"""The list of planted faults is well made, and some of them are planted here; `python -m benchmarks.house.faults` plants all."""

import ast
import hashlib
from functools import cache
from pathlib import Path

import pytest
from faults import FAULTS
from plant import Fault, broken, edited

ROOT = Path(__file__).parents[2]


@cache
def functions_of(path):
    """Names of the test functions of a file, without importing it."""
    found = ast.walk(ast.parse(path.read_text()))
    return {node.name for node in found if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_names_are_unique_and_there_are_enough():
    """Two faults of one name could not be told apart in the table."""
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 65


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_can_be_made_and_its_test_exists(fault):
    """A target that was renamed, a source that has moved on, or a test that is gone: the list must keep up."""
    original, instead = broken(fault)
    assert callable(instead)
    assert instead is not original
    file, _, test = fault.caught_by.partition("::")
    assert test.partition("[")[0] in functions_of(ROOT / file)


def test_a_source_that_has_moved_on_is_an_error():
    """A replacement that replaces nothing would be a fault that is none."""
    with pytest.raises(LookupError, match="expected 'no such words'"):
        broken(Fault("", "stillhouse.losses.divergence:forward_kl", edited("no such words", ""), ""))


def test_an_edited_method_still_finds_its_base():
    """`super()` of an edited method failed, so that any test of it failed: faults were caught that broke nothing else."""
    fault = Fault(
        "", "stillhouse.tasks.classification.students.clauses:ClauseModel.__init__", edited("super()", "super()"), ""
    )
    original, instead = broken(fault)
    assert instead.__code__.co_freevars == original.__code__.co_freevars == ("__class__",)
    assert instead.__closure__[0].cell_contents is original.__closure__[0].cell_contents


def sample():
    """One fault of each group of plain unit tests, which take a moment; the same ones as long as they are in the list."""
    groups = {}
    for fault in sorted(FAULTS, key=lambda fault: hashlib.sha256(fault.name.encode()).digest()):
        groups.setdefault(fault.caught_by.split("/")[1], fault)
    return [groups[name] for name in ("losses", "layers", "metrics", "temperature", "data", "logic") if name in groups]


@pytest.mark.slow
def test_a_sample_is_caught(monkeypatch):
    """Each in a fork of this process: the test passes without the fault and fails with it."""
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.chdir(ROOT)
    from benchmarks.house import faults

    chosen = sample()
    assert len(chosen) >= 5
    assert all(faults.planted_each(chosen).values())
    unharmed = Fault("no fault at all", chosen[0].target, lambda original: original, chosen[0].caught_by)
    assert faults.planted_each([unharmed]) == {"no fault at all": False}
