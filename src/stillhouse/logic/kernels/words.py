"""A vector of 64-bit words as a number of numba: kernels are written in Python, and LLVM keeps the words in SIMD registers.

`lanes` is a tuple of as many zeros as there are words: numba knows the length of a tuple when it compiles.
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


def _place(context: Any, builder: Any, kind: Any, array: Any, index: Any, vector: Any) -> Any:
    """The address of an element, as one of a vector."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


def _repeated(builder: Any, value: Any, lanes: int) -> Any:
    """One number in every lane."""
    empty = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    one = builder.insert_element(empty, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, empty, ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes))


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def load(typingctx: Any, array: Any, index: Any, lanes: Any) -> tuple[Any, Codegen]:
    """Words of an array of int64, from an index on."""
    vector = ir.VectorType(WORD, lanes.count)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = builder.load(_place(context, builder, signature.args[0], args[0], args[1], vector))
        value.align = 8
        return value

    return Words(lanes.count)(array, types.int64, lanes), codegen


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def store(typingctx: Any, array: Any, index: Any, words: Any) -> tuple[Any, Codegen]:
    """Write words into an array of int64."""
    vector = ir.VectorType(WORD, words.lanes)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        done = builder.store(args[2], _place(context, builder, signature.args[0], args[0], args[1], vector))
        done.align = 8
        return context.get_dummy_value()

    return types.void(array, types.int64, words), codegen


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def fill(typingctx: Any, value: Any, lanes: Any) -> tuple[Any, Codegen]:
    """The same word in every lane."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _repeated(builder, args[0], signature.return_type.lanes)

    return Words(lanes.count)(types.int64, lanes), codegen


def _binary(name: str) -> Any:
    @intrinsic  # type: ignore[untyped-decorator, unused-ignore]
    def operation(typingctx: Any, a: Any, b: Any) -> tuple[Any, Codegen]:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return getattr(builder, name)(*args)

        return a(a, a), codegen

    return operation


both, either, differ = _binary("and_"), _binary("or_"), _binary("xor")


def _shift(name: str) -> Any:
    @intrinsic  # type: ignore[untyped-decorator, unused-ignore]
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

    @intrinsic  # type: ignore[untyped-decorator, unused-ignore]
    def operation(typingctx: Any, a: Any, b: Any, c: Any) -> tuple[Any, Codegen]:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            vector = args[0].type
            if vector.count in (4, 8) and "+avx512vl" in context.codegen()._get_host_cpu_features():
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


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def all_ones(typingctx: Any, a: Any) -> tuple[Any, Codegen]:
    """Whether every bit is 1."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        whole = ir.IntType(64 * args[0].type.count)
        return builder.icmp_unsigned("==", builder.bitcast(args[0], whole), ir.Constant(whole, (1 << whole.width) - 1))

    return types.boolean(a), codegen


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def lowest(typingctx: Any, word: Any) -> tuple[Any, Codegen]:
    """The place of the lowest 1 in a word that is not 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(WORD, [WORD, ir.IntType(1)])
        count = cgutils.get_or_insert_function(builder.module, kind, "llvm.cttz.i64")
        return builder.call(count, [args[0], ir.Constant(ir.IntType(1), 1)])

    return types.int64(types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def above(typingctx: Any, values: Any, index: Any, limit: Any) -> tuple[Any, Codegen]:
    """A word that says of 64 bytes in a row, from an index on, which are larger than a limit."""
    vector = ir.VectorType(ir.IntType(8), 64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = builder.load(_place(context, builder, signature.args[0], args[0], args[1], vector))
        found.align = 1
        return builder.bitcast(builder.icmp_unsigned(">", found, _repeated(builder, args[2], 64)), WORD)

    return types.int64(values, types.int64, types.uint8), codegen


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def add_votes(typingctx: Any, sums: Any, at: Any, votes: Any, place: Any, value: Any, lanes: Any) -> tuple[Any, Codegen]:
    """`sums[at:at + n] += value * votes[place:place + n]` of int32, n the length of `lanes`."""
    vector = ir.VectorType(ir.IntType(32), lanes.count)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        sum_place = _place(context, builder, signature.args[0], args[0], args[1], vector)
        before = builder.load(sum_place)
        vote = builder.load(_place(context, builder, signature.args[2], args[2], args[3], vector))
        before.align = vote.align = 4
        done = builder.store(builder.add(before, builder.mul(vote, _repeated(builder, args[4], lanes.count))), sum_place)
        done.align = 4
        return context.get_dummy_value()

    return types.void(sums, types.int64, votes, types.int64, types.int32, lanes), codegen
