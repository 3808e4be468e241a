"""Verilog of clauses, its simulation with Icarus Verilog and its synthesis with Yosys.

The module is written in a small part of Verilog, one gate a line, which `read_verilog` reads back for a proof. Every signal is
`L` bits wide, one bit an input: 1 in hardware, some hundreds in simulation, so that one pass answers as many rows.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.machine import Machine
from stillhouse.logic.targets.gates import FALSE, TRUE, Gates
from stillhouse.logic.targets.join_verilog import join_module
from stillhouse.logic.targets.netlist import Netlist, build, clause_values, fewer_vote_bits, score_bits
from stillhouse.logic.targets.toolchain import identifier, run, tool

LANES = 1024  # rows that a simulation answers at once


def write_verilog(
    machine: Machine | ClauseSet,
    path: Path,
    *,
    name: str = "clauses",
    vote_bits: int | None = None,
    pipelined: bool = False,
) -> list[Path]:
    """Modules of a machine, bits to scores and the class, and one for its pixels.

    Args:
        machine: of one layer or of two: a whole circuit, from pixels (`NAME_pixels`) or bits (`NAME`) to the class. Of more, or
            pipelined ones of two: one file a layer, `path` with the layer's number; what lies between layers (LayerNorm, whose
            numbers the next one needs) stays with the host. A clause set: bits to scores.
        path: of the file.
        name: of the module.
        vote_bits: votes of the last layer rounded to so many bits, which makes adders smaller and may change answers; None for
            exact ones.
        pipelined: registers after clause values, scores and class: an answer a tick of `clk`, three ticks late.

    Returns:
        The files.
    """
    identifier(name)
    if isinstance(machine, Machine) and len(machine.joins) == 1 and not pipelined:
        path.write_text(joined(machine, name=name, vote_bits=vote_bits))
        return [path]
    layers = (machine,) if isinstance(machine, ClauseSet) else machine.layers
    files = []
    for number, layer in enumerate(layers):
        last = isinstance(machine, Machine) and number == len(layers) - 1
        coarse = layer if vote_bits is None or number < len(layers) - 1 else fewer_vote_bits(layer, vote_bits)
        own = name if len(layers) == 1 else f"{name}_{number}"
        text = verilog(coarse, name=own, classes=last, pipelined=pipelined)
        if isinstance(machine, Machine) and number == 0:
            text += pixels_module(machine, own, coarse, classes=last, pipelined=pipelined)
        files.append(path if len(layers) == 1 else path.with_name(f"{path.stem}_{number}{path.suffix}"))
        files[-1].write_text(text)
    return files


def verilog(clauses: ClauseSet, *, name: str = "clauses", classes: bool = True, pipelined: bool = False) -> str:
    """The text of one module: bits `x`, lowest first, to `score`, and to `best` with `classes`."""
    return module(build(clauses, classes=classes), name=name, pipelined=pipelined)


def joined(machine: Machine, *, name: str = "clauses", vote_bits: int | None = None) -> str:
    """The text of a machine of two layers: values, what lies between, the last layer, a module of wires, one for pixels."""
    first, last = machine.layers
    last = last if vote_bits is None else fewer_vote_bits(last, vote_bits)
    values, best = values_module(first, f"{name}_0"), max(last.outputs - 1, 0).bit_length()
    count = sum(int(capacity).bit_length() for capacity in first.capacity)
    lines = [
        f"module {name} #(parameter L = 1) (",
        f"  input wire [{first.bits}*L-1:0] x,",
        f"  output wire [{last.outputs * score_bits(last)}*L-1:0] score{',' if best else ''}",
        *([f"  output wire [{best}*L-1:0] best"] if best else []),
        ");",
        f"wire [{count}*L-1:0] value;",
        f"wire [{last.bits}*L-1:0] after;",
        f"{name}_0 #(.L(L)) first (.x(x), .value(value));",
        f"{name}_between #(.L(L)) between (.x(x), .value(value), .after(after));",
        f"{name}_1 #(.L(L)) last (.x(after), .score(score){', .best(best)' if best else ''});",
        "endmodule",
    ]
    between = join_module(machine.joins[0], first, f"{name}_between")
    pixels = pixels_module(machine, name, last, classes=True, pipelined=False)
    return "\n".join([values, between, verilog(last, name=f"{name}_1"), *lines, pixels])


def values_module(clauses: ClauseSet, name: str) -> str:
    """The text of clauses alone: bits `x` to their values, one after another, each lowest bit first."""
    gates, made = clause_values(clauses)
    names = [f"v{j}_{i}" for j, (value, _) in enumerate(made) for i in range(len(value))]
    inputs, signals = [f"x{f}" for f in range(gates.inputs)], [s for value, _ in made for s in value]
    lines = [
        f"module {name} #(parameter L = 1) (",
        f"  input wire [{gates.inputs}*L-1:0] x,",
        f"  output wire [{len(names)}*L-1:0] value",
        ");",
        *(f"wire [L-1:0] {own} = x[{f}*L +: L];" for f, own in enumerate(inputs)),
        *_stage(gates, "g", inputs, names, signals, False, _counters([counter for _, counter in made])),
        *(f"assign value[{i}*L +: L] = {own};" for i, own in enumerate(names)),
        "endmodule",
    ]
    return "\n".join(lines) + "\n"


def module(netlist: Netlist, *, name: str = "clauses", pipelined: bool = False) -> str:
    """The text of a netlist."""
    width = len(netlist.scores[0])
    score_names = [f"s{k}_{i}" for k in range(len(netlist.scores)) for i in range(width)]
    value_names = [f"v{j}_{i}" for j, bits in enumerate(netlist.values) for i in range(len(bits))]
    bit_names = [f"x{f}" for f in range(netlist.clauses.inputs)]
    value_bits = [s for bits in netlist.values for s in bits]
    score_bits = [s for bits in netlist.scores for s in bits]
    best_names = [f"best{i}" for i in range(len(netlist.best))]
    ports = ["input wire clk"] if pipelined else []
    ports.append(f"input wire [{netlist.clauses.inputs}*L-1:0] x")
    ports.append(f"output wire [{len(score_bits)}*L-1:0] score")
    if netlist.best:
        ports.append(f"output wire [{len(netlist.best)}*L-1:0] best")
    lines = [
        f"// {len(netlist.values)} clauses over {netlist.clauses.inputs} bits, {len(netlist.scores)} scores of {width} bits",
        "// bit i of a port, in lane l of L, is port[i*L + l]; v<clause>_<bit> is a clause's value, s<score>_<bit> a score",
        "// c<clause>_<bit> is its counter of misses, w<clause>_<number> a carry out of that: what a proof starts from",
        f"module {name} #(parameter L = 1) (",
        *(f"  {port}{',' if port is not ports[-1] else ''}" for port in ports),
        ");",
        *(f"wire [L-1:0] x{f} = x[{f}*L +: L];" for f in range(netlist.clauses.inputs)),
        *_stage(netlist.clauses, "g", bit_names, value_names, value_bits, pipelined, _counters(netlist.counters)),
        *_stage(netlist.votes, "h", value_names, score_names, score_bits, pipelined),
        *_stage(netlist.order, "o", score_names, best_names, netlist.best, pipelined),
        *(f"assign score[{i}*L +: L] = {own};" for i, own in enumerate(score_names)),
        *(f"assign best[{i}*L +: L] = {own};" for i, own in enumerate(best_names)),
        "endmodule",
    ]
    return "\n".join(lines) + "\n"


def _counters(counters: Sequence[tuple[list[int], list[int]]]) -> list[tuple[str, int]]:
    """Names and signals of the clauses' counters, and of the carries out of them."""
    return [
        (f"{letter}{j}_{i}", signal)
        for j, both in enumerate(counters)
        for letter, signals in zip("cw", both)
        for i, signal in enumerate(signals)
    ]


def _stage(
    gates: Gates,
    letter: str,
    inputs: list[str],
    outputs: list[str],
    signals: list[int],
    pipelined: bool,
    named: Sequence[tuple[str, int]] = (),
) -> Iterator[str]:
    """The lines of one stage; `named` signals have a second name."""

    def term(signal: int) -> str:
        if signal in (FALSE, TRUE):
            return f"{{L{{1'b{signal}}}}}"
        node = signal >> 1
        return ("~" if signal & 1 else "") + (inputs[node - 1] if node <= gates.inputs else f"{letter}{node}")

    for node in gates.used([*signals, *(signal for _, signal in named)]):
        operation, a, b = gates.gates[node - gates.inputs - 1]
        yield f"wire [L-1:0] {letter}{node} = {term(a)} {operation} {term(b)};"
    for own, signal in named:
        yield f"wire [L-1:0] {own} = {term(signal)};"
    for own, signal in zip(outputs, signals):
        if pipelined:
            yield f"reg [L-1:0] {own};"
            yield f"always @(posedge clk) {own} <= {term(signal)};"
        else:
            yield f"wire [L-1:0] {own} = {term(signal)};"


def pixels_module(machine: Machine, name: str, clauses: ClauseSet, *, classes: bool, pipelined: bool) -> str:
    """A module around another: bytes of an image to its bits."""
    levels, pixels = len(machine.edges), machine.pixels
    best = max(clauses.outputs - 1, 0).bit_length() if classes else 0
    ports = [*(["input wire clk"] if pipelined else []), f"input wire [{8 * pixels - 1}:0] pixels"]
    ports.append(f"output wire [{clauses.outputs * score_bits(clauses) - 1}:0] score")
    ports += [f"output wire [{best - 1}:0] best"] if best else []
    inner = [*([".clk(clk)"] if pipelined else []), ".x(x)", ".score(score)", *([".best(best)"] if best else [])]
    cuts = machine.cuts.tolist()
    lines = [
        "",
        f"// pixels of {machine.image_shape} in one byte each, lowest first, channel by channel and row by row",
        f"module {name}_pixels (",
        *(f"  {port}{',' if port is not ports[-1] else ''}" for port in ports),
        ");",
        f"wire [{levels * pixels - 1}:0] x;",
        *(
            f"assign x[{level * pixels + p}] = {f'pixels[{8 * p} +: 8] >= {cut}' if cut < 256 else '0'};"
            for level, cut in enumerate(cuts)
            for p in range(pixels)
        ),
        f"{name} #(.L(1)) inner ({', '.join(inner)});",
        "endmodule",
    ]
    return "\n".join(lines) + "\n"


def testbench(
    name: str,
    *,
    bits: int,
    outputs: int,
    width: int,
    best: int,
    blocks: int,
    lanes: int,
    pipelined: bool,
    port: str,
) -> str:
    """A testbench: blocks of `lanes` rows read from `rows.txt`, scores and classes written to `answers.txt` as they come."""
    shown = "score" if not best else "best, score"
    wait = "repeat (4) begin #1 clk = 1; #1 clk = 0; end" if pipelined else "#1;"
    return f"""module bench;
  reg [{bits * lanes - 1}:0] rows [0:{blocks - 1}];
  reg [{bits * lanes - 1}:0] x;
  reg clk = 0;
  wire [{outputs * width * lanes - 1}:0] score;
  {f"wire [{best * lanes - 1}:0] best;" if best else ""}
  integer i, file;
  {name} #(.L({lanes})) tested ({".clk(clk), " if pipelined else ""}.x(x), .{port}(score){", .best(best)" if best else ""});
  initial begin
    $readmemh("rows.txt", rows);
    file = $fopen("answers.txt");
    for (i = 0; i < {blocks}; i = i + 1) begin
      x = rows[i];
      {wait}
      $fdisplay(file, "{"%h " * (1 + bool(best))}", {shown});
    end
    $fclose(file);
    $finish;
  end
endmodule
"""


def simulate(
    path: Path,
    bits: np.ndarray,
    *,
    outputs: int,
    name: str = "clauses",
    pipelined: bool = False,
    lanes: int = LANES,
    port: str = "score",
) -> tuple[np.ndarray, np.ndarray | None]:
    """Answers of an emitted module to rows (B, F), by Icarus Verilog.

    Args:
        path: of the Verilog file.
        bits: (B, F).
        outputs: K.
        name: of the module.
        pipelined: whether it was written so.
        lanes: rows answered at once.
        port: of the numbers; each has as many bits as `outputs` leaves it, the last one with a sign.

    Returns:
        Scores (B, K) int64, and classes (B) where the module gives them.

    Raises:
        InputError: no Icarus Verilog, a file of another width, a file it cannot read.
    """
    from stillhouse.logic.targets.read_verilog import ports

    sizes = ports(path.read_text(), name)
    if sizes["x"] != bits.shape[1]:
        raise InputError(f"{path}: expected rows of {sizes['x']} bits, got {bits.shape[1]}")
    if sizes.get(port, 0) < outputs:
        raise InputError(f"{path}: expected a port {port!r} of at least {outputs} bits, got {sizes}")
    width, best = sizes[port] // outputs, sizes.get("best", 0)
    compiler, runner = tool("iverilog", "apt: iverilog"), tool("vvp", "apt: iverilog")
    blocks = -(-len(bits) // lanes)
    padded = np.zeros((blocks * lanes, bits.shape[1]), dtype=bool)
    padded[: len(bits)] = bits
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "rows.txt").write_text("\n".join(map(_hex, padded.reshape(blocks, lanes, -1))) + "\n")
        (Path(folder) / "bench.v").write_text(
            testbench(
                name,
                bits=sizes["x"],
                outputs=outputs,
                width=width,
                best=best,
                blocks=blocks,
                lanes=lanes,
                pipelined=pipelined,
                port=port,
            )
        )
        run([compiler, "-g2005", "-o", "bench.vvp", "bench.v", str(path.resolve())], folder)
        run([runner, "bench.vvp"], folder)
        answers = [line.split() for line in (Path(folder) / "answers.txt").read_text().splitlines()]
    planes = np.concatenate([_bits(line[-1], outputs * width, lanes) for line in answers])[: len(bits)]
    weights = 2 ** np.arange(width, dtype=np.int64)
    weights[-1] *= -1
    scores = planes.reshape(len(bits), outputs, width).astype(np.int64) @ weights
    if not best:
        return scores, None
    chosen = np.concatenate([_bits(line[0], best, lanes) for line in answers])[: len(bits)]
    return scores, chosen.astype(np.int64) @ 2 ** np.arange(best, dtype=np.int64)


def simulate_values(
    path: Path, bits: np.ndarray, clauses: ClauseSet, *, name: str = "clauses", lanes: int = LANES
) -> np.ndarray:
    """Clause values (B, C) of a `values_module` for rows (B, F), by Icarus Verilog; see `simulate`.

    Raises:
        InputError: no Icarus Verilog, a module of other sizes.
    """
    widths = [int(capacity).bit_length() for capacity in clauses.capacity]
    port, _ = simulate(path, bits, outputs=sum(widths), name=name, lanes=lanes, port="value")
    found = np.zeros((len(bits), clauses.num_clauses), np.int64)
    place = 0
    for j, width in enumerate(widths):
        found[:, j] = (port[:, place : place + width] != 0) @ (1 << np.arange(width))
        place += width
    return found


def _hex(rows: np.ndarray) -> str:
    """Rows (lanes, F) as one hexadecimal number: bit f of lane l is bit f * lanes + l."""
    packed = np.packbits(rows.T.reshape(-1), bitorder="little")
    return packed[::-1].tobytes().hex()


def _bits(text: str, count: int, lanes: int) -> np.ndarray:
    """(lanes, count) bits of such a number."""
    if set(text) & set("xzXZ"):
        raise InputError("simulation: expected bits, got unknown ones (x or z)")
    packed = np.frombuffer(bytes.fromhex(text.zfill(len(text) + len(text) % 2)), dtype=np.uint8)[::-1]
    return np.unpackbits(packed, bitorder="little")[: count * lanes].reshape(count, lanes).T.astype(bool)


def synthesise(path: Path, name: str = "clauses", *, limit: float | None = None) -> dict[str, int]:
    """Cells and depth of a module after Yosys: two-input gates (`abc -g AND,XOR,...`), the longest chain of them.

    Args:
        path: of the Verilog file.
        name: of the module.
        limit: seconds after which it is ended; None for no limit.

    Raises:
        InputError: no Yosys, a file that it cannot read, or more seconds than the limit.
    """
    script = (
        f"read_verilog {path.resolve()}; hierarchy -top {name}; proc; flatten; simplemap; opt_clean; "
        "techmap t:$* t:$_* %d; opt_clean; "  # only what is no gate yet: sums and products between two layers
        "abc -fast -g AND,OR,XOR,NAND,NOR,XNOR; opt_clean; tee -q -o stat.json stat -json; tee -q -o depth.txt ltp -noff"
    )
    with tempfile.TemporaryDirectory() as folder:
        run([tool("yosys", "apt: yosys"), "-q", "-p", script], folder, limit=limit)
        text = (Path(folder) / "stat.json").read_text()
        depth = (Path(folder) / "depth.txt").read_text()
    found = json.loads(text[text.index("{") :])
    length = next((line for line in depth.splitlines() if "length=" in line), "length=0")
    return {"cells": int(found["design"]["num_cells"]), "depth": int(length.split("length=")[1].split(")")[0])}


__all__: Sequence[str] = [
    "joined",
    "module",
    "pixels_module",
    "simulate",
    "synthesise",
    "testbench",
    "values_module",
    "verilog",
    "write_verilog",
]
