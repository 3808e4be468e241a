"""What a student with classes can be written as, by the names of `stillhouse export`. No torch until one is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stillhouse.core.exports import ExportChoices, Target

Load = Callable[[Path], Any]


def targets(load: Load) -> Mapping[str, Target]:
    """Every form by its name; forms that a student has not are refused when they are written.

    Args:
        load: folder -> student.
    """
    return {
        "packed": Target("bits and whole numbers in one file", ".packed.safetensors", _machine("export_packed", load)),
        "c": Target("C99, no allocation", ".c", _machine("export_c", load)),
        "json": Target("literals and votes for other programs", ".json", _machine("export_json", load)),
        "numpy": Target("needs numpy alone", "", _machine("export_numpy", load)),
        "rules": Target("clauses to read", "", _rules(load)),
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
