"""An embedding student as one folder for those who use it: weights, card, a numpy-only file, ONNX.

OUT/
  student.safetensors   the weights, as they were
  card.json             widths, output convention, axes, metrics, teacher, versions, hashes
  embedder.py           inference in one file that needs numpy and safetensors, and says how it is used
  model.onnx            the same network: vectors (rows, D) -> codes (rows, d)
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stillhouse.core.checks import InputError, StillhouseError
from stillhouse.core.exports import ExportChoices
from stillhouse.core.hashes import with_hashes
from stillhouse.core.records import write_json
from stillhouse.export import quiet, write_compared
from stillhouse.tasks.embed import numpy_embedder
from stillhouse.tasks.embed.network import load_embedder
from stillhouse.tasks.embed.numpy_embedder import CARD, WEIGHTS, NumpyEmbedder
from stillhouse.tasks.embed.score import looked_at

EMBEDDER, ONNX = "embedder.py", "model.onnx"
OPSET = 18  # old enough for runtimes of 2023
CHECKED = 1000  # vectors
TOLERANCE = 1e-5  # largest difference of a code number from the network's, relative to the largest code


def write_for_numpy(folder: Path, out: Path, choices: ExportChoices) -> Sequence[str]:
    """The folder without ONNX, its codes held against the network's."""
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / WEIGHTS, out / WEIGHTS)
    shutil.copyfile(numpy_embedder.__file__, out / EMBEDDER)
    return _checked(folder, out, (WEIGHTS, EMBEDDER))


def write_for_onnx(folder: Path, out: Path, choices: ExportChoices) -> Sequence[str]:
    """The folder with ONNX."""
    write_for_numpy(folder, out, choices)
    _write_onnx(folder, out / ONNX)
    return _checked(folder, out, (WEIGHTS, EMBEDDER, ONNX))


def write_for_torch(folder: Path, out: Path, choices: ExportChoices) -> Sequence[str]:
    """The network as a program of torch.export, its codes held against the network's."""
    rows, what = _rows(folder)
    return [write_compared(load_embedder(folder), torch.from_numpy(rows), out, what)]


def _checked(folder: Path, out: Path, files: tuple[str, ...]) -> Sequence[str]:
    """Write the card, and hold the codes of what was written against those of the network."""
    write_json(out / CARD, with_hashes(NumpyEmbedder.load(folder).card, out, files))
    rows, what = _rows(folder)
    expected, found = load_embedder(folder).encode(rows), {"numpy": NumpyEmbedder.load(out).encode(rows)}
    if ONNX in files:
        try:
            from onnxruntime import InferenceSession

            session = InferenceSession(str(out / ONNX), providers=["CPUExecutionProvider"])
            found["ONNX"] = session.run(["codes"], {"vectors": rows})[0]
        except ImportError:
            what += " (ONNX is unchecked without onnxruntime)"
    largest = {name: float(np.abs(codes - expected).max()) for name, codes in found.items()}
    for name, difference in largest.items():
        if not difference <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
            raise InputError(f"{name}: expected the codes of the network within {TOLERANCE}, got {difference} apart")
    return [f"codes of {what} within {max(largest.values()):.1g} of the network's: {', '.join(largest)}"]


def _rows(folder: Path) -> tuple[NDArray[np.float32], str]:
    """(n, D) test rows of a student's run and what they are in words; made-up ones where the run's data are not at hand."""
    try:
        rows = looked_at(folder, None, None, CHECKED).wide
        return rows, f"{len(rows):,} test rows of the run"
    except StillhouseError as error:
        mean = NumpyEmbedder.load(folder).weights["mean"]
        rows = mean + np.random.default_rng(0).standard_normal((CHECKED, len(mean)), dtype=np.float32)
        return rows, f"{CHECKED:,} made-up vectors (no test rows: {error})"


def _write_onnx(folder: Path, path: Path) -> None:
    network = load_embedder(folder)
    try:
        with quiet(), torch.no_grad():
            made: Any = torch.onnx.export(
                network,
                (torch.randn(2, network.teacher_dim),),
                input_names=["vectors"],
                output_names=["codes"],
                dynamic_shapes=({0: torch.export.Dim("rows", min=1, max=2**20)},),
                opset_version=OPSET,
                dynamo=True,
            )
    except ImportError:
        raise InputError("onnx: onnx and onnxscript are not installed: pip install 'stillhouse[export]'") from None
    path.write_bytes(made.model_proto.SerializeToString())
