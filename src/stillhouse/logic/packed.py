"""A machine in one file, used with numpy alone: safetensors or JSON, with a hash of all of it.

machine = load_packed("student.packed.safetensors")
machine.predict(images)         # (B, channels, height, width), uint8 or float in [0, 1]

Both forms hold the same entries and arrays (docs/packed.md); in JSON arrays are lists.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.machine import IntegerLayerNorm, PackedModel

ABOUT, FORMAT, VERSION, SEAL = "machine", "stillhouse-logic", 1, "seal"
CLAUSES = {"starts": np.int64, "literals": np.int32, "capacity": np.int32, "votes": np.int32, "bias": np.int64}
JOIN = {"path": np.int32, "gain": np.int64, "offset": np.int64}


def parts_of(machine: PackedModel) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What is said of a machine, and its arrays by name."""
    machine.check()
    arrays = {"edges": machine.edges.astype(np.float32)}
    for number, layer in enumerate(machine.layers):
        arrays |= {f"layers.{number}.{name}": getattr(layer, name).astype(kind) for name, kind in CLAUSES.items()}
    for number, join in enumerate(machine.joins):
        arrays |= {f"joins.{number}.{name}": getattr(join, name).astype(kind) for name, kind in JOIN.items()}
    about = {
        "format": FORMAT,
        "version": VERSION,
        "class_names": list(machine.class_names),
        "image_shape": list(machine.image_shape),
        "layers": [{"bits": layer.bits, "scale": layer.scale} for layer in machine.layers],
        "joins": [{"shift": join.shift, "epsilon": join.epsilon} for join in machine.joins],
    }
    return about, {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def machine_of(about: Any, arrays: Mapping[str, Any], path: Path) -> PackedModel:
    """The machine of such parts, everything in it checked.

    Raises:
        InputError: another kind or version of file, parts that do not fit.
    """
    if not isinstance(about, dict) or about.get("format") != FORMAT or about.get("version") != VERSION:
        raise InputError(
            f"{path}: expected a packed machine ({FORMAT}, version {VERSION}), got another file; export anew"
        )

    def taken(place: str, kinds: Mapping[str, Any]) -> dict[str, Any]:
        found = {n: np.asarray(arrays[f"{place}.{n}"]) for n in kinds}
        if "votes" in found:  # a list of no rows has no width
            found["votes"] = found["votes"].reshape(-1, found["bias"].size)
        return {n: x.astype(kinds[n], casting="same_kind" if x.size else "unsafe") for n, x in found.items()}

    try:
        machine = PackedModel(
            image_shape=tuple(int(side) for side in about["image_shape"]),  # type: ignore[arg-type]
            edges=np.asarray(arrays["edges"]).astype(np.float32, casting="same_kind"),
            layers=tuple(ClauseSet(**one, **taken(f"layers.{i}", CLAUSES)) for i, one in enumerate(about["layers"])),
            joins=tuple(IntegerLayerNorm(**one, **taken(f"joins.{i}", JOIN)) for i, one in enumerate(about["joins"])),
            class_names=tuple(map(str, about["class_names"])),
        )
        machine.check()
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise InputError(f"{path}: expected the entries of a packed machine, got malformed ones ({error!r})") from None
    return machine


def packed_bytes(machine: PackedModel) -> bytes:
    """The content of a packed file."""
    from safetensors.numpy import save

    from stillhouse.core.hashes import sealed

    about, arrays = parts_of(machine)
    return sealed(save(arrays, metadata={ABOUT: json.dumps(about)}))  # one entry: several come in any order


def save_packed(machine: PackedModel, path: Path) -> None:
    """Write a machine; the file appears whole or not at all.

    Raises:
        InputError: parts that do not fit, a place that cannot be written.
    """
    from stillhouse.core.records import write_atomically

    content = packed_bytes(machine)
    write_atomically(path, lambda file: file.write(content))


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
    size = int.from_bytes(content[:8], "little")
    try:
        about = json.loads(json.loads(content[8 : 8 + size]).get("__metadata__", {}).get(ABOUT, "{}"))
        arrays = load(content)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is truncated or not safetensors: {error}") from None
    return machine_of(about, arrays, path)


def write_json(machine: PackedModel, path: Path) -> None:
    """Write a machine for other tools; numbers are whole, so nothing is rounded."""
    from stillhouse.core.hashes import hash_of

    about, arrays = parts_of(machine)
    content = {**about, "arrays": {name: array.tolist() for name, array in arrays.items()}}
    path.write_text(json.dumps({**content, SEAL: hash_of(content)}))


def load_json(path: Path) -> PackedModel:
    """Read what `write_json` wrote.

    Raises:
        InputError: another kind of file, another version, changed since it was written, parts that do not fit.
    """
    from stillhouse.core.hashes import hash_of

    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path}: expected JSON, got {error}") from error
    seal = found.pop(SEAL, None) if isinstance(found, dict) else None
    if seal is not None and seal != hash_of(found):
        raise InputError(f"{path} was changed after it was written: expected the sha256 in its seal")
    arrays = found.pop("arrays", {}) if isinstance(found, dict) else {}
    return machine_of(found if seal is not None else None, arrays, path)
