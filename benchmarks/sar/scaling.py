"""Time against length: our FFT form and step form, beside S5 of s5-pytorch (0.2.1, from PyPI) on equal shapes, in one run.

    pip install s5-pytorch einops
    python -m benchmarks.sar.scaling --out benchmarks/results

All take (1, L, 16); ours has 32 complex modes a channel (512 in all), S5 512 complex states shared by the channels. Forward
passes without gradients; processor time of one thread, the median of five, taken in turn.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stillhouse.core.machine import machine
from stillhouse.layers.state_space import S4D
from stillhouse.tasks.sar.students import StateSpaceConfig
from stillhouse.tasks.sar.students.streaming import Stream

CHANNELS, MODES, REPEATS = 16, 32, 5
LENGTHS = tuple(2**n for n in range(8, 16))
MOST_STEPS = 2**12


def contestants() -> dict[str, tuple[Callable[[int], Any], int]]:
    """name -> (what is timed at a length, the greatest length)."""
    torch.manual_seed(0)
    layer = S4D(CHANNELS, MODES)
    config = StateSpaceConfig(
        input_dim=CHANNELS, output_dim=CHANNELS, model_dim=CHANNELS, state_dim=2 * MODES, num_layers=1, look_ahead=0
    )
    network = config.build().eval()

    def fft(length: int) -> Any:
        return layer(torch.randn(1, length, CHANNELS, dtype=torch.complex64))

    def steps(length: int) -> Any:
        stream, lines = Stream(network), torch.randn(length, 1, CHANNELS, dtype=torch.complex64)
        for line in lines:
            stream.step(line)

    found: dict[str, tuple[Callable[[int], Any], int]] = {
        "S4D, FFT form (complex)": (fft, max(LENGTHS)),
        "network of one layer, step form (complex)": (steps, MOST_STEPS),
    }
    try:
        s5: Any = importlib.import_module("s5")
    except ImportError:
        print("s5-pytorch is not installed: left out")
        return found
    other = s5.S5(CHANNELS, CHANNELS * MODES)
    found["s5-pytorch, parallel scan (real in and out)"] = (
        lambda length: other(torch.randn(1, length, CHANNELS)),
        max(LENGTHS),
    )
    return found


def measured(work: Callable[[int], Any], length: int) -> float:
    before = time.process_time()  # of one thread: another load on the machine does not stretch it
    with torch.no_grad():
        work(length)
    return 1000 * (time.process_time() - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rivals = contestants()
    waits: dict[str, dict[int, float]] = {name: {} for name in rivals}
    for length in LENGTHS:
        rounds: dict[str, list[float]] = {name: [] for name in rivals}
        for turn in range(REPEATS + 1):
            for name, (work, most) in rivals.items():
                if length <= most:
                    wait = measured(work, length)
                    rounds[name] += [wait] if turn else []  # the first one warms up
        for name, some in rounds.items():
            if some:
                waits[name][length] = statistics.median(some)
    print(f"| L | {' | '.join(f'{name}, ms' for name in rivals)} |\n|---|{'---|' * len(rivals)}")
    for length in LENGTHS:
        cells = " | ".join(f"{waits[name][length]:.2f}" if length in waits[name] else "" for name in rivals)
        print(f"| {length:,} | {cells} |")
    for name, row in waits.items():
        slope = np.polyfit(np.log(list(row)[3:]), np.log(list(row.values())[3:]), 1)[0]
        print(f"{name}: time grows as L^{slope:.2f} from L = {list(row)[3]:,} on")
    print(machine())
    draw(waits, options.out / "sar-scaling.svg")


def draw(waits: dict[str, dict[int, float]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, row in waits.items():
        axes.loglog(list(row), list(row.values()), "o-", label=name)
    lengths = np.array(LENGTHS, float)
    first = next(iter(waits.values()))
    scale = first[LENGTHS[-1]] / (lengths[-1] * np.log2(lengths[-1]))
    axes.loglog(lengths, scale * lengths * np.log2(lengths), "k:", label="L log L")
    axes.set(xlabel="length L", ylabel="processor milliseconds, forward")
    axes.legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
