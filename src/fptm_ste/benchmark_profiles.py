"""Document 001, 6.3: latency and throughput of its networks over random images; measured, no invented energies.

python python/fptm_ste/benchmark_profiles.py --models tm_vit_ste_base --batch-sizes 1,32 --device cpu --output benchmarks_cpu.json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from stillhouse.core.records import machine, versions
from stillhouse.families.clauses.students.flat import FlatTM
from stillhouse.families.clauses.students.pyramid import PyramidTM
from stillhouse.families.clauses.students.resnet import ResNetTM
from stillhouse.families.clauses.students.swin import SwinTM
from stillhouse.families.clauses.students.transformer import UnifiedTMTransformer

COMMON: dict[str, Any] = {"image_size": 32, "in_channels": 3, "num_classes": 10}
VIT = {"embed_dim": 128, "depths": 4, "num_heads": 4, "patch_size": 4}
SWIN = {"embed_dim": (96, 192, 384, 768), "depths": (2, 2, 6, 2), "num_heads": (3, 6, 12, 24), "patch_size": 4}
MODELS: dict[str, tuple[Any, dict[str, Any]]] = {
    "tm_vit_ste_base": (UnifiedTMTransformer, VIT),
    "tm_vit_deeptm_base": (UnifiedTMTransformer, {**VIT, "backend": "deeptm"}),
    "tm_swin_deeptm_tiny": (
        UnifiedTMTransformer,
        {**SWIN, "architecture": "swin", "window_size": 4, "backend": "deeptm"},
    ),
    "resnet_tm_18": (ResNetTM, {"layers": 18}),
    "resnet_tm_50": (ResNetTM, {"layers": 50}),
    "swin_tm": (SwinTM, {}),
    "pyramid_tm": (PyramidTM, {}),
    "flat_tm": (FlatTM, {}),
}


def profile(name: str, sizes: Sequence[int], device: str, warmup: int, iterations: int) -> dict[str, Any]:
    """Parameters of a network, and milliseconds and images a second for each batch size."""
    build, settings = MODELS[name]
    model = build(**COMMON, **settings).eval().to(device)
    batches = [_timed(model, torch.rand(size, 3, 32, 32, device=device), warmup, iterations) for size in sizes]
    return {"model": name, "parameters": sum(p.numel() for p in model.parameters()), "batches": batches}


@torch.no_grad()
def _timed(model: torch.nn.Module, images: torch.Tensor, warmup: int, iterations: int) -> dict[str, float]:
    seconds = []
    for step in range(warmup + iterations):
        started = time.perf_counter()
        model(images)
        if images.is_cuda:
            torch.cuda.synchronize()
        if step >= warmup:
            seconds.append(time.perf_counter() - started)
    found = median(seconds)
    return {"batch_size": len(images), "median_ms": 1e3 * found, "images_per_second": len(images) / found}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one line a network and batch size, and write all of it where --output says."""
    parser = argparse.ArgumentParser(prog="benchmark_profiles.py", description="Latency over random images of 32 x 32.")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["tm_vit_ste_base"], help="networks to time")
    parser.add_argument("--batch-sizes", default="1,32", help="comma-separated")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where")
    parser.add_argument("--warmup", type=int, default=5, help="calls that are not counted")
    parser.add_argument("--iters", type=int, default=20, help="calls whose median is printed")
    parser.add_argument("--output", type=Path, help="JSON file")
    options = parser.parse_args(arguments)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device
    try:
        sizes = [int(size) for size in options.batch_sizes.split(",")]
    except ValueError:
        parser.error(f"--batch-sizes: expected whole numbers as 1,32, got {options.batch_sizes}")
    if options.warmup < 0 or options.iters < 1 or min(sizes) < 1:
        parser.error("--warmup, --iters, --batch-sizes: expected 0 or more, 1 or more, 1 or more")
    results = [profile(name, sizes, device, options.warmup, options.iters) for name in options.models]
    for result in results:
        for batch in result["batches"]:
            print(
                f"{result['model']}: {result['parameters'] / 1e6:.2f} M parameters, batch {batch['batch_size']}: "
                f"{batch['median_ms']:.2f} ms, {batch['images_per_second']:.0f} images/s"
            )
    if options.output is not None:
        about = {"device": device, "machine": machine(), "versions": versions()}
        options.output.write_text(json.dumps({**about, "results": results}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
