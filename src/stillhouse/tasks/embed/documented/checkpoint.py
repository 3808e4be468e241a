"""A teacher's vectors from a file, into memory: {"embeddings", "model_state", "metadata"}, whatever the format.

For files larger than memory take `stillhouse.tasks.embed.data.vectors.open_vectors`, which reads the rows that are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.tasks.embed.data.formats import choose, read_entries

EMBEDDINGS, MODEL_STATE, METADATA = "embeddings", "model_state", "metadata"


def load_teacher_checkpoint(
    checkpoint_path: str | Path, device: str = "cpu", map_location: Any = None, *, key: str | None = None
) -> dict[str, Any]:
    """Read a teacher: its vectors, its weights if they are there, and what is known of it.

    Args:
        checkpoint_path: `.pt` or `.pth`, `.safetensors`, `.npy`, `.npz`, `.parquet`. A bare tensor or array is its embeddings; a
            bare mapping of tensors is its model_state. A pickle that may run code is refused (the document's loader ran it).
        device: where tensors go; `auto` is CUDA where there is one.
        map_location: as torch.load takes it; wins over `device`.
        key: name of the embeddings in the file.

    Returns:
        `embeddings` (N, Dt) floating point or None, `model_state` a dict or None, `metadata` a dict; further entries of a
        .pt file are kept.

    Raises:
        FileNotFoundError: no such file.
        RuntimeError: it cannot be read: damaged, of an unknown format, or a pickle of more than tensors.
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
    auto = "cuda" if torch.cuda.is_available() else "cpu"
    where = map_location if map_location is not None else auto if device == "auto" else device
    try:
        found = _parts(path, read_entries(path, key), key)
    except InputError as error:
        raise RuntimeError(f"Failed to load checkpoint: {error}") from None
    vectors = found[EMBEDDINGS]
    if vectors is not None:
        # a copy: a map is read-only
        vectors = vectors if isinstance(vectors, Tensor) else torch.from_numpy(np.array(vectors))
        if vectors.ndim != 2 or 0 in vectors.shape:
            raise InputError(f"{path}: embeddings: expected (N, D) with at least one row, got {tuple(vectors.shape)}")
        vectors = vectors if vectors.is_floating_point() else vectors.float()
        bad = torch.nonzero(~torch.isfinite(vectors).all(dim=1)).flatten().tolist()
        if bad:
            raise InputError(f"{path}: embeddings: expected finite numbers, got NaN or infinite ones in row {bad[0]}")
    return _moved({**found, EMBEDDINGS: vectors}, where)


def _parts(path: Path, entries: dict[str, Any], key: str | None) -> dict[str, Any]:
    """The three parts of the document, and what else there is."""
    found: dict[str, Any] = {EMBEDDINGS: None, MODEL_STATE: None, METADATA: {}}
    tensors = {name: x for name, x in entries.items() if isinstance(x, Tensor)}
    if path.suffix in (".pt", ".pth") and "" not in entries:
        if key is None and tensors and len(tensors) == len(entries) and EMBEDDINGS not in entries:
            return {**found, MODEL_STATE: entries}
        found |= entries
        if key is not None or not set(entries) & {EMBEDDINGS, MODEL_STATE, METADATA}:
            found[EMBEDDINGS] = entries[choose(path, key, entries)]
        return found
    name = choose(path, key, entries)
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(str(path), framework="pt") as file:
            found[METADATA] = dict(file.metadata() or {})
        rest = {other.removeprefix(f"{MODEL_STATE}."): x for other, x in entries.items() if other != name}
        found[MODEL_STATE] = rest or None
    return {**found, EMBEDDINGS: entries[name]}


def _moved(value: Any, where: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _moved(entry, where) for name, entry in value.items()}
    return value.to(where) if isinstance(value, Tensor) and isinstance(where, (str, torch.device)) else value
