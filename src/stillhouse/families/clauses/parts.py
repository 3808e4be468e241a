"""The clause layers of a network that is not all clauses (transformers, convolutions): each in files for programs and hardware.

What lies between them, attention and norms and projections, stays with the host: a part takes bits and gives votes.
"""

from __future__ import annotations

import ctypes
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stillhouse.classification.export import logits_of
from stillhouse.core.checks import InputError
from stillhouse.core.exports import ExportChoices, compare_answers
from stillhouse.core.records import write_json
from stillhouse.families.clauses.lower import answered_by, lower_parts, votes_alone
from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.engine import Evaluator, Scores
from stillhouse.logic.machine import Machine
from stillhouse.logic.packed import load_packed, save_packed
from stillhouse.logic.passes import simplify

INDEX = "parts.json"
ROUNDING = (
    1e-2  # of the largest score: a rounding may turn a bit of a later layer, whose input is close to its threshold
)
SIMULATED, LANES = 256, 64  # rows a layer that a circuit is simulated on, and side by side: a simulator is slow


class Given(Evaluator):
    """A clause set whose scores come from somewhere else.

    Args:
        clauses: the set.
        scores: bits (B, F) to (B, K) int64.
    """

    def __init__(self, clauses: ClauseSet, scores: Scores) -> None:
        super().__init__(clauses, "definition")
        self.given = scores

    def scores_by(self, engine: str, bits: np.ndarray) -> np.ndarray:
        """(B, K) int64, by what was given."""
        return self.given(bits)


def export_parts(model: Any, data: Any, out: Path, choices: ExportChoices) -> Sequence[str]:
    """A folder with the files of every clause layer, and `parts.json`, which says where in the network each belongs.

    A layer has four files: `.packed.safetensors`, `.c` (`NAME_scores_of_bits`), `.json`, `.v` (bits to clause values; as many
    votes as a layer has would be a circuit a hundred times as large, and are a small product of whole numbers). The network is
    run on the test split with its layers answered by the packed files and by the compiled C, the circuits on bits that came by.

    Args:
        model: the student, in eval mode.
        data: of its run, or other data.
        out: a new folder.
        choices: `prove` proves every circuit for all inputs.

    Raises:
        InputError: no clause layer whose votes alone are read, or files that answer otherwise.
    """
    from stillhouse.logic.targets.json_file import write_json as write_machine

    parts = {name: simplify(lower_parts(model)[name])[0] for name, _ in votes_alone(model)}
    if not parts:
        raise InputError(
            f"parts: expected clause layers of which only the votes are read, {type(model).__name__} has none "
            "(clause attention, routing and fusion of scales read every clause)"
        )
    out.mkdir()
    names = {path: path.replace(".", "_") for path in parts}
    for path, clauses in parts.items():
        machine = part_machine(clauses)
        save_packed(machine, out / f"{names[path]}.packed.safetensors")
        write_machine(machine, out / f"{names[path]}.json")
    seen: dict[str, np.ndarray] = {}
    packed = _logits(
        model, data.test, {path: _packed(out / f"{name}.packed.safetensors") for path, name in names.items()}, seen
    )
    expected = logits_of(model, data.test)
    bound = ROUNDING * max(1.0, float(np.abs(expected).max()))
    lines = [
        f"{len(parts)} clause layers; packed: {compare_answers(expected, packed, 'the packed parts', bound=bound)}"
    ]
    with tempfile.TemporaryDirectory() as folder:
        compiled = {path: _compiled(parts[path], out / f"{name}.c", name, Path(folder)) for path, name in names.items()}
        if not np.array_equal(_logits(model, data.test, compiled), packed):
            raise InputError("the parts in C: expected the logits of the packed ones, got others; nothing was written")
    lines.append(f"C: every logit of {len(packed):,} rows equal to those of the packed parts, to the bit")
    circuits = [_circuit(parts[path], out / f"{name}.v", name, seen[path], choices) for path, name in names.items()]
    lines.append(
        f"Verilog: every clause value of {SIMULATED} rows a layer equal, to the bit, in Icarus Verilog"
        if _can_simulate()
        else "Verilog: written, not simulated (install iverilog to have it simulated here, or take --prove)"
    )
    index = {
        path: {
            "files": [f"{names[path]}{suffix}" for suffix in (".packed.safetensors", ".c", ".json", ".v")],
            "bits": clauses.bits,
            "outputs": clauses.outputs,
            "clauses": clauses.num_clauses,
            "literals": len(clauses.literals),
            "scale": clauses.scale,
            **proved,
        }
        for (path, clauses), proved in zip(parts.items(), circuits)
    }
    write_json(out / INDEX, {"network": type(model).__name__, "votes": "scores / scale", "layers": index})
    return [*lines, *(f"{path}: {entry['proof']}" for path, entry in index.items() if "proof" in entry)]


def part_machine(clauses: ClauseSet) -> Machine:
    """A clause set as a machine whose pixels are its bits: bytes of 128 or more are 1."""
    edges = np.array([0.5], np.float32)
    return Machine((1, 1, clauses.bits), edges, (clauses,), (), tuple(map(str, range(clauses.outputs))))


@torch.no_grad()
def _logits(
    model: Any, split: Any, scores: Mapping[str, Scores], seen: dict[str, np.ndarray] | None = None
) -> np.ndarray:
    """(N, K) of the network with clause layers answered by functions; `seen` gets the first bits of every layer."""

    def of(path: str, clauses: ClauseSet) -> Evaluator:
        def recorded(bits: np.ndarray) -> np.ndarray:
            if seen is not None:
                seen.setdefault(path, np.array(bits[:SIMULATED]))
            return scores[path](bits)

        return Given(clauses, recorded)

    with answered_by(model, of):
        return logits_of(model, split)


def _packed(file: Path) -> Scores:
    return Evaluator(load_packed(file).layers[0]).scores


def _compiled(clauses: ClauseSet, file: Path, name: str, folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Writes the C of a part, compiles it, and gives it as a function."""
    from stillhouse.logic.targets.c import build, write_c

    write_c(part_machine(clauses), file, name=name)
    library = folder / f"{name}.so"
    build(file, library, flags=("-shared", "-fPIC"))
    call = getattr(ctypes.CDLL(str(library)), f"{name}_scores_of_bits")

    def scores(bits: np.ndarray) -> np.ndarray:
        rows = np.ascontiguousarray(bits, dtype=np.uint8)
        found = np.empty((len(rows), clauses.outputs), np.int32)
        for row in range(len(rows)):
            call(ctypes.c_void_p(rows[row].ctypes.data), ctypes.c_void_p(found[row].ctypes.data))
        return found.astype(np.int64)

    return scores


def _can_simulate() -> bool:
    return shutil.which("iverilog") is not None


def _circuit(clauses: ClauseSet, file: Path, name: str, bits: np.ndarray, choices: ExportChoices) -> dict[str, Any]:
    """Writes and simulates the circuit of a part's clauses; with `prove`, what was proved."""
    from stillhouse.logic.prove_machine import prove_values
    from stillhouse.logic.targets.verilog import simulate_values, values_module

    file.write_text(values_module(clauses, name))
    if _can_simulate() and (simulate_values(file, bits, clauses, name=name, lanes=LANES) != clauses.values(bits)).any():
        raise InputError(f"{file.name}: expected the values of the clauses, got others; nothing was written")
    if not choices.prove:
        return {}
    proof = prove_values(file.read_text(), clauses, name=name, on_progress=choices.on_progress)
    if not proof.proved:
        raise InputError(f"{file.name}: {proof}; nothing was written")
    return {"proof": str(proof), "proof_seconds": round(proof.seconds, 1)}
