"""Which weights a network has: a fingerprint that tells one teacher from another."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def weights_sha256(module: nn.Module) -> str:
    """SHA-256 over the names, types, shapes and bytes of all entries of the state dict, sorted by name.

    Example:
        >>> one, other = nn.Linear(2, 2), nn.Linear(2, 2)
        >>> before = weights_sha256(one) == weights_sha256(other)
        >>> _ = other.load_state_dict(one.state_dict())
        >>> before, weights_sha256(one) == weights_sha256(other)
        (False, True)
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        held = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {held.dtype} {tuple(held.shape)}".encode())
        digest.update(held.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
