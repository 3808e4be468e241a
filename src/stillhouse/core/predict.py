"""A trained student in use: inputs as users have them in, answers out. No torch of its own.

`stillhouse.load(path)` and `stillhouse predict` give and use one of these; each task has its own (`Task.predictor`).
"""

from __future__ import annotations

import csv
import io
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from stillhouse.core.checks import InputError


@dataclass(frozen=True)
class Inputs:
    """What a source holds: a name for each input, and the inputs as `Predictor.predict` takes them."""

    names: Sequence[str]
    values: Any


class Predictor(ABC):
    """A student that is ready for inputs which nobody has prepared.

    Attributes:
        folder: of the student.
        classes: names of its classes, in the order of its scores; () where it has none.
        hub_task: what it does, by the name that model hubs have for it; empty where they have none.
        takes: what `predict` and `stillhouse predict` take, in words.
        gives_array: whether `predict` gives an array (N, ...) and not a row of named values an input.
        columns: names of the columns of such an array, where it is written as a table; () where it is no table.
        network: the torch module; None where the student answers without torch (embeddings, exports).
    """

    hub_task: str = ""
    takes: ClassVar[str]
    gives_array: ClassVar[bool] = False
    folder: Path
    classes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    network: Any = None

    @abstractmethod
    def transform(self, one: Any) -> Any:
        """One input as the network reads it.

        Raises:
            InputError: it is none, or has another shape.
        """

    @abstractmethod
    def predict(self, inputs: Any) -> Any:
        """Answers to some inputs: a list of rows, or an array (see `gives_array`).

        Raises:
            InputError: an input is none, or has another shape.
        """

    @abstractmethod
    def read(self, source: str) -> Inputs:
        """The inputs of a file, of a folder, or of standard input (`-`).

        Raises:
            InputError: nothing there, or not what this student takes.
        """

    def rows(self, names: Sequence[str], answers: Any) -> Iterator[Mapping[str, Any]]:
        """Answers as rows of a table, the name of the input first."""
        for name, answer in zip(names, answers, strict=True):
            values = dict(zip(self.columns, map(float, answer))) if self.gives_array else answer
            yield {"input": name, **values}


def lines_of(source: str) -> list[str]:
    """The lines of a text file, or of standard input (`-`).

    Raises:
        InputError: no such file, not UTF-8, or no line at all.
    """
    name = "standard input" if source == "-" else source
    try:
        text = sys.stdin.read() if source == "-" else Path(source).expanduser().read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{name}: expected text in UTF-8, got other bytes") from None
    if not (lines := text.splitlines()):
        raise InputError(f"{name}: expected lines, got nothing")
    return lines


def numbers_of(source: str) -> np.ndarray:
    """(N, F) float64 of a CSV table of numbers (a head is left out), or of standard input (`-`).

    Raises:
        InputError: rows of unequal length, a cell that is no number.
    """
    lines, name = lines_of(source), "standard input" if source == "-" else source
    head = not any(re.match(r"\s*[-+.\d]", cell) for cell in lines[0].split(","))
    try:
        found = np.loadtxt(lines[head:], delimiter=",", ndmin=2, comments=None)
    except ValueError as error:
        raise InputError(f"{name}: expected rows of numbers: {error}") from None
    if not len(found):
        raise InputError(f"{name}: expected rows of numbers, got none")
    return found


def array_of(source: str) -> np.ndarray:
    """The array of a .npy file, or of one on standard input (`-`); a pickle is never opened.

    Raises:
        InputError: no such file, or not one array of numbers.
    """
    name = "standard input" if source == "-" else str(Path(source).expanduser())
    try:
        raw = sys.stdin.buffer.read() if source == "-" else Path(name).read_bytes()
        found = np.load(io.BytesIO(raw), allow_pickle=False)
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror or error}") from None
    except (ValueError, EOFError) as error:
        raise InputError(f"{name}: expected an array of numbers (.npy), got another file ({error})") from None
    if not isinstance(found, np.ndarray):
        raise InputError(f"{name}: expected one array (.npy), got several (.npz)")
    return found


def check_finite(values: np.ndarray, name: str) -> None:
    """Raise InputError for a NaN or an infinity, naming the first row that has one."""
    if values.dtype.kind in "fc" and not np.isfinite(values).all():
        wrong = ~np.isfinite(values).reshape(len(values), -1).all(1)
        raise InputError(
            f"{name}: expected finite numbers, got NaN or infinity in {int(wrong.sum())} of {len(wrong)} rows, first in row "
            f"{int(wrong.argmax())}"
        )


def as_csv(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Rows as lines of CSV under a head; what is a mapping or a list itself is left out."""
    for number, row in enumerate(rows):
        buffer, plain = io.StringIO(), {k: x for k, x in row.items() if not isinstance(x, (Mapping, list))}
        writer = csv.writer(buffer, lineterminator="\n")
        if number == 0:
            writer.writerow(plain)
        writer.writerow([f"{x:.6g}" if isinstance(x, float) else x for x in plain.values()])
        yield buffer.getvalue()
