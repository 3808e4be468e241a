"""Reads a module of words back, from the text alone, and follows it once for all inputs.

What a variable holds is kept as a polynomial in what came in, and as an interval. As long as no interval leaves 63 bits with a
sign, Verilog's words are whole numbers, and the polynomials are what the module computes. Only the lines that `join_verilog`
writes are understood; any other is an error, for a proof about half a file would be none.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass, field

from stillhouse.core.checks import InputError
from stillhouse.logic.targets.read_verilog import module_lines

LIMIT = 2**63
_PORT = re.compile(r"(?:input wire|output reg) \[(\d+)\*L-1:0\] (x|value|after),?")
_BIT, _WORD = re.compile(r"reg (x\d+);"), re.compile(r"reg signed \[63:0\] ([a-z]\d*);")
_LOOP = "always @* for (l = 0; l < L; l = l + 1) begin"
_TAKE = re.compile(r"(x\d+) = x\[(\d+)\*L \+ l\];")
_JOIN = re.compile(r"(\w+) = \{(\d+)'d0((?:, value\[\d+\*L \+ l\])*)\};")
_SET = re.compile(r"(\w+) = (-?)64'sd(\d+);")
_ADD = re.compile(r"(\w+) = (\w+) ([+-]) 64'sd(\d+)(?: \* (\w+))?;")
_SQUARE = re.compile(r"(\w+) = (\w+) \+ (\w+) \* (\w+);")
_SHIFT = re.compile(r"(\w+) = (\w+) >>> (\d+);")
_IF = re.compile(r"if \((x\d+)\) begin")
_COPY = re.compile(r"(\w+) = (\w+);")
_TRY = re.compile(r"(\w+) = \((\w+) <<< (\d+)\) \+ 64'sd(\d+);")
_SIGN = re.compile(r"after\[(\d+)\*L \+ l\] = (\w+) > 64'sd0;")

Atom = (
    Hashable  # "x", number | "value", number | "floor", polynomial, shift | "square", polynomial | "root", polynomial
)
Frozen = frozenset[tuple[Atom, int]]


@dataclass(frozen=True, slots=True)
class Word:
    """What a variable holds, for every input.

    Attributes:
        terms: coefficients of atoms; of the constant 1 under None.
        low: no less.
        high: no more.
    """

    terms: dict[Atom, int]
    low: int
    high: int

    def plus(self, factor: int, other: Word) -> Word:
        """This, and so many times another.

        Raises:
            InputError: a number that 64 bits do not hold.
        """
        terms = dict(self.terms)
        for atom, weight in other.terms.items():
            terms[atom] = terms.get(atom, 0) + factor * weight
            if not terms[atom]:
                del terms[atom]
        ends = sorted((factor * other.low, factor * other.high))
        return Word(terms, self.low + ends[0], self.high + ends[1]).checked()

    def checked(self) -> Word:
        """Raise `InputError` where 64 bits do not hold it."""
        if not -LIMIT <= self.low <= self.high < LIMIT:
            raise InputError(f"verilog: expected words within 64 bits, got {self.low} .. {self.high}")
        return self

    def frozen(self) -> Frozen:
        """Its terms, as a name for it."""
        return frozenset(self.terms.items())


def constant(number: int) -> Word:
    """A number."""
    return Word({None: number} if number else {}, number, number).checked()


def atom(own: Atom, low: int, high: int) -> Word:
    """Something that is not taken apart."""
    return Word({own: 1}, low, high).checked()


def shifted(word: Word, places: int) -> Word:
    """floor(word / 2^places)."""
    return atom(("floor", word.frozen(), places), word.low >> places, word.high >> places)


def square(word: Word) -> Word:
    """A word times itself."""
    return atom(("square", word.frozen()), 0, max(word.low**2, word.high**2))


def root(word: Word) -> Word:
    """floor(sqrt(word)) of one that is never negative."""
    return atom(
        ("root", word.frozen()), 0, int(word.high).bit_length() and 2 ** ((word.high.bit_length() + 1) // 2) - 1
    )


@dataclass(slots=True)
class Words:
    """What a module of words computes.

    Attributes:
        sizes: bits of each port.
        signs: by number of the bit, the word of which it says whether it is above 0.
    """

    sizes: dict[str, int]
    signs: dict[int, Word] = field(default_factory=dict)


def read_words(text: str, name: str) -> Words:
    """Follow the module `name` of a text.

    Raises:
        InputError: a line that `join_verilog` does not write, a variable used before it has a value, a word that may leave 64
            bits, a root that is none.
    """
    lines = iter(module_lines(text, name))
    found = Words({})
    for line in lines:
        if line == ");":
            break
        port = _PORT.fullmatch(line)
        if port is None:
            raise _unread(line)
        found.sizes[port[2]] = int(port[1])
    if next(lines, "") != "integer l;":
        raise InputError("verilog: expected 'integer l;' after the ports")
    bits: set[str] = set()
    words: set[str] = set()
    for line in lines:
        if line == _LOOP:
            break
        if own := _BIT.fullmatch(line):
            bits.add(own[1])
        elif own := _WORD.fullmatch(line):
            words.add(own[1])
        else:
            raise _unread(line)
    body = list(lines)
    if not body or body[-1] != "end":
        raise InputError("verilog: expected the loop to end with the module")
    _Follower(found, bits, words).run(body[:-1])
    return found


@dataclass(slots=True)
class _Follower:
    """One walk over the statements, each once, from the first to the last."""

    found: Words
    bits: set[str]
    words: set[str]
    taken: dict[str, int] = field(default_factory=dict)
    held: dict[str, Word] = field(default_factory=dict)

    def run(self, body: list[str]) -> None:
        inside: str | None = None
        place = 0
        while place < len(body):
            line = body[place]
            place += 1
            if inside is not None and line == "end":
                inside = None
            elif added := _ADD.fullmatch(line):
                self._add(line, added, inside)
            elif inside is not None:
                raise _unread(line)
            elif under := _IF.fullmatch(line):
                if under[1] not in self.taken:
                    raise InputError(f"verilog: expected {under[1]} to have a value, got none")
                inside = under[1]
            elif _TRY.fullmatch(line):
                place = self._follow_root(body, place - 1)
            else:
                self._plain(line)
        if inside is not None:
            raise InputError("verilog: expected an end to each begin")

    def _word(self, own: str) -> Word:
        if own not in self.held:
            raise InputError(f"verilog: expected {own} to have a value, got none")
        return self.held[own]

    def _set(self, own: str, word: Word) -> None:
        if own not in self.words:
            raise InputError(f"verilog: expected {own} as a word, got none")
        self.held[own] = word

    def _add(self, line: str, added: re.Match[str], inside: str | None) -> None:
        """A constant, or a constant times a word; under a bit, a constant times the bit."""
        own, same, sign, number, factor = added.groups()
        if own != same or (inside and factor):
            raise _unread(line)
        if int(number) >= LIMIT:
            raise InputError(f"verilog: expected constants of 63 bits, got {number}")
        other = self._word(factor) if factor else constant(1)
        if inside:
            other = atom(("x", self.taken[inside]), 0, 1)
        product = constant(0).plus(int(number), other)
        self._set(own, self._word(own).plus(-1 if sign == "-" else 1, product))

    def _plain(self, line: str) -> None:
        if found := _TAKE.fullmatch(line):
            if found[1] not in self.bits or int(found[2]) >= self.found.sizes.get("x", 0):
                raise _unread(line)
            self.taken[found[1]] = int(found[2])
        elif found := _JOIN.fullmatch(line):
            places = [int(n) for n in re.findall(r"value\[(\d+)", found[3])][::-1]
            if int(found[2]) + len(places) != 64 or not int(found[2]):
                raise InputError(f"verilog: expected 64 bits with zeros on top, got {line[:60]!r}")
            word = constant(0)
            for i, bit in enumerate(places):
                if bit >= self.found.sizes.get("value", 0):
                    raise _unread(line)
                word = word.plus(2**i, atom(("value", bit), 0, 1))
            self._set(found[1], word)
        elif found := _SET.fullmatch(line):
            self._set(found[1], constant(-int(found[3]) if found[2] else int(found[3])))
        elif found := _SQUARE.fullmatch(line):
            if found[1] != found[2] or found[3] != found[4]:
                raise _unread(line)
            self._set(found[1], self._word(found[1]).plus(1, square(self._word(found[3]))))
        elif found := _SHIFT.fullmatch(line):
            self._set(found[1], shifted(self._word(found[2]), int(found[3])))
        elif found := _COPY.fullmatch(line):
            self._set(found[1], self._word(found[2]))
        elif found := _SIGN.fullmatch(line):
            if int(found[1]) in self.found.signs or int(found[1]) >= self.found.sizes.get("after", 0):
                raise InputError(f"verilog: expected each bit of after once, got bit {found[1]} otherwise")
            self.found.signs[int(found[1])] = self._word(found[2])
        else:
            raise _unread(line)

    def _follow_root(self, body: list[str], place: int) -> int:
        """All steps of a root: r becomes floor(sqrt(m)) where they are the ones below, from the top to 0.

        Before step i, r is a multiple of 2^(i+1), r^2 <= q < (r + 2^(i+1))^2, and m = q - r^2. The step adds 2^i to r where
        (r + 2^i)^2 = r^2 + 2^(i+1) r + 4^i still is at most q, that is where m is at least t. Then the same holds for i - 1. It
        holds at the start for r = 0, m = q < 4^steps, and at the end it says that r = floor(sqrt(q)). As r 2^(i+1) <= r^2, t
        stays below q + 4^i.
        """
        first = _TRY.fullmatch(body[place])
        assert first is not None
        t, r, m = first[1], first[2], body[place + 1].removeprefix("if (").partition(" ")[0]
        whole, steps = self._word(m), int(first[3])
        if self._word(r).terms or not 0 <= whole.low <= whole.high < min(4**steps, 2**62) or len({t, r, m}) < 3:
            raise InputError(f"verilog: expected a root of steps from 0, of at most {2 * steps} bits, got another one")
        if not {t, r, m} <= self.words:
            raise InputError(f"verilog: expected {t}, {r}, {m} as words")
        for i in reversed(range(steps)):
            wanted = [
                f"{t} = ({r} <<< {i + 1}) + 64'sd{4**i};",
                f"if ({m} >= {t}) begin",
                f"{m} = {m} - {t};",
                f"{r} = {r} + 64'sd{2**i};",
                "end",
            ]
            if body[place : place + 5] != wanted:
                raise InputError(f"verilog: expected step {i} of a root, got {body[place : place + 5]}")
            place += 5
        self.held[r] = root(whole)
        del self.held[m]
        self.held.pop(t, None)
        return place


def _unread(line: str) -> InputError:
    return InputError(f"verilog: expected a line that stillhouse writes, got {line[:80]!r}")
