"""Latency, throughput, parameters and time of a training step of each model: median and 90th percentile, no invented energies.

python benchmarks/tsetlin/model_times.py --models tm_vit_ste_base flat --batch-sizes 1,32 --device cpu --output times.json

--profile adds where the time of a training step goes in the slowest of them (torch's profiler, share of self time by kernel).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stillhouse.core.config import parse
from stillhouse.core.machine import machine, versions
from stillhouse.tasks.classification.students.config import UnifiedTMConfig
from stillhouse.tasks.classification.students.model_configs import (
    DeepTMConfig,
    FlatTMConfig,
    HybridTMConfig,
    PyramidTMConfig,
    ResNetTMConfig,
)

VIT = {"embed_dim": 128, "depths": 4, "num_heads": 4, "patch_size": 4}
SWIN = {"architecture": "swin", "embed_dim": [48, 96], "depths": [2, 2], "num_heads": [3, 6], "tm_clauses": [128, 160]}
MODELS: dict[str, tuple[type, dict[str, Any]]] = {
    "tm_vit_ste_base": (UnifiedTMConfig, {**VIT, "tm_clauses": 128}),
    "tm_vit_deeptm_base": (UnifiedTMConfig, {**VIT, "tm_clauses": 192, "backend": "deeptm"}),
    "tm_swin_deeptm_tiny": (UnifiedTMConfig, {**SWIN, "window_size": 4, "backend": "deeptm"}),
    "tm_vit_ste_base_without_clauses": (UnifiedTMConfig, {**VIT, "feed_forward": "none"}),
    "tm_vit_ste_base_mlp": (UnifiedTMConfig, {**VIT, "feed_forward": "mlp"}),
    "flat": (FlatTMConfig, {}),
    "deep": (DeepTMConfig, {}),
    "resnet18": (ResNetTMConfig, {}),
    "pyramid": (PyramidTMConfig, {}),
    "hybrid": (HybridTMConfig, {}),
}


def timed(action: Callable[[], object], warmup: int, iterations: int) -> dict[str, float]:
    for _ in range(warmup):
        action()
    seconds = []
    for _ in range(iterations):
        started = time.perf_counter()
        action()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return {"median_ms": float(np.median(seconds)) * 1e3, "p90_ms": float(np.quantile(seconds, 0.9)) * 1e3}


def profile(name: str, device: str, sizes: list[int], warmup: int, iterations: int) -> dict[str, Any]:
    kind, settings = MODELS[name]
    config = parse(kind, settings)  # type: ignore[var-annotated]
    model = _model(config).to(device)
    found: dict[str, Any] = {"model": name, "parameters": sum(p.numel() for p in model.parameters()), "batches": []}
    for size in sizes:
        x = torch.rand(size, *config.image_shape, device=device)
        labels = torch.randint(0, 10, (size,), device=device)

        def forward(x: torch.Tensor = x) -> None:
            with torch.no_grad():
                model.eval()(x)

        def step(x: torch.Tensor = x, labels: torch.Tensor = labels) -> None:
            train_step(model, x, labels)

        answered = timed(forward, warmup, iterations)
        entry = {"batch_size": size, "forward": answered, "throughput_img_per_s": size / answered["median_ms"] * 1e3}
        if size > 1:
            entry["forward_and_backward"] = timed(step, warmup, iterations)
        found["batches"].append(entry)
    return found


def train_step(model: torch.nn.Module, x: torch.Tensor, labels: torch.Tensor) -> None:
    """Forward and backward; no optimizer."""
    said = model.train()(x)
    logits = said[0] if isinstance(said, tuple) else said
    model.zero_grad()
    torch.nn.functional.cross_entropy(logits, labels).backward()


def kernels(name: str, device: str, size: int, *, count: int = 10) -> dict[str, float]:
    """Share of a training step's self time by kernel, the largest first."""
    kind, settings = MODELS[name]
    config = parse(kind, settings)  # type: ignore[var-annotated]
    model = _model(config).to(device)
    x, labels = torch.rand(size, *config.image_shape, device=device), torch.randint(0, 10, (size,), device=device)
    train_step(model, x, labels)
    with torch.profiler.profile() as seen:
        for _ in range(3):
            train_step(model, x, labels)
    found = sorted(seen.key_averages(), key=lambda e: -e.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in found)
    return {event.key: round(event.self_cpu_time_total / total, 3) for event in found[:count]}


def _model(config: Any) -> torch.nn.Module:
    model: torch.nn.Module = (
        config.model_class().from_config(config) if hasattr(config, "model_class") else _transformer(config)
    )
    return model


def _transformer(config: UnifiedTMConfig) -> Any:
    from stillhouse.tasks.classification.students.transformer import UnifiedTMTransformer

    return UnifiedTMTransformer.from_config(config)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=["tm_vit_ste_base", "tm_swin_deeptm_tiny"])
    parser.add_argument("--batch-sizes", default="1,32")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--iters", type=int, default=20)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("benchmark_results.json"))
    options = parser.parse_args()
    device = ("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device
    sizes = [int(size) for size in options.batch_sizes.split(",")]
    results = [profile(name, device, sizes, options.warmup, options.iters) for name in options.models]
    about = {"device": device, "threads": torch.get_num_threads(), "machine": machine(), "versions": versions()}
    found = {**about, "warmup": options.warmup, "iterations": options.iters, "results": results}
    if options.profile and max(sizes) > 1:
        slowest = max(results, key=lambda r: r["batches"][-1]["forward_and_backward"]["median_ms"])["model"]
        found["profile"] = {"model": slowest, "share_of_self_time": kernels(slowest, device, sizes[-1])}
        print(json.dumps(found["profile"], indent=2))
    options.output.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
