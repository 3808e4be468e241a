"""Whether a device that a configuration asks for is here; asked before anything is loaded or trained."""

from __future__ import annotations

from stillhouse.core.checks import InputError


def check_device(device: str) -> None:
    """Raise InputError for a GPU that is not there; "auto" and "cpu" always are.

    Example:
        >>> check_device("auto")
    """
    import torch

    missing = {"cuda": not torch.cuda.is_available(), "mps": not torch.backends.mps.is_available()}
    if missing.get(device, False):
        raise InputError(f"device: expected a device that is here, got {device!r}; take auto or cpu")
