"""Self-contained C99 of a machine: constant tables and a few loops, no allocation, nothing included but stdint.h.

    int NAME_predict(const uint8_t *pixels);                       one image: misses are counted until the capacity is used up
    void NAME_scores(const uint8_t *pixels, int32_t *scores);
    void NAME_scores_of_bits(const uint8_t *bits, int32_t *scores);
    void NAME_predict_64(const uint8_t *pixels, int count, int *classes, uint64_t *work);    up to 64 images, one a bit of a word

`work` has NAME_WORK words. Machines of several layers have no `NAME_predict_64`. Pixels are bytes, channel by channel and row by
row.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.machine import Join, Machine
from stillhouse.logic.targets.toolchain import C_FLAGS, c_compiler, identifier, run

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

_BATCH = """\
void NAME_predict_64(const uint8_t *pixels, int count, int *classes, uint64_t *work)
{
    int32_t scores[64][NAME_CLASSES];
    int b, f, i, j, k;
    for (f = 0; f < NAME_BITS; f++) {
        uint64_t plane = 0;
        for (b = 0; b < count; b++)
            plane |= (uint64_t)(pixels[(long)b * NAME_PIXELS + f % NAME_PIXELS] >= cuts[f / NAME_PIXELS]) << b;
        work[f] = ~plane;
        work[NAME_BITS + f] = plane;
    }
    for (b = 0; b < count; b++)
        for (k = 0; k < NAME_CLASSES; k++) scores[b][k] = bias_0[k];
    for (j = 0; j < CLAUSES; j++) {
        uint64_t counter[WIDTHS] = {0}, over = 0;
        uint32_t at;
        int width = 0;
        while (((int32_t)1 << width) < capacity_0[j]) width++;
        for (i = 0; i < width; i++)
            counter[i] = (((int32_t)1 << width) - capacity_0[j]) >> i & 1 ? ~(uint64_t)0 : 0;
        if (!capacity_0[j]) continue;
        for (at = starts_0[j]; at < starts_0[j + 1] && ~over; at++) {
            uint64_t carry = work[literals_0[at]];
            for (i = 0; i < width; i++) {
                uint64_t kept = counter[i] ^ carry;
                carry &= counter[i];
                counter[i] = kept;
            }
            over |= carry;
        }
        for (b = 0; b < count; b++)
            if (!(over >> b & 1)) {
                int32_t left = (int32_t)1 << width;
                for (i = 0; i < width; i++) left -= (int32_t)(counter[i] >> b & 1) << i;
                for (k = 0; k < NAME_CLASSES; k++) scores[b][k] += left * votes_0[j * NAME_CLASSES + k];
            }
    }
    for (b = 0; b < count; b++) {
        classes[b] = 0;
        for (k = 1; k < NAME_CLASSES; k++)
            if (scores[b][k] > scores[b][classes[b]]) classes[b] = k;
    }
}
"""


def write_c(machine: Machine, path: Path, *, name: str = "clauses") -> None:
    """The C of a machine, in one file."""
    path.write_text(c_text(machine, name=name))


def c_text(machine: Machine, *, name: str = "clauses") -> str:
    """The C of a machine.

    Args:
        machine: flat or deep.
        name: what its functions' names start with.
    """
    identifier(name)
    machine.check()
    widest = max(machine.layers, key=lambda own: own.bits)
    bits, inputs, outputs = machine.layers[0].bits, widest.bits, max(own.outputs for own in machine.layers)
    flat, classes = len(machine.layers) == 1, machine.layers[-1].outputs
    parts = [
        f"/* {name}: {' then '.join(f'{own.num_clauses} clauses' for own in machine.layers)}, {machine.pixels} pixels, "
        f"{classes} classes; emitted by stillhouse.\n   Scores divided by {machine.scale!r} are the network's. */",
        "#include <stdint.h>\n",
        f"#define {name}_PIXELS {machine.pixels}\n#define {name}_BITS {bits}\n#define {name}_CLASSES {classes}",
        *([f"#define {name}_WORK {2 * bits}"] if flat else []),
        f"\nint {name}_predict(const uint8_t *pixels);\n"
        f"void {name}_scores(const uint8_t *pixels, int32_t *scores);\n"
        f"void {name}_scores_of_bits(const uint8_t *bits, int32_t *scores);"
        + (
            f"\nvoid {name}_predict_64(const uint8_t *pixels, int count, int *classes, uint64_t *work);" if flat else ""
        ),
        _table("int16_t", "cuts", machine.cuts),
        *(_layer_tables(number, own, _literal_type(widest)) for number, own in enumerate(machine.layers)),
        *(_join_tables(number, own) for number, own in enumerate(machine.joins)),
        _LAYER.replace("LITERAL", _literal_type(widest)),
        *([] if flat else [_JOIN]),
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
    if flat:
        count = max(max(machine.layers[0].failures - 1, 0).bit_length(), 1)
        batch = _BATCH.replace("NAME", name).replace("WIDTHS", str(count))
        parts.append(batch.replace("CLAUSES", str(machine.layers[0].num_clauses)))
    return "\n".join(parts)


def _scores(machine: Machine, name: str, inputs: int, outputs: int) -> str:
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


def _join_tables(number: int, join: Join) -> str:
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
#include "model.c"

int main(void)
{
    static uint8_t pixels[64][NAME_PIXELS];
    size_t count;
    while ((count = fread(pixels, NAME_PIXELS, 64, stdin)) > 0) {
        size_t b;
        BATCH
        for (b = 0; b < count; b++) {
            int32_t scores[NAME_CLASSES];
            int k;
            NAME_scores(pixels[b], scores);
            printf("%d %d", NAME_predict(pixels[b]), CLASS_OF_BATCH);
            for (k = 0; k < NAME_CLASSES; k++) printf(" %ld", (long)scores[k]);
            printf("\\n");
        }
    }
    return 0;
}
"""


def answers(
    path: Path, images: np.ndarray, *, name: str = "clauses", target: str | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What an emitted file answers, built as a program of its own.

    Args:
        path: of the C file.
        images: (B, ..) bytes.
        name: of its functions.
        target: as zig names it, such as "x86-linux-musl" for 32 bits; None for this machine.

    Returns:
        Classes (B) of `predict`, classes (B) of `predict_64` (those of `predict` where there is none), scores (B, K).

    Raises:
        InputError: no compiler, images that are no bytes.
    """
    if images.dtype != np.uint8:
        raise InputError(f"images: expected uint8, got {images.dtype}")
    text = path.read_text()
    flat = f"{name}_predict_64(" in text
    batch = (
        f"static uint64_t work[{name}_WORK];\n        int classes[64];\n"
        f"        {name}_predict_64(&pixels[0][0], (int)count, classes, work);"
    )
    main = _MAIN.replace("CLASS_OF_BATCH", "classes[b]" if flat else f"{name}_predict(pixels[b])")
    main = main.replace("BATCH", batch if flat else "").replace("NAME", name)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model.c").write_text(text)
        (Path(folder) / "main.c").write_text(main)
        (Path(folder) / "images").write_bytes(np.ascontiguousarray(images).tobytes())
        run([*c_compiler(target), *C_FLAGS, "-o", "answers", "main.c"], folder)
        rows = run(["./answers"], folder, stdin=Path(folder) / "images").split("\n")[:-1]
    table = np.array([row.split() for row in rows], dtype=np.int64).reshape(len(images), -1)
    return table[:, 0], table[:, 1], table[:, 2:]


def build(path: Path, output: Path, *, target: str | None = None, flags: Iterable[str] = ("-c",)) -> None:
    """Compile an emitted file with every warning an error."""
    run([*c_compiler(target), *C_FLAGS, *flags, "-o", str(output.resolve()), str(path.resolve())], path.parent)
