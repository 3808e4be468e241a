"""What a command may write over with `--out`: nothing that a run, a student, a cache or a sweep is made of. No torch."""

from __future__ import annotations

from pathlib import Path

from stillhouse.core import records
from stillhouse.core.checks import InputError
from stillhouse.core.manifest import MANIFEST, UNLISTED, files_of

KINDS = {  # a file that marks a folder -> what the folder is
    records.RUN: "run",
    records.CARD: "student",
    "sweep.json": "sweep",
    "study.db": "sweep",
    MANIFEST: "cache",  # of stored teacher outputs, where no run.json lies beside it
}


def check_output(
    place: Path, *, suffixes: tuple[str, ...] = (), source: Path | str | None = None, flag: str = "--out"
) -> None:
    """See that a file may be written: a new one, one of the user's, or an earlier page or export of ours.

    Args:
        place: the file.
        suffixes: the endings that it may have; none: any.
        source: the file that the command reads.
        flag: that named it.

    Raises:
        InputError: another ending; a file that the command reads, or that a run, a student, a cache or a sweep is made of.
    """
    place = Path(place).expanduser()
    if suffixes and place.suffix.lower() not in suffixes:
        ends = " or ".join(filter(None, (", ".join(suffixes[:-1]), suffixes[-1])))
        raise InputError(f"{flag} {place}: expected a name that ends in {ends}")
    if not place.exists() or place.is_dir():
        return
    if source is not None and Path(source).expanduser().exists() and place.samefile(Path(source).expanduser()):
        raise InputError(f"{flag} {place}: is the file that is read; choose another {flag}")
    place = place.parent.resolve() / place.name
    for folder in place.parents:
        for mark, kind in KINDS.items():
            if (folder / mark).is_file() and _is_part(place.relative_to(folder), folder, kind):
                raise InputError(f"cannot write {place}: it is a file of the {kind} in {folder}; choose another {flag}")


def _is_part(name: Path, folder: Path, kind: str) -> bool:
    """Whether a run, student, cache or sweep is made of a file in its folder: a page or an export may lie there too."""
    try:
        if kind == "run" and (folder / records.SUMMARY).is_file():
            return name.as_posix() in {*files_of(folder), MANIFEST} or bool(UNLISTED & set(name.parts))
        if kind == "student":
            known = records.read_object(folder / records.CARD, {"sha256": dict[str, str]})["sha256"]
            return len(name.parts) == 1 and name.name in {
                *known,
                *UNLISTED,
                records.CARD,
                records.RECORDS,
                records.RESULT,
            }
    except InputError:  # damaged: what is its own cannot be known
        pass
    if kind == "cache" and (folder / records.RUN).is_file():
        return False
    if kind in ("sweep", "cache"):
        return len(name.parts) == 1 or name.parts[0].startswith(".")
    return "export" not in name.parts and (name.suffix != ".html" or name.name == records.REPORT)
