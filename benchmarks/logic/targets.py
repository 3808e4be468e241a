"""One machine in every target: the same answers everywhere, what it takes to build them, what the proof takes.

    python -m benchmarks.logic.targets --clauses 200                        random clauses over 784 bits
    python -m benchmarks.logic.targets --machine exported.json              a trained one (`stillhouse export RUN --to json`)
    python -m benchmarks.logic.targets --clauses 2000 --vote-bits 8         smaller adders

Answers are compared with the definition in numpy: scores and classes, every row. Verilog of a deep machine is simulated layer by
layer; what lies between layers (LayerNorm) is computed by the host. Prints one JSON object; exit status 1 if any answer differs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.machine import Machine
from stillhouse.logic.prove import prove
from stillhouse.logic.targets import c, wasm
from stillhouse.logic.targets.json_file import read_json, write_json
from stillhouse.logic.targets.netlist import build, fewer_vote_bits, share_changed
from stillhouse.logic.targets.verilog import simulate, synthesise, write_verilog


def random_machine(clauses: int, pixels: int, literals: int, failures: int, outputs: int, seed: int) -> Machine:
    """Random clauses, votes as wide as 31-bit scores allow."""
    random = np.random.default_rng(seed)
    lists = [random.choice(2 * pixels, literals, replace=False).tolist() for _ in range(clauses)]
    widest = 2**29 // (clauses * failures)
    votes = random.integers(-widest, widest, (clauses, outputs))
    layer = ClauseSet.of(lists, bits=pixels, capacity=[min(failures, literals)] * clauses, votes=votes)
    return Machine((1, 1, pixels), np.array([0.5], np.float32), (layer,), (), tuple(map(str, range(outputs))))


def images_near_clauses(machine: Machine, rows: int, seed: int) -> np.ndarray:
    """Random bytes; half of the rows satisfy most of some clause, which random ones hardly ever do."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (rows, machine.pixels), dtype=np.uint8)
    first = machine.layers[0]
    for row, j in zip(images[::2], random.integers(0, first.num_clauses, rows)):
        literals = first.clause(int(j))
        literals = literals[random.random(len(literals)) < 0.95]
        row[literals % first.bits % machine.pixels] = np.where(literals < first.bits, 255, 0)
    return images.reshape(rows, *machine.image_shape)


def timed(out: dict[str, Any], key: str, function: Callable[[], Any]) -> Any:
    """The result of a function; its seconds go into the table."""
    start = time.perf_counter()
    result = function()
    out[key] = round(time.perf_counter() - start, 2)
    return result


def measure(machine: Machine, images: np.ndarray, given: argparse.Namespace) -> dict[str, Any]:
    out: dict[str, Any] = {
        "clauses": [layer.num_clauses for layer in machine.layers],
        "literals": [len(layer.literals) for layer in machine.layers],
        "rows": len(images),
        "same": {},
    }
    bits = machine.bits(images)
    expected = timed(out, "numpy_s", lambda: machine.scores_of_bits(bits))

    def same(name: str, scores: np.ndarray, classes: np.ndarray) -> None:
        out["same"][name] = bool((scores == expected).all() and (classes == expected.argmax(1)).all())
        print(f"{name}: {'the same' if out['same'][name] else 'DIFFERENT'}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "machine"
        write_json(machine, path.with_suffix(".json"))
        out["json_bytes"] = path.with_suffix(".json").stat().st_size
        again = read_json(path.with_suffix(".json")).scores_of_bits(bits[:1000])
        out["same"]["json"] = bool((again == expected[:1000]).all())
        c.write_c(machine, path.with_suffix(".c"))
        out["c_bytes"] = path.with_suffix(".c").stat().st_size
        timed(out, "c_build_s", lambda: c.build(path.with_suffix(".c"), path.with_suffix(".o")))
        classes, batch, scores = timed(out, "c_build_and_run_s", lambda: c.answers(path.with_suffix(".c"), images))
        same("c", scores, classes)
        same("c, 64 a word", scores, batch)
        if given.i386:
            run = timed(out, "c_32_bits_s", lambda: c.answers(path.with_suffix(".c"), images, target="x86-linux-musl"))
            same("c, 32 bits", run[2], run[0])
        if not given.no_wasm:
            timed(out, "wasm_build_s", lambda: wasm.write_wasm(machine, path.with_suffix(".wasm")))
            out["wasm_bytes"] = path.with_suffix(".wasm").stat().st_size
            outputs = len(machine.class_names)
            run = timed(out, "wasm_run_s", lambda: wasm.answers(path.with_suffix(".wasm"), images, outputs=outputs))
            same("wasm", run[1], run[0])
        if not given.no_verilog:
            measure_verilog(machine, bits, path, given, out, same)
    return out


def measure_verilog(
    machine: Machine,
    bits: np.ndarray,
    path: Path,
    given: argparse.Namespace,
    out: dict[str, Any],
    same: Callable[..., None],
) -> None:
    layers = [own if given.vote_bits is None else fewer_vote_bits(own, given.vote_bits) for own in machine.layers]
    if given.vote_bits is not None:
        out["vote_bits"] = given.vote_bits
        if len(layers) == 1:
            out["share_of_answers_changed_by_vote_bits"] = share_changed(machine.layers[0], layers[0], bits)
    files = timed(
        out, "verilog_write_s", lambda: write_verilog(machine, path.with_suffix(".v"), vote_bits=given.vote_bits)
    )
    names = ["clauses"] if len(files) == 1 else [f"clauses_{number}" for number in range(len(files))]
    out["verilog_bytes"] = [file.stat().st_size for file in files]
    out["gates"] = [build(own, classes=i == len(layers) - 1).size() for i, own in enumerate(layers)]
    out["proofs"] = []
    for file, name, layer in zip(files, names, layers):
        if not given.no_proof:
            proof = prove(file.read_text(), layer, name=name)
            out["proofs"].append(str(proof))
            out["same"][f"proof of {name}"] = proof.proved
            print(proof, file=sys.stderr, flush=True)
    if not given.no_simulation:
        rows = bits[: given.simulated]
        chosen: list[np.ndarray | None] = [None]

        def by_simulation(layer: ClauseSet, own_bits: np.ndarray) -> np.ndarray:
            number = next(i for i, own in enumerate(machine.layers) if own is layer)
            scores, chosen[0] = simulate(files[number], own_bits, outputs=layer.outputs, name=names[number])
            return scores

        scores = timed(out, "simulation_s", lambda: machine.scores_of_bits(rows, by_simulation))
        out["simulated_rows"] = len(rows)
        if given.vote_bits is None:
            wanted = machine.scores_of_bits(rows)
        else:
            wanted = layers[0].scores(rows)
        classes = scores.argmax(1) if chosen[0] is None else chosen[0]
        out["same"]["verilog"] = bool((scores == wanted).all() and (classes == wanted.argmax(1)).all())
        print(f"verilog: {out['same']['verilog']}", file=sys.stderr, flush=True)
    if not given.no_synthesis:
        out["synthesis"] = timed(out, "synthesis_s", lambda: [synthesise(f, n) for f, n in zip(files, names)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machine", type=Path, help="a machine as JSON; otherwise a random one")
    parser.add_argument(
        "--images", type=Path, help="images (rows, channels, height, width), uint8, as .npy; otherwise random"
    )
    parser.add_argument("--clauses", type=int, default=200)
    parser.add_argument("--bits", type=int, default=784)
    parser.add_argument("--literals", type=int, default=32)
    parser.add_argument("--failures", type=int, default=8)
    parser.add_argument("--outputs", type=int, default=10)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument(
        "--simulated", type=int, default=10_000, help="rows that Verilog answers; minutes each thousand"
    )
    parser.add_argument("--vote-bits", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--i386", action="store_true", help="run the C on 32 bits too (zig builds a C library first)")
    for part in ("wasm", "verilog", "proof", "simulation", "synthesis"):
        parser.add_argument(f"--no-{part}", action="store_true")
    given = parser.parse_args()
    if given.machine:
        machine = read_json(given.machine)
    else:
        machine = random_machine(given.clauses, given.bits, given.literals, given.failures, given.outputs, given.seed)
    images = (
        np.load(given.images)[: given.rows] if given.images else images_near_clauses(machine, given.rows, given.seed)
    )
    out = measure(machine, images, given)
    print(json.dumps(out, indent=1))
    return 0 if all(out["same"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
