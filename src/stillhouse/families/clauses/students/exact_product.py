"""The clause product, exactly, in the number format that this machine multiplies fastest.

Bits are 0 and 1, masks -1, 0 and 1, counts far below 2^24: int8 and float32 give the same integers, so that nothing but time
depends on the choice. Which is faster depends on the CPU (with VNNI or without), its threads and the sizes: it is measured.

Shapes: ... leading axes, R rows, F bits, C clauses.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import linear

from stillhouse.layers.fastest import fastest

SMALLEST = 17  # rows, below which the integer kernel of a GPU refuses and a CPU gains nothing
TRIAL_ROWS, TRIAL_SIZE = 32, 2**21  # a measurement takes at least so many rows, and about so many multiply-adds


def can_count(bits: Tensor) -> bool:
    """Whether `count_hits` may stand in for the float product: nothing to differentiate, nothing to trace, on a CPU."""
    return not torch.is_grad_enabled() and counts_exactly(bits)


def counts_exactly(bits: Tensor) -> bool:
    """Whether there is an integer kernel for these bits and nobody traces: on a CPU, in full precision, with enough rows."""
    return (
        type(bits) is Tensor
        and bits.device.type == "cpu"
        and not torch.jit.is_tracing()
        and not torch.compiler.is_compiling()
        and not torch.onnx.is_in_onnx_export()
        and not torch.is_autocast_enabled("cpu")
        and torch._C._len_torch_dispatch_stack() == 0  # a counter of operations knows no integer product
        and bits.numel() >= SMALLEST * bits.shape[-1]
        and hasattr(torch, "_int_mm")
    )


def integers_are_faster(bits: Tensor, clauses: int) -> bool:
    """Whether the product of bits (..., F) with `clauses` masks is faster in int8 than in floats, on this machine."""
    width = max(bits.shape[-1], 1)
    rows = bits.numel() // width
    sizes = tuple(size.bit_length() for size in (rows, width, clauses))  # a class is a power of two
    key = ("clause product", sizes, bits.dtype, torch.get_num_threads())
    return fastest(partial(_ways, rows, width, clauses, bits.dtype), key) == "integers"


def _ways(rows: int, width: int, clauses: int, dtype: torch.dtype) -> dict[str, Callable[[], Tensor]]:
    """Both products of these sizes, cut where they are large; nothing random, nothing to differentiate."""
    rows = min(rows, max(TRIAL_ROWS, TRIAL_SIZE // (width * clauses)))
    clauses = min(clauses, max(1, TRIAL_SIZE // (rows * width)))
    bits = torch.ones(rows, width, dtype=dtype, device="cpu")
    kernel = torch.ones(clauses, width, dtype=torch.int8, device="cpu").T
    return {"floats": partial(count_in_floats, bits, kernel), "integers": partial(count_in_integers, bits, kernel)}


def count_hits(bits: Tensor, kernel: Tensor) -> Tensor:
    """`bits @ kernel`, exactly.

    Args:
        bits: (..., F) of 0 and 1.
        kernel: (F, C) int8, of -1, 0 and 1.

    Returns:
        (..., C) of the dtype of `bits`.

    Example:
        >>> count_hits(torch.ones(20, 3), torch.tensor([[1, 0], [-1, 1], [1, 1]], dtype=torch.int8))[0].tolist()
        [1.0, 2.0]
    """
    product = count_in_integers if integers_are_faster(bits, kernel.shape[1]) else count_in_floats
    return product(bits, kernel)


def count_in_integers(bits: Tensor, kernel: Tensor) -> Tensor:
    """The same with int8 factors and int32 sums."""
    hits: Tensor = torch._int_mm(bits.reshape(-1, bits.shape[-1]).to(torch.int8), kernel)
    return hits.to(bits.dtype).unflatten(0, bits.shape[:-1])


def count_in_floats(bits: Tensor, kernel: Tensor) -> Tensor:
    """The same with float32 factors and sums, which are exact below 2^24."""
    exact = torch.promote_types(bits.dtype, torch.float32)  # half formats hold no count above 256 or 2048
    return linear(bits.to(exact), kernel.T.to(exact)).to(bits.dtype)
