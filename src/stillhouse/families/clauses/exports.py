"""Forms of a clause student: rules for people, and where all of it is clauses, machines for programs and hardware."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stillhouse.classification.export import ROUNDING, logits_of
from stillhouse.core.checks import InputError
from stillhouse.core.exports import ExportChoices, compare_answers
from stillhouse.core.folder import run_above
from stillhouse.core.records import read_json, write_arrays, write_json
from stillhouse.core.sample import sample_rows
from stillhouse.families.clauses import numpy_machine
from stillhouse.families.clauses.lower import lower
from stillhouse.families.clauses.rule_words import decided, heading
from stillhouse.families.clauses.rules_file import RULES, SavedRules, read_rules, write_rules
from stillhouse.families.clauses.rules_report import blocks_of
from stillhouse.families.clauses.students.flat import DeepTMClassifier, FlatTM
from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.machine import Machine
from stillhouse.logic.packed import load_packed, save_packed
from stillhouse.logic.passes import simplify
from stillhouse.logic.targets.netlist import fewer_vote_bits
from stillhouse.report.page import write_blocks

PAGE, PROGRAM, ROWS = "rules.html", "predict.py", 512
SIMULATED, LANES = 256, 64  # rows that a circuit is simulated on, and side by side: a simulator is slow


def export_rules(model: Any, data: Any, folder: Path, out: Path) -> Sequence[str]:
    """A folder with the rules as a page, as text, as JSON and as arrays.

    Args:
        model: the student.
        data: of its run, or other data; rules are chosen on its validation split.
        folder: of the student; the rules of its run are taken where they are this student's.
        out: a new folder.
    """
    out.mkdir()
    run = run_above(folder)
    known = None if run is None or not _is_shipped(folder, run) else run / RULES
    if known is not None and known.is_file():
        saved = read_rules(known)
        for name in ("rules.json", "rules.npz", "rules.txt"):
            shutil.copyfile(known.with_name(name), out / name)
    else:
        from stillhouse.families.clauses.students.rules import rules_of

        found = rules_of(model, data)
        write_rules(out, found)
        saved = SavedRules(found.index(), found.arrays)
    line, headline = decided(saved.index), f"{folder.resolve().name}: {heading(saved.index)}"
    write_blocks(out / PAGE, blocks_of(saved), title="Rules", kicker="stillhouse rules", headline=headline, lead=line)
    return [line]


def _is_shipped(folder: Path, run: Path) -> bool:
    """Whether the rules of a run are those of this student: it is the shipped one, or the training that is shipped."""
    folder = folder.resolve()
    shipped = read_json(run / RULES).get("student", {}) if (run / RULES).is_file() else {}
    place = run / "arms" / str(shipped.get("arm")) / f"seed-{shipped.get('seed')}"
    return folder in {(run / "student").resolve(), place.resolve()}


@dataclass(frozen=True, eq=False)
class Job:
    """What every form of a machine is made from, and held against.

    Attributes:
        model: the student.
        split: rows of the check.
        machine: the whole student as logic, simplified; its votes rounded if that is wanted.
        notes: what was already found: its size, and that it answers as the student does.
    """

    model: Any
    split: Any
    machine: Machine
    notes: tuple[str, ...]

    @property
    def images(self) -> np.ndarray:
        """(N, ...) bytes of the split.

        Raises:
            InputError: images that are no bytes.
        """
        images: np.ndarray = self.split.images.numpy()
        if images.dtype != np.uint8:
            raise InputError(f"expected a test split of bytes (uint8), which this form reads, got {images.dtype}")
        return images

    @cached_property
    def scores(self) -> np.ndarray:
        """(N, K) int64 of the machine on the split, by its definition."""
        return np.concatenate(
            [self.machine.scores(batch.inputs.numpy(), "definition") for batch in self.split.batches(ROWS)]
        )

    @property
    def few(self) -> np.ndarray:
        """Rows of the split on which a slow simulator is run, drawn by class."""
        return sample_rows(len(self.split), SIMULATED, labels=self.split.labels.numpy())

    def holds(self, scores: np.ndarray, classes: np.ndarray, name: str, rows: np.ndarray | None = None) -> str:
        """What was written, against the machine (on some rows of the split; None: on all): whole numbers, so equal or wrong.

        Raises:
            InputError: another class or score.
        """
        expected = self.scores if rows is None else self.scores[rows]
        if scores.shape != expected.shape:
            raise InputError(
                f"{name}: expected scores of shape {expected.shape}, got {scores.shape}; nothing was written"
            )
        wrong = int((classes != expected.argmax(1)).sum())
        if wrong or (scores != expected).any():
            raise InputError(
                f"{name}: expected the scores of the clauses on {len(expected):,} rows, got {wrong:,} other classes; nothing "
                "was written"
            )
        return f"{name}: every class and score of {len(classes):,} rows equal, to the bit"


def job(model: Any, data: Any, choices: ExportChoices) -> Job:
    """Lower a student to logic, simplify it, and hold it against the network.

    Raises:
        InputError: a student of which only parts are clauses, or a machine that answers otherwise.
    """
    if not isinstance(model, (FlatTM, DeepTMClassifier)) or model.config.part != "clauses":
        raise InputError(
            "expected a student that is clauses from the pixels to the class (flat-tm, deep-tm), got "
            f"{type(model).__name__}; forms for it: parts (its clause layers), rules, onnx, torch"
        )
    plain = lower(model, data.task.class_names)
    layers = [simplify(layer)[0] for layer in plain.layers]
    if choices.vote_bits is not None:
        layers[-1] = fewer_vote_bits(layers[-1], choices.vote_bits)
    machine = replace(plain, layers=tuple(layers))
    before, after = (
        (sum(x.num_clauses for x in one.layers), sum(len(x.literals) for x in one.layers)) for one in (plain, machine)
    )
    size = f"{before[0]:,} clauses of {before[1]:,} literals, simplified {after[0]:,} of {after[1]:,}"
    found = Job(model, data.test, machine, ())
    expected = logits_of(model, data.test)
    # coarse votes may change answers: then how many is what there is to know
    exact = choices.vote_bits is None
    bound = ROUNDING * max(1.0, float(np.abs(expected).max())) if exact else 0.0
    note = compare_answers(expected, found.scores / machine.scale, "the clauses as logic", bound=bound, strict=exact)
    found = replace(found, notes=(size, f"logic against torch: {note}"))
    return found


def export_packed(job: Job, out: Path) -> Sequence[str]:
    """One safetensors file that predicts with numpy alone, and faster with numba; read back and run on the split."""
    save_packed(job.machine, out)
    started = time.perf_counter()
    read = load_packed(out)
    loaded = 1000 * (time.perf_counter() - started)
    scores = np.concatenate([read.scores(batch.inputs.numpy()) for batch in job.split.batches(ROWS)])
    started = time.perf_counter()
    images = job.split.batch(torch.arange(len(job.split))).inputs.numpy()
    read.predict(images)
    rate = len(images) / (time.perf_counter() - started)
    note = job.holds(scores, scores.argmax(1), out.name)
    return [*job.notes, note, f"read in {loaded:.1f} ms; {rate:,.0f} rows/s on this machine"]


def export_c(job: Job, out: Path) -> Sequence[str]:
    """C99 in one file, compiled here with every warning an error and run on the split."""
    from stillhouse.logic.targets.c import answers, write_c

    write_c(job.machine, out)
    one, many, scores = answers(out, job.images)
    job.holds(scores, many, "predict_64")
    return [*job.notes, job.holds(scores, one, out.name)]


def export_wasm(job: Job, out: Path) -> Sequence[str]:
    """A WebAssembly module, run on the split by wasmtime."""
    from stillhouse.logic.targets.wasm import answers, write_wasm

    write_wasm(job.machine, out)
    classes, scores = answers(out, job.images, outputs=job.scores.shape[1])
    return [*job.notes, job.holds(scores, classes, out.name)]


def export_json(job: Job, out: Path) -> Sequence[str]:
    """Literals, capacities and votes as JSON, read back and run on the split."""
    from stillhouse.logic.targets.json_file import read_json as read_machine
    from stillhouse.logic.targets.json_file import write_json as write_machine

    write_machine(job.machine, out)
    read = read_machine(out)
    scores = np.concatenate([read.scores(batch.inputs.numpy()) for batch in job.split.batches(ROWS)])
    return [*job.notes, job.holds(scores, scores.argmax(1), out.name)]


def export_verilog(job: Job, out: Path, choices: ExportChoices) -> Sequence[str]:
    """A folder with the circuit, simulated on the split; with `prove`, proved for all inputs, and `proof.json` says how.

    Machines of one layer or two are one circuit. Of more there is a module a layer: the numbers between them need divisions.
    """
    from stillhouse.logic.targets.verilog import simulate, write_verilog

    out.mkdir()
    machine, notes = job.machine, list(job.notes)
    files = write_verilog(machine, out / "clauses.v")
    inputs = np.concatenate([machine.bits(batch.inputs.numpy()) for batch in job.split.batches(ROWS)])
    if len(files) == 1:
        scores, classes = simulate(files[0], inputs[job.few], outputs=machine.layers[-1].outputs, lanes=LANES)
        if not machine.joins:
            _hold_gates(files[0], "clauses", machine.layers[0], inputs)
            notes.append(f"gates as they are written: every score of {len(inputs):,} rows equal, to the bit")
    else:
        scores, classes = _simulated_layers(files, machine, inputs, job.few)
        notes.append("what lies between the layers (LayerNorm, in whole numbers) is no logic and stays with the host")
    assert classes is not None
    notes.append(job.holds(scores, classes, "simulated by Icarus Verilog", rows=job.few))
    if choices.prove:
        notes += _proved(files, machine, choices)
    return notes


def _simulated_layers(
    files: Sequence[Path], machine: Machine, inputs: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Scores and classes of some rows, a layer after another, what lies between by the host; gates on all rows."""
    from stillhouse.logic.targets.verilog import simulate

    bits, numbers = inputs, 2 * inputs.astype(np.int64) - 1
    for number, (file, layer) in enumerate(zip(files, machine.layers, strict=True)):
        few = bits[rows]
        scores, classes = simulate(file, few, outputs=layer.outputs, name=f"clauses_{number}", lanes=LANES)
        if (scores != layer.scores(few)).any():
            raise InputError(f"{file.name}: expected the scores of the clauses, got others; nothing was written")
        _hold_gates(file, f"clauses_{number}", layer, bits)
        if number < len(machine.joins):
            bits, numbers = machine.joins[number].apply(layer.scores(bits), numbers)
    return scores, classes


def _proved(files: Sequence[Path], machine: Machine, choices: ExportChoices) -> list[str]:
    """What was proved, kept beside the files.

    Raises:
        InputError: something was not.
    """
    from stillhouse.logic.prove import prove
    from stillhouse.logic.prove_machine import prove_machine

    proofs = {}
    for number, (file, layer) in enumerate(zip(files, machine.layers)):
        if len(files) == 1:
            proof = prove_machine(file.read_text(), machine, on_progress=choices.on_progress)
        else:
            proof = prove(file.read_text(), layer, name=f"clauses_{number}", on_progress=choices.on_progress)
        if not proof.proved:
            raise InputError(f"{file.name}: {proof}; nothing was written")
        proofs[file.name] = {
            "proved": str(proof),
            "seconds": round(proof.seconds, 1),
            "statements": proof.lemmas,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        }
    write_json(files[0].with_name("proof.json"), proofs)
    return [f"{name}: {proof['proved']}" for name, proof in proofs.items()]


def _hold_gates(file: Path, name: str, layer: ClauseSet, bits: np.ndarray) -> None:
    """Raise `InputError` where the gates of a Verilog file, read back, give other scores on some row."""
    if (_evaluated(file, name, layer, bits) != layer.scores(bits)).any():
        raise InputError(
            f"{file.name}: expected the scores of the clauses from the circuit, got others; nothing was written"
        )


def _evaluated(file: Path, name: str, layer: ClauseSet, bits: np.ndarray) -> np.ndarray:
    """(N, K) scores by the gates of a Verilog file, read back; a simulator would take hours for all rows."""
    from stillhouse.logic.targets.read_verilog import read_verilog

    circuit = read_verilog(file.read_text(), name)
    signals = circuit.outputs["score"]
    width = len(signals) // layer.outputs
    found = []
    for start in range(0, len(bits), 4 * ROWS):
        planes = circuit.evaluate(bits[start : start + 4 * ROWS])
        numbers = [planes.number(signals[k * width : (k + 1) * width], signed=True) for k in range(layer.outputs)]
        found.append(np.stack(numbers, 1))
    return np.concatenate(found)


def export_numpy(job: Job, out: Path) -> Sequence[str]:
    """A folder with `predict.py`, which needs numpy alone, and the clauses as arrays; run once on the split."""
    out.mkdir()
    shutil.copyfile(numpy_machine.__file__, out / PROGRAM)
    write_arrays(out / numpy_machine.FILE, **arrays_of(job.machine))
    spec = importlib.util.spec_from_file_location("exported_predict", out / PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    copy = program.ClauseMachine(out)
    scores = np.concatenate([copy.scores(batch.inputs.numpy()) for batch in job.split.batches(ROWS)])
    return [*job.notes, job.holds(scores, scores.argmax(1), PROGRAM)]


def arrays_of(machine: Machine) -> dict[str, np.ndarray]:
    """A machine as arrays with names; see `numpy_machine`."""
    found: dict[str, Any] = {
        "image_shape": np.array(machine.image_shape),
        "edges": machine.edges,
        "class_names": np.array(machine.class_names),
        "scale": np.array(machine.scale),
    }
    for number, layer in enumerate(machine.layers):
        for name in ("starts", "literals", "capacity", "votes", "bias"):
            found[f"{name}_{number}"] = getattr(layer, name)
    for number, join in enumerate(machine.joins):
        for name in ("path", "shift", "gain", "offset", "epsilon"):
            found[f"{name}_{number}"] = np.asarray(getattr(join, name))
    return found
