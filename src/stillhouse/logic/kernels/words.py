"""A vector of 64-bit words as a number of numba: kernels are written in Python, and LLVM keeps the words in SIMD registers.

`lanes` is a tuple of n zeros for 2^n words: numba knows the length of a tuple when it compiles.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

WORD = ir.IntType(64)
Codegen = Callable[..., Any]


class Words(types.Type):
    """Of so many words."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(name=f"Words({lanes})")


@register_model(Words)
class WordsModel(models.PrimitiveModel):
    """Held as a vector of LLVM."""

    def __init__(self, dmm: Any, fe_type: Words) -> None:
        super().__init__(dmm, fe_type, ir.VectorType(WORD, fe_type.lanes))


def _place(builder: Any, base: Any, index: Any, kind: Any, element: Any = WORD) -> Any:
    """The address of element `index` behind `base`, as one of another kind."""
    first = builder.inttoptr(base, element.as_pointer())
    return builder.bitcast(builder.gep(first, [index]), kind.as_pointer())


def _repeated(builder: Any, value: Any, lanes: int) -> Any:
    """One number in every lane."""
    empty = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    one = builder.insert_element(empty, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, empty, ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes))


@intrinsic
def address(typingctx: Any, array: Any) -> tuple[Any, Codegen]:
    """Where an array begins. Kernels pass addresses: numba counts references to arrays, and looks for negative indices."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ptrtoint(context.make_array(signature.args[0])(context, builder, args[0]).data, WORD)

    return types.int64(array), codegen


@intrinsic
def number(typingctx: Any, base: Any, index: Any) -> tuple[Any, Codegen]:
    """One int64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_place(builder, args[0], args[1], WORD))

    return types.int64(types.int64, types.int64), codegen


def _plain(name: str, bits: int) -> Any:
    """One whole number of another width, as int64; bytes without a sign."""
    kind = ir.IntType(bits)

    @intrinsic
    def read(typingctx: Any, base: Any, index: Any) -> tuple[Any, Codegen]:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return getattr(builder, name)(builder.load(_place(builder, args[0], args[1], kind, kind)), WORD)

        return types.int64(types.int64, types.int64), codegen

    return read


byte, short = _plain("zext", 8), _plain("sext", 32)


@intrinsic
def load(typingctx: Any, base: Any, index: Any, lanes: Any) -> tuple[Any, Codegen]:
    """Words behind an address, from an index on."""
    vector = ir.VectorType(WORD, 1 << lanes.count)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = builder.load(_place(builder, args[0], args[1], vector))
        value.align = 8
        return value

    return Words(1 << lanes.count)(types.int64, types.int64, lanes), codegen


@intrinsic
def load_row(typingctx: Any, base: Any, rows: Any, index: Any, lanes: Any) -> tuple[Any, Codegen]:
    """Words behind an address, from the place on that an int32 behind `rows` names."""
    vector, short = ir.VectorType(WORD, 1 << lanes.count), ir.IntType(32)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        row = builder.sext(builder.load(_place(builder, args[1], args[2], short, short)), WORD)
        value = builder.load(_place(builder, args[0], row, vector))
        value.align = 8
        return value

    return Words(1 << lanes.count)(types.int64, types.int64, types.int64, lanes), codegen


@intrinsic
def store(typingctx: Any, base: Any, index: Any, words: Any) -> tuple[Any, Codegen]:
    """Write words behind an address, from an index on."""
    vector = ir.VectorType(WORD, words.lanes)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        done = builder.store(args[2], _place(builder, args[0], args[1], vector))
        done.align = 8
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, words), codegen


@intrinsic
def fill(typingctx: Any, value: Any, lanes: Any) -> tuple[Any, Codegen]:
    """The same word in every lane."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _repeated(builder, args[0], signature.return_type.lanes)

    return Words(1 << lanes.count)(types.int64, lanes), codegen


def _binary(name: str) -> Any:
    @intrinsic
    def operation(typingctx: Any, a: Any, b: Any) -> tuple[Any, Codegen]:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return getattr(builder, name)(*args)

        return a(a, a), codegen

    return operation


both, either, differ = _binary("and_"), _binary("or_"), _binary("xor")


def _shift(name: str) -> Any:
    @intrinsic
    def operation(typingctx: Any, a: Any, count: Any) -> tuple[Any, Codegen]:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return getattr(builder, name)(args[0], _repeated(builder, args[1], signature.args[0].lanes))

        return a(a, types.int64), codegen

    return operation


left, right = _shift("shl"), _shift("lshr")


def _table(function: Callable[[int, int, int], int]) -> int:
    return sum(function(i >> 2 & 1, i >> 1 & 1, i & 1) << i for i in range(8))


def _of_three(function: Callable[[int, int, int], int], plain: Callable[..., Any]) -> Any:
    """A function of three words: one instruction with AVX-512, else as written."""

    @intrinsic
    def operation(typingctx: Any, a: Any, b: Any, c: Any) -> tuple[Any, Codegen]:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            vector = args[0].type
            if _has_ternary(context, vector.count):
                kind = ir.FunctionType(vector, [vector, vector, vector, ir.IntType(32)])
                name = f"llvm.x86.avx512.pternlog.q.{64 * vector.count}"
                ternary = cgutils.get_or_insert_function(builder.module, kind, name)
                return builder.call(ternary, [*args, ir.Constant(ir.IntType(32), _table(function))])
            return plain(builder, *args)

        return a(a, a, a), codegen

    return operation


add = _of_three(lambda a, b, c: a ^ b ^ c, lambda q, a, b, c: q.xor(q.xor(a, b), c))
carry = _of_three(lambda a, b, c: int(a + b + c > 1), lambda q, a, b, c: q.xor(b, q.and_(q.xor(a, b), q.xor(b, c))))
# not the carry of a, not b, not c; their sum is that of a, b, c
carry_of_nots = _of_three(
    lambda a, b, c: int(a + (1 - b) + (1 - c) < 2), lambda q, a, b, c: q.xor(a, q.or_(q.xor(a, b), q.xor(b, c)))
)


@intrinsic
def but_not(typingctx: Any, a: Any, b: Any) -> tuple[Any, Codegen]:
    """Where a has a 1 and b has none."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.and_(args[0], builder.not_(args[1]))

    return a(a, a), codegen


@intrinsic
def all_zeros(typingctx: Any, a: Any) -> tuple[Any, Codegen]:
    """Whether every bit is 0: one instruction of AVX, which a comparison with ones is not."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        whole = ir.IntType(64 * args[0].type.count)
        return builder.icmp_unsigned("==", builder.bitcast(args[0], whole), ir.Constant(whole, 0))

    return types.boolean(a), codegen


@intrinsic
def adds_three(typingctx: Any, lanes: Any) -> tuple[Any, Codegen]:
    """Whether this CPU has an instruction for any function of three words: known when a kernel is compiled."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(ir.IntType(1), int(_has_ternary(context, 1 << signature.args[0].count)))

    return types.boolean(lanes), codegen


def _has_ternary(context: Any, words: int) -> bool:
    return words in (4, 8) and "+avx512vl" in context.codegen()._get_host_cpu_features()


@intrinsic
def lowest(typingctx: Any, word: Any) -> tuple[Any, Codegen]:
    """The place of the lowest 1 in a word that is not 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(WORD, [WORD, ir.IntType(1)])
        count = cgutils.get_or_insert_function(builder.module, kind, "llvm.cttz.i64")
        return builder.call(count, [args[0], ir.Constant(ir.IntType(1), 1)])

    return types.int64(types.int64), codegen


@intrinsic
def above(typingctx: Any, base: Any, index: Any, limit: Any) -> tuple[Any, Codegen]:
    """A word that says of 64 bytes in a row, from an index on, which are larger than a limit."""
    byte = ir.IntType(8)
    vector = ir.VectorType(byte, 64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = builder.load(_place(builder, args[0], args[1], vector, byte))
        found.align = 1
        return builder.bitcast(builder.icmp_unsigned(">", found, _repeated(builder, args[2], 64)), WORD)

    return types.int64(types.int64, types.int64, types.uint8), codegen


@intrinsic
def add_votes(
    typingctx: Any, sums: Any, at: Any, votes: Any, place: Any, value: Any, lanes: Any
) -> tuple[Any, Codegen]:
    """`sums[at:at + n] += value * votes[place:place + n]` of int32 behind addresses, n = 2^length of `lanes`."""
    short = ir.IntType(32)
    vector = ir.VectorType(short, 1 << lanes.count)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to = _place(builder, args[0], args[1], vector, short)
        before, vote = builder.load(to), builder.load(_place(builder, args[2], args[3], vector, short))
        before.align = vote.align = 4
        done = builder.store(builder.add(before, builder.mul(vote, _repeated(builder, args[4], 1 << lanes.count))), to)
        done.align = 4
        return context.get_dummy_value()

    plain = types.int64
    return types.void(plain, plain, plain, plain, types.int32, lanes), codegen
