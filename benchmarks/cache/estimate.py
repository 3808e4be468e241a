"""Bytes, and hours, of caches that nobody here can try: the arithmetic of `stillhouse cache estimate` for a few large ones.

    python benchmarks/cache/estimate.py                              bytes
    python benchmarks/cache/estimate.py --rate 4000 --processes 64   and hours, at rows (tokens) a second of one process

`tests/cache` holds the arithmetic against the bytes of real caches. Rates are yours to measure: `stillhouse cache RECIPE
--estimate` times a first batch.
"""

from __future__ import annotations

import argparse
from typing import Any

from stillhouse.cache.estimate import estimate

CASES: tuple[tuple[str, int, tuple[str, ...], dict[str, Any]], ...] = (
    ("10^10 tokens, all of 50 257 scores", 10**10, ("scores",), {"classes": 50_257, "inputs": 2048}),
    ("10^10 tokens, the 32 largest", 10**10, ("topk:32",), {"classes": 50_257, "inputs": 2048}),
    ("10^10 tokens, the 32 largest of 128 256", 10**10, ("topk:32",), {"classes": 128_256, "inputs": 2048}),
    ("10^10 tokens, the 128 largest of 128 256", 10**10, ("topk:128",), {"classes": 128_256, "inputs": 2048}),
    ("10^10 tokens, one hidden layer of 4096", 10**10, ("features:layer",), {"width": 4096, "inputs": 2048}),
    ("10^9 vectors of 384", 10**9, ("features:vector",), {"width": 384}),
    ("10^9 vectors of 1024", 10**9, ("features:vector",), {"width": 1024}),
    ("1.28 M images, 30 views, 1000 classes", 1_281_167 * 30, ("scores",), {"classes": 1000}),
    ("1.28 M images, 30 views, the 16 largest", 1_281_167 * 30, ("topk:16",), {"classes": 1000}),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, help="rows a second that one process is answered")
    parser.add_argument("--processes", type=int, default=1)
    args = parser.parse_args()
    print("| cache | |\n|---|---|")
    for name, rows, content, sizes in CASES:
        found = estimate(rows, content, rate=args.rate, processes=args.processes, **sizes)
        print(f"| {name} | {found.describe()} |")


if __name__ == "__main__":
    main()
