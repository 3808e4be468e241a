"""A machine as plain JSON, for other tools: rules and weights as Tsetlin machines name them.

A layer has `rules` (literals; `n_literals + f` is bit f negated), `weights` a rule and class, `n_literals`, `n_classes` and
`is_multi_label`, which are the attributes of a green-tsetlin `RuleSet`, and beyond those `capacity` a rule (how many false
literals use it up; 1 where a rule is all or nothing) and `bias` a class. `seal` is the sha256 of all else (`core.hashes`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.core.hashes import hash_of
from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.machine import IntegerLayerNorm, PackedModel

FORMAT, VERSION, SEAL = "stillhouse clauses", 1, "seal"


def write_json(machine: PackedModel, path: Path) -> None:
    """Write a machine; numbers are whole, so nothing is rounded."""
    machine.check()
    content = {
        "format": FORMAT,
        "version": VERSION,
        "image_shape": list(machine.image_shape),
        "edges": machine.edges.tolist(),
        "class_names": list(machine.class_names),
        "layers": [_layer(layer) for layer in machine.layers],
        "joins": [_join(join) for join in machine.joins],
    }
    path.write_text(json.dumps({**content, SEAL: hash_of(content)}))


def read_json(path: Path) -> PackedModel:
    """Read what `write_json` wrote.

    Raises:
        InputError: another kind of file, another version, changed since it was written, parts that do not fit.
    """
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path}: expected JSON, got {error}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT or found.get("version") != VERSION:
        raise InputError(f"{path}: expected {FORMAT!r}, version {VERSION}, got another file or version")
    if found.pop(SEAL, None) != hash_of(found):
        raise InputError(
            f"{path} was changed after it was written: expected its content to have the sha256 in its seal"
        )
    try:
        machine = PackedModel(
            image_shape=tuple(found["image_shape"]),
            edges=np.array(found["edges"], dtype=np.float32),
            layers=tuple(_read_layer(layer) for layer in found["layers"]),
            joins=tuple(_read_join(join) for join in found["joins"]),
            class_names=tuple(found["class_names"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: expected a whole machine, got one with {type(error).__name__}: {error}") from error
    machine.check()
    return machine


def _layer(clauses: ClauseSet) -> dict[str, Any]:
    return {
        "n_literals": clauses.bits,
        "n_classes": clauses.outputs,
        "is_multi_label": False,
        "rules": [clauses.clause(j).tolist() for j in range(clauses.num_clauses)],
        "weights": clauses.votes.tolist(),
        "capacity": clauses.capacity.tolist(),
        "bias": clauses.bias.tolist(),
        "scale": clauses.scale,
    }


def _read_layer(found: dict[str, Any]) -> ClauseSet:
    return ClauseSet.of(
        found["rules"],
        bits=found["n_literals"],
        capacity=found["capacity"],
        votes=np.array(found["weights"], dtype=np.int32).reshape(len(found["rules"]), found["n_classes"]),
        bias=found["bias"],
        scale=found["scale"],
    )


def _join(join: IntegerLayerNorm) -> dict[str, Any]:
    return {
        "path": join.path.tolist(),
        "shift": join.shift,
        "gain": join.gain.tolist(),
        "offset": join.offset.tolist(),
        "epsilon": join.epsilon,
    }


def _read_join(found: dict[str, Any]) -> IntegerLayerNorm:
    return IntegerLayerNorm(
        path=np.array(found["path"], dtype=np.int32),
        shift=found["shift"],
        gain=np.array(found["gain"], dtype=np.int64),
        offset=np.array(found["offset"], dtype=np.int64),
        epsilon=found["epsilon"],
    )
