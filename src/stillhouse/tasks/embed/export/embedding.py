"""An embedding student as one folder for those who use it: weights, card, a numpy-only file, ONNX.

OUT/
  student.safetensors   the weights, as they were
  card.json             widths, output convention, axes, metrics, teacher, versions, what was exported, hashes
  embedder.py           inference in one file that needs numpy and safetensors
  model.onnx            the same network: vectors (rows, D) -> codes (rows, d)
  README.md             how to use it
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError, StillhouseError
from stillhouse.core.exports import ExportChoices
from stillhouse.core.hashes import with_hashes
from stillhouse.core.records import write_json
from stillhouse.tasks.embed.export import numpy_embedder
from stillhouse.tasks.embed.export.numpy_embedder import CARD, WEIGHTS, NumpyEmbedder

EMBEDDER, ONNX, README = "embedder.py", "model.onnx", "README.md"
OPSET = 18  # old enough for runtimes of 2023
CHECKED = 1000  # vectors
TOLERANCE = 1e-5  # largest difference of a code number between numpy and ONNX, relative to the largest code
USAGE = """# A student in {numbers} numbers

Takes vectors of width {width} as the teacher{teacher} gives them; returns {numbers} float32 numbers a row ({levels}).

```python
import numpy as np
from embedder import NumpyEmbedder          # this folder's embedder.py; needs numpy and safetensors

student = NumpyEmbedder.load(".")
vectors = np.zeros((2, {width}), np.float32)    # your teacher's vectors
codes = student.encode(vectors)             # (2, {numbers}){prefix}
```

Compare codes by {distance}.{onnx} What was measured, and on which data, is in `card.json`.
"""
ONNX_USAGE = """ `model.onnx` is the same network: input `vectors`, output `codes`, any number of rows,
normalization and centering inside."""


def export_embedder(folder: str | Path, out: str | Path, *, onnx: bool = True) -> Path:
    """Write a trained embedding student as a folder that is used without torch and without this library.

    `core.exports.write_export` does so beside the place first, so that no half export is ever found.

    Args:
        folder: the trained student: `student.safetensors` and `card.json`.
        out: a new or empty folder.
        onnx: write `model.onnx` too (opset 18, any number of rows), and compare it with numpy where onnxruntime is there.

    Returns:
        `out`.

    Raises:
        InputError: no sound student in `folder`, onnx is not installed, or the exported network and numpy give other codes.
    """
    folder, out = Path(folder), Path(out).expanduser()
    embedder = NumpyEmbedder.load(folder)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / WEIGHTS, out / WEIGHTS)
    shutil.copyfile(numpy_embedder.__file__, out / EMBEDDER)
    exported: dict[str, Any] = {"numpy": EMBEDDER}
    if onnx:
        _write_onnx(folder, out / ONNX)
        exported["onnx"] = {"file": ONNX, "largest_difference": _compare(embedder, out / ONNX)}
    files = (WEIGHTS, EMBEDDER, ONNX) if onnx else (WEIGHTS, EMBEDDER)
    write_json(out / CARD, with_hashes({**embedder.card, "exported": exported}, out, files))
    (out / README).write_text(_readme(embedder, onnx), encoding="utf-8")
    return out


def write_for_numpy(folder: Path, out: Path, choices: ExportChoices) -> Sequence[str]:
    """The folder without ONNX, its codes held against the network's."""
    return _write(folder, out, onnx=False)


def write_for_onnx(folder: Path, out: Path, choices: ExportChoices) -> Sequence[str]:
    """The folder with ONNX."""
    return _write(folder, out, onnx=True)


def write_for_torch(folder: Path, out: Path, choices: ExportChoices) -> Sequence[str]:
    """The network as a program of torch.export, its codes held against the network's."""
    import torch

    from stillhouse.export.program import write_compared
    from stillhouse.tasks.embed.students.network import load_embedder

    rows, what = checked_rows(folder, NumpyEmbedder.load(folder))
    return [write_compared(load_embedder(folder).eval(), torch.from_numpy(rows), out, what)]


def checked_rows(folder: Path, student: NumpyEmbedder) -> tuple[NDArray[np.float32], str]:
    """(n, D) test rows of a student's run and what they are in words; made-up ones where the run's data are not at hand."""
    from stillhouse.tasks.embed.evaluate import test_vectors

    try:
        rows = test_vectors(folder, CHECKED)
        if len(rows) and rows.shape[1] == student.card["teacher_dim"]:
            return rows, f"{len(rows):,} test rows of the run"
        why = f"the run has {len(rows)} of width {rows.shape[1]}"
    except StillhouseError as error:
        why = str(error)
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((CHECKED, student.card["teacher_dim"]), dtype=np.float32) + student.weights["mean"]
    return rows, f"{CHECKED:,} made-up vectors (no test rows: {why})"


def _write(folder: Path, out: Path, *, onnx: bool) -> Sequence[str]:
    import torch

    from stillhouse.tasks.embed.students.network import load_embedder

    export_embedder(folder, out, onnx=onnx)
    written, network = NumpyEmbedder.load(out), load_embedder(folder).eval()
    rows, what = checked_rows(folder, written)
    with torch.no_grad():
        expected = network(torch.from_numpy(rows)).numpy()
    largest = float(np.abs(written.encode(rows) - expected).max())
    if not largest <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise InputError(f"{out.name}: expected the codes of the network within {TOLERANCE}, got {largest} apart")
    beside = "; numpy and ONNX agree" if onnx else ""
    return [f"codes of {what} within {largest:.1g} of the network's{beside}"]


def _write_onnx(folder: Path, path: Path) -> None:
    import torch

    from stillhouse.export.program import quiet
    from stillhouse.tasks.embed.students.network import load_embedder

    network = load_embedder(folder)
    example = torch.randn(2, network.teacher_dim)
    try:
        with quiet(), torch.no_grad():
            made: Any = torch.onnx.export(
                network,
                (example,),
                input_names=["vectors"],
                output_names=["codes"],
                dynamic_shapes=({0: torch.export.Dim("rows", min=1, max=2**20)},),
                opset_version=OPSET,
                dynamo=True,
            )
    except ImportError:
        raise InputError("onnx: onnx and onnxscript are not installed: pip install 'stillhouse[export]'") from None
    path.write_bytes(made.model_proto.SerializeToString())


def _readme(embedder: NumpyEmbedder, onnx: bool) -> str:
    levels, teacher = embedder.levels, embedder.card.get("teacher")
    name = teacher.get("name") if isinstance(teacher, dict) else teacher
    return USAGE.format(
        numbers=sum(levels),
        width=embedder.card["teacher_dim"],
        teacher=f" {name}" if isinstance(name, str) else "",
        levels=" + ".join(map(str, levels)) if len(levels) > 1 else "one level",
        prefix=f"; level=1 gives the first {levels[0]}" if len(levels) > 1 else "",
        distance="cosine" if embedder.card["output"] == "sphere" else "Euclidean distance",
        onnx=ONNX_USAGE if onnx else "",
    )


def _compare(embedder: NumpyEmbedder, path: Path) -> float | None:
    """The largest difference to numpy on 64 random rows; None where onnxruntime is not installed."""
    try:
        from onnxruntime import InferenceSession
    except ImportError:
        return None
    rng, width = np.random.default_rng(0), embedder.card["teacher_dim"]
    vectors = rng.standard_normal((64, width), dtype=np.float32) + embedder.weights["mean"]
    codes = embedder.encode(vectors)
    got = InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(["codes"], {"vectors": vectors})[0]
    difference = float(np.abs(got - codes).max())
    if not difference <= TOLERANCE * max(1.0, float(np.abs(codes).max())):
        raise InputError(
            f"{path.name}: expected the codes of numpy within {TOLERANCE}, got a difference of {difference}"
        )
    return difference
