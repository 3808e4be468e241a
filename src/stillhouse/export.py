"""Weights of a file into a network, checked; a network as a program of `torch.export`, held against the network.

Shapes: N rows, B rows of a batch.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.records import write_atomically

ROUNDING, BATCH = 1e-4, 64


def trace_network(network: nn.Module, example: Tensor) -> tuple[bytes, Any]:
    """A program of a network with as many rows as wanted, and the same read back.

    Args:
        network: in eval mode; from one tensor to one tensor.
        example: (B, ...) at least two rows.

    Raises:
        InputError: torch cannot trace it.
    """
    free = {0: torch.export.Dim("rows", min=1, max=2**20)}
    with quiet(), torch.no_grad():
        try:
            buffer = io.BytesIO()  # torch ends the process by SIGABRT where the disk that it writes to is full
            torch.export.save(torch.export.export(network, (example,), dynamic_shapes=(free,)), buffer)
            buffer.seek(0)
            return buffer.getvalue(), torch.export.load(buffer).module()
        except Exception as error:  # whatever a network of anyone's does to a tracer
            raise InputError(f"torch: torch.export cannot trace this network: {first_line(error)}") from None


@torch.no_grad()
def write_compared(network: nn.Module, rows: Tensor, out: Path, what: str) -> str:
    """Write a network as a program, and hold its answers to some rows against the network's.

    Args:
        network: in eval mode; from one tensor to one tensor.
        rows: (N, ...) that both are asked about.
        out: the file.
        what: the rows in words.

    Returns:
        "answers to 60 test rows within ...; rows: any number of (16,)".

    Raises:
        InputError: torch cannot trace it, or other answers.
    """
    expected = torch.cat(
        [network(some) for some in rows.split(BATCH)]
    )  # before it is traced: tables are made at first use
    raw, program = trace_network(network, rows[:1].expand(2, *rows.shape[1:]).contiguous())
    got = torch.cat([program(some) for some in rows.split(BATCH)])
    largest = float((got - expected).abs().max())
    if not largest <= ROUNDING * max(1.0, float(expected.abs().max())):
        raise InputError(f"{out.name}: expected the answers of the network within {ROUNDING}, got {largest:.3g} apart")
    write_atomically(out, lambda file: file.write(raw))
    return f"answers to {what} within {largest:.1g} of the network's; takes any number of rows of shape {tuple(rows.shape[1:])}"


def first_line(error: Exception) -> str:
    """What a library's error says before its advice."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Torch's exporter prints pages; what matters is checked afterwards."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


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
