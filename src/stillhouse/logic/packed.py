"""A machine in one file, used with numpy alone: safetensors with a hash of all of it.

machine = load_packed("student.packed.safetensors")
machine.predict(images)         # (B, channels, height, width), uint8 or float in [0, 1]

What it holds: docs/packed.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.machine import IntegerLayerNorm, PackedModel

ABOUT, FORMAT = "machine", "stillhouse-logic"  # version 1: bits are levels, 2: bits of filters
CLAUSES = {"starts": np.int64, "literals": np.int32, "capacity": np.int32, "votes": np.int32, "bias": np.int64}
JOIN = {"path": np.int32, "gain": np.int64, "offset": np.int64}


def packed_bytes(machine: PackedModel) -> bytes:
    """The content of a packed file."""
    from safetensors.numpy import save

    from stillhouse.core.hashes import sealed

    machine.check()
    arrays = {"edges": machine.edges.astype(np.float32)}
    for number, layer in enumerate(machine.layers):
        arrays |= {f"layers.{number}.{name}": getattr(layer, name).astype(kind) for name, kind in CLAUSES.items()}
    for number, join in enumerate(machine.joins):
        arrays |= {f"joins.{number}.{name}": getattr(join, name).astype(kind) for name, kind in JOIN.items()}
    about = {
        "format": FORMAT,
        "version": 2 if machine.square else 1,
        "class_names": list(machine.class_names),
        "image_shape": list(machine.image_shape),
        "layers": [{"bits": layer.bits, "scale": layer.scale} for layer in machine.layers],
        "joins": [{"shift": join.shift, "epsilon": join.epsilon} for join in machine.joins],
        **({"square": machine.square} if machine.square else {}),
    }
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return sealed(save(whole, metadata={ABOUT: json.dumps(about)}))  # one entry: several come in any order


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
    from safetensors.numpy import load

    from stillhouse.core.hashes import read_sealed

    content = read_sealed(Path(path))
    size = int.from_bytes(content[:8], "little")
    about = json.loads(json.loads(content[8 : 8 + size]).get("__metadata__", {}).get(ABOUT, "{}"))
    if about.get("format") != FORMAT or about.get("version") != (2 if "square" in about else 1):
        raise InputError(f"{path}: expected a packed machine ({FORMAT}, version 1 or 2), got another file; export anew")
    arrays = load(content)

    def taken(place: str, names: Iterable[str]) -> dict[str, Any]:
        return {name: arrays[f"{place}.{name}"] for name in names}

    try:
        machine = PackedModel(
            image_shape=tuple(int(side) for side in about["image_shape"]),  # type: ignore[arg-type]
            edges=arrays["edges"],
            layers=tuple(ClauseSet(**one, **taken(f"layers.{i}", CLAUSES)) for i, one in enumerate(about["layers"])),
            joins=tuple(IntegerLayerNorm(**one, **taken(f"joins.{i}", JOIN)) for i, one in enumerate(about["joins"])),
            class_names=tuple(about["class_names"]),
            square=int(about.get("square", 0)),
        )
        machine.check()
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"{path}: expected the entries of a packed machine, got malformed ones ({error!r})") from None
    return machine
