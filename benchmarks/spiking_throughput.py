"""Tokens a second of a training step of the spiking language model: mixers, dense and with spikes and ternary weights.

    OMP_NUM_THREADS=1 python -m benchmarks.spiking_throughput

Forward, backward and AdamW; processor time of this process, best of a few steps, so that other work on the machine counts little.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import torch
from torch import nn

from stillhouse.families.lm.students import SpikingLMConfig


def tokens_per_second(config: SpikingLMConfig, *, texts: int, length: int, steps: int) -> float:
    """Of the fastest step after the first."""
    torch.manual_seed(0)
    model = config.build()
    optimizer = torch.optim.AdamW(model.parameter_groups(0.01), lr=1e-3)
    tokens = torch.randint(0, config.vocab_size, (texts, length + 1))
    seconds = []
    for _ in range(steps + 1):
        began = time.process_time()
        logits = model(tokens[:, :-1]).logits
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        for weight, value in model.regularizers().values():
            loss = loss + weight * value
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds.append(time.process_time() - began)
    return texts * length / min(seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--length", type=int, default=256, help="tokens of a text")
    parser.add_argument("--texts", type=int, default=8)
    parser.add_argument("--chunk", type=int, default=32)
    parser.add_argument("--steps", type=int, default=5)
    given = parser.parse_args()
    base = SpikingLMConfig(vocab_size=1024, width=given.width, layers=given.layers, chunk=given.chunk)
    for mixer in ("delta", "gated", "scalar"):
        for name, config in (("spikes", base), ("dense", base.without_special_part())):
            made = replace(config, mixer=mixer)
            speed = tokens_per_second(made, texts=given.texts, length=given.length, steps=given.steps)
            print(f"{mixer:7s} {name:7s} {speed:8.0f} tokens/s", flush=True)


if __name__ == "__main__":
    main()
