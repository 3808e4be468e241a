"""One writer a folder: `filelock` on `OUT/.lock`, which the kernel drops when its process ends, however it ends. No torch.

What is written inside (process, host, start) is for the message only, so nothing is ever stale. On a network file system whose
locks are local only runs of the same host see each other; where there are none at all, a warning says so and the run goes on.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import warnings
from datetime import datetime
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from stillhouse.core.checks import CannotWrite, InputError
from stillhouse.core.records import LOCK, PART, check_folder

WITHOUT_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}


class RunLock:
    """While open, no other process (and no other `RunLock`) can open one on the same folder, which is made if it is missing.

    Args:
        folder: the folder to write in.

    Example:
        with RunLock(out) as lock:
            open_run_folder(out, config, resume=resume)
            lock.clear_temporaries()

    Raises:
        InputError: on entering: another process holds it (who, and since when), or the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.held = Path(folder), False
        self._lock = FileLock(self.folder / LOCK, timeout=0)
        self._made: list[Path] = []

    def __enter__(self) -> RunLock:
        check_folder(self.folder)
        self._made = missing_folders(self.folder)
        try:
            self._take()
            self.held = True
            since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
            holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
            (self.folder / LOCK).write_text(json.dumps(holder))
        except Timeout:
            remove_empty(self._made)
            raise InputError(
                f"{self.folder} is in use by {_holder(self.folder / LOCK)}; wait for it, or choose another --out"
            ) from None
        except OSError as error:
            self._release()
            raise CannotWrite(f"cannot write {self.folder}: {error.strerror}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def clear_temporaries(self) -> list[Path]:
        """Remove the temporary files that killed writes left in the folder and below; returns them.

        Only under the lock: those of a living process are writes in progress.
        """
        if not self.held:
            raise RuntimeError("clear_temporaries: expected the lock to be held, got a lock that is not open")
        found = [path for path in self.folder.rglob(f".*{PART}") if path.is_file()]
        for path in found:
            path.unlink(missing_ok=True)
        return found

    def _take(self) -> None:
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire()
                return
            except FileNotFoundError:  # its last holder began nothing, and took the folder away
                continue
            except OSError as error:
                if error.errno not in WITHOUT_LOCKS:
                    raise
                warnings.warn(
                    f"{self.folder}: its file system has no locks; see to it that one run at a time writes here",
                    stacklevel=3,
                )
                return

    def _release(self) -> None:
        if self.held:
            with contextlib.suppress(OSError):
                (self.folder / LOCK).unlink()  # before unlocking, so that it is never another process's
            self.held = False
        self._lock.release()
        remove_empty(self._made)


def missing_folders(folder: Path) -> list[Path]:
    """A folder and those above it, as far as they do not exist yet; the innermost first."""
    return [place for place in (folder, *folder.parents) if not place.exists()]


def remove_empty(folders: list[Path]) -> None:
    """Take away folders that were made for nothing: a run that was refused leaves none behind."""
    for folder in folders:
        with contextlib.suppress(OSError):  # not empty, or taken away by another
            folder.rmdir()


def _holder(path: Path) -> str:
    try:
        found = json.loads(path.read_bytes())
        return f"process {found['pid']} on {found['host']} since {found['since']}"
    except (OSError, ValueError, LookupError, TypeError):  # it is about to write it
        return "another process"
