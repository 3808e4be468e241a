"""A teacher's vectors from a file, into memory: {"embeddings", "model_state", "metadata"}, whatever the format.

For files larger than memory take `stillhouse.families.embed.data.vectors.open_vectors`, which reads the rows that are asked for.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stillhouse.core.checks import InputError

EMBEDDINGS, MODEL_STATE, METADATA = "embeddings", "model_state", "metadata"
CHUNK_ROWS = 65_536
SHOWN = 5


def load_teacher_checkpoint(
    checkpoint_path: str | Path,
    device: str = "cpu",
    map_location: Any = None,
    *,
    key: str | None = None,
    trust: bool = False,
) -> dict[str, Any]:
    """Read a teacher: its vectors, its weights if they are there, and what is known of it.

    Args:
        checkpoint_path: `.pt` or `.pth`, `.safetensors`, `.npy` (memory-mapped where it holds float32), `.npz`, `.parquet`.
            A bare tensor or array is its embeddings; a bare mapping of tensors is its model_state.
        device: where tensors go; `auto` is CUDA where there is one.
        map_location: as torch.load takes it; wins over `device`.
        key: name of the embeddings in the file.
        trust: let a .pt file run the code that it may hold. Only for files that you made: the document's loader did so always.

    Returns:
        `embeddings` (N, Dt) floating point or None, `model_state` a dict or None, `metadata` a dict; further entries of a
        .pt file are kept.

    Raises:
        FileNotFoundError: no such file.
        RuntimeError: it cannot be read: damaged, of an unknown format, or a pickle that is not trusted.
        InputError: the embeddings are not (N, Dt) floats, or hold NaN or infinite numbers.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save({"embeddings": torch.ones(4, 8)}, f"{folder}/teacher.pt")
        ...     found = load_teacher_checkpoint(f"{folder}/teacher.pt")
        >>> found["embeddings"].shape, found["model_state"], found["metadata"]
        (torch.Size([4, 8]), None, {})
    """
    path = Path(checkpoint_path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"Checkpoint not found: {checkpoint_path}")
    where = map_location if map_location is not None else resolve_device(device)
    try:
        found = _READERS[path.suffix.lower()](path, key, trust, where)
    except KeyError:
        known = ", ".join(sorted(_READERS))
        raise RuntimeError(
            f"Failed to load checkpoint: {path} has the ending {path.suffix!r}; known: {known}"
        ) from None
    except pickle.UnpicklingError as error:
        raise RuntimeError(
            f"Failed to load checkpoint: {path} holds Python objects, which may run code when they are read; save tensors, or "
            f"pass trust=True for a file that you made ({_first_line(error)})"
        ) from None
    except (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, ImportError) as error:
        raise RuntimeError(f"Failed to load checkpoint: {path}: {_first_line(error)}") from error
    except Exception as error:  # torch's reader of old formats raises whatever a damaged pickle leads to
        raise RuntimeError(f"Failed to load checkpoint: {path}: {type(error).__name__}: {error}") from error
    return _checked(found, path)


def resolve_device(device: str) -> str:
    """`auto` as the device that there is; anything else as it stands."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _torch_file(path: Path, key: str | None, trust: bool, where: Any) -> dict[str, Any]:
    found = torch.load(path, map_location=where, weights_only=not trust)
    if isinstance(found, (Tensor, np.ndarray)):
        return {EMBEDDINGS: found}
    if not isinstance(found, Mapping):
        raise ValueError(f"expected a tensor or a mapping, got {type(found).__name__}")
    named = dict(found)
    if key is not None:
        return {**named, EMBEDDINGS: _named(named, key)}
    if {EMBEDDINGS, MODEL_STATE, METADATA}.intersection(named):
        return named
    if named and all(isinstance(value, Tensor) for value in named.values()):
        return {MODEL_STATE: named}
    raise ValueError(f"expected {EMBEDDINGS!r}, {MODEL_STATE!r} or {METADATA!r}, got {_names(named)}")


def _safetensors(path: Path, key: str | None, trust: bool, where: Any) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            metadata = dict(file.metadata() or {})
    except SafetensorError as error:
        raise ValueError(str(error)) from None
    name = key or (EMBEDDINGS if EMBEDDINGS in tensors else next(iter(tensors)) if len(tensors) == 1 else None)
    vectors = None if name is None else _named(tensors, name)
    rest = {n.removeprefix(f"{MODEL_STATE}."): x for n, x in tensors.items() if n != name}
    found = {EMBEDDINGS: vectors, MODEL_STATE: rest or None, METADATA: metadata}
    return {n: _moved(x, where) for n, x in found.items()}


def _npy(path: Path, key: str | None, trust: bool, where: Any) -> dict[str, Any]:
    mapped = np.load(path, mmap_mode="c", allow_pickle=False)  # copy on write: torch wants memory that it may write
    return {EMBEDDINGS: _moved(_tensor(mapped), where)}


def _npz(path: Path, key: str | None, trust: bool, where: Any) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        name = key or (EMBEDDINGS if EMBEDDINGS in file.files else None)
        if name is None:
            tables = [name for name in file.files if _is_table(file, name)]
            if len(tables) != 1:
                raise ValueError(f"expected {EMBEDDINGS!r}, or one table of numbers alone, got {_names(file.files)}")
            name = tables[0]
        return {EMBEDDINGS: _moved(_tensor(_named(file, name)), where)}


def _is_table(file: Any, name: str) -> bool:
    try:
        array = file[name]
    except ValueError:  # an array of Python objects: texts, for one
        return False
    return array.ndim == 2 and array.dtype.kind == "f"


def _parquet(path: Path, key: str | None, trust: bool, where: Any) -> dict[str, Any]:
    from stillhouse.families.embed.data.vectors import open_vectors

    store = open_vectors(path, key=key)
    return {EMBEDDINGS: _moved(_tensor(store.read(np.arange(len(store)))), where)}


_READERS = {
    ".pt": _torch_file,
    ".pth": _torch_file,
    ".safetensors": _safetensors,
    ".npy": _npy,
    ".npz": _npz,
    ".parquet": _parquet,
}


def _named(entries: Mapping[str, Any], key: str) -> Any:
    if key not in entries:
        raise ValueError(f"no {key!r} in it, but {_names(entries)}")
    return entries[key]


def _names(names: Any) -> str:
    shown = [repr(name) for name in names]
    return ", ".join(shown[:SHOWN]) + (", ..." if len(shown) > SHOWN else "") or "nothing"


def _tensor(array: np.ndarray) -> Tensor:
    if array.dtype.kind not in "fiu":
        raise ValueError(f"expected numbers, got {array.dtype}")
    kept = array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(kept))


def _moved(value: Any, where: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _moved(entry, where) for name, entry in value.items()}
    return value.to(where) if isinstance(value, Tensor) and isinstance(where, (str, torch.device)) else value


def _checked(found: dict[str, Any], path: Path) -> dict[str, Any]:
    vectors = found.get(EMBEDDINGS)
    if isinstance(vectors, np.ndarray):
        vectors = _tensor(vectors)
    if vectors is not None:
        if not isinstance(vectors, Tensor) or vectors.ndim != 2 or 0 in vectors.shape:
            got = tuple(vectors.shape) if isinstance(vectors, Tensor) else type(vectors).__name__
            raise InputError(f"{path}: embeddings: expected (N, D) with at least one row, got {got}")
        vectors = vectors if vectors.is_floating_point() else vectors.float()
        bad: list[int] = []
        for start, some in enumerate(vectors.split(CHUNK_ROWS)):
            rows = torch.nonzero(~torch.isfinite(some).all(dim=1)).flatten() + start * CHUNK_ROWS
            bad += rows.tolist()
        if bad:
            shown = ", ".join(map(str, bad[:SHOWN])) + (f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else "")
            raise InputError(f"{path}: embeddings: expected finite numbers, got NaN or infinite ones in row {shown}")
    metadata = found.get(METADATA)
    return {
        **found,
        EMBEDDINGS: vectors,
        MODEL_STATE: found.get(MODEL_STATE),
        METADATA: {} if metadata is None else metadata,
    }
