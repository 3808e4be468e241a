"""Memory and time per line of the step form; each case in a process of its own.

    python -m benchmarks.sar.streaming runs/sar/least/arms/kd/seed-0 --lines 1000 10000 100000 1000000   one range bin
    python -m benchmarks.sar.streaming --width 2048 20480      rows of a whole swath, beside filters that know the radar

Full-width rows: every range bin has a rate of its own (30 % over the swath, 65 pulses an aperture in the middle). The FFT processor
is overlap-save: it waits for a block of rows, transforms it along azimuth by `scipy.fft` on one worker, multiplies with the spectra
of the bins' matched filters and transforms back; the time of a block is shared among the rows that become ready with it. The
filter row by row keeps the last rows and sums taps. Networks have random weights, which do not change what a row takes.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy import fft

from stillhouse.tasks.sar.data.matched_filter import matched_filter
from stillhouse.tasks.sar.data.parameters import preset
from stillhouse.tasks.sar.data.sequences import rate_at
from stillhouse.tasks.sar.stream import stream
from stillhouse.tasks.sar.students import StateSpaceConfig
from stillhouse.tasks.sar.students.streaming import Stream

SPREAD = 0.3
WARM_UP, ROWS = 80, 120
FFT = "FFT processor, blocks of 512 rows"
Measured = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="of a saved network: one range bin, many lines")
    parser.add_argument("--lines", nargs="+", type=int, default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--width", nargs="+", type=int, help="range bins of a row")
    parser.add_argument("--json", type=Path, help="with --width: file for the figures")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.case is not None:
        print(json.dumps(CASES[options.case](options.width[0])))
    elif options.width is not None:
        rows(options.width, options.json)
    elif options.folder is None:
        parser.error("expected a folder, or --width")
    elif len(options.lines) == 1:
        print(json.dumps(asdict(stream(options.folder, lines=options.lines[0]))))
    else:
        lines(options.folder, options.lines)


def lines(folder: Path, counts: list[int]) -> None:
    """One range bin: does a line take as long, and as much memory, after a million as after a thousand?"""
    head = (
        "lines",
        "processor ms a line",
        "ms a line",
        "first 1 024",
        "last",
        "state, bytes, before and after",
        "peak grew by",
    )
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}", flush=True)
    for count in counts:
        said = _alone(str(folder), "--lines", str(count))
        times = " | ".join(
            "–" if said[name] is None else f"{said[name]:.4f}"
            for name in ("processor_ms", "median_ms", "first_ms", "last_ms")
        )
        state = f"{said['state_bytes']:,} and {said['state_bytes_end']:,}"
        print(f"| {count:,} | {times} | {state} | {said['peak_growth_bytes'] / 1024:,.0f} kB |", flush=True)


def rows(widths: list[int], file: Path | None) -> None:
    """Whole rows: every case beside the FFT processor at the same width."""
    head = (
        "range bins",
        "focuser",
        "time of the FFT processor's",
        "memory of its",
        "processor ms a row",
        "kept, MB",
        "peak grew by, MB",
        "rows of latency",
    )
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}", flush=True)
    found: dict[str, dict[str, Measured]] = {}
    for width in widths:
        every = {name: _alone("--width", str(width), "--case", name) for name in CASES}
        found[str(width)] = every
        base = every[FFT]
        for name, one in every.items():
            ratios = f"{one['ms'] / base['ms']:.2f} | {one['peak_mb'] / base['peak_mb']:.2f}"
            figures = f"{one['ms']:.3f} | {one['kept_mb']:.1f} | {one['peak_mb']:.1f} | {one['latency']:.0f}"
            print(f"| {width:,} | {name} | {ratios} | {figures} |", flush=True)
    if file is not None:
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _alone(*words: str) -> Measured:
    command = [sys.executable, "-m", "benchmarks.sar.streaming", *words]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


# ---------------------------------------------------------------------------------------------- the cases


def small_network(width: int) -> Measured:
    """6 / 30 / 2, the least of the students that focus one rate."""
    return network(StateSpaceConfig(model_dim=6, state_dim=30, num_layers=2, look_ahead=64), width)


def network(config: StateSpaceConfig, width: int) -> Measured:
    """A network in its step form, all range bins side by side."""
    torch.manual_seed(0)
    feed = torch.from_numpy(drawn(width))
    code = torch.complex(torch.linspace(0, 1, width), torch.zeros(width))
    before = peak()
    flow = Stream(config.build().eval(), width)

    def step(number: int) -> None:
        line = feed[number % len(feed)].unsqueeze(-1)
        flow.step(torch.cat([line, code.unsqueeze(-1)], -1) if config.coded else line)

    spent = timed(step, WARM_UP + ROWS)
    read = sum(x.numel() * x.element_size() for layer in flow._step.layers for x in (layer.poles, layer.weights))
    held = flow.state_bytes
    return {
        "ms": spent,
        "kept_mb": (held + read) / 1e6,
        "peak_mb": peak() - before,
        "latency": flow.latency,
    }


def row_filter(width: int) -> Measured:
    """The matched filters row by row: the last rows are kept, newest in the place of the oldest."""
    feed = drawn(width)
    before = peak()
    taps = np.ascontiguousarray(kernels(width).T)  # (K, W), oldest sample last
    twice = np.concatenate([taps, taps])  # so that a turn of the ring is a slice
    count = len(taps)
    ring = np.zeros((count, width), np.complex64)

    def step(number: int) -> None:
        place = count - 1 - number % count
        ring[place] = feed[number % len(feed)]
        start = count - place
        np.einsum("kw,kw->w", ring, twice[start : start + count])

    spent = timed(step, WARM_UP + ROWS)
    kept = (ring.nbytes + twice.nbytes) / 1e6
    return {"ms": spent, "kept_mb": kept, "peak_mb": peak() - before, "latency": count // 2}


def fft_processor(width: int, block: int = 512) -> Measured:
    """Overlap-save over blocks of rows."""
    feed = drawn(width)
    before = peak()
    spectra = fft.fft(kernels(width).T, block, axis=0, workers=1)  # (block, W)
    count = kernels(1).shape[1]
    held = np.zeros((block, width), np.complex64)
    fresh = block - count + 1
    blocks = 3

    def step(number: int) -> None:
        held[: count - 1] = held[fresh:]
        for row in range(fresh):
            held[count - 1 + row] = feed[row % len(feed)]
        found = fft.fft(held, axis=0, workers=1)
        found *= spectra
        fft.ifft(found, axis=0, overwrite_x=True, workers=1)

    spent = timed(step, 1 + blocks, warm_up=1) / fresh
    kept = (held.nbytes + spectra.nbytes) / 1e6
    return {"ms": spent, "kept_mb": kept, "peak_mb": peak() - before, "latency": fresh + count // 2}


CASES: dict[str, Callable[[int], Measured]] = {
    FFT: fft_processor,
    "FFT processor, blocks of 128 rows": partial(fft_processor, block=128),
    "matched filters of 73 taps, row by row": row_filter,
    "network 6 / 30 / 2 (one rate)": small_network,
}


def kernels(width: int) -> np.ndarray:
    """(W, K) matched filters of all range bins, of one length."""
    radar = preset("toy-64")
    rates = rate_at(radar, np.linspace(0, 1, width), SPREAD)
    slowest = rate_at(radar, np.array([1.0]), SPREAD)
    half = int(radar.prf * radar.doppler_bandwidth / slowest[0] / 2)
    return matched_filter(radar, azimuth_rate=rates, half=half).astype(np.complex64)


def drawn(width: int, count: int = 16) -> np.ndarray:
    """(count, W) rows of white noise."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, width, 2)).astype(np.float32).view(np.complex64)[..., 0]


def timed(step: Callable[[int], None], count: int, warm_up: int = WARM_UP) -> float:
    """Mean processor milliseconds of a step after the warm-up."""
    for number in range(warm_up):
        step(number)
    begun = time.process_time()
    for number in range(warm_up, count):
        step(number)
    return 1000 * (time.process_time() - begun) / (count - warm_up)


def peak() -> float:
    """The most memory that this process ever held, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


if __name__ == "__main__":
    main()
