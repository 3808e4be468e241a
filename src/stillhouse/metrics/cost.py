"""What a network costs, measured on this machine: size, operations of one image, time of a batch."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def measure_cost(module: nn.Module, shape: tuple[int, int, int], file: Path | None = None) -> dict[str, Any]:
    """Parameters, bytes of a file, counted operations and measured times of a network in eval mode.

    Args:
        module: (B, C, H, W) -> logits, on the CPU or a GPU.
        shape: (C, H, W) of one image.
        file: its weights on disk.

    Returns:
        `params`; `bytes_on_disk` (None without a file); `flops` of one image as torch's counter has them (matrix
        products, convolutions and attention; a multiply-add is two); `ms_batch_1`, `ms_batch_64`: median milliseconds a
        batch after warm-up.
    """
    device = next(module.parameters()).device
    module.eval()
    with torch.no_grad():
        one = torch.rand(1, *shape, device=device)
        with FlopCounterMode(display=False) as counter:
            module(one)
        times = {size: _median_ms(module, torch.rand(size, *shape, device=device)) for size in (1, 64)}
    return {
        "params": sum(p.numel() for p in module.parameters()),
        "bytes_on_disk": None if file is None else file.stat().st_size,
        "flops": int(counter.get_total_flops()),
        "ms_batch_1": times[1],
        "ms_batch_64": times[64],
    }


def _median_ms(module: nn.Module, inputs: torch.Tensor, budget_seconds: float = 0.5) -> float:
    """Median over as many calls as fit the budget, at least 5, after 3 that do not count."""
    waits: list[float] = []
    started = time.perf_counter()
    while len(waits) < 8 or (time.perf_counter() - started < budget_seconds and len(waits) < 200):
        before = time.perf_counter()
        module(inputs)
        if inputs.is_cuda:
            torch.cuda.synchronize()
        waits.append(1000 * (time.perf_counter() - before))
    return statistics.median(waits[3:])
