"""What the files of a run were when they were written: `manifest.json`, and what was changed since. No torch.

A file is compared with the manifest where it is read back (`check_file`), all of them before a run goes on (`check_arms`) and for
its page (`changed_files`). A folder inside with a manifest of its own (stored teacher outputs) looks after its files itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stillhouse.core import records
from stillhouse.core.checks import InputError
from stillhouse.core.hashes import sha256_of
from stillhouse.core.records import MANIFEST, read_object, write_json

FILES = "files"
UNLISTED = frozenset({"tensorboard", "stages", records.CHECKPOINT, records.REPORT})


def files_of(run: Path) -> dict[str, str]:
    """SHA-256 by path in the run folder; empty before the first training is finished.

    Raises:
        InputError: a finished run without a manifest, as an earlier version left it; a manifest that cannot be read.
    """
    if (run / MANIFEST).is_file():
        return dict(read_object(run / MANIFEST, {FILES: dict[str, str]})[FILES])
    if (run / records.SUMMARY).is_file():
        raise InputError(f"{run}: expected a {MANIFEST} with the hashes of its files; run it again into another folder")
    return {}


def list_files(run: Path, folder: Path | None = None) -> None:
    """Put the files of a folder of a run, or of all of it, into its manifest."""
    below = run if folder is None else folder
    start = below.relative_to(run)
    known = {} if folder is None else files_of(run)
    kept = {name: digest for name, digest in known.items() if start not in Path(name).parents}
    found = {path.relative_to(run).as_posix(): sha256_of(path) for path in _files(below, run)}
    write_json(run / MANIFEST, {FILES: dict(sorted((kept | found).items()))})


def run_above(folder: Path) -> Path | None:
    """The run folder that a folder (of an arm, of the shipped student) lies in, itself included."""
    places = [Path(folder).resolve(), *Path(folder).resolve().parents]
    return next((place for place in places if (place / records.RUN).is_file()), None)


def check_file(path: Path) -> None:
    """Refuse a file of a run that is not as it was written; one that no manifest lists is not compared.

    Raises:
        InputError: it was changed, or is missing.
    """
    run = run_above(path.parent)
    if run is not None and (run / MANIFEST).is_file():
        name = (path.parent.resolve() / path.name).relative_to(run).as_posix()
        if fault := _fault(run, name, files_of(run).get(name)):
            raise InputError(fault)


def changed_files(run: Path) -> list[str]:
    """What was changed, or is missing, of the files in the manifest: a line each."""
    try:
        found = files_of(run)
    except InputError as error:
        return [str(error)]
    return [fault for name, digest in found.items() if (fault := _fault(run, name, digest))]


def check_arms(run: Path) -> None:
    """Refuse to build on a finished training that was changed; of its curves the page says so, and nothing else needs them.

    Raises:
        InputError: a file of it is missing or was changed.
    """
    for name, digest in files_of(run).items():
        arm = run / Path(*Path(name).parts[:3])
        needed = name.startswith("arms/") and not name.endswith(records.RECORDS) and (arm / records.RESULT).is_file()
        if needed and (fault := _fault(run, name, digest)):
            raise InputError(f"{fault}; delete {arm}, and --resume trains it again")


def _fault(run: Path, name: str, expected: str | None) -> str | None:
    path = run / name
    if expected is None:
        return None
    if not path.is_file():
        return f"{path} is missing, and the run had left it"
    if sha256_of(path) != expected:
        return f"{path} was changed after it was written: its sha256 is not the one in {MANIFEST}"
    return None


def _files(folder: Path, run: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in UNLISTED or path.name.startswith(".") or path == run / MANIFEST:
            continue
        if path.is_dir() and not (path / MANIFEST).is_file():
            yield from _files(path, run)
        else:
            yield path / MANIFEST if path.is_dir() else path
