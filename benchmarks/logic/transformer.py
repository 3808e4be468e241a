"""A clause transformer end to end with its feed-forward's clauses packed, beside torch's product, in one run.

    python -m benchmarks.logic.transformer                      # random weights of the sizes of the `digits` and `mnist` recipes
    python -m benchmarks.logic.transformer --student runs/x/student --data mnist

Only the clauses change: attention, norms and projections are torch's in both. So the speed-up is bounded by the share of the
clauses (Amdahl), which is printed: the time of the same network with clause layers that answer zeros at once.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from stillhouse.core.records import cpu_capabilities
from stillhouse.families.clauses.family import FAMILY
from stillhouse.families.clauses.lower import clause_layers, packed_evaluation
from stillhouse.families.clauses.students.core import TMLayer, Voted
from stillhouse.families.clauses.students.transformer import UnifiedTMTransformer


def in_turns(*calls: Callable[[], torch.Tensor], rounds: int = 7) -> list[tuple[float, torch.Tensor]]:
    """Seconds of each one's fastest call, and what it gave; in turns, since the machine may be shared; the first is not counted."""
    found = [call() for call in calls]
    took = [float("inf")] * len(calls)
    for _ in range(rounds):
        for number, call in enumerate(calls):
            started = time.perf_counter()
            found[number] = call()
            took[number] = min(took[number], time.perf_counter() - started)
    return list(zip(took, found))


def without_clauses(model: nn.Module) -> list[TMLayer]:
    """Let every clause layer answer zeros."""
    layers = [layer for _, layer in clause_layers(model) if isinstance(layer, TMLayer)]
    for layer in layers:
        width, clauses = layer.votes.out_features, layer.votes.in_features

        def nothing(bits: torch.Tensor, width: int = width, clauses: int = clauses) -> Voted:
            zero = bits.new_zeros(())
            return Voted(zero.expand(*bits.shape[:-1], width), zero.expand(*bits.shape[:-1], clauses))

        layer.forward = nothing  # type: ignore[method-assign]
    return layers


@torch.inference_mode()
def compare(name: str, model: nn.Module, pixels: torch.Tensor) -> None:
    """Print seconds, answers and the bound."""
    model.eval()
    rows = []
    for engine in (None, "numba", "numpy"):
        with packed_evaluation(model, engine):
            packed = {layer: vars(layer)["forward"] for _, layer in clause_layers(model) if "forward" in vars(layer)}

            def own(packed: dict[nn.Module, object] = packed) -> torch.Tensor:  # type: ignore[assignment]
                for layer in packed:
                    del layer.forward
                try:
                    return torch.as_tensor(model(pixels))
                finally:
                    for layer, forward in packed.items():
                        layer.forward = forward  # type: ignore[assignment]

            (dense, expected), (seconds, found) = in_turns(own, lambda: model(pixels))
        same = float((found.argmax(1) == expected.argmax(1)).double().mean())
        off = float((found - expected).abs().max())
        rows.append(f"{engine or 'fastest'} {len(pixels) / seconds:.0f} images/s, torch {len(pixels) / dense:.0f}: "
                    f"{dense / seconds:.2f} x, same answers {same:.4f}, logits off by {off:.1e}")  # fmt: skip
    dense = in_turns(lambda: model(pixels))[0][0]
    layers = without_clauses(model)
    free = in_turns(lambda: model(pixels))[0][0]
    for layer in layers:
        del layer.forward
    print(f"-- {name}: clauses take {1 - free / dense:.0%} of torch's time, so at most {dense / free:.2f} x")
    print("   " + "\n   ".join(rows), flush=True)


def main() -> None:
    """Read the flags, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", type=Path, help="folder of a saved clause student")
    parser.add_argument("--data", default="mnist", help="its data set")
    parser.add_argument("--data-root", help="folder of the data set")
    parser.add_argument("--images", type=int, default=500)
    options = parser.parse_args()
    print(cpu_capabilities(), "threads", torch.get_num_threads())
    if options.student:
        from stillhouse.classification.data import DataConfig
        from stillhouse.core.config import parse

        data = parse(DataConfig, {"name": options.data, "root": options.data_root}).build()
        images = data.test.images[: options.images]
        compare(str(options.student), FAMILY.load(options.student), images.float() / 255)
        return
    torch.manual_seed(0)
    for name, sizes in {
        "8 x 8, width 64, 2 blocks, 128 clauses": {
            "image_size": 8,
            "patch_size": 2,
            "embed_dim": 64,
            "depths": 2,
            "tm_clauses": 128,
        },
        "28 x 28 in patches of 7 x 7, width 64, 4 blocks, 128 clauses": {
            "image_size": 28,
            "patch_size": 7,
            "embed_dim": 64,
            "depths": 4,
            "tm_clauses": 128,
        },
        "28 x 28, width 96, 4 blocks, 256 clauses": {"image_size": 28, "embed_dim": 96, "depths": 4, "tm_clauses": 256},
        "28 x 28, width 96, 4 blocks, 2 000 clauses": {
            "image_size": 28,
            "embed_dim": 96,
            "depths": 4,
            "tm_clauses": 2000,
        },
    }.items():
        model = UnifiedTMTransformer(in_channels=1, num_heads=2, **sizes)  # type: ignore[arg-type]
        generator = np.random.default_rng(0)
        pixels = torch.from_numpy(generator.random((options.images, *model.image_shape), dtype=np.float32))
        compare(name, model, pixels)


if __name__ == "__main__":
    main()
