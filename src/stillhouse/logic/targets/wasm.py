"""WebAssembly of a machine, built from its C with zig: a module without imports, for a browser or any other runtime.

It exports `memory`, `NAME_pixels_at()` and `NAME_scores_at()` (where to put pixels and find scores) and `NAME_predict_there()`.
"""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.logic.machine import Machine
from stillhouse.logic.targets.c import c_text
from stillhouse.logic.targets.toolchain import C_FLAGS, c_compiler, run

_EXPORTS = """
static uint8_t pixels_there[NAME_PIXELS];
static int32_t scores_there[NAME_CLASSES];
uint8_t *NAME_pixels_at(void);
int32_t *NAME_scores_at(void);
int NAME_predict_there(void);
uint8_t *NAME_pixels_at(void) { return pixels_there; }
int32_t *NAME_scores_at(void) { return scores_there; }
int NAME_predict_there(void)
{
    NAME_scores(pixels_there, scores_there);
    return NAME_predict(pixels_there);
}
"""


def write_wasm(machine: Machine, path: Path, *, name: str = "clauses") -> None:
    """The module of a machine.

    Raises:
        InputError: no zig (pip install stillhouse[circuits]).
    """
    exported = [f"-Wl,--export={name}_{own}" for own in ("pixels_at", "scores_at", "predict_there")]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model.c").write_text(c_text(machine, name=name) + _EXPORTS.replace("NAME", name))
        command = [*c_compiler("wasm32-freestanding"), *C_FLAGS, "-nostdlib", "-Wl,--no-entry", *exported]
        run([*command, "-o", str(path.resolve()), "model.c"], folder)


def answers(path: Path, images: np.ndarray, *, outputs: int, name: str = "clauses") -> tuple[np.ndarray, np.ndarray]:
    """What a module answers in wasmtime: classes (B) and scores (B, K) of images (B, ..) of bytes.

    Raises:
        InputError: no wasmtime, images that are no bytes.
    """
    if find_spec("wasmtime") is None:
        raise InputError("WebAssembly: expected wasmtime to run it, got none; pip install stillhouse[circuits]")
    if images.dtype != np.uint8:
        raise InputError(f"images: expected uint8, got {images.dtype}")
    from wasmtime import Engine, Instance, Module, Store

    store = Store(Engine())
    exports: Any = Instance(store, Module(store.engine, path.read_bytes()), []).exports(store)
    memory, predict = exports["memory"], exports[f"{name}_predict_there"]
    pixels_at, scores_at = exports[f"{name}_pixels_at"](store), exports[f"{name}_scores_at"](store)
    classes = np.zeros(len(images), dtype=np.int64)
    scores = np.zeros((len(images), outputs), dtype=np.int64)
    for i, image in enumerate(images.reshape(len(images), -1)):
        memory.write(store, image.tobytes(), pixels_at)
        classes[i] = predict(store)
        scores[i] = np.frombuffer(bytes(memory.read(store, scores_at, scores_at + 4 * outputs)), dtype="<i4")
    return classes, scores
