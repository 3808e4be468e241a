"""The run folder: what is written, what is read, and how nothing is ever half-written. No torch.

OUT/
  run.json                 config, command, versions, machine, data (name, sizes, sha256, class_names, image_shape)
  teacher.json             name, score, chance, ece (validation split), status, head, params, flops, test_score, test_ece;
                           absent when the run has no teacher
  teacher_predictions.npz  test split: probabilities (N, K) float32
  arms/ARM/seed-K/
    records.jsonl          a line per logged step:  {"split": "train", "step", "epoch", "loss", "terms": {name: value},
                                                     "learning_rate", "gradient_norm"}
                           a line per epoch:        {"split": "validation", "step", "epoch", "accuracy", "nll", "ece",
                                                     "agreement" (None without teacher), "seconds", "threads"}
    checkpoint.pt          all that resume needs
    student.safetensors    the weights whose score is reported; card.json beside it holds how to build and load it
    predictions.npz        test split: labels (N,) int64, probabilities (N, K) float32
    result.json            arm, seed, metrics {accuracy, nll, ece, agreement}, best_epoch, epochs, validations (a score
                           an epoch), seconds, params
    tensorboard/           the same scalars as events
  manifest.json            the SHA-256 of every file here, and of what lies beside (manifest.py)
  rules.json, rules.npz, rules.txt  of the shipped student, where it has clauses (tasks/classification/rules_file.py)
  taught.json              of classes: examples that the teacher put right, or why no difference is shown
  summary.json             verdict, comparisons, hints, arms, teacher, student, command, versions, data, seeds
  report.html              made from the files above and nothing else
  .lock                    while a process writes here (lock.py); .NAME.xxxxxxxx.part: a file that is being written
"""

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
CHECKPOINT, STUDENT, CARD = "checkpoint.pt", "student.safetensors", "card.json"
LOCK, PART = ".lock", ".part"
ABOUT: dict[str, Any] = {"config": dict[str, Any]}  # what is read of run.json
FIGURES: dict[str, Any] = {"metrics": dict[str, Any]}  # and of result.json
LONGEST_NAME = 200  # bytes: file systems take 255, and a temporary file adds to a name


def safe_name(name: str) -> str:
    """The name of a run, if it names one visible folder inside `runs/` and nothing else.

    Example:
        >>> safe_name("digits-2")
        'digits-2'
        >>> safe_name("../x")
        Traceback (most recent call last):
        ...
        stillhouse.core.checks.InputError: name: expected the name of a folder, without / or \\, got '../x'

    Raises:
        InputError: empty, hidden, with a separator or a control character, not Unicode text, or too long.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise InputError(f"name: expected Unicode text, got {name!a}") from None
    if "/" in name or "\\" in name:
        raise InputError(f"name: expected the name of a folder, without / or \\, got {_short(name)}")
    if not name.strip() or name.startswith("."):
        raise InputError(f"name: expected a name that does not begin with a dot, got {_short(name)}")
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        raise InputError(f"name: expected no control characters, got {_short(name)}")
    if size > LONGEST_NAME:
        raise InputError(f"name: expected at most {LONGEST_NAME} bytes, got {size}")
    return name


def run_place(out: Path | None, name: str) -> Path:
    """The folder of a run: the one that was chosen, or `runs/NAME`.

    Raises:
        InputError: the name would lead elsewhere.
    """
    return out if out is not None else Path("runs") / safe_name(name)


def check_folder(out: Path) -> None:
    """See that a path can name a folder, before hours of training end in a file that cannot be written.

    Raises:
        InputError: a null byte, not Unicode text, a name that is too long, a file where a folder is needed.
    """
    try:
        str(out).encode()
        if not out.is_dir() and out.exists():
            raise InputError(f"cannot write {out}: it exists and is not a folder; choose another --out")
        os.stat(out)
    except FileNotFoundError:
        return
    except UnicodeEncodeError:
        raise InputError(f"cannot write {str(out)!a}: expected Unicode text as its name") from None
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write {_short(str(out))}: {getattr(error, 'strerror', None) or error}") from None


def arm_folder(out: Path, arm: str, seed: int) -> Path:
    """The folder of one arm and seed inside a run folder."""
    return out / "arms" / arm / f"seed-{seed}"


def is_leftover(name: str) -> bool:
    """Whether an entry of a folder is a lock or a temporary file of `write_atomically`."""
    return name == LOCK or (name.startswith(".") and name.endswith(PART))


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it: a reader sees the old file or the new one.

    File and folder are flushed to the disk: after a power cut, too, it is one of the two. Of several processes the first writes.

    Raises:
        InputError: the folder cannot be written or the disk is full; the temporary file is removed.
    """
    if not ranks.first():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = tempfile.NamedTemporaryFile(  # noqa: SIM115
            dir=path.parent, prefix=f".{path.name}.", suffix=PART, delete=False
        )
    except (OSError, ValueError) as error:
        raise CannotWrite(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from None
    try:
        with handle:
            write(handle)
            handle.flush()
            os.fsync(handle.fileno())
        os.chmod(handle.name, 0o644)
        os.replace(handle.name, path)
        _flush_folder(path.parent)
    except BaseException as error:
        Path(handle.name).unlink(missing_ok=True)
        # torch and numpy wrap a full disk in errors of their own, so ask the disk rather than the exception
        if isinstance(error, OSError) or (isinstance(error, RuntimeError) and "write" in str(error).lower()):
            reason = getattr(error, "strerror", None) or "no space left on device?"
            raise CannotWrite(f"cannot write {path}: {reason}; nothing half-written was left") from None
        raise


def write_json(path: Path, data: Any) -> None:
    """Write JSON atomically, with NaN and infinities as null so that any reader takes it."""
    text = json.dumps(as_json(data), indent=2, ensure_ascii=False) + "\n"
    raw = text.encode(errors="backslashreplace")  # half a surrogate pair, as of a file name, as JSON writes it
    write_atomically(path, lambda file: file.write(raw))


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write named arrays as one compressed npz file, atomically."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(path, lambda file: file.write(buffer.getbuffer()))


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
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except (
        ValueError,
        EOFError,
        AttributeError,
        KeyError,
        NotImplementedError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise InputError(f"{path}: expected an npz file of plain arrays, got something else: {error}") from None
    missing = [name for name in names if name not in found]
    if missing:
        raise InputError(f"{path}: expected the arrays {', '.join(names)}, got {', '.join(found) or 'none'}")
    return found


def open_mapped(path: Path, kind: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A new .npy file to be written through memory; its space is taken first, for a full disk would end the process by a signal.

    Raises:
        InputError: the file cannot be written, or there is not so much space.
    """
    try:
        array = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape)
        if hasattr(os, "posix_fallocate"):  # not on macOS or Windows
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, max(1, path.stat().st_size))
    except (OSError, OverflowError, ValueError, MemoryError) as error:
        path.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or str(error)
        size = int(np.prod(shape, dtype=object)) * np.dtype(kind).itemsize
        raise CannotWrite(f"cannot write {path} ({size:,} bytes): {reason}") from None
    return array


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        InputError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except RecursionError:
        raise InputError(f"{path} is not JSON of ours: it is nested too deeply") from None
    except ValueError as error:
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


def check_object(value: Any, keys: Mapping[str, Any], name: str, *, only: bool = False) -> dict[str, Any]:
    """The value, if it is a mapping that has these keys with values of these types.

    Args:
        value: what was read from a file.
        keys: the type of each key that is needed.
        name: where it comes from, for the message.
        only: refuse further keys.

    Example:
        >>> check_object({"step": 3, "note": "x"}, {"step": int}, "state")
        {'step': 3, 'note': 'x'}
        >>> check_object({"step": "3"}, {"step": int, "total": int}, "state")
        Traceback (most recent call last):
        ...
        stillhouse.core.checks.InputError: state: step: expected a valid integer, got '3'; total: missing

    Raises:
        InputError: every fault in one line.
    """
    if not isinstance(value, dict):
        raise InputError(f"{name}: expected an object with {', '.join(keys)}, got {_short(value)}")
    faults = []
    for key, kind in keys.items():
        if key not in value:
            faults.append(f"{key}: missing")
            continue
        try:
            TypeAdapter(kind).validate_python(value[key], strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, (key, *first["loc"])))
            text = first["msg"].removeprefix("Input should be ")
            faults.append(f"{where}: expected {text}, got {_short(first['input'])}")
    unknown = sorted(map(str, set(value) - set(keys))) if only else []
    if unknown:
        faults.append(f"expected no other keys, got {', '.join(unknown)}")
    if faults:
        raise InputError(f"{name}: {'; '.join(faults)}")
    return value


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Append one line to a JSON-lines file and flush it. Of several processes the first writes."""
    if not ranks.first():
        return
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(as_json(record)) + "\n")
    except OSError as error:
        raise CannotWrite(f"cannot write {path}: {error.strerror}") from None


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a JSON-lines file; a torn last line (a kill in the middle of a write) is left out.

    Raises:
        InputError: a whole line that is not a JSON object: the file was damaged, and what follows it is not dropped quietly.
    """
    if not path.is_file():
        return
    *lines, torn = path.read_bytes().split(b"\n")
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
    kept = []
    for record in read_records(path):
        done = check_object(record, {"step": int}, str(path))["step"]
        if done < step or (done == step and record.get("split") != "doctor"):  # the doctor looks before a step is done
            kept.append(record)
    text = "".join(json.dumps(record) + "\n" for record in kept)
    write_atomically(path, lambda file: file.write(text.encode()))


def _flush_folder(folder: Path) -> None:
    # a rename is on the disk when its folder is; what cannot open or flush a folder (Windows, some network disks) has no such call
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def as_json(value: Any) -> Any:
    """Plain data as `write_json` writes it: tuples as lists, keys as text, NaN and infinities as None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): as_json(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(entry) for entry in value]
    return value
