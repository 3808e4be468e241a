"""The files of a folder tree: each once, and no link followed out of the tree or back up. No torch."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

log = logging.getLogger(__name__)
Identity = tuple[int, int]


@dataclass(frozen=True, slots=True, order=True)
class File:
    """What was found.

    Attributes:
        path: where.
        identity: device and number, equal for all names of a file; None: it is no file (a pipe, a link to nothing).
        size: in bytes.
    """

    path: Path
    identity: Identity | None
    size: int = 0

    @classmethod
    def at(cls, path: Path) -> File:
        """What is at a path."""
        try:
            status = path.stat()
        except OSError:
            return cls(path, None)
        return cls(path, (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None, status.st_size)


@dataclass
class Passed:
    """What a walk passed over.

    Attributes:
        outside: links that lead out of the tree.
        up: links that lead back to a folder that they are in.
        again: further names of files that were there already.
    """

    outside: list[Path] = field(default_factory=list)
    up: list[Path] = field(default_factory=list)
    again: list[Path] = field(default_factory=list)

    def __str__(self) -> str:
        groups = (
            (self.outside, "links that lead out of the folder are not followed; copy what they lead to"),
            (self.up, "links that lead back up are not followed"),
            (self.again, "further names of the same files are passed over"),
        )
        return "; ".join(f"{what} ({len(some):,}, first: {some[0]})" for some, what in groups if some)

    def warn(self, root: Path) -> None:
        """Say what was passed over, if anything was."""
        if str(self):
            log.warning("%s: %s", root, self)


def files_under(place: Path, root: Path, wanted: Callable[[str], bool], passed: Passed) -> list[File]:
    """The files of a folder and its sub-folders by path, each once whatever it is called.

    Args:
        place: the folder.
        root: links are followed to what lies under this folder, and no further.
        wanted: by the name alone. What is wanted and neither a file nor a folder (a pipe, a link to nothing) is listed too.
        passed: gets what is passed over.

    Raises:
        OSError: a folder that cannot be read.
    """
    found = sorted(_walk(place, root, wanted, passed, {_real(place)}))
    return sorted(once((file for _, file in found), passed))  # a file's own name before those of links to it


def once(files: Iterable[File], passed: Passed) -> Iterator[File]:
    """The first name of each file."""
    seen: set[Identity] = set()
    for file in files:
        if file.identity is not None and file.identity in seen:
            passed.again.append(file.path)
            continue
        if file.identity is not None:
            seen.add(file.identity)
        yield file


def follow(link: Path, root: Path, passed: Passed) -> bool:
    """Whether a path may be followed: it is no link, or leads to something under the root that it is not itself in.

    Args:
        link: any path.
        root: of the tree.
        passed: gets a link that may not.
    """
    if not link.is_symlink():
        return True
    real = _real(link)
    if real.exists() and not real.is_relative_to(_real(root)):
        passed.outside.append(link)
    elif _real(link.parent).is_relative_to(real):
        passed.up.append(link)
    else:
        return True
    return False


def _walk(
    folder: Path, root: Path, wanted: Callable[[str], bool], passed: Passed, seen: set[Path], linked: bool = False
) -> Iterator[tuple[bool, File]]:
    """What is wanted, and whether a link led to it; each real folder is gone into once by links."""
    with os.scandir(folder) as entries:
        names = sorted(entries, key=lambda entry: (entry.is_symlink(), entry.name))
    for entry in names:
        path = Path(entry.path)
        if entry.is_symlink() and not follow(path, root, passed):
            continue
        here = linked or entry.is_symlink()
        if not (
            path if entry.is_symlink() else entry
        ).is_dir():  # the entry's own question raises where a link leads to itself
            if wanted(entry.name):
                yield here, File.at(path)
            continue
        real = _real(path)
        if here and real in seen:
            passed.again.append(path)
            continue
        seen.add(real)
        yield from _walk(path, root, wanted, passed, seen, here)


def _real(path: Path) -> Path:
    """Without links; `Path.resolve` raises where one leads to itself."""
    return Path(os.path.realpath(path))
