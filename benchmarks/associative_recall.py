"""Can a student look something up? Multi-query associative recall at a distance, per mixer, dense and with spikes.

A text begins by binding keys to values (k v k v ...); after filler each key is asked for once, in random order, and its value
must follow: `distance` tokens after it was bound or up to 4 * pairs more. Keys, values and filler are disjoint sets of tokens,
new bindings in every text, so nothing can be learnt by heart: only a memory that binds can do it. Chance is 1 / values.

    python -m benchmarks.associative_recall --out runs/recall            # all arms, then the table and the plot
    python -m benchmarks.associative_recall --out runs/recall --only delta-dense-32

Influence (the plot): the gradient of the sum of a mixer's answers at the last token in its input `distance` tokens before,
relative to distance 0, at the start of training and with the arms' configuration.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from stillhouse.families.lm.students import SpikeConfig, SpikingLMConfig
from stillhouse.families.lm.students.network import SpikingLM
from stillhouse.layers.recurrent import published_scalar_scan, scalar_recurrent

PAIRS, KEYS, VALUES, FILLERS = 6, 16, 16, 8
VOCABULARY = KEYS + VALUES + FILLERS
BASE = SpikingLMConfig(vocab_size=VOCABULARY, width=64, layers=2, heads=2, ffn=2.0, chunk=32)
SPIKES = SpikeConfig(density=0.3)
ARMS: dict[str, SpikingLMConfig] = {
    "delta-dense": replace(BASE.without_special_part(), mixer="delta"),
    "gated-dense": replace(BASE.without_special_part(), mixer="gated"),
    "scalar-dense": replace(BASE.without_special_part(), mixer="scalar"),
    "delta-ternary-weights": replace(BASE, spikes=None),
    "delta-spikes": replace(BASE, ternary_weights=()),
    "delta-spikes-ternary": BASE,
    "delta-spikes-ternary-4-levels": replace(BASE, spikes=replace(SPIKES, levels=4, hidden_levels=4)),
    "gated-spikes-ternary": replace(BASE, mixer="gated"),
}
STEPS, BATCH, RAMP = 1000, 32, (0.2, 0.5)


def texts(count: int, distance: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Tokens (count, L) and which of them are answers (count, L) bool."""
    keys = torch.rand(count, KEYS, generator=generator).argsort(1)[:, :PAIRS]
    values = KEYS + torch.randint(VALUES, (count, PAIRS), generator=generator)
    bound = torch.stack([keys, values], 2)
    filler = KEYS + VALUES + torch.randint(FILLERS, (count, distance - 2), generator=generator)
    order = torch.rand(count, PAIRS, generator=generator).argsort(1)
    asked = bound.gather(1, order.unsqueeze(-1).expand(-1, -1, 2))
    tokens = torch.cat([bound.flatten(1), filler, asked.flatten(1)], 1)
    answers = torch.zeros_like(tokens, dtype=torch.bool)
    answers[:, -2 * PAIRS + 1 :: 2] = True
    return tokens, answers


def accuracy(model: SpikingLM, distance: int, seed: int = 10_000) -> float:
    """Share of right answers in 256 fresh texts."""
    model.eval()
    tokens, answers = texts(256, distance, torch.Generator().manual_seed(seed + distance))
    with torch.no_grad():
        guesses = model(tokens[:, :-1]).logits.argmax(-1)
    model.train()
    right = guesses == tokens[:, 1:]
    return right[answers[:, 1:]].float().mean().item()


def train(config: SpikingLMConfig, distance: int, *, seed: int = 0, steps: int = STEPS) -> dict[str, object]:
    """One arm: dense at first, quantized by a ramp, then polished; answers alone are in the loss."""
    torch.manual_seed(seed)
    model = config.build()
    special = config.spikes is not None or bool(config.ternary_weights)
    optimizer = torch.optim.AdamW(model.parameter_groups(0.01), lr=3e-3, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.05)
    generator, began, first = torch.Generator().manual_seed(seed), time.perf_counter(), None
    for step in range(steps):
        share = min(1.0, max(0.0, (step / steps - RAMP[0]) / (RAMP[1] - RAMP[0])))
        if special:
            if share > 0 and first is None and config.spikes is not None:
                model.calibrate(texts(64, distance, generator)[0])
            first = step if share > 0 and first is None else first
            model.quantize(min(1.0, 2 * share), spikes=max(0.0, 2 * share - 1))
        tokens, answers = texts(BATCH, distance, generator)
        logits = model(tokens[:, :-1]).logits
        loss = nn.functional.cross_entropy(logits[answers[:, 1:]], tokens[:, 1:][answers[:, 1:]])
        for weight, value in model.regularizers().values():
            loss = loss + weight * value
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 250 == 249:
            print(f"  step {step + 1}: loss {loss.item():.3f}, accuracy {accuracy(model, distance):.3f}", flush=True)
    reached = {str(d): accuracy(model, d) for d in (distance, 2 * distance)}
    return {"distance": distance, "accuracy": reached, "seconds": time.perf_counter() - began, **model.figures()}


def influence(config: SpikingLMConfig, length: int = 129) -> list[float]:
    """Norm of d (answer at the last token) / d (input so many tokens before), relative to the last token; one mixer."""
    torch.manual_seed(0)
    mixer = config.build().blocks[0].mixer
    x = torch.randn(8, length, config.width, requires_grad=True)
    mixer(x)[0][:, -1].sum().backward()  # type: ignore[operator]
    norms = x.grad.norm(dim=-1).mean(0).flip(0)  # type: ignore[union-attr]
    return (norms / norms[0]).tolist()


def published_influence(length: int = 129, decay: float = 0.3775) -> tuple[list[float], list[float]]:
    """The public scan and the exact scalar recurrence: size of the state, t tokens into ones, relative to its limit."""
    x, log_d = torch.ones(1, length, 1), torch.tensor([decay]).log()
    limit = 1 / (1 - decay)
    published, exact = published_scalar_scan(x, log_d), scalar_recurrent(x, log_d)[0]
    return (published.flatten() / limit).tolist(), (exact.flatten() / limit).tolist()


def plot(out: Path) -> None:
    """Two panels: influence against distance, and the size of the public scan's state against position."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.6), constrained_layout=True)
    for name in ("delta-dense", "gated-dense", "scalar-dense"):
        left.semilogy([max(v, 1e-12) for v in influence(ARMS[name])], label=name.split("-")[0])
    left.set(xlabel="distance in tokens", ylabel="influence, relative to distance 0", ylim=(1e-12, 3))
    left.legend()
    published, exact = published_influence()
    right.plot(range(1, 61), exact[:60], label="s = d s + 1, exact")
    right.plot(range(1, 61), published[:60], label="d^t cumsum(1 / (d^t + 1e-8))")
    right.set(xlabel="position", ylabel="state, relative to its limit", title="the public scan at its start, d = 0.378")
    right.legend()
    figure.savefig(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of results; arms that are there are not run again"
    )
    parser.add_argument("--only", nargs="*", help="arms by name, as delta-dense-32")
    parser.add_argument("--steps", type=int, default=STEPS, help="optimizer steps an arm")
    parser.add_argument("--table", action="store_true", help="no training: the table and the plot of what is there")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for distance in (32, 64):
        for arm, config in ARMS.items():
            name = f"{arm}-{distance}"
            file = arguments.out / f"{name}.json"
            if arguments.table or file.exists() or (arguments.only and name not in arguments.only):
                continue
            print(name, flush=True)
            file.write_text(json.dumps(train(config, distance, steps=arguments.steps), indent=1), encoding="utf-8")
    for file in sorted(arguments.out.glob("*.json")):
        said = json.loads(file.read_text(encoding="utf-8"))
        figures = {
            key: round(said[key], 3) for key in ("density", "dead_channels", "saturated_channels") if key in said
        }
        print(f"{file.stem:40s} {said['accuracy']} {figures} {said['seconds']:.0f} s")
    plot(arguments.out / "influence.svg")


if __name__ == "__main__":
    main()
