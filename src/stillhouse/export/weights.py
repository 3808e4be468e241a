"""Weights of a safetensors file into a module, checked."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from stillhouse.core.checks import InputError


def read_weights(path: Path, module: nn.Module) -> None:
    """Fill a module with the weights of a safetensors file.

    Raises:
        InputError: the file is missing or truncated, or holds the weights of another module.
    """
    try:
        weights = load(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path} is truncated or not safetensors: {error}") from None
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    got = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if expected != got:
        wrong = [n for n in {**expected, **got} if expected.get(n) != got.get(n)]
        shown = "; ".join(f"{n}: expected {expected.get(n)}, got {got.get(n)}" for n in wrong[:5])
        raise InputError(f"{path} holds another model than its card: {len(wrong)} entries differ ({shown})")
    module.load_state_dict(weights)
