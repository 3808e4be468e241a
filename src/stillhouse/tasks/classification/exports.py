"""What a student with classes can be written as, and checked on the test split: rules, machines of logic, ONNX, torch.export.

Shapes: N test rows, B rows of a batch, K classes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from stillhouse.core.checks import InputError
from stillhouse.core.exports import compare_answers
from stillhouse.core.folder import run_above
from stillhouse.core.records import read_json, write_arrays, write_atomically
from stillhouse.core.types import ImageSpec
from stillhouse.export import first_line, quiet, traced
from stillhouse.logic.machine import PackedModel
from stillhouse.logic.packed import load_json, load_packed, parts_of, save_packed, write_json
from stillhouse.logic.simplify import simplify
from stillhouse.report.page import write_blocks
from stillhouse.tasks.classification import numpy_machine
from stillhouse.tasks.classification.lower import lower
from stillhouse.tasks.classification.photos import KEY
from stillhouse.tasks.classification.rules_file import RULES, decided, heading, read_rules, write_rules
from stillhouse.tasks.classification.rules_report import blocks_of
from stillhouse.tasks.classification.students.flat import DeepTMClassifier, FlatTM

OPSET, ROUNDING, BATCH = 18, 1e-3, 256


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
    if run is not None and (run / RULES).is_file() and is_of(folder, run, read_json(run / RULES)):
        saved = read_rules(run / RULES)
        for name in ("rules.json", "rules.npz", "rules.txt"):
            shutil.copyfile(run / name, out / name)
    else:
        from stillhouse.tasks.classification.students.rules import rules_of

        saved = rules_of(model, data)
        write_rules(out, saved)
    line, headline = decided(saved.index), f"{folder.resolve().name}: {heading(saved.index)}"
    page = out / "rules.html"
    write_blocks(page, blocks_of(saved), title="Rules", kicker="stillhouse rules", headline=headline, lead=line)
    return [line]


def is_of(folder: Path, run: Path, index: Mapping[str, Any]) -> bool:
    """Whether what a run wrote of its student is of this one: it is the shipped one, or the training that is shipped."""
    shipped = index.get("student") or {}
    place = run / "arms" / str(shipped.get("arm")) / f"seed-{shipped.get('seed')}"
    return folder.resolve() in {(run / "student").resolve(), place.resolve()}


# ------------------------------------------------------------------------------------------------ machines of logic


def export_machine(form: str, model: Any, data: Any, out: Path) -> Sequence[str]:
    """A student that is clauses from the pixels to the class as logic, simplified; read back and run on the split.

    packed: one safetensors file that predicts with numpy alone, and faster with numba. c: C99, compiled here with every warning
    an error. json: literals, capacities and votes. numpy: a folder with `predict.py`, which needs numpy alone.

    Raises:
        InputError: a student of which only parts are clauses, or what was written answers otherwise than the student.
    """
    if not isinstance(model, (FlatTM, DeepTMClassifier)) or model.config.part != "clauses":
        raise InputError(
            "expected a student that is clauses from the pixels to the class (flat-tm, deep-tm), got "
            f"{type(model).__name__}; forms for it: rules, onnx, torch"
        )
    plain = lower(model, data.input_spec.class_names)
    machine = replace(plain, layers=tuple(simplify(layer) for layer in plain.layers))
    before, after = (
        (sum(x.num_clauses for x in one.layers), sum(len(x.literals) for x in one.layers)) for one in (plain, machine)
    )
    size = f"{before[0]:,} clauses of {before[1]:,} literals, simplified {after[0]:,} of {after[1]:,}"
    scores = _scores(lambda rows: machine.scores(rows, definition=True), data.test)
    note = compare_on(model, data.test, lambda rows: machine.scores(rows) / machine.scale, "the clauses as logic")
    got = _written(form, machine, data.test, out)
    if got.shape != scores.shape or (got != scores).any():
        raise InputError(f"{out.name}: expected the scores of the clauses on {len(scores):,} rows, got other ones")
    return [size, f"logic against torch: {note}", f"{out.name}: every score of {len(scores):,} rows equal, to the bit"]


def _written(form: str, machine: PackedModel, split: Any, out: Path) -> np.ndarray:
    """(N, K) whole-numbered scores of what was written."""
    if form == "c":
        from stillhouse.logic.c import answers, c_text

        if split.images.dtype != torch.uint8:
            raise InputError(f"expected a test split of bytes (uint8), which C reads, got {split.images.dtype}")
        out.write_text(c_text(machine))
        return answers(out, split.images.numpy(), len(machine.class_names))[1]
    read: Any
    if form == "packed":
        save_packed(machine, out)
        read = load_packed(out)
    elif form == "json":
        write_json(machine, out)
        read = load_json(out)
    else:
        out.mkdir()
        shutil.copyfile(numpy_machine.__file__, out / "predict.py")
        about, arrays = parts_of(machine)
        write_arrays(out / numpy_machine.FILE, about=np.array(json.dumps(about)), **arrays)
        read = numpy_machine.ClauseMachine(out)
    return _scores(read.scores, split)


def _scores(answer: Callable[[np.ndarray], np.ndarray], split: Any) -> np.ndarray:
    return np.concatenate([answer(batch.inputs.numpy()) for batch in split.batches(BATCH)])


# ------------------------------------------------------------------------------------------------ networks


@torch.no_grad()
def logits_of(model: nn.Module, split: Any) -> np.ndarray:
    """(N, K) of a network in eval mode, in order."""
    return np.concatenate([model(batch.inputs).float().numpy() for batch in split.batches(BATCH)])


def compare_on(model: nn.Module, split: Any, answer: Callable[[np.ndarray], np.ndarray], name: str) -> str:
    """What was written against the network on a split.

    Args:
        model: the network, in eval mode.
        split: N rows.
        answer: scores (B, K) of inputs (B, ...), as the written file gives them.
        name: of the file.

    Returns:
        "10,000 of 10,000 answers equal; ...".

    Raises:
        InputError: other answers.
    """
    expected = logits_of(model, split)
    bound = ROUNDING * max(1.0, float(np.abs(expected).max()))
    return compare_answers(expected, _scores(answer, split), name, bound=bound)


def write_onnx(model: nn.Module, split: Any, out: Path, input_spec: Any = None) -> str:
    """One ONNX file, input `inputs` (B, ...), output `logits` (B, K), B free; compared on the split.

    Of images it names the classes and the shape, so that `stillhouse predict` can use the file.

    Raises:
        InputError: onnx, onnxscript or onnxruntime is not installed, torch cannot express the network, or other answers.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  torch's exporter needs it
    except ImportError as error:
        raise InputError(f"onnx: {error.name} is not installed; pip install 'stillhouse[export]'") from None
    free = {0: torch.export.Dim("rows", min=1, max=2**20)}
    with quiet(), torch.no_grad():
        try:
            made: Any = torch.onnx.export(
                model,
                (split.batch(torch.arange(2)).inputs,),
                input_names=["inputs"],
                output_names=["logits"],
                dynamic_shapes=(free,),
                opset_version=OPSET,
                dynamo=True,
            )
            written = made.model_proto
            if isinstance(input_spec, ImageSpec):
                about = {"class_names": list(input_spec.class_names), "shape": list(input_spec.shape)}
                written.metadata_props.add(key=KEY, value=json.dumps(about))
            content = written.SerializeToString()
        except Exception as error:  # whatever a network of anyone's does to a tracer; protobuf takes 2 GiB
            raise InputError(f"onnx: torch cannot export this network: {first_line(error)}") from None
    write_atomically(out, lambda file: file.write(content))
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return compare_on(model, split, lambda x: session.run(["logits"], {"inputs": x})[0], out.name)


def write_program(model: nn.Module, split: Any, out: Path) -> str:
    """A program of `torch.export`, B free, that loads without this library; compared on the split.

    Raises:
        InputError: torch cannot trace the network, or other answers.
    """
    raw, loaded = traced(model, split.batch(torch.arange(2)).inputs)
    write_atomically(out, lambda file: file.write(raw))

    @torch.no_grad()
    def answer(inputs: np.ndarray) -> np.ndarray:
        found: np.ndarray = loaded(torch.from_numpy(inputs)).numpy()
        return found

    return compare_on(model, split, answer, out.name)
