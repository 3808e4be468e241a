"""Complex parameters kept as real pairs: optimizers, EMA, safetensors, quantization and ONNX all take those."""

from __future__ import annotations

import torch
from torch import Tensor

from stillhouse.core.checks import InputError


def joined(pairs: Tensor) -> Tensor:
    """The complex tensor (...) of real pairs (..., 2); gradients flow, nothing is copied.

    Example:
        >>> joined(torch.tensor([[3.0, 4.0]])).abs().tolist()
        [5.0]
    """
    return torch.view_as_complex(pairs.contiguous())


def paired(x: Tensor) -> Tensor:
    """Real pairs (..., 2) of a complex tensor (...).

    Example:
        >>> paired(torch.tensor([1 + 2j])).tolist()
        [[1.0, 2.0]]
    """
    return torch.view_as_real(x.resolve_conj())


def complex_sequence(name: str, x: Tensor, channels: int) -> None:
    """Raise `InputError` unless `x` is a complex sequence (B, L, channels) with at least one sample.

    Example:
        >>> complex_sequence("lines", torch.zeros(1, 4, 2), 2)
        Traceback (most recent call last):
        ...
        stillhouse.core.checks.InputError: lines: expected complex numbers, got torch.float32; use torch.complex(re, im)
    """
    if not x.is_complex():
        raise InputError(f"{name}: expected complex numbers, got {x.dtype}; use torch.complex(re, im)")
    if x.ndim != 3 or x.shape[-1] != channels or 0 in x.shape:
        raise InputError(f"{name}: expected shape (batch, length, {channels}) without empty axes, got {tuple(x.shape)}")
