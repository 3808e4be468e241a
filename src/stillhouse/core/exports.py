"""Forms that a trained student can be written in, and how one is written: whole and checked, or not at all. No torch."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.core.records import check_output, missing_folders, remove_empty

LICENSE = r"^[a-z0-9][a-z0-9.+-]*$"  # an identifier, as model hubs and SPDX (in small letters) have them
UNNAMED = "other"  # the licence that nobody named


@dataclass(frozen=True)
class ExportChoices:
    """What the user wants of an export beside its form.

    Attributes:
        data: name of the data set on whose test split the written file is checked; None for that of the run.
        data_root: where it lies.
        license: of the student, for the page of a model hub; None for that of the run.
    """

    data: str | None = None
    data_root: str | None = None
    license: str | None = None


@dataclass(frozen=True)
class Target:
    """One form.

    Attributes:
        about: in a line, for help.
        suffix: of the file; empty where a folder is written.
        write: (folder of the student, file or folder to write, choices) -> lines that say what was checked. It raises
            `StillhouseError` where what it wrote does not answer as the student does.
        takes: names of the choices that mean something here.
    """

    about: str
    suffix: str
    write: Callable[[Path, Path, ExportChoices], Sequence[str]]
    takes: tuple[str, ...] = ("data", "data_root")


def write_export(
    targets: Mapping[str, Target], name: str, folder: Path, out: Path | None, choices: ExportChoices, kind: str
) -> tuple[Path, Sequence[str]]:
    """Write a student in one form, beside its place first: what fails its check leaves nothing behind.

    Args:
        targets: of the student's task.
        name: of the form.
        folder: of the student.
        out: file or folder; None: in `export/` beside the student.
        choices: see `ExportChoices`.
        kind: the task, for messages.

    Returns:
        Where it is, and what was checked.

    Raises:
        InputError: a form that the task lacks, a choice that means nothing to it, or a place that cannot be written.
        StillhouseError: the written file answers otherwise than the student.
    """
    if name not in targets:
        raise InputError(f"--to {name}: task {kind!r} has no such form; it has {', '.join(targets)}")
    target = targets[name]
    for choice in ("data", "data_root", "license"):
        if getattr(choices, choice) and choice not in target.takes:
            raise InputError(f"--{choice.replace('_', '-')}: means nothing to {name}; leave it out")
    place = folder / "export" / f"student{target.suffix or '-' + name}" if out is None else out.expanduser()
    if place.is_dir() and (target.suffix or any(place.iterdir())):
        raise InputError(f"cannot write {place}: expected {'a file' if target.suffix else 'a new or empty folder'}")
    check_output(place)
    new = missing_folders(place.parent)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}.") as beside:
            lines = target.write(folder, Path(beside) / place.name, choices)
            os.replace(Path(beside) / place.name, place)
    except OSError as error:
        raise InputError(f"cannot write {place}: {error.strerror}; nothing half-written was left") from None
    finally:
        remove_empty(new)
    return place, lines


def compare_answers(expected: np.ndarray, got: np.ndarray, name: str, *, bound: float) -> str:
    """Whether a written student answers as the network does: the same class for every row, scores within a bound.

    A row whose class differs counts as equal only if the network's own scores of both classes are within twice the bound.

    Args:
        expected: (N, K) scores of the network.
        got: (N, K) of what was written.
        name: of what was written.
        bound: largest difference of a score that rounding explains.

    Raises:
        InputError: another shape, other answers, or scores that differ by more.

    Example:
        >>> compare_answers(np.array([[0.0, 1.0]]), np.array([[0.0, 1.001]]), "file", bound=0.01)
        '1 of 1 answers equal; scores within 0.001'
    """
    if expected.shape != got.shape:
        raise InputError(f"{name}: expected scores of shape {expected.shape}, got {got.shape}")
    classes, theirs = expected.argmax(1), got.argmax(1)
    rows = np.arange(len(expected))
    tied = (classes != theirs) & (expected[rows, classes] - expected[rows, theirs] <= 2 * bound)
    equal, ties = int((classes == theirs).sum()), int(tied.sum())
    largest = float(np.abs(expected - got).max(initial=0.0))
    wrong = len(rows) - equal - ties
    if wrong or not largest <= bound:
        raise InputError(
            f"{name}: expected the answers of the network on {len(rows):,} rows, got {wrong:,} other ones, scores up to "
            f"{largest:.3g} apart (rounding explains {bound:.3g}); nothing was written"
        )
    even = f" ({ties} more: a tie within rounding)" if ties else ""
    return f"{equal:,} of {len(rows):,} answers equal{even}; scores within {largest:.2g}"
