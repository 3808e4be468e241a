"""The run folder: who may write it, what is in it, and that a resumed run goes on with the same configuration, data and teacher.

OUT/
  run.json                 kind, config, command, versions, machine, data, teacher, unused settings
  teacher.json             check of the teacher on the validation split; its test score after the last arm
  arms/ARM/seed-K/
    records.jsonl          loss terms and validation figures; tensorboard/ has the same as events
    checkpoint.pt          all that resume needs
    student.safetensors, card.json   the student whose score is reported
    scores.npz             metric -> (N,) one value a test item
    result.json            written last: the arm is finished
  student/                 the taught arm's best seed by validation: what is used, evaluated and exported
  summary.json             verdict, comparisons, arms, teacher, costs
  manifest.json            SHA-256 of all of these (`core.manifest`)
  report.html              made from these files and nothing else

No torch.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.core import records
from stillhouse.core.checks import InputError
from stillhouse.core.hashes import verify_files, with_hashes
from stillhouse.core.lock import RunLock
from stillhouse.core.manifest import check_arms, check_file, list_files
from stillhouse.core.manifest import run_above as run_above  # beside what else is asked of a run folder
from stillhouse.core.records import check_object, read_object, write_arrays, write_json
from stillhouse.core.resume import holds_training, open_run_folder

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

        Raises:
            InputError: something else is there, a run that is not to be resumed, of another configuration, or a run above.
        """
        with RunLock(path) as lock:
            _check_outside(path)
            open_run_folder(path, config, resume=resume, may_grow=may_grow, may_change=may_change, may_hold=may_hold)
            lock.clear_temporaries()
            known, there = path / records.RUN, {entry.name for entry in path.iterdir()}
            goes_on = resume and known.is_file()
            if goes_on:
                check_arms(path)
            try:
                yield cls(path, read_object(known, records.ABOUT) if goes_on else {})
            except Exception as error:
                if not goes_on and not getattr(error, "keeps", False) and not holds_training(path):
                    _remove(path, {*there, *may_hold, records.LOCK})
                raise

    def same(self, what: str, now: Mapping[str, Any], keys: tuple[str, ...] = ("sha256",)) -> None:
        """Refuse to continue a run on other data or with another teacher: its arms could not be compared.

        Args:
            what: "data" or "teacher".
            now: its facts.
            keys: which of them must be what they were.

        Raises:
            InputError: one of them changed.
        """
        was = self.before.get(what) or {}
        for key in keys:
            if was.get(key) is not None and was[key] != now.get(key):
                raise InputError(
                    f"{self.path}: --resume needs the {what} of the run: {key} was {_short(was[key])}, is "
                    f"{_short(now.get(key))}; take another --out for another {what}"
                )

    def check_data(self, facts: Mapping[str, Any]) -> None:
        """Refuse to continue a run on other data: `sha256`, and what else ends so, must be what it was.

        Raises:
            InputError: one of them changed.
        """
        self.same("data", facts, keys=("sha256", *(key for key in facts if key.endswith("_sha256"))))

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
        write_arrays(folder / SCORES, **{name: np.asarray(x) for name, x in scores.items.items()})
        for name, arrays in scores.arrays.items():
            write_arrays(folder / name, **{key: np.asarray(x) for key, x in arrays.items()})
        list_files(
            self.path, folder
        )  # before the result, which a kill could leave beside the hashes of an earlier training
        metrics = {**{name: float(np.mean(x)) for name, x in scores.items.items()}, **scores.scalars}
        write_json(folder / records.RESULT, {"arm": arm, "seed": seed, "metrics": metrics, **scores.facts, **result})
        list_files(self.path, folder)

    def result(self, arm: str, seed: int) -> dict[str, Any]:
        """`result.json` of one arm and seed."""
        path = self.arm(arm, seed) / records.RESULT
        check_file(path)
        return read_object(path, records.FIGURES)

    def scores(self, arm: str, seed: int) -> dict[str, np.ndarray]:
        """(N,) values by metric of one arm and seed.

        Raises:
            StillhouseError: the file of a finished training is damaged.
        """
        return read_arrays(self.arm(arm, seed) / SCORES)

    def ship(self, arm: str, seeds: int, name: str = SHIPPED) -> int:
        """Copy the best seed by validation to `student/`, or another folder of the run, card last; returns the seed."""
        ranks = [self.result(arm, seed).get("rank") or [0.0] for seed in range(seeds)]
        best = max(range(seeds), key=lambda seed: ranks[seed])
        source, target = self.arm(arm, best), self.path / name
        if (source / records.CARD).is_file() and "sha256" in (card := read_object(source / records.CARD, {})):
            verify_files(source, card)
        target.mkdir(parents=True, exist_ok=True)
        (target / records.CARD).unlink(missing_ok=True)
        skipped = {records.CHECKPOINT, records.RECORDS, records.RESULT, records.CARD, SCORES, "tensorboard", "stages"}
        for file in sorted(source.iterdir()):
            if file.is_file() and file.name not in skipped and file.suffix != ".npz" and not file.name.startswith("."):
                shutil.copyfile(file, target / file.name)
        if (source / records.CARD).is_file():
            card = {**read_object(source / records.CARD, {}), "shipped": {"arm": arm, "seed": best}}
            names = [name for name in card.get("sha256", {}) if name != records.CARD]
            write_json(target / records.CARD, with_hashes(card, target, names) if names else card)
        return best

    @property
    def run(self) -> dict[str, Any]:
        """`run.json`."""
        return read_object(self.path / records.RUN, records.ABOUT)


def _remove(path: Path, kept: set[str]) -> None:
    """Take away what is in a folder, but for some entries."""
    for entry in path.iterdir():
        if entry.name not in kept:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


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


def _check_outside(path: Path) -> None:
    """Refuse a new run inside of another, whose files it would be among; a run of several models names the folders of its own.

    Raises:
        InputError: a run lies above.
    """
    above = None if (path / records.RUN).is_file() else run_above(path.parent)
    if above is not None and path.name not in (
        read_object(above / records.RUN, records.ABOUT)["config"].get("models") or ()
    ):
        raise InputError(f"cannot write {path}: it lies in the run {above}; choose another --out")


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
    was = None if run is None else (read_object(run / records.RUN, records.ABOUT).get("data") or {}).get(key)
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
    path = run / records.RUN
    return dict(
        check_object(read_object(path, records.ABOUT)["config"], {name: dict[str, Any]}, f"{path}, config")[name]
    )


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


def _short(value: Any) -> str:
    return f"{value[:12]}..." if isinstance(value, str) and len(value) > 20 else repr(value)
