"""A trained network under other noise and azimuth rates than it learned from; the matched filter beside it knows the rate.

python -m benchmarks.sar.conditions runs/sar/tiny/arms/kd/seed-0
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from stillhouse.tasks.sar.saved import load_data_config, load_model
from stillhouse.tasks.sar.score import baselines, judge
from stillhouse.tasks.sar.teacher import focused, in_units


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, scale = load_model(options.folder)
    plain = replace(load_data_config(options.folder), train=64, validation=8)
    print(
        "| noise of the raw data | azimuth rates | network, NMSE dB | coherence | matched filter, NMSE dB | coherence |"
    )
    print("|---|---|---|---|---|---|")
    cases = [(snr, 0.0) for snr in (None, 30.0, 20.0, 10.0, 0.0)] + [(20.0, spread) for spread in (0.02, 0.1, 0.3)]
    for snr, spread in cases:
        data = replace(plain, snr_db=snr, rate_spread=spread).build()
        said = focused(in_units(model, scale, data), data.test.inputs)
        best = baselines(data)[0].focus(data.test.inputs, data.kernels(data.test))
        figures = (judge(x, data.test, data.valid) for x in (said, best))
        cells = " | ".join(f"{-one['snr_db']:.2f} | {one['coherence']:.4f}" for one in figures)
        noise = "none" if snr is None else f"SNR {snr:g} dB"
        print(f"| {noise} | {'one' if not spread else f'spread over {spread:.0%}'} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
