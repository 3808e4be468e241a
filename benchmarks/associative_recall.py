"""Can a student look something up? Multi-query associative recall at a distance, per mixer, dense and with spikes.

A text begins by binding keys to values (k v k v ...); after filler each key is asked for once, in random order, and its value
must follow: `distance` tokens after it was bound or up to 4 * pairs more. Keys, values and filler are disjoint sets of tokens,
new bindings in every text, so nothing can be learnt by heart: only a memory that binds can do it. Chance is 1 / values.

    python -m benchmarks.associative_recall --out runs/recall            # all arms, then the table and the plot
    python -m benchmarks.associative_recall --out runs/recall --only delta-dense-32
    python -m benchmarks.associative_recall --out runs/recall-128 --pairs 128    # two arms by a curriculum; goes on after a kill

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
from benchmarks.recall_curriculum import Run, climb
from benchmarks.recall_texts import Task, accuracy, texts
from torch import nn

from stillhouse.families.lm.students import SpikeConfig, SpikingLMConfig
from stillhouse.layers.recurrent import published_scalar_scan, scalar_recurrent

BASE = SpikingLMConfig(vocab_size=Task().vocabulary, width=64, layers=2, heads=2, ffn=2.0, chunk=32)
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


def many_pairs(arguments: argparse.Namespace) -> None:
    """The dense arm, then the quantized one from its weights, and a line of results each."""
    task = Task(arguments.pairs, arguments.keys or arguments.pairs, arguments.values)
    sizes = {name: getattr(arguments, name) for name in ("width", "heads", "layers", "chunk", "ffn")}
    for arm in arguments.only or ("delta-dense", "delta-spikes-ternary"):
        config, folder = replace(ARMS[arm], vocab_size=task.vocabulary, **sizes), arguments.out / arm
        quantized = config.spikes is not None or bool(config.ternary_weights)
        run = Run(
            arguments.steps,
            arguments.tokens,
            arguments.rate,
            start=arguments.out / "delta-dense/state.pt" if quantized else None,
            slow=not arguments.usual_decays,
        )
        file = folder / "result.json"
        found = (
            json.loads(file.read_text("utf-8"))
            if file.exists()
            else climb(config, arguments.distance, task, run, folder)
        )
        shown = {pairs: round(100 * share, 2) for pairs, share in found["accuracy"].items()}
        print(
            f"{arm:24s} right, %: {shown}, density {found.get('density', 1):.3f}, {found['processor_seconds']:.0f} s",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of results; arms that are there are not run again"
    )
    parser.add_argument("--only", nargs="*", help="arms by name, as delta-dense-32")
    parser.add_argument("--steps", type=int, default=STEPS, help="optimizer steps an arm")
    many = parser.add_argument_group("many pairs, by a curriculum")
    many.add_argument("--pairs", type=int, help="of a text; this trains delta-dense and goes on from it quantized")
    many.add_argument("--keys", type=int, help="different keys there are [pairs]")
    many.add_argument("--values", type=int, default=64, help="different values there are")
    many.add_argument("--distance", type=int, default=32, help="tokens between the binding and the question, at least")
    for name, default in (("width", 128), ("heads", 1), ("layers", 2), ("chunk", 64), ("tokens", 2048)):
        many.add_argument(f"--{name}", type=int, default=default)
    many.add_argument("--ffn", type=float, default=0.5)
    many.add_argument("--rate", type=float, default=3e-3, help="peak learning rate")
    many.add_argument("--usual-decays", action="store_true", help="start from the mixer's own decays")
    parser.add_argument("--table", action="store_true", help="no training: the table and the plot of what is there")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.pairs is not None:
        return many_pairs(arguments)
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
