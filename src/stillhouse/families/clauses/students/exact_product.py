"""The clause product in small integers: the same counts as in float, faster where nothing is learned.

Shapes: ... leading axes, F bits, C clauses.
"""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST = 17  # rows, below which the integer kernel of a GPU refuses and a CPU gains nothing


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
        and bits.numel() >= SMALLEST * bits.shape[-1]
        and hasattr(torch, "_int_mm")
    )


def count_hits(bits: Tensor, kernel: Tensor) -> Tensor:
    """`bits @ kernel` with int8 factors and int32 sums, exactly.

    Args:
        bits: (..., F) of 0 and 1.
        kernel: (F, C) int8, of -1, 0 and 1.

    Returns:
        (..., C) of the dtype of `bits`.

    Example:
        >>> count_hits(torch.ones(20, 3), torch.tensor([[1, 0], [-1, 1], [1, 1]], dtype=torch.int8))[0].tolist()
        [1.0, 2.0]
    """
    hits: Tensor = torch._int_mm(bits.reshape(-1, bits.shape[-1]).to(torch.int8), kernel)
    return hits.to(bits.dtype).unflatten(0, bits.shape[:-1])
