"""A machine in one file: safetensors, with a hash of all of it; read in milliseconds, used with numpy alone.

machine = load_packed("student.logic.safetensors")
machine.predict(images)         # (B, channels, height, width), uint8 or float in [0, 1]
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.machine import IntegerLayerNorm, PackedModel

ABOUT, FORMAT, VERSION = "machine", "stillhouse-logic", 1
CLAUSES = {"starts": np.int64, "literals": np.int32, "capacity": np.int32, "votes": np.int32, "bias": np.int64}
JOIN = {"path": np.int32, "gain": np.int64, "offset": np.int64}


def packed_bytes(machine: PackedModel) -> bytes:
    """The content of a packed file."""
    from safetensors.numpy import save

    from stillhouse.core.hashes import sealed

    machine.check()
    tensors: dict[str, np.ndarray] = {"edges": machine.edges.astype(np.float32)}
    for number, layer in enumerate(machine.layers):
        tensors |= {f"layers.{number}.{name}": getattr(layer, name).astype(kind) for name, kind in CLAUSES.items()}
    for number, join in enumerate(machine.joins):
        tensors |= {f"joins.{number}.{name}": getattr(join, name).astype(kind) for name, kind in JOIN.items()}
    about = {
        "format": FORMAT,
        "version": VERSION,
        "class_names": list(machine.class_names),
        "image_shape": list(machine.image_shape),
        "layers": [{"bits": layer.bits, "scale": layer.scale} for layer in machine.layers],
        "joins": [{"shift": join.shift, "epsilon": join.epsilon} for join in machine.joins],
        "input": "pixels (B, channels, height, width), uint8 or float in [0, 1]; bit l P + p: value p above edge l",
    }
    arrays = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    return sealed(save(arrays, metadata={ABOUT: json.dumps(about)}))  # one entry: several come in any order


def save_packed(machine: PackedModel, path: Path | str) -> Path:
    """Write a machine; the file appears whole or not at all.

    Raises:
        InputError: parts that do not fit, a place that cannot be written.
    """
    from stillhouse.core.records import write_atomically

    path, content = Path(path), packed_bytes(machine)
    write_atomically(path, lambda file: file.write(content))
    return path


def load_packed(path: Path | str) -> PackedModel:
    """The machine of a packed file, everything in it checked.

    Raises:
        InputError: missing, truncated, changed, another kind or version of file, parts that do not fit.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    from stillhouse.core.hashes import read_sealed

    path = Path(path)
    content = read_sealed(path)
    about = _about(content, path)
    try:
        tensors = load(content)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is truncated or not safetensors: {error}") from None
    try:
        machine = PackedModel(
            image_shape=tuple(int(side) for side in about["image_shape"]),  # type: ignore[arg-type]
            edges=_taken(tensors, "edges", np.float32, path),
            layers=tuple(_clauses(tensors, number, entry, path) for number, entry in enumerate(about["layers"])),
            joins=tuple(_join(tensors, number, entry, path) for number, entry in enumerate(about["joins"])),
            class_names=tuple(map(str, about["class_names"])),
        )
        machine.check()
    except InputError as error:
        raise error if str(error).startswith(str(path)) else InputError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"{path}: expected the entries of a packed machine, got malformed ones ({error!r})") from None
    return machine


def _about(content: bytes, path: Path) -> dict[str, Any]:
    """The metadata, of this format and version."""
    size = int.from_bytes(content[:8], "little")
    entry = json.loads(content[8 : 8 + size]).get("__metadata__", {}).get(ABOUT, "{}")
    try:
        about = json.loads(entry)
    except ValueError:
        about = {}
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise InputError(f"{path}: expected a packed machine (format {FORMAT!r}), got another safetensors file")
    if about.get("version") != VERSION:
        raise InputError(f"{path}: expected version {VERSION}, got {about.get('version')!r}; export it anew")
    return about


def _taken(tensors: dict[str, np.ndarray], name: str, kind: Any, path: Path) -> np.ndarray:
    if name not in tensors:
        raise InputError(f"{path}: expected {name!r}, got {', '.join(sorted(tensors)[:8])}")
    if tensors[name].dtype != kind:
        raise InputError(f"{path}: expected {name} of {np.dtype(kind)}, got {tensors[name].dtype}")
    return tensors[name]


def _clauses(tensors: dict[str, np.ndarray], number: int, entry: dict[str, Any], path: Path) -> ClauseSet:
    parts = {name: _taken(tensors, f"layers.{number}.{name}", kind, path) for name, kind in CLAUSES.items()}
    return ClauseSet(bits=int(entry["bits"]), scale=float(entry["scale"]), **parts)


def _join(tensors: dict[str, np.ndarray], number: int, entry: dict[str, Any], path: Path) -> IntegerLayerNorm:
    parts = {name: _taken(tensors, f"joins.{number}.{name}", kind, path) for name, kind in JOIN.items()}
    return IntegerLayerNorm(shift=int(entry["shift"]), epsilon=int(entry["epsilon"]), **parts)
