"""The run folder: who may write it, what is in it, and that a resumed run goes on with the same configuration, data and teacher.

OUT/
  run.json                 kind, config, command, versions, machine, data, teacher
  teacher.json             check of the teacher on the validation split; its test score after the last arm
  arms/ARM/seed-K/
    records.jsonl          loss terms and validation figures; tensorboard/ has the same as events
    checkpoint.pt          all that resume needs
    student.safetensors, card.json   the student whose score is reported
    scores.npz             metric -> (N,) one value a test item
    result.json            written last: the arm is finished
  student/                 the taught arm's best seed by validation: what is used, evaluated and exported
  summary.json             verdict, comparisons, arms, teacher, costs
  manifest.json            SHA-256 of all of these but what only a resume reads, and what is made again from the rest
  report.html              made from these files and nothing else
  .lock                    while a process writes here; .NAME.xxxxxxxx.part: a file that is being written

No torch.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from stillhouse.core import records
from stillhouse.core.checks import CannotWrite, InputError
from stillhouse.core.hashes import verify_files, with_hashes
from stillhouse.core.manifest import check_arms, check_file, list_files, run_above
from stillhouse.core.records import (
    LOCK,
    PART,
    check_object,
    missing_folders,
    read_object,
    remove_empty,
    write_arrays,
    write_json,
)

SCORES, SHIPPED = "scores.npz", "student"


@dataclass
class RunFolder:
    """A run folder that is open for writing (see `open`), or for reading (`RunFolder(path)`)."""

    path: Path
    before: dict[str, Any] = field(default_factory=dict)  # run.json of the run that is continued

    @classmethod
    @contextmanager
    def open(
        cls,
        path: Path,
        config: Mapping[str, Any],
        *,
        resume: bool,
        may_grow: tuple[str, ...] = (),
        may_change: tuple[str, ...] = (),
        may_hold: tuple[str, ...] = (),
    ) -> Iterator[RunFolder]:
        """A folder to write a run into: new or empty, or with `resume` one of the same configuration.

        A run that ends by an error before anything is trained leaves nothing in it, but for what is made ahead (`may_hold`).

        Args:
            path: the folder.
            config: the configuration as plain data.
            resume: go on with what is there.
            may_grow: keys that may differ on resume: a number may rise, a list may get more entries.
            may_change: dotted keys of settings that decide no result.
            may_hold: names of entries that a new folder may hold already, made ahead of the run.

        Raises:
            InputError: something else is there, a run that is not to be resumed, of another configuration, or a run above.
        """
        with locked(path):
            known = path / records.RUN
            above = None if known.is_file() else run_above(path.parent)
            if above is not None and path.name not in (
                read_object(above / records.RUN, records.ABOUT)["config"].get("models") or ()
            ):
                raise InputError(f"cannot write {path}: it lies in the run {above}; choose another --out")
            there = {entry.name for entry in path.iterdir()}
            if not known.is_file() and there - {*may_hold, LOCK}:
                raise InputError(f"cannot write {path}: it exists and is not a run folder; choose another --out")
            if known.is_file() and not resume and _holds_training(path):
                raise InputError(f"{path} holds a run already; go on with --resume, or choose another --out")
            before: dict[str, Any] = {}
            if resume and known.is_file():
                before = read_object(known, records.ABOUT)
                _check_config(path, before["config"], config, may_grow, may_change)
                check_arms(path)
            try:
                yield cls(path, before)
            except Exception as error:
                if not before and not getattr(error, "keeps", False) and not _holds_training(path):
                    for entry in path.iterdir():
                        if entry.name not in {*there, *may_hold, LOCK}:
                            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
                raise

    def same(self, what: str, now: Mapping[str, Any]) -> None:
        """Refuse to continue a run on other data or with another teacher: its arms could not be compared.

        Args:
            what: "data" or "teacher".
            now: its facts, of which each `sha256` and `..._sha256` must be what it was.

        Raises:
            InputError: one of them changed.
        """
        was = self.before.get(what) or {}
        for key in was:
            if key.endswith("sha256") and was[key] != now.get(key):
                raise InputError(
                    f"{self.path}: --resume needs the {what} of the run: {key} was {_short(was[key])}, is "
                    f"{_short(now.get(key))}; take another --out for another {what}"
                )

    def begin(self, about: Mapping[str, Any]) -> None:
        """Write `run.json`; from here on the folder is a run and can be continued."""
        started = {"started": self.before["started"]} if "started" in self.before else {}
        write_json(self.path / records.RUN, {**about, **started})

    def arm(self, name: str, seed: int) -> Path:
        """The folder of one arm and seed."""
        return records.arm_folder(self.path, name, seed)

    def finished(self, arm: str, seed: int) -> bool:
        """Whether an arm and seed left its result."""
        return (self.arm(arm, seed) / records.RESULT).is_file()

    def keep(self, arm: str, seed: int, scores: Any, result: Mapping[str, Any]) -> None:
        """Write the scores of a finished training; `result.json` last, since it marks the training as finished."""
        folder = self.arm(arm, seed)
        for name, arrays in {SCORES: scores.items, **scores.arrays}.items():
            write_arrays(folder / name, **{key: np.asarray(x) for key, x in arrays.items()})
        # before the result, which a kill could leave beside the hashes of an earlier training
        list_files(self.path, folder)
        metrics = {**{name: float(np.mean(x)) for name, x in scores.items.items()}, **scores.scalars}
        write_json(folder / records.RESULT, {"arm": arm, "seed": seed, "metrics": metrics, **scores.facts, **result})
        list_files(self.path, folder)

    def result(self, arm: str, seed: int) -> dict[str, Any]:
        """`result.json` of one arm and seed."""
        path = self.arm(arm, seed) / records.RESULT
        check_file(path)
        return read_object(path, records.FIGURES)

    def scores(self, arm: str, seed: int) -> dict[str, np.ndarray]:
        """(N,) values by metric of one arm and seed; also whether it names the teacher's class, where both left their answers."""
        found = read_arrays(self.arm(arm, seed) / SCORES)
        both = self.arm(arm, seed) / records.PREDICTIONS, self.path / records.TEACHER_PREDICTIONS
        if all(path.is_file() for path in both):
            student, teacher = (read_arrays(path, ["probabilities"])["probabilities"].argmax(1) for path in both)
            found["agreement"] = student == teacher
        return found

    def ship(self, arm: str, seeds: int, name: str = SHIPPED) -> int:
        """Copy the best seed by validation to `student/`, or another folder of the run, card last; returns the seed."""
        ranks = [self.result(arm, seed).get("rank") or [0.0] for seed in range(seeds)]
        best = max(range(seeds), key=lambda seed: ranks[seed])
        source, target = self.arm(arm, best), self.path / name
        card = read_object(source / records.CARD, {}) if (source / records.CARD).is_file() else None
        if card is not None and "sha256" in card:
            verify_files(source, card)
        target.mkdir(parents=True, exist_ok=True)
        (target / records.CARD).unlink(missing_ok=True)
        skipped = {records.CHECKPOINT, records.RECORDS, records.RESULT, records.CARD}
        for file in sorted(source.iterdir()):
            if file.is_file() and file.name not in skipped and file.suffix != ".npz" and not file.name.startswith("."):
                shutil.copyfile(file, target / file.name)
        if card is not None:
            names = [name for name in card.get("sha256", {}) if name != records.CARD]
            card = {**card, "shipped": {"arm": arm, "seed": best}}
            write_json(target / records.CARD, with_hashes(card, target, names) if names else card)
        return best

    @property
    def run(self) -> dict[str, Any]:
        """`run.json`."""
        return read_object(self.path / records.RUN, records.ABOUT)


# ---------------------------------------------------------------------------------------------- who may write


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """While open, no other process can open one on the same folder, which is made if it is missing.

    The kernel drops the lock when the process ends, however it ends; what killed writes left is taken away.

    Raises:
        InputError: another process holds it, or the folder cannot be written.
    """
    records.check_folder(folder)
    made, lock = missing_folders(folder), FileLock(folder / LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        (folder / LOCK).write_text(f"process {os.getpid()} on {socket.gethostname()}")
    except Timeout:
        holder = "another process"
        with contextlib.suppress(OSError):  # it has just ended
            holder = (folder / LOCK).read_text() or holder
        raise InputError(f"{folder} is in use by {holder}; wait for it, or choose another --out") from None
    except (OSError, ValueError) as error:
        remove_empty(made)
        raise CannotWrite(f"cannot write {folder}: {getattr(error, 'strerror', None) or error}") from None
    try:
        for path in folder.rglob(f".*{PART}"):
            path.unlink(missing_ok=True)
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)  # before unlocking, so that it is never another process's
        lock.release()
        remove_empty(made)


def _holds_training(out: Path) -> bool:
    """Whether anything was trained in a folder, or below it."""
    return any(
        path.name in {records.RESULT, records.SUMMARY} or path.suffix in (".pt", ".safetensors")
        for path in out.rglob("*")
    )


def _check_config(out: Path, before: Any, now: Any, may_grow: tuple[str, ...], may_change: tuple[str, ...]) -> None:
    changed = [
        f"{key}: was {was!r}, is {is_!r}" + (" (a run can grow, but not shrink)" if key in may_grow else "")
        for key, was, is_ in diff_leaves(before, now, whole=may_grow)
        if key not in may_change and not (key in may_grow and _is_extension_of(was, is_))
    ]
    if changed:
        raise InputError(
            f"{out}: --resume needs the configuration of the run; it differs in {'; '.join(changed)}; take another --out for "
            "another run, or delete the folder"
        )


def diff_leaves(before: Any, now: Any, path: str = "", *, whole: tuple[str, ...] = ()) -> list[tuple[str, Any, Any]]:
    """(path, before, now) of every leaf that differs; lists of one length entry by entry, except those named `whole`."""
    if before == now:
        return []
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now) and path not in whole:
        before, now = dict(enumerate(before)), dict(enumerate(now))
    if not (isinstance(before, Mapping) and isinstance(now, Mapping)) or path in whole:
        return [(path, before, now)]
    inner = ((key, f"{path}.{key}" if path else str(key)) for key in dict.fromkeys([*before, *now]))
    return [found for key, where in inner for found in diff_leaves(before.get(key), now.get(key), where, whole=whole)]


def _is_extension_of(before: Any, now: Any) -> bool:
    """Whether `now` holds all that was before: a larger number, a longer list, something in place of nothing."""
    if isinstance(before, list) and isinstance(now, list):
        return all(entry in now for entry in before)
    return before is None or (isinstance(before, int) and isinstance(now, int) and now >= before)


# ---------------------------------------------------------------------------------------------- reading


def read_arrays(path: Path, names: Iterable[str] = ()) -> dict[str, np.ndarray]:
    """The arrays of an npz file that a finished training left; see `records.read_arrays`.

    Raises:
        InputError: it is missing or damaged, and how to go on.
    """
    try:
        check_file(path)
        return records.read_arrays(path, names)
    except InputError as error:
        raise InputError(f"{error}; delete its folder and continue with --resume") from None


def check_test_data(folder: Path, key: str, now: str, other: str) -> None:
    """Refuse data that are not what the run of a folder was scored on: its figures would be another test's under the same name.

    Args:
        folder: of a student; nothing is compared where it belongs to no run.
        key: of the fingerprint in `data` of `run.json`.
        now: the fingerprint of the data as they are.
        other: the option that names other data.

    Raises:
        InputError: the data were changed since the run.
    """
    run = run_above(folder)
    was = None if run is None else (RunFolder(run).run.get("data") or {}).get(key)
    if was is not None and was != now:
        raise InputError(
            f"the test data are not those of the run in {run}: {key} was {_short(was)}, is {_short(now)}; "
            f"put them back, or name other data with {other}"
        )


def settings_of(run: Path, name: str) -> dict[str, Any]:
    """A part of the configuration of a run, from its `run.json`.

    Raises:
        InputError: no run there, a damaged one, or one without that part.
    """
    config = RunFolder(run).run["config"]
    return dict(check_object(config, {name: dict[str, Any]}, f"{run / records.RUN}, config")[name])


def student_folder(folder: Path) -> Path:
    """The folder of the student that is meant: itself, or the shipped one of a run folder.

    Raises:
        InputError: neither.
    """
    folder = Path(folder)
    for place in (folder, folder / SHIPPED):
        if (place / records.CARD).is_file():
            return place
    raise InputError(
        f"{folder}: expected the folder of a student ({records.CARD} in it) or a finished run, got neither"
    )


def check_finished(folder: Path) -> None:
    """Refuse a run that has no summary yet.

    Raises:
        InputError: it is not finished.
    """
    if not (folder / records.SUMMARY).is_file():
        raise InputError(f"{folder}: expected a finished run ({records.SUMMARY} in it); finish it with --resume")


def _short(value: Any) -> str:
    return f"{value[:12]}..." if isinstance(value, str) and len(value) > 20 else repr(value)
