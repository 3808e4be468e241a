"""Self-contained C99 of a machine: constant tables and a few loops, no allocation, nothing included but stdint.h.

    int NAME_predict(const uint8_t *pixels);                       one image: misses are counted until the capacity is used up
    void NAME_scores(const uint8_t *pixels, int32_t *scores);
    void NAME_scores_of_bits(const uint8_t *bits, int32_t *scores);

Pixels are bytes, channel by channel and row by row.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.machine import IntegerLayerNorm, PackedModel

C_FLAGS = ("-O2", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")

_LAYER = """\
/* Scores of one layer: a clause is worth what its misses leave of its capacity. */
static void layer(const uint8_t *miss, int clauses, int outputs, const uint32_t *starts, const LITERAL *literals,
                  const int32_t *capacity, const int32_t *votes, const int32_t *bias, int32_t *scores)
{
    int j, k;
    for (k = 0; k < outputs; k++) scores[k] = bias[k];
    for (j = 0; j < clauses; j++) {
        int32_t left = capacity[j];
        uint32_t i;
        for (i = starts[j]; left > 0 && i < starts[j + 1]; i++) left -= miss[literals[i]];
        if (left > 0)
            for (k = 0; k < outputs; k++) scores[k] += left * votes[j * outputs + k];
    }
}
"""

_JOIN = """\
/* floor(sqrt(q)) */
static int64_t root(int64_t q)
{
    int64_t r = 0, bit = (int64_t)1 << 30;
    for (; bit; bit >>= 1)
        if ((r + bit) * (r + bit) <= q) r += bit;
    return r;
}

/* A linear path, LayerNorm and a sign, in whole numbers. */
static void join(int inputs, int outputs, const int32_t *path, int shift, const int64_t *gain, const int64_t *offset,
                 int64_t epsilon, const int32_t *scores, const int64_t *before, int64_t *after, uint8_t *bits)
{
    int64_t squares = epsilon, r;
    int i, k;
    for (k = 0; k < outputs; k++) {
        int64_t sum = 0;
        for (i = 0; i < inputs; i++) sum += path[(long)k * inputs + i] * before[i];
        after[k] = scores[k] + (sum < 0 ? ~(~sum >> shift) : sum >> shift);
        squares += after[k] * after[k];
    }
    r = root(squares);
    for (k = 0; k < outputs; k++) {
        int64_t y = gain[k] * after[k] + offset[k] * r;
        bits[k] = y > 0;
        after[k] = y / r - (y % r < 0);
    }
}
"""


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
    widest = max(machine.layers, key=lambda own: own.bits)
    bits, inputs, outputs = machine.layers[0].bits, widest.bits, max(own.outputs for own in machine.layers)
    classes = machine.layers[-1].outputs
    parts = [
        f"/* {name}: {' then '.join(f'{own.num_clauses} clauses' for own in machine.layers)}, {machine.pixels} pixels, "
        f"{classes} classes; emitted by stillhouse.\n   Scores divided by {machine.scale!r} are the network's. */",
        "#include <stdint.h>\n",
        f"#define {name}_PIXELS {machine.pixels}\n#define {name}_BITS {bits}\n#define {name}_CLASSES {classes}",
        f"\nint {name}_predict(const uint8_t *pixels);\n"
        f"void {name}_scores(const uint8_t *pixels, int32_t *scores);\n"
        f"void {name}_scores_of_bits(const uint8_t *bits, int32_t *scores);",
        _table("int16_t", "cuts", machine.cuts),
        *(_layer_tables(number, own, _literal_type(widest)) for number, own in enumerate(machine.layers)),
        *(_join_tables(number, own) for number, own in enumerate(machine.joins)),
        _LAYER.replace("LITERAL", _literal_type(widest)),
        *([_JOIN] if machine.joins else []),
        _scores(machine, name, inputs, outputs),
        f"""\
void {name}_scores(const uint8_t *pixels, int32_t *scores)
{{
    uint8_t bits[{name}_BITS];
    int f;
    for (f = 0; f < {name}_BITS; f++) bits[f] = pixels[f % {name}_PIXELS] >= cuts[f / {name}_PIXELS];
    {name}_scores_of_bits(bits, scores);
}}

int {name}_predict(const uint8_t *pixels)
{{
    int32_t scores[{name}_CLASSES];
    int k, best = 0;
    {name}_scores(pixels, scores);
    for (k = 1; k < {name}_CLASSES; k++)
        if (scores[k] > scores[best]) best = k;
    return best;
}}
""",
    ]
    return "\n".join(parts)


def _scores(machine: PackedModel, name: str, inputs: int, outputs: int) -> str:
    """The function from bits to scores, layer after layer."""
    lines = [
        f"void {name}_scores_of_bits(const uint8_t *bits, int32_t *scores)",
        "{",
        f"    uint8_t miss[{2 * inputs}];",
    ]
    deep = bool(machine.joins)
    if deep:
        lines += [
            f"    uint8_t next[{outputs}];",
            f"    int32_t own[{outputs}];",
            f"    int64_t numbers[2][{max(inputs, outputs)}];",
        ]
    lines.append("    int f;")
    if deep:
        lines.append(f"    for (f = 0; f < {name}_BITS; f++) numbers[0][f] = bits[f] ? 1 : -1;")
    for number, layer in enumerate(machine.layers):
        source, last = "next" if number else "bits", number == len(machine.layers) - 1
        lines += [
            f"    for (f = 0; f < {layer.bits}; f++) {{",
            f"        miss[f] = !{source}[f];",
            f"        miss[{layer.bits} + f] = !!{source}[f];",
            "    }",
            f"    layer(miss, {layer.num_clauses}, {layer.outputs}, starts_{number}, literals_{number}, capacity_{number},",
            f"          votes_{number}, bias_{number}, {'scores' if last else 'own'});",
        ]
        if not last:
            lines.append(
                f"    join({layer.bits}, {layer.outputs}, path_{number}, {machine.joins[number].shift}, gain_{number}, "
                f"offset_{number}, {_whole(machine.joins[number].epsilon)}, own, numbers[{number % 2}], "
                f"numbers[{1 - number % 2}], next);"
            )
    return "\n".join([*lines, "}\n"])


def _layer_tables(number: int, clauses: ClauseSet, literal: str) -> str:
    return "\n".join(
        [
            _table("uint32_t", f"starts_{number}", clauses.starts),
            _table(literal, f"literals_{number}", clauses.literals),
            _table("int32_t", f"capacity_{number}", clauses.capacity),
            _table("int32_t", f"votes_{number}", clauses.votes),
            _table("int32_t", f"bias_{number}", clauses.bias),
        ]
    )


def _join_tables(number: int, join: IntegerLayerNorm) -> str:
    return "\n".join(
        [
            _table("int32_t", f"path_{number}", join.path),
            _table("int64_t", f"gain_{number}", join.gain),
            _table("int64_t", f"offset_{number}", join.offset),
        ]
    )


def _literal_type(clauses: ClauseSet) -> str:
    return "uint16_t" if 2 * clauses.bits <= 2**16 else "uint32_t"


def _table(kind: str, name: str, values: np.ndarray) -> str:
    """A constant array, at least one number long, as C wants it."""
    numbers = values.ravel().tolist() or [0]
    words = [_whole(v) if kind == "int64_t" else _whole32(v) for v in numbers]
    rows = [", ".join(words[i : i + 16]) for i in range(0, len(words), 16)]
    return f"static const {kind} {name}[{len(words)}] = {{\n" + ",\n".join(rows) + "\n};"


def _whole32(value: int) -> str:
    return str(value) if value > -(2**31) else "-2147483647 - 1"


def _whole(value: int) -> str:
    return f"INT64_C({value})"


_MAIN = """\
#include <stdio.h>
#include "FILE"

int main(void)
{
    static uint8_t pixels[NAME_PIXELS];
    while (fread(pixels, NAME_PIXELS, 1, stdin) == 1) {
        int32_t scores[NAME_CLASSES];
        int k;
        NAME_scores(pixels, scores);
        printf("%d", NAME_predict(pixels));
        for (k = 0; k < NAME_CLASSES; k++) printf(" %ld", (long)scores[k]);
        printf("\\n");
    }
    return 0;
}
"""


def answers(path: Path, images: np.ndarray, *, name: str = "clauses") -> tuple[np.ndarray, np.ndarray]:
    """What an emitted file answers, compiled with every warning an error and run as a program of its own.

    Args:
        path: of the C file.
        images: (B, ..) bytes.
        name: of its functions.

    Returns:
        Classes (B) and scores (B, K).

    Raises:
        InputError: no compiler, or one that refuses the file.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise InputError("C compiler: expected cc on the path, which checks what was written, got none; install one")
    with tempfile.TemporaryDirectory() as folder:
        main, program = Path(folder) / "main.c", Path(folder) / "answers"
        main.write_text(_MAIN.replace("NAME", name).replace("FILE", path.resolve().as_posix()))
        built = subprocess.run([compiler, *C_FLAGS, "-o", program, main], capture_output=True, text=True)
        if built.returncode:
            raise InputError(f"{path.name}: expected C that compiles, got {built.stderr.strip()[-500:]}")
        rows = subprocess.run([program], input=images.tobytes(), capture_output=True, check=True).stdout.splitlines()
    table = np.array([row.split() for row in rows], dtype=np.int64).reshape(len(images), -1)
    return table[:, 0], table[:, 1:]
