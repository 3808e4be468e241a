"""Document 001, 6: its networks and its baselines over random images; counted and measured, no invented energies.

python python/fptm_ste/benchmark_profiles.py --models tm_vit_ste_base --batch-sizes 1,32 --device cpu --output benchmarks_cpu.json
python python/fptm_ste/benchmark_profiles.py --table 6.1 6.2 --output tables.json      # both tables, all rows

Energy is an account: counted operations times published picojoules (45 nm, Horowitz 2014), without and with all weights read once.
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

from stillhouse.core.machine import machine, versions
from stillhouse.metrics.cost import activation_bytes, flop_counter
from stillhouse.tasks.classification.students.flat import FlatTM
from stillhouse.tasks.classification.students.pyramid import PyramidTM
from stillhouse.tasks.classification.students.resnet import ResNetTM
from stillhouse.tasks.classification.students.swin import SwinTM
from stillhouse.tasks.classification.students.transformer import UnifiedTMTransformer

# picojoules in float32 at 45 nm: Horowitz 2014, "Computing's energy problem", ISSCC; Han et al. 2016, arXiv:1602.01528, table 1
MULTIPLY_ADD_PJ, DRAM_BYTE_PJ = 0.9 + 3.7, 160.0

COMMON: dict[str, Any] = {"image_size": 32, "in_channels": 3, "num_classes": 10}
VIT = {"embed_dim": 96, "depths": 4, "num_heads": 3, "patch_size": 4}  # the width whose parameters the document prints
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
    "swin_tm": (SwinTM, {"cap_windows": False}),  # as documented: maps are padded to windows of 7
    "pyramid_tm": (PyramidTM, {}),
    "flat_tm": (FlatTM, {"levels": 1}),
}

DOCUMENTED = {  # millions of parameters, GFLOPs, MB of activations as printed in 6.1
    "tm_vit_ste_base": (1.20, 0.05, 0.83),
    "tm_vit_deeptm_base": (3.27, 0.07, 1.21),
    "tm_swin_deeptm_tiny": (52.83, 0.65, 1.79),
    "resnet_tm_18": (13.85, 0.35, 0.62),
    "resnet_tm_50": (52.34, 0.95, 2.44),
    "swin_tm": (175.11, 2.8, 4.49),
    "pyramid_tm": (1.37, 0.40, 2.13),
    "flat_tm": (3.15, 0.02, 0.0),
}
BASELINES = {  # of 6.2, by timm's names: millions of parameters, GFLOPs as printed
    "resnet18": (11.7, 1.8),
    "resnet34": (21.8, 3.6),
    "resnet50": (25.6, 4.1),
    "resnet101": (44.5, 7.9),
    "resnet152": (60.2, 11.3),
    "swin_tiny_patch4_window7_224": (28, 4.5),
    "swin_small_patch4_window7_224": (50, 8.7),
    "swin_base_patch4_window7_224": (88, 15.4),
    "swin_large_patch4_window7_224": (197, 34.7),
    "vit_tiny_patch16_224": (5.7, 1.3),
    "vit_small_patch16_224": (22, 4.6),
    "vit_base_patch16_224": (86, 17.6),
    "vit_large_patch16_224": (304, 61.6),
}
HEADINGS = (
    "| model | M parameters (document) | GF (document) | MB activations (document) | "
    "ms | images/s | mJ, operations | mJ, weights read too |\n"
    "|---|---|---|---|---|---|---|---|"
)


def table(which: str, device: str, warmup: int, iterations: int, only: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Rows of table 6.1 (its networks at 32 pixels) or 6.2 (ordinary ones of timm at 224), untrained, one image at a time.

    Args:
        which: 6.1 or 6.2.
        device: where.
        warmup: calls that are not timed.
        iterations: calls whose median is the latency.
        only: names of rows; all where empty.

    Returns:
        Parameters, flops (a multiply-add is two; those of clauses too), bytes of activations,
        milliseconds, images a second, picojoules counted, and what the document prints.
    """
    rows = []
    activations: float | None
    for name in MODELS if which == "6.1" else BASELINES:
        if only and name not in only:
            continue
        torch.manual_seed(0)
        if which == "6.1":
            build, settings = MODELS[name]
            model, side = build(**COMMON, **settings).eval().to(device), 32
            parameters, flops, activations = DOCUMENTED[name]
        else:
            import timm

            model, side = timm.create_model(name, pretrained=False).eval().to(device), 224
            (parameters, flops), activations = BASELINES[name], None
        images = torch.rand(1, 3, side, side, device=device)
        with torch.no_grad(), flop_counter() as counter:
            model(images)
        counted = counter.get_total_flops()
        count = sum(p.numel() for p in model.parameters())
        operations = counted / 2 * MULTIPLY_ADD_PJ
        weights = sum(p.numel() * p.element_size() for p in model.parameters()) * DRAM_BYTE_PJ
        documented = {"millions": parameters, "gflops": flops, "activation_mb": activations}
        rows.append({
            "model": name, "parameters": count, "flops": counted, "activations": activation_bytes(model, images),
            **_timed(model, images, warmup, iterations), "operations_pj": operations,
            "with_weights_pj": operations + weights, "documented": documented,
        })  # fmt: skip
    return rows


def in_words(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a table, with the document's figures in brackets."""
    lines = [HEADINGS]
    for row in rows:
        said = row["documented"]
        held = "" if said["activation_mb"] is None else f" ({said['activation_mb']:g})"
        cells = (
            row["model"], f"{row['parameters'] / 1e6:.2f} ({said['millions']:g})", f"{row['flops'] / 1e9:.3f} ({said['gflops']:g})",
            f"{row['activations'] / 1e6:.2f}{held}", f"{row['median_ms']:.1f}",
            f"{row['images_per_second']:.1f}", f"{row['operations_pj'] / 1e9:.3f}", f"{row['with_weights_pj'] / 1e9:.2f}",
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


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


def whole_numbers(text: str) -> list[int]:
    """Those of a list with commas."""
    return [int(one) for one in text.split(",")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one line a network and batch size, and write all of it where --output says."""
    parser = argparse.ArgumentParser(prog="benchmark_profiles.py", description="Latency over random images of 32 x 32.")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["tm_vit_ste_base"], help="networks to time")
    parser.add_argument(
        "--table", nargs="+", choices=("6.1", "6.2"), default=[], help="the document's tables, in place of --models"
    )
    parser.add_argument(
        "--rows", nargs="+", choices=[*MODELS, *BASELINES], default=[], help="of the tables: these models alone [all]"
    )
    parser.add_argument("--batch-sizes", type=whole_numbers, default="1,32", help="comma-separated")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where")
    parser.add_argument("--warmup", type=int, default=5, help="calls that are not counted")
    parser.add_argument("--iters", type=int, default=20, help="calls whose median is printed")
    parser.add_argument("--output", type=Path, help="JSON file")
    options = parser.parse_args(arguments)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device
    found: dict[str, Any]
    if options.table:
        tables = {which: table(which, device, options.warmup, options.iters, options.rows) for which in options.table}
        for which, rows in tables.items():
            print(f"{which}, one image at a time, float32, {device}\n\n{in_words(rows)}\n")
        found = {"threads": torch.get_num_threads(), "tables": tables}
    else:
        sizes, times = options.batch_sizes, (device, options.warmup, options.iters)
        found = {"results": [profile(name, sizes, *times) for name in options.models]}
        for result in found["results"]:
            for batch in result["batches"]:
                print(
                    f"{result['model']}: {result['parameters'] / 1e6:.2f} M parameters, batch {batch['batch_size']}: "
                    f"{batch['median_ms']:.2f} ms, {batch['images_per_second']:.0f} images/s"
                )
    if options.output is not None:
        about = {"device": device, "machine": machine(), "versions": versions()}
        options.output.write_text(json.dumps({**about, **found}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
