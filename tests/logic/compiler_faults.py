"""Faults of a compiler, each of which a proof must find: pieces of it replaced by broken ones."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "planted"))

from plant import Broken, edited

NETLIST, GATES, VERILOG = (
    "stillhouse.logic.targets.netlist",
    "stillhouse.logic.targets.gates",
    "stillhouse.logic.targets.verilog",
)

COMPILER: dict[str, tuple[str, Broken]] = {
    "a literal's sign flipped": (f"{NETLIST}:miss", edited("^ 1 if literal", "if literal")),
    "a literal dropped": (f"{NETLIST}:clause_value", edited("clause(number).tolist()", "clause(number).tolist()[1:]")),
    "the last bit of a word lost": (
        f"{NETLIST}:clause_value",
        edited("clause(number).tolist()", "clause(number)[clauses.clause(number) % clauses.bits != 63].tolist()"),
    ),
    "the counter saturates one too early": (
        f"{NETLIST}:clause_value",
        edited("(head_start >> i & 1)", "(head_start + 1 >> i & 1)"),
    ),
    "a capacity off by one": (
        f"{NETLIST}:clause_value",
        edited("int(clauses.capacity[number])", "int(clauses.capacity[number] - (clauses.capacity[number] == 3))"),
    ),
    "a common pair counted once instead of twice": (
        f"{NETLIST}:clause_value",
        edited("columns[1].append(carry)", "pass"),
    ),
    "a carry out of the counter forgotten": (f"{NETLIST}:clause_value", edited("any_of(over)", "any_of(over[1:])")),
    "the counter not negated above its lowest 1": (
        f"{NETLIST}:clause_value",
        edited("lower = gates.disj(bit, lower)", "lower = bit"),
    ),
    "a carry lost in an adder": (
        f"{GATES}:Gates.add",
        edited("self.disj(self.conj(a, b), self.conj(half, c))", "self.conj(a, b)"),
    ),
    "an adder with a constant 1 that carries too rarely": (
        f"{GATES}:Gates.add",
        edited("self.disj(b, c) if a else self.conj(b, c)", "self.conj(b, c)"),
    ),
    "a carry added to the column that it comes from": (
        f"{GATES}:Gates.total",
        edited("late[i + 1].append", "late[i + 1 - (i == 1 and len(rising) == 4)].append"),
    ),
    "a saturation dropped in one clause": (
        f"{NETLIST}:clause_value",
        edited("any_of(over)", "any_of(over[: -1 if number == 5 else None])"),
    ),
    "a saturation dropped, and not named either": (
        f"{NETLIST}:clause_value",
        edited("= gates.total(columns, width)", "= gates.total(columns, width); over = over[:-1]"),
    ),
    "a clause's value wired to its neighbour": (
        f"{NETLIST}:build",
        edited("[value for value, _ in made]", "[made[{9: 17, 17: 9}.get(j, j)][0] for j in range(len(made))]"),
    ),
    "a clause's value and counter wired to its neighbour": (
        f"{NETLIST}:build",
        edited("values, counters =", "made[9], made[17] = made[17], made[9]; values, counters ="),
    ),
    "a gate shared with one of another inversion": (
        f"{GATES}:Gates._gate",
        edited("key = (operation, a, b)", "key = (operation, a & ~1, b)"),
    ),
    "a vote's sign lost": (f"{NETLIST}:score", edited("bit if digit > 0 else bit ^ 1", "bit")),
    "the constant of negative digits lost": (f"{NETLIST}:score", edited("2**i if digit < 0 else 0", "0")),
    "the bias forgotten": (f"{NETLIST}:score", edited("int(clauses.bias[output])", "0")),
    "digits of a vote beyond the tenth on the tenth": (
        f"{NETLIST}:signed_digits",
        edited("yield place", "yield min(place, 9)"),
    ),
    "scores one bit too narrow": (f"{NETLIST}:score_bits", edited("+ 1", "- 1")),
    "of equal scores the last wins": (
        f"{NETLIST}:argmax",
        edited("gates.less(scores[i], scores[j])", "gates.less(scores[j], scores[i]) ^ 1"),
    ),
    "the classes from 8 on never chosen": (f"{NETLIST}:argmax", edited("if k >> i & 1]", "if k >> i & 1 and i < 3]")),
    "scores compared without their sign": (
        f"{GATES}:Gates.less",
        edited("[*a[:-1], a[-1] ^ 1], [*b[:-1], b[-1] ^ 1]", "list(a), list(b)"),
    ),
    "scores compared by low bits where high ones differ": (
        f"{GATES}:Gates.less",
        edited("self.conj(equal[i + 1], under[i])", "under[i]"),
    ),
    "an inversion not printed": (f"{VERILOG}:_stage", edited("{term(a)} {operation}", "{term(a & ~1)} {operation}")),
    "two input bits swapped": (
        f"{VERILOG}:module",
        edited("= x[{f}*L", "= x[{ {3: 4, 4: 3}.get(f, f) }*L"),
    ),
    "two bits of a score swapped": (f"{VERILOG}:module", edited("assign score[{i}*L", "assign score[{i ^ 1}*L")),
}

BETWEEN = "stillhouse.logic.targets.join_verilog"

JOINED: dict[str, tuple[str, Broken]] = {
    "a pixel that counts once, not twice": (f"{BETWEEN}:_sums", edited("_plus(2 * weight)", "_plus(weight)")),
    "a dark pixel that is 0, not -1": (f"{BETWEEN}:_sums", edited("_constant(-sum(row))", "_constant(0)")),
    "a path that is not shifted": (f"{BETWEEN}:_sums", edited(">>> {join.shift}", ">>> 0")),
    "votes of two clauses swapped": (f"{BETWEEN}:_sums", edited("* v{j};", "* v{ {4: 5, 5: 4}.get(j, j) };")),
    "a layer's bias lost": (f"{BETWEEN}:_sums", edited("int(layer.bias[k])", "0")),
    "a value's bits read upside down": (
        f"{BETWEEN}:_values",
        edited("reversed(range(start, stop))", "range(start, stop)"),
    ),
    "a number left out of the root": (f"{BETWEEN}:join_module", edited("* u{k};", "* u{max(k, 1)};")),
    "a root a step too short": (f"{BETWEEN}:_root", edited("reversed(range(steps))", "reversed(range(1, steps))")),
    "a gain without its sign": (f"{BETWEEN}:_signs", edited("_plus(gain)", "_plus(abs(gain))")),
    "an offset of the neighbour": (f"{BETWEEN}:_signs", edited("join.offset.tolist()", "join.offset.tolist()[::-1]")),
    "the last bit never driven": (f"{BETWEEN}:_signs", edited("after[{k}*L", "after[{min(k, 10)}*L")),
    "values in another order": (f"{VERILOG}:values_module", edited("value[{i}*L", "value[{len(names) - 1 - i}*L")),
    "the second layer wired to the values": (f"{VERILOG}:joined", edited("(.x(after)", "(.x(value)")),
    "the first layer's module behind itself": (
        f"{VERILOG}:joined",
        edited("{name}_1 #(.L(L)) last", "{name}_0 #(.L(L)) last"),
    ),
    "a literal's sign flipped": (f"{NETLIST}:miss", edited("^ 1 if literal", "if literal")),
    "of equal scores the last wins": (
        f"{NETLIST}:argmax",
        edited("gates.less(scores[i], scores[j])", "gates.less(scores[j], scores[i]) ^ 1"),
    ),
}

PASSES: dict[str, tuple[str, Broken]] = {
    "duplicates merged though capacities differ": (
        "stillhouse.logic.passes.duplicates:duplicate_clauses",
        edited("int(clauses.capacity[j]))", "0)"),
    ),
    "a contradiction's miss not taken off the capacity": (
        "stillhouse.logic.passes.contradictions:contradictions",
        edited("capacity[j] - len(both)", "capacity[j]"),
    ),
    "an empty clause not put into the bias": (
        "stillhouse.logic.passes.dead:dead_clauses",
        edited("clauses.bias + always", "clauses.bias"),
    ),
    "clauses ordered, their votes not": (
        "stillhouse.logic.passes.order:order_by_planes",
        edited("clauses.votes[order]", "clauses.votes"),
    ),
}
