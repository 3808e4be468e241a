"""Self-contained C99 of a machine: constant tables and a few loops, no allocation, nothing included but stdint.h (`clauses.c`).

How an image becomes bits is `front_levels.c` or `front_filters.c`.
"""

from __future__ import annotations

import ctypes
import json
import re
import shutil
import subprocess
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.logic.filter_bits import ASKED, BITS, KERNELS
from stillhouse.logic.machine import PackedModel

C_FLAGS = ("-O2", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")


def c_text(machine: PackedModel, *, name: str = "clauses") -> str:
    """The C of a machine.

    Args:
        machine: flat or deep.
        name: what its functions' names start with.

    Raises:
        InputError: a name that C does not take.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise InputError(f"name: expected a letter, then letters, digits and _, got {name!r}")
    machine.check()
    widest = max(max(own.bits, own.outputs) for own in machine.layers)
    literal = "uint16_t" if 2 * widest <= 2**16 else "uint32_t"
    tables, layers, joins = [_table("int16_t", "cuts", machine.cuts)], [], []
    if machine.square:
        asked = np.array(ASKED).T
        tables = [_table("int8_t", name, values) for name, values in zip(("maps", "hundredths"), asked)]
        tables.append(_table("int16_t", "kernels", KERNELS.astype(int)))
    for n, own in enumerate(machine.layers):
        kinds = {
            "starts": "uint32_t",
            "literals": literal,
            "capacity": "int32_t",
            "votes": "int32_t",
            "bias": "int32_t",
        }
        tables += [_table(kind, f"{part}_{n}", getattr(own, part)) for part, kind in kinds.items()]
        places = ", ".join(f"{part}_{n}" for part in kinds)
        layers.append(f"{{{own.bits}, {own.num_clauses}, {own.outputs}, {places}}}")
    for n, to in enumerate(machine.joins):
        kinds = {"path": "int32_t", "gain": "int64_t", "offset": "int64_t"}
        tables += [_table(kind, f"{part}_{n}", getattr(to, part)) for part, kind in kinds.items()]
        joins.append(f"{{{to.shift}, INT64_C({to.epsilon}), path_{n}, gain_{n}, offset_{n}}}")
    tables.append(f"static const layer layers[LAYERS] = {{{', '.join(layers)}}};")
    tables.append(f"static const join joins[LAYERS] = {{{', '.join([*joins, '{0, 1, 0, 0, 0}'])}}};")
    names = ", ".join(f"{k} {json.dumps(one, ensure_ascii=False)}" for k, one in enumerate(machine.class_names))
    words = {
        "NAME": name,
        "SIZE": " then ".join(f"{own.num_clauses} clauses" for own in machine.layers),
        "SCALE": repr(machine.scale),
        "PIXELS": machine.pixels,
        "BITS": machine.layers[0].bits,
        "CLASSES": machine.layers[-1].outputs,
        "NAMES": re.sub("(?<=[*/])(?=[*/])", " ", names),
        "LAYERS": len(machine.layers),
        "WIDEST": widest,
        "LITERAL": literal,
        "TABLES": "\n".join(tables),
    }
    words |= dict(zip(("CHANNELS", "HEIGHT", "WIDTH"), machine.image_shape)) | {"SQUARE": machine.square, "ASKED": BITS}
    front = _filled("front_filters.c" if machine.square else "front_levels.c", words)
    return _filled("clauses.c", words | {"FRONT": front})


def _filled(name: str, words: dict[str, Any]) -> str:
    """A template with its words."""
    text = (files("stillhouse.logic") / name).read_text(encoding="utf-8")
    return re.sub(r"@([A-Z]+)@", lambda found: str(words[found[1]]), text)


def _table(kind: str, name: str, values: np.ndarray) -> str:
    """A constant array, at least one number long, as C wants it."""
    numbers = values.ravel().tolist() or [0]
    words = [f"INT64_C({v})" if kind == "int64_t" else str(v) if v > -(2**31) else "-2147483647 - 1" for v in numbers]
    rows = [", ".join(words[i : i + 16]) for i in range(0, len(words), 16)]
    return f"static const {kind} {name}[{len(words)}] = {{\n" + ",\n".join(rows) + "\n};"


def compile_c_library(path: Path) -> Any:
    """An emitted file as a library of this process, compiled with every warning an error.

    Raises:
        InputError: no compiler, or one that refuses the file.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise InputError("C compiler: expected cc on the path, which checks what was written, got none; install one")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "answers.so"
        command = [compiler, *C_FLAGS, "-shared", "-fPIC", "-o", str(library), "-x", "c", str(path)]
        built = subprocess.run(command, capture_output=True, text=True)
        if built.returncode:
            raise InputError(f"{path.name}: expected C that compiles, got {built.stderr.strip()[-500:]}")
        return ctypes.CDLL(str(library))


def run_c_program(
    path: Path, images: np.ndarray, classes: int, *, name: str = "clauses"
) -> tuple[np.ndarray, np.ndarray]:
    """What an emitted file answers: classes (B) and scores (B, K).

    Args:
        path: of the C file.
        images: (B, ..) bytes.
        classes: K.
        name: of its functions.

    Raises:
        InputError: no compiler, or one that refuses the file.
    """
    program, named, scores = compile_c_library(path), [], np.zeros((len(images), classes), np.int32)
    predict, score = getattr(program, f"{name}_predict"), getattr(program, f"{name}_scores")
    for image, found in zip(images, scores):
        pixels = ctypes.c_char_p(image.tobytes())
        named.append(predict(pixels))
        score(pixels, found.ctypes.data_as(ctypes.c_void_p))
    return np.array(named), scores.astype(np.int64)
