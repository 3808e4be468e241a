"""The proof that a netlist is its clauses: right ones are proved, broken compilers are found out, whatever they break."""

import sys
from types import ModuleType

import numpy as np
import pytest
from compiler_faults import COMPILER, PASSES
from plant import Fault, broken, find

from stillhouse.core.checks import InputError
from stillhouse.logic import passes
from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.passes.ordered import ordered_bits
from stillhouse.logic.prove import Proof, prove
from stillhouse.logic.prove_equal import prove_equal
from stillhouse.logic.sat import Formula
from stillhouse.logic.targets.read_verilog import read_verilog
from stillhouse.logic.targets.verilog import verilog

pytest.importorskip("pysat", reason="no SAT solver: pip install stillhouse[circuits]")


def clauses_with_everything(seed: int = 0, *, bits: int = 70, outputs: int = 10) -> ClauseSet:
    """Every capacity to 8, shared pairs, an empty clause, contradictions, duplicates, the ends of a 64-bit word."""
    random = np.random.default_rng(seed)
    lists = [random.choice(2 * bits, random.integers(3, 14), replace=False).tolist() for _ in range(20)]
    for own in lists[:8]:
        own += [f for f in (3, bits + 5, 63, 64) if f not in own]
    lists += [[], [0, 1, bits], [2, 4, 6], [2, 4, 6], [2, 4, 6], [7, 8, 9, bits + 9]]
    capacity = [1 + i % 8 for i in range(20)] + [3, 2, 1, 1, 2, 3]
    votes = random.integers(-3000, 3000, (len(lists), outputs))
    votes[-1, :4] = [2**14 - 1, -(2**14), 0, 1]
    return ClauseSet.of(lists, bits=bits, capacity=capacity, votes=votes, bias=random.integers(-9000, 9000, outputs))


def break_compiler(monkeypatch: pytest.MonkeyPatch, target: str, breaks) -> None:
    fault = Fault("", target, breaks, "")
    owner, last, _ = find(fault)
    original, instead = broken(fault)
    monkeypatch.setattr(owner, last, instead)
    if isinstance(owner, ModuleType):
        for name, known in list(sys.modules.items()):
            if name.startswith("stillhouse.logic"):
                for own, value in list(vars(known).items()):
                    if value is original:
                        monkeypatch.setattr(known, own, instead)


def differs(proof: Proof, clauses: ClauseSet, text: str) -> bool:
    """Whether a counterexample is one, by evaluating text and definition afresh."""
    circuit = read_verilog(text)
    if proof.counterexample is None:
        return proof.scores is not None
    row = proof.counterexample[None]
    seen = circuit.evaluate(row)
    width = len(circuit.outputs["score"]) // clauses.outputs
    words = [circuit.outputs["score"][k * width : (k + 1) * width] for k in range(clauses.outputs)]
    values = [[circuit.names[f"v{j}_{i}"] for i in range(int(c).bit_length())] for j, c in enumerate(clauses.capacity)]
    scores = [seen.number(word, signed=True)[0] for word in words]
    return scores != clauses.scores(row)[0].tolist() or (
        [seen.number(own)[0] for own in values] != clauses.values(row)[0].tolist()
    )


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("pipelined", [False, True])
def test_a_netlist_is_proved_equal_to_its_clauses_for_all_inputs(seed: int, pipelined: bool) -> None:
    clauses = clauses_with_everything(seed)
    proof = prove(verilog(clauses, pipelined=pipelined), clauses)
    assert proof.proved, proof
    assert proof.lemmas == {"clauses": 26, "by search": 0, "scores": 10, "classes": 10}


def test_a_few_dozen_clauses_of_the_size_in_use_are_proved() -> None:
    random = np.random.default_rng(1)
    lists = [random.choice(1568, 32 if j < 2 else 16, replace=False).tolist() for j in range(24)]
    votes = random.integers(-(2**24), 2**24, (24, 3))
    clauses = ClauseSet.of(lists, bits=784, capacity=[8] * 24, votes=votes)
    assert prove(verilog(clauses), clauses).proved


def test_clauses_of_a_trained_length_are_proved_without_a_search() -> None:
    """A hundred literals: a second each by the solver, which the algebra does not need."""
    random = np.random.default_rng(1)
    lists = [random.choice(1568, 100, replace=False).tolist() for _ in range(12)]
    clauses = ClauseSet.of(lists, bits=784, capacity=[1 + j for j in range(12)], votes=random.integers(-9, 9, (12, 2)))
    seen: list[tuple[int, int]] = []
    proof = prove(verilog(clauses), clauses, on_progress=lambda done, total: seen.append((done, total)))
    assert proof.proved
    assert proof.lemmas["by search"] == 0
    assert seen[-1] == (15, 15)


def test_names_of_a_counter_are_a_hint_and_no_ground() -> None:
    """Wrong ones on a right netlist: settled by search. They may not make a wrong netlist right either."""
    clauses = ClauseSet.of([[0, 1, 2, 3, 4], [2, 5, 7]], bits=6, capacity=[3, 2], votes=[[1], [2]])
    text = verilog(clauses)
    line = next(line for line in text.splitlines() if line.startswith("wire [L-1:0] c0_1 = "))
    misled = prove(text.replace(line, "wire [L-1:0] c0_1 = x0;"), clauses)
    assert misled.proved
    assert misled.lemmas["by search"] == prove(text, clauses).lemmas["by search"] + 1
    fewer = ClauseSet.of([[0, 1, 2, 3], [2, 5, 7]], bits=6, capacity=[3, 2], votes=[[1], [2]])
    carry = next(line for line in text.splitlines() if line.startswith("wire [L-1:0] w0_0 = "))
    for old, new in ((line, "wire [L-1:0] c0_1 = x0;"), (carry, "wire [L-1:0] w0_0 = {L{1'b0}};"), (carry, carry)):
        assert "clause 0: expected the value" in prove(text.replace(old, new), fewer).failed


@pytest.mark.parametrize("name", COMPILER)
def test_a_broken_compiler_is_found_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clauses = clauses_with_everything()
    break_compiler(monkeypatch, *COMPILER[name])
    text = verilog(clauses)
    proof = prove(text, clauses)
    assert not proof.proved
    if "too narrow" not in name and "another inversion" not in name:
        assert differs(proof, clauses, text), proof


@pytest.mark.parametrize("name", PASSES)
def test_a_broken_pass_is_found_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target, breaks = PASSES[name]
    before = clauses_with_everything()
    module, function = target.split(":")
    assert prove_equal(before, getattr(sys.modules[module], function)(before)).proved
    break_compiler(monkeypatch, target, breaks)
    after = getattr(sys.modules[module], function)(before)
    proof = prove_equal(before, after)
    assert not proof.proved
    row = proof.counterexample[None]
    assert (before.scores(row) != after.scores(row)).any()


def test_one_bit_more_in_any_clause_is_found_with_an_input_that_shows_it() -> None:
    one = ClauseSet.of([[0, 1, 2], [3]], bits=4, capacity=[2, 1], votes=[[1], [1]])
    other = ClauseSet.of([[0, 1, 2], [2, 3]], bits=4, capacity=[2, 1], votes=[[1], [1]])
    proof = prove(verilog(one), other)
    assert "clause 1" in proof.failed
    assert one.values(proof.counterexample[None])[0, 1] != other.values(proof.counterexample[None])[0, 1]
    assert not prove_equal(one, other).proved


def test_whole_simplification_is_proved_and_a_thermometers_order_only_where_it_holds() -> None:
    before = clauses_with_everything()
    assert prove_equal(before, passes.simplify(before)[0]).proved
    crisp = ClauseSet.of([[0, 1]], bits=2, capacity=[1], votes=[[5]])
    assert prove_equal(crisp, ordered_bits(crisp, 1), values=1).proved
    refuted = prove_equal(crisp, ordered_bits(crisp, 1))
    assert not refuted.proved
    assert refuted.counterexample.tolist() == [False, True]


def test_equal_sums_of_unlike_clauses_are_proved_by_walking_over_their_values() -> None:
    """max(0, 2 - m) over one literal is 1 more than the crisp literal, and capacities add: 2 of m is 1 of m + at least one true."""
    fuzzy = ClauseSet.of([[0]], bits=2, capacity=[2], votes=[[3]])
    crisp = ClauseSet.of([[0]], bits=2, capacity=[1], votes=[[3]], bias=[3])
    assert prove_equal(fuzzy, crisp).proved
    assert not prove_equal(fuzzy, ClauseSet.of([[0]], bits=2, capacity=[1], votes=[[3]], bias=[2])).proved


def test_the_definitions_counter_and_comparison_agree_with_arithmetic() -> None:
    for most in (1, 2, 4, 9):
        formula = Formula()
        variables = [formula.variable() for _ in range(6)]
        at_least = formula.counter(variables, most)
        with formula.solver() as solver:
            for number in range(64):
                given = [v if number >> i & 1 else -v for i, v in enumerate(variables)]
                assert solver.solve(assumptions=given)
                model = set(solver.get_model())
                assert [t in model for t in at_least] == [number.bit_count() > t for t in range(min(most, 6))]
    formula = Formula()
    a, b = ([formula.variable() for _ in range(3)] for _ in range(2))
    less = formula.less(a, b)
    with formula.solver() as solver:
        for p in range(-4, 4):
            for q in range(-4, 4):
                given = [v if n >> i & 1 else -v for word, n in ((a, p), (b, q)) for i, v in enumerate(word)]
                assert solver.solve(assumptions=given)
                assert (less in solver.get_model()) == (p < q)


def test_a_text_of_another_hand_is_no_ground_for_a_proof() -> None:
    clauses = ClauseSet.of([[0, 3]], bits=2, capacity=[1], votes=[[1]])
    text = verilog(clauses)
    for old, new in (
        ("wire [L-1:0] x0", "initial x0 = 1;\nwire [L-1:0] x0"),
        ("~x1", "~x1 + x0"),
        ("x0 & ~x1", "v0_0 & x1"),
        ("score[0*L", "score[1*L"),
    ):
        assert old in text
        with pytest.raises(InputError, match="verilog: expected"):
            prove(text.replace(old, new), clauses)
    with pytest.raises(InputError, match="expected one module 'other'"):
        prove(text, clauses, name="other")


def test_registers_that_make_one_input_later_than_another_are_an_error() -> None:
    clauses = ClauseSet.of([[0, 1]], bits=2, capacity=[2], votes=[[1]])
    text = verilog(clauses, pipelined=True)
    assert prove(text, clauses).proved
    late = text.replace(
        "wire [L-1:0] x1 = x[1*L +: L];",
        "wire [L-1:0] y = x[1*L +: L];\nreg [L-1:0] x1;\nalways @(posedge clk) x1 <= y;",
    )
    with pytest.raises(InputError, match="equally late"):
        prove(late, clauses)


def test_without_a_solver_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stillhouse.logic.sat.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"python-sat.*pip install stillhouse\[circuits\]"):
        prove("", ClauseSet.of([[0]], bits=1, capacity=[1], votes=[[1]]))
