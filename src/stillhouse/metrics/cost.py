"""What a network costs, measured on this machine: size, operations of one input, time of a batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from stillhouse.core.checks import InputError
from stillhouse.layers.hooks import evaluating

BUDGET_SECONDS = 0.8  # of one time


def flop_counter() -> FlopCounterMode:
    """torch's counter; attention on a CPU, which torch before 2.14 leaves out, is counted as on a GPU."""
    aten = torch.ops.aten
    known = flop_registry[aten._scaled_dot_product_flash_attention]
    flop_registry.setdefault(aten._scaled_dot_product_flash_attention_for_cpu, known)
    return FlopCounterMode(display=False)


def measure_cost(module: nn.Module, inputs: Callable[[int], torch.Tensor], file: Path | None = None) -> dict[str, Any]:
    """Parameters, bytes of a file, counted operations and measured times of a network in eval mode.

    Takes about two seconds, or five calls where a call is slower than that allows.

    Args:
        module: inputs -> logits, on the CPU or a GPU.
        inputs: makes a batch of so many (`task.example`).
        file: its weights on disk.

    Returns:
        What `count_cost` counts; `ms_batch_1` and `ms_batch_64`: milliseconds a batch (`fastest_ms`); `threads`: of torch in
        these, one.

    Raises:
        InputError: `file` is not there.

    Example:
        Two inputs to three outputs: 2 x 3 weights and 3 biases, 2 x 2 x 3 operations.

        >>> cost = measure_cost(nn.Sequential(nn.Flatten(), nn.Linear(2, 3)), lambda count: torch.rand(count, 1, 1, 2))
        >>> cost["params"], cost["flops"], cost["bytes_on_disk"], cost["threads"]
        (9, 12, None, 1)
    """
    times = {f"ms_batch_{size}": fastest_ms(module, inputs, size) for size in (1, 64)}
    return {**count_cost(module, inputs, file), **times, "threads": 1}


def count_cost(module: nn.Module, inputs: Callable[[int], torch.Tensor], file: Path | None = None) -> dict[str, Any]:
    """Parameters, bytes of a file and counted operations; arguments and errors as of `measure_cost`.

    Returns:
        `params`; `bytes_on_disk` (None without a file); `flops` of one input as torch's counter has them (matrix
        products, convolutions and attention; a multiply-add is two).
    """
    if file is not None and not file.is_file():
        raise InputError(f"cannot measure {file}: expected a file, got nothing there")
    with _measurement_mode(module), flop_counter() as counter:
        module(inputs(1).to(_device(module)))
    return {
        "params": sum(p.numel() for p in module.parameters()),
        "bytes_on_disk": None if file is None else file.stat().st_size,
        "flops": int(counter.get_total_flops()),
    }


def activation_bytes(module: nn.Module, inputs: Tensor) -> int:
    """Bytes of what all modules without children put out in one forward pass in eval mode.

    Each output counts once: one that a module hands through (an identity, a view of its input) is not made anew.

    Example:
        Two numbers become three, and three become three more.

        >>> activation_bytes(nn.Sequential(nn.Linear(2, 3), nn.Sigmoid()), torch.zeros(1, 2))
        24
    """
    seen = {inputs.untyped_storage().data_ptr(): inputs}

    def keep(module: nn.Module, given: Any, output: Any) -> None:
        for tensor in tree_leaves(output):
            if isinstance(tensor, Tensor):
                seen.setdefault(tensor.untyped_storage().data_ptr(), tensor)  # held, so that no other has its place

    leaves = [part for part in module.modules() if next(part.children(), None) is None]
    hooks = [leaf.register_forward_hook(keep) for leaf in leaves]
    try:
        with evaluating(module):
            module(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return sum(tensor.untyped_storage().nbytes() for tensor in seen.values()) - inputs.untyped_storage().nbytes()


def fastest_ms(
    module: nn.Module, inputs: Callable[[int], torch.Tensor], size: int = 1, *, timer: Callable[[], float] | None = None
) -> float:
    """Milliseconds of a batch by one thread: the smallest of as many calls as fit the budget, two at least.

    The smallest, as `timeit` argues: what makes a call slower is other work on the machine, not the network. Of the processor's
    time, which on an idle machine is the clock's and does not count the turns of other programs. One thread, since more wait for
    each other beside another program, and since commands differ in how many they have.

    Args:
        module: inputs -> logits, on the CPU or a GPU.
        inputs: makes a batch of so many.
        size: of the batch.
        timer: seconds; None for the processor's, on a GPU the clock's.
    """
    with _measurement_mode(module):
        batch = inputs(size).to(_device(module))
        timer = timer or (time.perf_counter if batch.is_cuda else time.process_time)
        waits: list[float] = []
        started = time.perf_counter()
        while len(waits) < 2 or time.perf_counter() - started < BUDGET_SECONDS:
            before = timer()
            module(batch)
            if batch.is_cuda:
                torch.cuda.synchronize()
            waits.append(timer() - before)
    return 1000 * min(waits)


def _device(module: nn.Module) -> torch.device:
    first = next(module.parameters(), None)
    return torch.device("cpu") if first is None else first.device


@contextmanager
def _measurement_mode(module: nn.Module) -> Iterator[None]:
    """Eval mode, no gradients, one thread, random numbers of its own; all is left as it was."""
    threads, device = torch.get_num_threads(), _device(module)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), evaluating(module):
        _use(1)
        try:
            yield
        finally:
            _use(threads)


def _use(threads: int) -> None:
    """Set torch's threads where they are not those: setting them also ends what the library chose by itself."""
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
