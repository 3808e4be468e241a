"""Every block of docs/extending.md is run as it stands: files as modules, tests as tests."""

import importlib
import re
import sys
import types
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()
BLOCKS = {code.splitlines()[0].removeprefix("# "): code for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)}
FILES = [path for path in BLOCKS if path.startswith("src/")]
TESTS = [path for path in BLOCKS if path.startswith("tests/")]


def module_name(path):
    return path.removeprefix("src/").removesuffix(".py").replace("/", ".")


@pytest.fixture
def written(monkeypatch):
    """The new files of the page as modules by their short names, in its order; gone again afterwards."""
    modules = {}
    for path in FILES:
        module = types.ModuleType(module_name(path))
        monkeypatch.setitem(
            sys.modules, module.__name__, module
        )  # before it runs: pydantic looks its annotations up there
        exec(compile(BLOCKS[path], path, "exec"), module.__dict__)
        modules[Path(path).stem] = module
    return modules


@pytest.mark.parametrize("path", TESTS)
def test_the_tests_of_the_page_pass(path, written):
    """Each test function of a block, as pytest would call it."""
    scope = {"__name__": "tests_of_the_page"}
    exec(compile(BLOCKS[path], path, "exec"), scope)
    found = [function for name, function in scope.items() if name.startswith("test_")]
    assert found
    for function in found:
        function()


def test_every_new_file_has_its_test_on_the_page():
    """The page teaches by example: no part without proof. Files that exist already would be overwritten."""
    names = {Path(path).stem for path in TESTS}
    assert {f"test_{Path(path).stem}" for path in FILES} == names
    assert not [path for path in (*FILES, *TESTS) if (Path(__file__).parents[1] / path).exists()]
    assert len(BLOCKS) == len(FILES) + len(TESTS) + 1


def test_the_doctests_of_the_page_pass(written):
    """A docstring's number is run in the library, so here too."""
    import doctest

    found = [doctest.testmod(sys.modules[module_name(path)]) for path in FILES]
    assert sum(result.attempted for result in found) > 0
    assert sum(result.failed for result in found) == 0


def test_the_loss_of_the_page_is_a_row_of_the_table(written, monkeypatch):
    """What is added to signals/logits.py, run in that module's own names: its losses are then one more."""
    import torch

    from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
    from stillhouse.temperature import FixedTemperature

    added = next(path for path in BLOCKS if path.startswith("added to "))
    logits = importlib.import_module(module_name(added.removeprefix("added to ")))
    monkeypatch.setattr(logits, "LOSSES", dict(logits.LOSSES))
    exec(compile(BLOCKS[added], added, "exec"), dict(vars(logits)))
    config = types.SimpleNamespace(
        **{"name": None, "weight": 1.0, "standardize": False, "intra_weight": None, "target_weight": None},
        loss="hellinger",
        temperature=FixedTemperature(value=3.0),
    )
    signal = logits.LogitSignal(config, OutputSpec(4), OutputSpec(4))
    student, teacher = torch.randn(2, 5, 4)
    batch = Batch(torch.zeros(5, 1), torch.zeros(5, dtype=torch.int64), torch.arange(5))
    found = signal(Outputs(student), Outputs(teacher), batch, Progress(0, 1))
    torch.testing.assert_close(found, written["hellinger"].hellinger(student, teacher, temperature=3.0))


def test_the_signal_of_the_page_teaches_in_a_run(written, tmp_path):
    """In the example task, whose configuration takes one signal more: its term is in the taught arm alone."""
    import json
    from importlib.util import module_from_spec, spec_from_file_location

    from stillhouse.core.config import configclass, parse
    from stillhouse.core.experiment import run
    from stillhouse.signals import SignalConfig

    spec = spec_from_file_location("tabular_task", Path(__file__).parents[1] / "examples" / "tabular_task.py")
    tabular = module_from_spec(spec)
    spec.loader.exec_module(tabular)

    Margin = written["margin"].MarginConfig

    @configclass
    class Wider(tabular.TabularRun):
        signals: tuple[SignalConfig | Margin, ...] = ()

    training = {"epochs": 2, "batch_size": 32, "threads": 1, "device": "cpu", "log_every": 1}
    config = parse(Wider, {"data": "wine", "seeds": 1, "signals": [{"kind": "margin"}], "training": training})
    run(tabular.TASK, config, tmp_path / "run")
    for arm, taught in (("kd", True), ("no-kd", False)):
        lines = (tmp_path / "run" / "arms" / arm / "seed-0" / "records.jsonl").read_text().splitlines()
        terms = [json.loads(line)["terms"] for line in lines if '"terms"' in line]
        assert terms
        assert all(("margin" in found) == taught for found in terms)


def test_the_student_and_the_teacher_of_the_page_work_together(written):
    """A forest teaches the convolutional student on digits: the divergence falls."""
    import torch
    from sklearn.ensemble import RandomForestClassifier

    from stillhouse.losses.divergence import forward_kl
    from stillhouse.tasks.classification.data.config import DataConfig

    data = DataConfig(name="digits").build()
    batch = data.train.batch(torch.arange(256))
    rows = batch.inputs.flatten(1).numpy()
    teacher = written["from_sklearn"].SklearnTeacher(
        RandomForestClassifier(20, random_state=0).fit(rows, batch.labels), rows[:9]
    )
    torch.manual_seed(0)
    student = written["convolutional"].ConvolutionalStudentConfig().build(data.input_spec)
    optimizer = torch.optim.Adam(student.parameters(), 0.01)
    losses = []
    for _ in range(20):
        loss = forward_kl(student(batch.inputs), teacher(batch).logits).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
