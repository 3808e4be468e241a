"""All that resume needs, in one file that is either whole or absent.

The file is what `torch.save` writes and one line after it: the sha256 of all before. So `torch.load(path, weights_only=True)`
reads it too, and a changed bit anywhere is found before anything of it is used.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from pathlib import Path
from typing import Any, TypedDict, get_type_hints

import torch

from stillhouse.core.checks import CannotWrite, InputError
from stillhouse.core.records import RECORDS, check_object, write_atomically

FORMAT = "stillhouse-checkpoint-3"


class Checkpoint(TypedDict):
    """What a training saves; see `training/loop.py`."""

    fit: dict[str, Any]
    total: int
    model: dict[str, Any]
    extras: dict[str, Any]
    job: dict[str, Any]
    doctor: dict[str, Any] | None
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    precision: dict[str, Any]
    threads: dict[str, Any]
    average: dict[str, Any] | None
    best_weights: dict[str, Any]
    generators: list[Any]  # random states of processes 1, 2, ...


class _File(Checkpoint):
    format: str
    records: dict[str, Any]  # how many bytes of records.jsonl there were, and their sha256
    rng: dict[str, Any]


def save_checkpoint(path: Path, state: Checkpoint) -> None:
    """Write a checkpoint with the state of the random generators; through memory, so a full disk is a plain error.

    The records so far belong to it: they are flushed to the disk first, and their hash is kept.
    """
    rng = {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "rng": rng, "records": _records(path.parent), **state}, buffer)
    buffer.write(_last_line(buffer.getbuffer()))
    write_atomically(path, lambda file: file.write(buffer.getbuffer()))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of ours; tensors and plain data only, never a pickle that runs code.

    Raises:
        InputError: missing, truncated, changed since it was written, or not a checkpoint of this library.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"checkpoint {path} does not exist") from None
    except OSError as error:
        raise InputError(f"checkpoint {path} cannot be read: {error.strerror}") from None
    size = len(raw) - len(_last_line(b""))
    if size < 0 or raw[size:] != _last_line(memoryview(raw)[:size]):
        raise InputError(
            f"checkpoint {path} cannot be read: expected the sha256 of its content at its end, got something else "
            "(truncated, damaged, or not a checkpoint of this version)"
        )
    try:
        state = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, LookupError, TypeError, pickle.UnpicklingError) as error:
        text = str(error).split("\n")[0]
        raise InputError(f"checkpoint {path} cannot be read: {type(error).__name__}: {text}") from None
    check_object(state, get_type_hints(_File), f"checkpoint {path}", only=True)
    if state["format"] != FORMAT:
        raise InputError(f"checkpoint {path}: expected format {FORMAT!r}, got {state['format']!r}")
    if _records(path.parent, state["records"].get("bytes")) != state["records"]:
        raise InputError(f"{path.parent / RECORDS} was changed after {path.name} was written beside it")
    return state


def restore_rng(state: Checkpoint) -> None:
    """Put the random generators back where `save_checkpoint` found them."""
    rng = state["rng"]  # type: ignore[typeddict-item]  # of the file, not of the training
    torch.set_rng_state(rng["cpu"])
    if torch.cuda.is_available() and rng["cuda"]:
        torch.cuda.set_rng_state_all(rng["cuda"])


def _records(folder: Path, size: int | None = None) -> dict[str, Any]:
    """The number and the hash of the first bytes (all of them where `size` is None) of a training's records, flushed."""
    path = folder / RECORDS
    if not path.is_file():
        return {"bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    try:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            raw = file.read(-1 if size is None else size)
    except OSError as error:
        if size is None:  # being written
            raise CannotWrite(f"cannot write {path}: {error.strerror}") from None
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    return {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}


def _last_line(content: bytes | memoryview) -> bytes:
    return f"\n{FORMAT} sha256 {hashlib.sha256(content).hexdigest()}\n".encode()
