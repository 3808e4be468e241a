"""Files of ours: what they are called, how nothing is ever half-written, and how they are read. No torch."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from stillhouse.core import ranks
from stillhouse.core.checks import CannotWrite, InputError

RUN, TEACHER, SUMMARY, REPORT = "run.json", "teacher.json", "summary.json", "report.html"
RECORDS, RESULT, PREDICTIONS = "records.jsonl", "result.json", "predictions.npz"
TEACHER_PREDICTIONS = "teacher_predictions.npz"
CHECKPOINT, STUDENT, CARD, MANIFEST = "checkpoint.pt", "student.safetensors", "card.json", "manifest.json"
LOCK, PART = ".lock", ".part"
ABOUT: dict[str, Any] = {"config": dict[str, Any]}  # what is read of run.json
FIGURES: dict[str, Any] = {"metrics": dict[str, Any]}  # and of result.json
MARKS = (RUN, CARD, MANIFEST, "plan.json", "sweep.json", "study.db")  # files of folders that we look after
OURS = (".json", ".jsonl", ".npz", ".npy", ".pt", ".safetensors", ".db", ".txt")


# ---------------------------------------------------------------------------------------------- places


def run_place(out: Path | None, name: str) -> Path:
    """The folder of a run: the one that was chosen, or `runs/NAME`.

    Example:
        >>> run_place(None, "digits-2").as_posix()
        'runs/digits-2'
        >>> run_place(None, "../x")
        Traceback (most recent call last):
        ...
        stillhouse.core.checks.InputError: name: expected the name of one visible folder, got '../x'

    Raises:
        InputError: the name would lead elsewhere, or cannot be that of a folder.
    """
    if out is not None:
        return out
    if not name.strip() or name.startswith(".") or not name.isprintable() or {"/", "\\"} & set(name) or len(name) > 100:
        raise InputError(f"name: expected the name of one visible folder, got {_short(name)}")
    return Path("runs") / name


def check_folder(out: Path) -> None:
    """See that a path can name a folder, before hours of training end in a file that cannot be written.

    Raises:
        InputError: a file where a folder is needed, or no path at all.
    """
    try:
        os.stat(out)
        taken = not out.is_dir()
    except FileNotFoundError:
        taken = False
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write {_short(str(out))}: {_short(str(error))}") from None
    if taken:
        raise InputError(f"cannot write {out}: it exists and is not a folder; choose another --out")


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
        InputError: another ending; the file that is read, or one that a run, a student, a cache or a sweep is made of.
    """
    place = Path(place).expanduser()
    if suffixes and place.suffix.lower() not in suffixes:
        raise InputError(f"{flag} {place}: expected a name that ends in {' or '.join(suffixes)}")
    if not place.is_file():
        return
    if source is not None and Path(source).expanduser().exists() and place.samefile(Path(source).expanduser()):
        raise InputError(f"{flag} {place}: is the file that is read; choose another {flag}")
    place = place.parent.resolve() / place.name
    ours = place.suffix in OURS or place.name == REPORT
    marked = next((above for above in place.parents if any((above / mark).is_file() for mark in MARKS)), None)
    if ours and marked is not None and "export" not in place.relative_to(marked).parts:
        raise InputError(f"cannot write {place}: it is a file of {marked}; choose another {flag}")


def missing_folders(folder: Path) -> list[Path]:
    """A folder and those above it, as far as they do not exist yet; the innermost first."""
    return [place for place in (folder, *folder.parents) if not place.exists()]


def remove_empty(folders: list[Path]) -> None:
    """Take away folders that were made for nothing: a run that was refused leaves none behind."""
    for folder in folders:
        with contextlib.suppress(OSError):  # not empty, or taken away by another
            folder.rmdir()


def arm_folder(out: Path, arm: str, seed: int) -> Path:
    """The folder of one arm and seed inside a run folder."""
    return out / "arms" / arm / f"seed-{seed}"


# ---------------------------------------------------------------------------------------------- writing


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it: a reader sees the old file or the new one.

    It is flushed to the disk first, so that this holds after a power cut too. Of several processes the first writes.

    Raises:
        CannotWrite: the folder cannot be written or the disk is full; the temporary file is removed.
    """
    if not ranks.first():
        return
    part: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=PART, delete=False) as handle:
            part = Path(handle.name)
            write(handle)
            handle.flush()
            os.fsync(handle.fileno())
        part.chmod(0o644)
        os.replace(part, path)
    except BaseException as error:
        if part is not None:
            part.unlink(missing_ok=True)
        # torch and numpy wrap a full disk in errors of their own
        if isinstance(error, OSError) or (isinstance(error, RuntimeError) and "write" in str(error).lower()):
            reason = getattr(error, "strerror", None) or "no space left on device?"
            raise CannotWrite(f"cannot write {path}: {reason}; nothing half-written was left") from None
        raise


def write_json(path: Path, data: Any) -> None:
    """Write JSON atomically, with NaN and infinities as null so that any reader takes it."""
    text = json.dumps(as_json(data), indent=2, ensure_ascii=False) + "\n"
    raw = text.encode(errors="backslashreplace")  # half a surrogate pair, as of a file name, as JSON writes it
    write_atomically(path, lambda file: file.write(raw))


def as_json(value: Any) -> Any:
    """Plain data as `write_json` writes it: tuples as lists, keys as text, NaN and infinities as None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): as_json(entry) for key, entry in value.items()}
    return [as_json(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write named arrays as one compressed npz file, atomically."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(path, lambda file: file.write(buffer.getbuffer()))


def open_mapped(path: Path, kind: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A new .npy file to be written through memory; its space is taken first, for a full disk would end the process by a signal.

    Raises:
        CannotWrite: the file cannot be written, or there is not so much space.
    """
    try:
        array = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape)
        if hasattr(os, "posix_fallocate"):  # not on macOS or Windows
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, max(1, path.stat().st_size))
    except (OSError, OverflowError, ValueError, MemoryError) as error:
        path.unlink(missing_ok=True)
        raise CannotWrite(f"cannot write {path} {shape}: {getattr(error, 'strerror', None) or error}") from None
    return array


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Append one line to a JSON-lines file and flush it. Of several processes the first writes."""
    if not ranks.first():
        return
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(as_json(record)) + "\n")
    except OSError as error:
        raise CannotWrite(f"cannot write {path}: {error.strerror}") from None


# ---------------------------------------------------------------------------------------------- reading


def read_arrays(path: Path, names: Iterable[str] = ()) -> dict[str, np.ndarray]:
    """The arrays of a file that `write_arrays` wrote.

    Args:
        path: the file.
        names: arrays that must be in it.

    Raises:
        InputError: missing, no archive of plain arrays (damaged, perhaps), or without one of the names.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (
        OSError,
        ValueError,
        EOFError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise InputError(f"cannot read {path} as an npz file of plain arrays: {error}") from None
    if missing := [name for name in names if name not in found]:
        raise InputError(f"{path}: expected the array {missing[0]}, got {', '.join(found) or 'none'}")
    return found


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        InputError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}") from None


def read_object(path: Path, keys: Mapping[str, Any]) -> dict[str, Any]:
    """Read a JSON object that has these keys with values of these types; further keys are its own affair.

    Args:
        path: the file.
        keys: the type of each key that is needed, as an annotation: `{"metrics": dict[str, float | None]}`.

    Raises:
        InputError: missing, not JSON, not an object, or a key that is missing or of another type.
    """
    return check_object(read_json(path), keys, str(path))


def check_object(value: Any, keys: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The value, if it is a mapping that has these keys with values of these types.

    Args:
        value: what was read from a file.
        keys: the type of each key that is needed.
        name: where it comes from, for the message.

    Example:
        >>> check_object({"step": 3, "note": "x"}, {"step": int}, "state")
        {'step': 3, 'note': 'x'}
        >>> check_object({"step": "3"}, {"step": int}, "state")
        Traceback (most recent call last):
        ...
        stillhouse.core.checks.InputError: state: step: expected a valid integer, got '3'

    Raises:
        InputError: the first fault in one line.
    """
    if not isinstance(value, dict):
        raise InputError(f"{name}: expected an object with {', '.join(keys)}, got {_short(value)}")
    for key, kind in keys.items():
        if key not in value:
            raise InputError(f"{name}: {key}: missing")
        try:
            TypeAdapter(kind).validate_python(value[key], strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            where, text = ".".join(map(str, (key, *first["loc"]))), first["msg"].removeprefix("Input should be ")
            raise InputError(f"{name}: {where}: expected {text}, got {_short(first['input'])}") from None
    return value


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a JSON-lines file; a torn last line (a kill in the middle of a write) is left out.

    Raises:
        InputError: a whole line that is not a JSON object: the file was damaged, and what follows it is not dropped quietly.
    """
    *lines, torn = path.read_bytes().split(b"\n") if path.is_file() else [b""]
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            raise InputError(f"{path}: line {number} is not JSON: the file was damaged") from None
        yield check_object(record, {}, f"{path}, line {number}")
    with contextlib.suppress(ValueError):
        yield check_object(json.loads(torn), {}, f"{path}, last line")


def keep_records_until(path: Path, step: int) -> None:
    """Drop the lines written after `step` was done: on resume they are written again."""
    kept = [r for r in read_records(path) if r["step"] <= step]
    text = "".join(json.dumps(record) + "\n" for record in kept)
    write_atomically(path, lambda file: file.write(text.encode()))


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
