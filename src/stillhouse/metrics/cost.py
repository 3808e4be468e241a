"""What a network costs, measured on this machine: size, operations of one input, time of a batch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from stillhouse.core.checks import InputError

WARM_UPS, MOST_REPEATS = 3, 200
BUDGET_SECONDS = 0.8  # of one median


def measure_cost(
    module: nn.Module,
    inputs: Callable[[int], torch.Tensor],
    file: Path | None = None,
    *,
    budget_seconds: float | None = None,
) -> dict[str, Any]:
    """Parameters, bytes of a file, counted operations and measured times of a network in eval mode.

    Takes about two seconds, or five calls where a call is slower than that allows. The network's modes and the random
    numbers of the run are left as they were.

    Args:
        module: inputs -> logits, on the CPU or a GPU.
        inputs: makes a batch of so many (`task.example`).
        file: its weights on disk.
        budget_seconds: of each of the two measured times.

    Returns:
        `params`; `bytes_on_disk` (None without a file); `flops` of one input as torch's counter has them (matrix
        products, convolutions and attention; a multiply-add is two); `ms_batch_1`, `ms_batch_64`: median milliseconds a
        batch after warm-up.

    Raises:
        InputError: `file` is not there.

    Example:
        Two inputs to three outputs: 2 x 3 weights and 3 biases, 2 x 2 x 3 operations.

        >>> cost = measure_cost(nn.Sequential(nn.Flatten(), nn.Linear(2, 3)), lambda count: torch.rand(count, 1, 1, 2))
        >>> cost["params"], cost["flops"], cost["bytes_on_disk"]
        (9, 12, None)
    """
    if file is not None and not file.is_file():
        raise InputError(f"cannot measure {file}: expected a file, got nothing there")
    first = next(module.parameters(), None)
    device = torch.device("cpu") if first is None else first.device
    with _aside(module, device), torch.no_grad():
        one, many = (inputs(size).to(device) for size in (1, 64))
        with FlopCounterMode(display=False) as counter:
            module(one)
        ms_one, ms_many = _median_ms(module, one, budget_seconds), _median_ms(module, many, budget_seconds)
    return {
        "params": sum(p.numel() for p in module.parameters()),
        "bytes_on_disk": None if file is None else file.stat().st_size,
        "flops": int(counter.get_total_flops()),
        "ms_batch_1": ms_one,
        "ms_batch_64": ms_many,
    }


@contextmanager
def _aside(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Eval mode and random numbers of its own; each sub-module gets its own mode back, frozen ones too."""
    modes = [(part, part.training) for part in module.modules()]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        module.eval()
        try:
            yield
        finally:
            for part, mode in modes:
                part.training = mode


def _median_ms(module: nn.Module, inputs: torch.Tensor, budget_seconds: float | None = None) -> float:
    """Median over as many calls as fit the budget, after a warm-up that may take half of it; one of each at least."""
    budget_seconds = BUDGET_SECONDS if budget_seconds is None else budget_seconds
    started = time.perf_counter()
    for _ in range(WARM_UPS):
        _call_ms(module, inputs)
        if time.perf_counter() - started > budget_seconds / 2:
            break
    waits = [_call_ms(module, inputs)]
    while time.perf_counter() - started < budget_seconds and len(waits) < MOST_REPEATS:
        waits.append(_call_ms(module, inputs))
    return statistics.median(waits)


def _call_ms(module: nn.Module, inputs: torch.Tensor) -> float:
    before = time.perf_counter()
    module(inputs)
    if inputs.is_cuda:
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - before)
