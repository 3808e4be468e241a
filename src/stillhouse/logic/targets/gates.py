"""Gates: AND and XOR of two signals, either of them inverted; equal gates are made once, constants are folded.

A signal is a whole number: `2 * node`, plus 1 where it is inverted. Node 0 is the constant 0, nodes 1 .. F are the inputs.
Sums of many bits (misses of a clause, votes of a class) are columns of bits of equal weight; full adders take three bits of a
column to one of it and one of the next, the earliest bits first.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

FALSE, TRUE = 0, 1
AND, XOR = "&", "^"


@dataclass(slots=True)
class Gates:
    """A list of gates, each after what it reads.

    Attributes:
        inputs: F.
        gates: operation and the two signals of node F + 1 + i.
        depth: of each node, in gates; inputs have 0.
        known: the signal of each gate made so far.

    Example:
        >>> gates = Gates(2)
        >>> a, b = gates.input(0), gates.input(1)
        >>> gates.conj(a, b) == gates.conj(b, a), gates.conj(a, a ^ 1) == FALSE
        (True, True)
    """

    inputs: int
    gates: list[tuple[str, int, int]] = field(default_factory=list)
    depth: list[int] = field(default_factory=list)
    known: dict[tuple[str, int, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.depth = [0] * (self.inputs + 1)

    def input(self, bit: int) -> int:
        """The signal of input bit `bit`."""
        return 2 * (bit + 1)

    def conj(self, a: int, b: int) -> int:
        """A and b."""
        a, b = min(a, b), max(a, b)
        if a == FALSE or a ^ b == 1:
            return FALSE
        return b if a in (TRUE, b) else self._gate(AND, a, b)

    def disj(self, a: int, b: int) -> int:
        """A or b."""
        return self.conj(a ^ 1, b ^ 1) ^ 1

    def xor(self, a: int, b: int) -> int:
        """A or b, not both."""
        inverted, a, b = (a ^ b) & 1, a & ~1, b & ~1
        a, b = min(a, b), max(a, b)
        if a == b:
            return FALSE ^ inverted
        return (b if a == FALSE else self._gate(XOR, a, b)) ^ inverted

    def all_of(self, signals: Iterable[int]) -> int:
        """The AND of many, as flat as can be."""
        rising = [(self.depth[s >> 1], s) for s in signals]
        heapq.heapify(rising)
        while len(rising) > 1:
            both = self.conj(heapq.heappop(rising)[1], heapq.heappop(rising)[1])
            heapq.heappush(rising, (self.depth[both >> 1], both))
        return rising[0][1] if rising else TRUE

    def any_of(self, signals: Iterable[int]) -> int:
        """The OR of many, as flat as can be."""
        return self.all_of([s ^ 1 for s in signals]) ^ 1

    def add(self, a: int, b: int, c: int) -> tuple[int, int]:
        """A full adder: sum and carry of three bits; less than that where one is constant."""
        a, b, c = (c, a, b) if c <= TRUE else (b, a, c) if b <= TRUE else (a, b, c)
        if a <= TRUE:
            return self.xor(b, c) ^ a, self.disj(b, c) if a else self.conj(b, c)
        half = self.xor(a, b)
        return self.xor(half, c), self.disj(self.conj(a, b), self.conj(half, c))

    def total(self, columns: Sequence[Iterable[int]], width: int) -> tuple[list[int], list[int]]:
        """The sum of bits, of which `columns[i]` weigh 2^i.

        Returns:
            Its `width` low bits, and the carries into bit `width`: the sum is at least 2^width where one of them is 1.
        """
        late: list[list[tuple[int, int]]] = [[] for _ in range(width + 1)]
        for i, column in enumerate(columns):
            late[min(i, width)].extend((self.depth[s >> 1], s) for s in column if s != FALSE)
        low: list[int] = []
        for i in range(width):
            rising = late[i]
            heapq.heapify(rising)
            while len(rising) > 1:
                three = [heapq.heappop(rising)[1] for _ in range(min(3, len(rising)))]
                kept, carry = self.add(three[0], three[1], three[2] if len(three) == 3 else FALSE)
                if kept != FALSE:
                    heapq.heappush(rising, (self.depth[kept >> 1], kept))
                if carry != FALSE:
                    late[i + 1].append((self.depth[carry >> 1], carry))
            low.append(rising[0][1] if rising else FALSE)
        return low, [s for _, s in late[width]]

    def less(self, a: Sequence[int], b: Sequence[int]) -> int:
        """A < b, both in two's complement of equal width, lowest bit first."""
        a, b = [*a[:-1], a[-1] ^ 1], [*b[:-1], b[-1] ^ 1]  # with the sign inverted they compare like unsigned numbers
        under, equal = [], []
        for x, y in zip(a, b):
            under.append(self.conj(x ^ 1, y))
            equal.append(self.xor(x, y) ^ 1)
        while len(under) > 1:
            odd = len(under) % 2
            pairs = range(odd, len(under) - 1, 2)
            next_under = under[:odd] + [self.disj(under[i + 1], self.conj(equal[i + 1], under[i])) for i in pairs]
            equal = equal[:odd] + [self.conj(equal[i], equal[i + 1]) for i in pairs]
            under = next_under
        return under[0]

    def _gate(self, operation: str, a: int, b: int) -> int:
        key = (operation, a, b)
        if key not in self.known:
            self.known[key] = 2 * len(self.depth)
            self.gates.append(key)
            self.depth.append(1 + max(self.depth[a >> 1], self.depth[b >> 1]))
        return self.known[key]

    def used(self, signals: Iterable[int]) -> list[int]:
        """The gates' nodes that `signals` depend on, rising."""
        waiting, seen = [s >> 1 for s in signals], bytearray(len(self.depth))
        while waiting:
            node = waiting.pop()
            if node > self.inputs and not seen[node]:
                seen[node] = 1
                _, a, b = self.gates[node - self.inputs - 1]
                waiting += [a >> 1, b >> 1]
        return [node for node, one in enumerate(seen) if one]
