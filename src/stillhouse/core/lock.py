"""One writer a folder: a lock that the kernel drops when its process ends, however it ends. No torch.

The lock is `flock` on `OUT/.lock`; what is written inside (process, host, start) is for the message only. So nothing is ever
stale: after a kill or a crash the file may remain, but the next process gets the lock.

On a network file system: NFS (Linux 2.6.12 and newer, no `nolock` or `local_lock` in its mount options) carries the lock to the
server, so that hosts see each other's, and drops it when the lease of a dead host ends (about 90 seconds). Where locks are local
(those mount options, Lustre with `localflock`) only runs of the same host see each other. Where there are none at all, a warning
says so and the run goes on.
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

from stillhouse.core.checks import CannotWrite, InputError
from stillhouse.core.records import LOCK, PART, check_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

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
        self.folder = Path(folder)
        self._handle: int | None = None
        self._made: list[Path] = []

    def __enter__(self) -> RunLock:
        check_folder(self.folder)
        self._made = missing_folders(self.folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._handle = self._take()
            started = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
            holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": started}
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, json.dumps(holder).encode(), 0)
        except OSError as error:
            self._release()
            raise CannotWrite(f"cannot write {self.folder}: {error.strerror}") from None
        except InputError:
            remove_empty(self._made)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def clear_temporaries(self) -> list[Path]:
        """Remove the temporary files that killed writes left in the folder and below; returns them.

        Only under the lock: those of a living process are writes in progress.
        """
        if self._handle is None:
            raise RuntimeError("clear_temporaries: expected the lock to be held, got a lock that is not open")
        found = [
            Path(place, name)
            for place, _, names in os.walk(self.folder)
            for name in names
            if name.startswith(".") and name.endswith(PART)
        ]
        for path in found:
            path.unlink(missing_ok=True)
        return found

    def _take(self) -> int:
        """The descriptor of the locked file; tried again when its last holder removed it between opening and locking."""
        path = self.folder / LOCK
        while True:
            try:
                handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            except FileNotFoundError:  # its last holder began nothing, and took the folder away
                self.folder.mkdir(parents=True, exist_ok=True)
                continue
            try:
                if fcntl is None:
                    raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(handle, path):
                    return handle
            except BlockingIOError:
                os.close(handle)
                raise InputError(
                    f"{self.folder} is in use by {_holder(path)}; wait for it, or choose another --out"
                ) from None
            except OSError as error:
                if error.errno not in WITHOUT_LOCKS:
                    os.close(handle)
                    raise
                warnings.warn(
                    f"{self.folder}: its file system has no locks; see to it that one run at a time writes here",
                    stacklevel=3,
                )
                return handle
            os.close(handle)

    def _release(self) -> None:
        if self._handle is None:
            remove_empty(self._made)
            return
        handle, self._handle = self._handle, None
        with contextlib.suppress(OSError):
            (self.folder / LOCK).unlink()  # before unlocking, so that it is never another process's
        with contextlib.suppress(OSError):
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_UN)  # closing alone would leave it to processes that were forked
        os.close(handle)
        remove_empty(self._made)


def missing_folders(folder: Path) -> list[Path]:
    """A folder and those above it, as far as they do not exist yet; the innermost first."""
    return [place for place in (folder, *folder.parents) if not place.exists()]


def remove_empty(folders: list[Path]) -> None:
    """Take away folders that were made for nothing: a run that was refused leaves none behind."""
    for folder in folders:
        with contextlib.suppress(OSError):  # not empty, or taken away by another
            folder.rmdir()


def is_abandoned(folder: Path) -> bool:
    """Whether a process held the lock of a folder and was killed; False where that cannot be known."""
    if fcntl is None:
        return False
    try:
        handle = os.open(folder / LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _is_at(handle, folder / LOCK)
    except OSError:  # held, or no locks here
        return False
    finally:
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(handle), there)


def _holder(path: Path) -> str:
    try:
        found = json.loads(path.read_bytes())
        return f"process {found['pid']} on {found['host']} since {found['since']}"
    except (OSError, ValueError, LookupError, TypeError):  # it is about to write it
        return "another process"
