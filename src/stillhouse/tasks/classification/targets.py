"""What a student with classes can be written as, by the names of `stillhouse export`. No torch until one is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stillhouse.core.checks import InputError
from stillhouse.core.exports import ExportChoices, Target

Load = Callable[[Path], Any]
Write = Callable[[Path, Path, ExportChoices], Sequence[str]]


def targets(load: Load) -> Mapping[str, Target]:
    """Every form by its name; forms that a student has not are refused when they are written.

    Args:
        load: folder -> student.
    """
    return {
        "packed": Target("bits and whole numbers in one file", ".packed.safetensors", _machine("export_packed", load)),
        "c": Target("C99, no allocation", ".c", _readable("c", load, _machine("export_c", load))),
        "json": Target(
            "literals and votes for other programs", ".json", _readable("json", load, _machine("export_json", load))
        ),
        "python": Target("one file that needs Python alone", ".py", _readable("python", load)),
        "sql": Target("one SELECT over a table", ".sql", _readable("sql", load)),
        "numpy": Target("needs numpy alone", "", _machine("export_numpy", load)),
        "rules": Target("rules and clauses to read", "", _readable("rules", load, _rules(load))),
        "onnx": Target("for onnxruntime", ".onnx", _onnx(load)),
        "torch": Target("for torch.export.load", ".pt2", _program(load)),
    }


def _data(folder: Path, choices: ExportChoices) -> Any:
    from stillhouse.tasks.classification.evaluation import data_of

    return data_of(folder, choices.data, choices.data_root)


def _machine(writer: str, load: Load) -> Callable[[Path, Path, ExportChoices], Sequence[str]]:
    """The writer of a form of students that are clauses from the pixels to the class."""

    def write(folder: Path, out: Path, choices: ExportChoices) -> Sequence[str]:
        from stillhouse.tasks.classification import exports

        lines: Sequence[str] = getattr(exports, writer)(exports.job(load(folder), _data(folder, choices)), out)
        return lines

    return write


def _readable(form: str, load: Load, other: Write | None = None) -> Write:
    """The writer of a form of students of rules and scorecards; `other`: of those that are none."""

    def write(folder: Path, out: Path, choices: ExportChoices) -> Sequence[str]:
        from stillhouse.tasks.classification.readable_run import export, is_readable

        model = load(folder)
        if is_readable(model):
            return export(form, model, _data(folder, choices), out)
        if other is None:
            raise InputError(f"--to {form}: expected a student of rules or a scorecard, got {type(model).__name__}")
        return other(folder, out, choices)

    return write


def _rules(load: Load) -> Callable[[Path, Path, ExportChoices], Sequence[str]]:
    def write(folder: Path, out: Path, choices: ExportChoices) -> Sequence[str]:
        from stillhouse.tasks.classification.exports import export_rules

        return export_rules(load(folder), _data(folder, choices), folder, out)

    return write


def _onnx(load: Load) -> Callable[[Path, Path, ExportChoices], Sequence[str]]:
    def write(folder: Path, out: Path, choices: ExportChoices) -> Sequence[str]:
        from stillhouse.tasks.classification.programs import write_onnx

        data = _data(folder, choices)
        return [write_onnx(load(folder), data.test, out, data.input_spec)]

    return write


def _program(load: Load) -> Callable[[Path, Path, ExportChoices], Sequence[str]]:
    def write(folder: Path, out: Path, choices: ExportChoices) -> Sequence[str]:
        from stillhouse.tasks.classification.programs import write_program

        return [write_program(load(folder), _data(folder, choices).test, out)]

    return write
