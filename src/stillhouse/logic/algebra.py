"""Gates as polynomials: XOR(a, b) is `a + b - 2ab` and AND(a, b) is `ab`.

Replacing gates by these from the outputs of an adder down, the products of its sum and carry cancel, and what is left is a sum of
what it adds. The one product that needs more, that of the two halves of a carry, is 0 by a truth table of at most four signals.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, field

from stillhouse.logic.targets.gates import TRUE
from stillhouse.logic.targets.read_verilog import Circuit


@dataclass(slots=True)
class Polynomial:
    """A sum of signals and of products of two, with whole coefficients.

    Attributes:
        terms: coefficient of each node; of the constant 1 under 0.
        products: coefficient of each pair of nodes, the smaller one first, as signals.
    """

    terms: dict[int, int] = field(default_factory=lambda: {0: 0})
    products: dict[tuple[int, int], int] = field(default_factory=dict)

    def add(self, weight: int, signal: int) -> None:
        """Add a signal, inverted or not, so many times."""
        node = signal >> 1
        if signal & 1:
            self.terms[0] += weight
            weight = -weight
        if node:
            self.terms[node] = self.terms.get(node, 0) + weight

    def minus(self, other: Polynomial, modulus: int) -> dict[int | tuple[int, int], int]:
        """What is left of the difference of two, modulo a number; empty where they are equal."""
        left: dict[int | tuple[int, int], int] = {}
        for key in {*self.terms, *other.terms}:
            left[key] = self.terms.get(key, 0) - other.terms.get(key, 0)
        for pair in {*self.products, *other.products}:
            left[pair] = self.products.get(pair, 0) - other.products.get(pair, 0)
        return {key: weight for key, weight in left.items() if weight % modulus}


def expanded(circuit: Circuit, weighted: Iterable[tuple[int, int]], modulus: int, cut: Set[int]) -> Polynomial:
    """A weighted sum of signals in terms of the nodes of a cut and of the inputs, equal to it modulo a number.

    Args:
        circuit: what the signals are of.
        weighted: weights and signals.
        modulus: coefficients that it divides are dropped.
        cut: nodes that are not replaced.
    """
    out = Polynomial()
    terms = out.terms
    waiting: list[int] = []
    zero: dict[int, bool] = {}

    def add(weight: int, signal: int) -> None:
        node = signal >> 1
        if signal & 1:
            terms[0] += weight
            weight = -weight
        if node:
            if node not in terms:
                terms[node] = 0
                if node not in cut and circuit.gates[node][0] != "x":
                    heapq.heappush(waiting, -node)
            terms[node] += weight

    for weight, signal in weighted:
        add(weight, signal)
    while waiting:
        node = -heapq.heappop(waiting)
        weight = terms.pop(node) % modulus
        if not weight:
            continue
        operation, a, b = circuit.gates[node]
        if operation == "^":
            add(weight, a)
            add(weight, b)
            _add_product(out, -2 * weight, a, b, add)
        elif a == b:  # a register
            add(weight, a)
        elif never_both(circuit, a ^ 1, b ^ 1, cut, zero, node):  # an OR of two that are never both 1
            add(weight, TRUE)
            add(-weight, a ^ 1)
            add(-weight, b ^ 1)
        else:
            _add_product(out, weight, a, b, add)
    out.terms = {node: weight for node, weight in terms.items() if not node or weight % modulus}
    out.products = {pair: weight for pair, weight in out.products.items() if weight % modulus}
    return out


def _add_product(out: Polynomial, weight: int, a: int, b: int, add: Callable[[int, int], None]) -> None:
    if a & 1:
        add(weight, b)
        _add_product(out, -weight, a ^ 1, b, add)
    elif b & 1:
        add(weight, a)
        _add_product(out, -weight, a, b ^ 1, add)
    elif a == b:
        add(weight, a)
    elif a and b:
        key = (min(a, b), max(a, b))
        out.products[key] = out.products.get(key, 0) + weight


def never_both(circuit: Circuit, a: int, b: int, cut: Set[int], cache: dict[int, bool], node: int) -> bool:
    """Whether two AND gates can never be 1 together, by the truth table of what they and the gates before them read."""
    if node in cache:
        return cache[node]
    cache[node] = False
    if a & 1 or b & 1 or any(n in cut or circuit.gates[n][0] != "&" for n in (a >> 1, b >> 1)):
        return False
    roots = {s >> 1 for n in (a >> 1, b >> 1) for s in circuit.gates[n][1:]}
    inner = {n for n in roots if n not in cut and circuit.gates[n][0] == "^"}
    for chosen in [{n} for n in inner] + [set()]:
        leaves = sorted((roots - chosen) | {s >> 1 for n in chosen for s in circuit.gates[n][1:]} - {0})
        if len(leaves) <= 4 and not chosen & set(leaves):
            table: dict[int, int] = {0: 0}
            for i, leaf in enumerate(leaves):
                table[leaf] = sum(1 << row for row in range(16) if row >> i & 1)
            for n in sorted({*chosen, a >> 1, b >> 1}):
                operation, x, y = circuit.gates[n]
                p, q = table[x >> 1] ^ (0xFFFF * (x & 1)), table[y >> 1] ^ (0xFFFF * (y & 1))
                table[n] = p & q if operation == "&" else p ^ q
            if not table[a >> 1] & table[b >> 1]:
                cache[node] = True
                break
    return cache[node]
