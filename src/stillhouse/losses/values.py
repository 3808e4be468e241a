"""Checks of the numbers in a tensor."""

from __future__ import annotations

import torch
from torch import Tensor


def everywhere(condition: Tensor) -> bool:
    """Whether a condition holds everywhere; under `torch.compile` it is taken for granted, not computed.

    Python's `if` on a tensor waits for the device and cuts a compiled graph in two. So inputs are checked in eager mode; a
    compiled step trusts them.

    Example:
        >>> everywhere(torch.tensor([1.0, 2.0]) > 0), everywhere(torch.tensor([1.0, -2.0]) > 0)
        (True, False)
    """
    return torch.compiler.is_compiling() or bool(condition.all())
