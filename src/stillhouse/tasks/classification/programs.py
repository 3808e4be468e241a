"""Networks with classes for other programs: ONNX and torch.export, and the comparison of anything written with the network.

Shapes: N test rows, B rows of a batch, K classes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from stillhouse.core.checks import InputError
from stillhouse.core.exports import compare_answers
from stillhouse.core.records import write_atomically
from stillhouse.core.types import ImageSpec
from stillhouse.export.program import first_line, quiet, traced
from stillhouse.tasks.classification.data import ImageSplit
from stillhouse.tasks.classification.photos import KEY

OPSET, ROUNDING, BATCH = 18, 1e-3, 256


@torch.no_grad()
def logits_of(model: nn.Module, split: ImageSplit, batch_size: int = BATCH) -> np.ndarray:
    """(N, K) of a network in eval mode, in order."""
    return np.concatenate([model(batch.inputs).float().numpy() for batch in split.batches(batch_size)])


def compare_on(
    model: nn.Module,
    split: ImageSplit,
    answer: Callable[[np.ndarray], np.ndarray],
    name: str,
    *,
    rounding: float = ROUNDING,
) -> str:
    """What was written against the network on a split.

    Args:
        model: the network, in eval mode.
        split: N rows.
        answer: scores (B, K) of inputs (B, ...), as the written file gives them.
        name: of the file.
        rounding: largest difference of a score, of the largest score.

    Returns:
        "10,000 of 10,000 answers equal; ...".

    Raises:
        InputError: other answers.
    """
    expected = logits_of(model, split)
    got = np.concatenate([answer(batch.inputs.numpy()) for batch in split.batches(BATCH)])
    return compare_answers(expected, got, name, bound=rounding * max(1.0, float(np.abs(expected).max())))


def write_onnx(model: nn.Module, split: ImageSplit, out: Path, input_spec: Any = None) -> str:
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
    example = split.batch(torch.arange(2)).inputs
    free = {0: torch.export.Dim("rows", min=1, max=2**20)}
    with quiet(), torch.no_grad():
        try:
            made: Any = torch.onnx.export(
                model,
                (example,),
                input_names=["inputs"],
                output_names=["logits"],
                dynamic_shapes=(free,),
                opset_version=OPSET,
                dynamo=True,
            )
            written = made.model_proto
        except Exception as error:  # whatever a network of anyone's does to a tracer
            raise InputError(f"onnx: torch cannot export this network: {first_line(error)}") from None
    if isinstance(input_spec, ImageSpec):
        written.metadata_props.add(
            key=KEY, value=json.dumps({"class_names": list(input_spec.class_names), "shape": list(input_spec.shape)})
        )
    try:
        content = written.SerializeToString()
    except ValueError as error:  # protobuf takes 2 GiB
        raise InputError(f"onnx: the network is too large for one file: {first_line(error)}") from None
    write_atomically(out, lambda file: file.write(content))
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return compare_on(model, split, lambda x: session.run(["logits"], {"inputs": x})[0], out.name)


def write_program(model: nn.Module, split: ImageSplit, out: Path) -> str:
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
