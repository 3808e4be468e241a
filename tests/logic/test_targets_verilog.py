"""Verilog: simulated by Icarus Verilog, synthesised by Yosys, the same answers as the definition."""

import shutil
import subprocess
from itertools import pairwise

import numpy as np
import pytest
from conftest_logic import random_bits, random_set

from stillhouse.core.checks import InputError
from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.machine import Machine
from stillhouse.logic.prove import prove
from stillhouse.logic.targets.netlist import build, fewer_vote_bits, share_changed, signed_digits
from stillhouse.logic.targets.verilog import simulate, synthesise, verilog, write_verilog

simulated = pytest.mark.skipif(shutil.which("iverilog") is None, reason="no Icarus Verilog (apt: iverilog)")
synthesised = pytest.mark.skipif(shutil.which("yosys") is None, reason="no Yosys (apt: yosys)")


def a_machine(seed=0, levels=2, side=4, outputs=5):
    layer = random_set(seed, bits=levels * side * side, clauses=20, failures=5, outputs=outputs, longest=10)
    edges = np.linspace(0.25, 0.75, levels, dtype=np.float32)
    return Machine((1, side, side), edges, (layer,), (), tuple(map(str, range(outputs))))


@simulated
@pytest.mark.parametrize("lanes", [1, 64])
@pytest.mark.parametrize("pipelined", [False, True])
def test_simulation_gives_the_scores_and_classes_of_the_definition(tmp_path, lanes, pipelined):
    machine, path = a_machine(), tmp_path / "a.v"
    assert write_verilog(machine, path, pipelined=pipelined) == [path]
    rows = random_bits(1, 100, machine.layers[0].bits)
    scores, classes = simulate(path, rows, outputs=5, pipelined=pipelined, lanes=lanes)
    expected = machine.layers[0].scores(rows)
    np.testing.assert_array_equal(scores, expected)
    np.testing.assert_array_equal(classes, expected.argmax(1))


@simulated
def test_a_set_alone_gives_votes_and_no_class(tmp_path):
    clauses, path = random_set(3, bits=9, clauses=6, failures=3, outputs=7), tmp_path / "part.v"
    write_verilog(clauses, path, name="part")
    rows = random_bits(2, 70, 9)
    scores, classes = simulate(path, rows, outputs=7, name="part")
    assert classes is None
    np.testing.assert_array_equal(scores, clauses.scores(rows))


@simulated
def test_pixels_become_bits_as_the_machine_makes_them(tmp_path):
    machine, path = a_machine(), tmp_path / "a.v"
    write_verilog(machine, path, name="net")
    images = np.random.default_rng(0).integers(0, 256, (6, 1, 4, 4), dtype=np.uint8)
    images[0, 0, 0] = [machine.cuts[0] - 1, machine.cuts[0], machine.cuts[1] - 1, machine.cuts[1]]
    cases = "".join(
        f'pixels = 128\'h{image.tobytes()[::-1].hex()}; #1 $display("%b %0d", n.x, best);\n' for image in images
    )
    (tmp_path / "bench.v").write_text(
        "module bench; reg [127:0] pixels; wire [2:0] best; net_pixels n(.pixels(pixels), .best(best));\n"
        f"initial begin {cases} end endmodule\n"
    )
    subprocess.run(["iverilog", "-o", "bench", "bench.v", "a.v"], cwd=tmp_path, check=True)
    shown = subprocess.run(["vvp", "bench"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout.split()
    seen = [[digit == "1" for digit in reversed(bits)] for bits in shown[::2]]
    assert seen == machine.bits(images).tolist()
    assert list(map(int, shown[1::2])) == machine.predict(images, "definition").tolist()


@synthesised
def test_synthesis_counts_cells_and_depth(tmp_path):
    """An adder of two bits: two gates, one after the other none. The same by hand: XOR and AND of the same two."""
    clauses = ClauseSet.of([[0], [1]], bits=2, capacity=[1, 1], votes=[[1], [1]])
    path = tmp_path / "adder.v"
    write_verilog(clauses, path)
    assert synthesise(path) == {"cells": 2, "depth": 1}
    big = tmp_path / "big.v"
    write_verilog(random_set(1, bits=16, clauses=8, failures=4, outputs=3), big)
    found = synthesise(big)
    assert 50 < found["cells"] < 4000
    assert 5 < found["depth"] < 100


def test_size_counts_gates_and_shared_pairs_save_some():
    # 24 and 45 are in all, never beside each other
    lists = [[i, 7 + 2 * i, 24, 30 + i, 45, 60 + i, 70 + i, 90 + i] for i in range(8)]
    clauses = ClauseSet.of(lists, bits=100, capacity=[3] * 8, votes=[[1]] * 8)
    shared, alone = build(clauses), build(clauses, pairs=False)
    assert len(shared.clauses.gates) < len(alone.clauses.gates)
    assert shared.size()["gates"] > 0 < shared.size()["depth"]


def test_signed_digits_make_the_number_and_no_two_neighbours():
    for number in [*range(-300, 300), 2**30 - 1, -(2**30)]:
        digits = list(signed_digits(number))
        assert sum(digit * 2**place for place, digit in digits) == number
        assert all(b - a > 1 for (a, _), (b, _) in pairwise(digits))


def test_fewer_vote_bits_make_a_smaller_netlist_that_is_proved_and_say_how_many_answers_change():
    clauses = random_set(5, bits=20, clauses=12, failures=4, outputs=4)
    coarse = fewer_vote_bits(clauses, 6)
    assert np.abs(coarse.votes).max() == 31
    rows = random_bits(0, 500, 20)
    np.testing.assert_allclose(coarse.scores(rows) / coarse.scale, clauses.scores(rows), atol=0.02 * clauses.widest())
    assert build(coarse).size()["gates"] < build(clauses).size()["gates"] / 1.5
    assert prove(verilog(coarse), coarse).proved
    assert share_changed(clauses, clauses, rows) == 0
    flipped = fewer_vote_bits(clauses, 2)
    assert share_changed(clauses, flipped, rows) == (
        (clauses.scores(rows).argmax(1) != flipped.scores(rows).argmax(1)).mean()
    )
    assert fewer_vote_bits(clauses, 31) is clauses
    with pytest.raises(InputError, match="expected 2 to 31, got 1"):
        fewer_vote_bits(clauses, 1)


def test_a_missing_program_is_one_clear_line(tmp_path, monkeypatch):
    path = tmp_path / "a.v"
    write_verilog(random_set(0, bits=3, clauses=3, failures=2, outputs=2), path)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match=r"iverilog: expected .* install it \(apt: iverilog\)"):
        simulate(path, np.zeros((1, 3), dtype=bool), outputs=2)
    with pytest.raises(InputError, match=r"yosys: expected .* install it \(apt: yosys\)"):
        synthesise(path)


def test_rows_of_another_width_and_odd_names_are_errors(tmp_path):
    path, clauses = tmp_path / "a.v", random_set(0, bits=3, clauses=3, failures=2, outputs=2)
    write_verilog(clauses, path)
    with pytest.raises(InputError, match="expected rows of 3 bits, got 4"):
        simulate(path, np.zeros((1, 4), dtype=bool), outputs=2)
    for name in ("9a", "a b", "v0_0", "x;"):
        with pytest.raises(InputError, match="name: expected a letter"):
            write_verilog(clauses, path, name=name)


@simulated
def test_two_layers_are_one_circuit_with_the_answers_of_the_machine(tmp_path, deep_machine):
    """Words and gates together, several rows at once and alone; the definition is numpy's whole numbers."""
    files = write_verilog(deep_machine, tmp_path / "deep.v", name="deep")
    assert [file.name for file in files] == ["deep.v"]
    rows = random_bits(0, 70, 18)
    expected = deep_machine.scores_of_bits(rows)
    assert len(np.unique(expected, axis=0)) > 20
    for lanes in (1, 64):
        scores, classes = simulate(files[0], rows, outputs=5, name="deep", lanes=lanes)
        np.testing.assert_array_equal(scores, expected)
        np.testing.assert_array_equal(classes, expected.argmax(1))


def test_more_layers_or_registers_come_in_a_file_a_layer(tmp_path, deep_machine):
    files = write_verilog(deep_machine, tmp_path / "deep.v", name="deep", pipelined=True)
    assert [file.name for file in files] == ["deep_0.v", "deep_1.v"]
    for number, layer in enumerate(deep_machine.layers):
        assert prove(files[number].read_text(), layer, name=f"deep_{number}").proved


@synthesised
def test_a_synthesis_that_takes_longer_than_its_limit_is_ended(tmp_path):
    path = tmp_path / "a.v"
    write_verilog(random_set(1, bits=16, clauses=8, failures=4, outputs=3), path)
    with pytest.raises(InputError, match=r"yosys: expected an end within 0\.01 s"):
        synthesise(path, limit=0.01)
