"""The proof that a circuit of two layers is its machine: words followed by polynomials, wires, and both layers."""

from dataclasses import replace

import numpy as np
import pytest
from compiler_faults import JOINED
from hypothesis import given, settings
from hypothesis import strategies as st
from test_prove import break_compiler

from stillhouse.core.checks import InputError
from stillhouse.logic.machine import Machine, whole_root
from stillhouse.logic.prove_machine import prove_machine
from stillhouse.logic.targets import verilog as emitted
from stillhouse.logic.targets.join_verilog import join_module, root_steps
from stillhouse.logic.targets.read_words import constant, read_words

pytest.importorskip("pysat", reason="no SAT solver: pip install stillhouse[circuits]")


@pytest.fixture(scope="module")
def text(deep_machine):
    return emitted.joined(deep_machine)


def test_two_layers_and_what_lies_between_are_proved(deep_machine, text):
    seen = []
    proof = prove_machine(text, deep_machine, on_progress=lambda done, total: seen.append((done, total)))
    assert proof.proved, proof
    wanted = {"wirings": 1, "clauses": 50, "numbers": 12, "scores": 5, "classes": 5}
    assert {kind: proof.lemmas[kind] for kind in wanted} == wanted
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize("name", JOINED)
def test_a_broken_compiler_is_found_out(name, deep_machine, monkeypatch):
    break_compiler(monkeypatch, *JOINED[name])
    text = emitted.joined(deep_machine)  # by its module: a broken one may stand there
    try:
        proof = prove_machine(text, deep_machine)
    except InputError:  # not even what a proof could be about
        return
    assert not proof.proved
    assert proof.failed


def test_another_machine_is_not_proved_by_the_text_of_this(deep_machine, text):
    """One number of each part changed by 1."""
    first, last = deep_machine.layers
    join = deep_machine.joins[0]
    changed = [
        replace(join, path=join.path + (np.arange(join.path.size).reshape(join.path.shape) == 37)),
        replace(join, gain=join.gain + (np.arange(12) == 5)),
        replace(join, offset=join.offset - (np.arange(12) == 11)),
        replace(join, shift=join.shift + 1),
        replace(join, epsilon=join.epsilon + 1),
    ]
    for one in changed:
        assert "sign of gain u" in prove_machine(text, replace(deep_machine, joins=(one,))).failed
    votes = replace(first, votes=first.votes + (np.arange(first.votes.size).reshape(first.votes.shape) == 40))
    assert "sign of gain u" in prove_machine(text, replace(deep_machine, layers=(votes, last))).failed
    votes = replace(last, bias=last.bias + (np.arange(5) == 2))
    assert "second layer: score 2" in prove_machine(text, replace(deep_machine, layers=(first, votes))).failed


def test_words_that_leave_64_bits_and_lines_of_another_hand_are_no_ground(deep_machine, text):
    for old, new in (
        ("q = 64'sd12345;", "q = 64'sd9223372036854775807;"),  # and squares on top
        ("m = m - t;", "m = m + t;"),
        ("if (m >= t) begin", "if (m > t) begin"),
        ("p0 = p0 ", "p0 = p1 "),
        ("reg signed [63:0] q;", "reg signed [31:0] q;"),
        ("after[0*L + l] = y > 64'sd0;", "after[1*L + l] = y > 64'sd0;"),
        ("r = 64'sd0;", "r = 64'sd1;"),
    ):
        assert old in text
        with pytest.raises(InputError, match="verilog: expected"):
            prove_machine(text.replace(old, new, 1), deep_machine)


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
def test_a_word_that_64_bits_do_not_hold_is_refused(number):
    """Verilog would wrap it round, and the polynomial would not."""
    with pytest.raises(InputError, match="expected words within 64 bits"):
        constant(number)
    inside = number + (1 if number < 0 else -1)
    assert constant(inside).low == constant(inside).high == inside


def test_words_keep_within_the_intervals_that_are_said_of_them(deep_machine, text):
    """Numbers of the definition, at 500 inputs, lie in the intervals which the proof rests on."""
    first, join = deep_machine.layers[0], deep_machine.joins[0]
    rows = np.random.default_rng(0).random((500, 18)) < 0.5
    u = first.scores(rows) + ((2 * rows.astype(np.int64) - 1) @ join.path.T >> join.shift)
    r = whole_root((u * u).sum(1) + join.epsilon)
    y = join.gain * u + join.offset * r[:, None]
    signs = read_words(text, "clauses_between").signs
    assert all((y[:, k] >= signs[k].low).all() and (y[:, k] <= signs[k].high).all() for k in range(12))
    assert int(r.max()) < 2 ** root_steps(join, first)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**62 - 1))
def test_the_schoolbook_root_is_the_root(q):
    """The statements of a root, carried out: what the proof takes them for."""
    from math import isqrt

    m, r = q, 0
    for i in reversed(range(31)):
        t = (r << i + 1) + 4**i
        assert t < 2**63
        if m >= t:
            m -= t
            r += 2**i
    assert r == isqrt(q)


def test_three_layers_are_refused(deep_machine):
    first, last = deep_machine.layers
    three = Machine((1, 3, 3), deep_machine.edges, (first, last, last), deep_machine.joins * 2, tuple("abcde"))
    with pytest.raises(InputError, match="expected a machine of at most 2 layers, got 3"):
        prove_machine("", three)
    with pytest.raises(InputError, match="squares of at most 62 bits"):
        join_module(replace(deep_machine.joins[0], epsilon=2**62), first, "between")
