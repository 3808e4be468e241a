"""Which teacher this is: a fingerprint of its weights, so that a run never continues with another one."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def weights_sha256(module: nn.Module) -> str:
    """SHA-256 over all tensors of a module's state, sorted by name; devices and strides do not count.

    Example:
        >>> net = nn.Linear(1, 1)
        >>> before = weights_sha256(net)
        >>> _ = nn.init.constant_(net.bias, 3.0)
        >>> before == weights_sha256(net), len(before)
        (False, 64)
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
