"""A clause transformer end to end with its feed-forward's clauses packed, beside torch's product, in one run.

    python -m benchmarks.logic.transformer                      # random weights of the sizes of the `digits` and `mnist` recipes
    python -m benchmarks.logic.transformer --student runs/x/student --data mnist
    python -m benchmarks.logic.transformer --student runs/x/student --data mnist --simulate 1000

Only the clauses change: attention, norms and projections are torch's in both. So the speed-up is bounded by the share of the
clauses (Amdahl), which is printed: the time of the same network with clause layers that answer zeros at once.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from stillhouse.core.machine import cpu_capabilities
from stillhouse.families.clauses.family import FAMILY
from stillhouse.families.clauses.lower import answered_by, clause_layers, packed_evaluation
from stillhouse.families.clauses.parts import Given
from stillhouse.families.clauses.students.core import TMLayer, Voted
from stillhouse.families.clauses.students.transformer import UnifiedTMTransformer
from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.passes import simplify
from stillhouse.logic.targets.verilog import simulate_values, values_module


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


@torch.inference_mode()
def in_verilog(model: nn.Module, pixels: torch.Tensor) -> None:
    """The network with the values of its clauses by Icarus Verilog, an image's tokens side by side, against numpy's."""
    model.eval()
    with tempfile.TemporaryDirectory() as folder:

        def simulated(path: str, clauses: ClauseSet) -> Given:
            small, name = simplify(clauses)[0], path.replace(".", "_")
            file = Path(folder) / f"{name}.v"
            file.write_text(values_module(small, name))

            def scores(bits: np.ndarray) -> np.ndarray:
                values = simulate_values(file, bits, small, name=name)
                return np.asarray(values @ small.votes.astype(np.int64) + small.bias)

            return Given(clauses, scores)

        with packed_evaluation(model, "numpy"):
            expected = model(pixels)
        started = time.perf_counter()
        with answered_by(model, simulated):
            found = torch.cat([model(some) for some in pixels.split(100)])
    equal = int((found == expected).all(1).sum())
    print(f"simulated Verilog: all logits of {equal} of {len(pixels)} images equal to numpy's, to the bit, "
          f"{time.perf_counter() - started:.0f} s", flush=True)  # fmt: skip


def main() -> None:
    """Read the flags, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", type=Path, help="folder of a saved clause student")
    parser.add_argument("--data", default="mnist", help="its data set")
    parser.add_argument("--data-root", help="folder of the data set")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument(
        "--simulate", type=int, default=0, metavar="N", help="images in Icarus Verilog, instead of times"
    )
    options = parser.parse_args()
    print(cpu_capabilities(), "threads", torch.get_num_threads())
    if options.student:
        from stillhouse.classification.data import DataConfig
        from stillhouse.core.config import parse

        data = parse(DataConfig, {"name": options.data, "root": options.data_root}).build()
        images = data.test.images[: options.images]
        if options.simulate:
            in_verilog(FAMILY.load(options.student), data.test.images[: options.simulate].float() / 255)
            return
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
