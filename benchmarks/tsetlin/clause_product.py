"""The clause product in float32, bf16 and int8, in turns: medians, ratios, and whether they agree.

python benchmarks/tsetlin/clause_product.py [--rows 512] [--bits 784] [--clauses 2000]

"bank" is what `ClauseBank` does in evaluation (masks and int8 product) against its float form (that of training).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
import torch

from stillhouse.families.clauses.students.clauses import ClauseBank
from stillhouse.families.clauses.students.exact_product import count_hits


def in_turns(actions: dict[str, Callable[[], torch.Tensor]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each, one after another in every round, so that a busy machine slows all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(rounds + 2):
        for name, action in actions.items():
            started = time.perf_counter()
            action()
            if turn >= 2:
                seconds[name].append(time.perf_counter() - started)
    return {name: round(float(np.median(found)) * 1e3, 3) for name, found in seconds.items()}


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--bits", type=int, default=784)
    parser.add_argument("--clauses", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    torch.manual_seed(0)
    bank = ClauseBank(options.bits, options.clauses)
    bits = (torch.rand(options.rows, options.bits) > 0.5).float()
    positive, negated = bank.masks()
    kernel = positive - negated
    half, small = kernel.bfloat16(), kernel.to(torch.int8).T
    forms = {
        "float32 product": lambda: torch.nn.functional.linear(bits, kernel),
        "bf16 product": lambda: torch.nn.functional.linear(bits.bfloat16(), half),
        "int8 product": lambda: count_hits(bits, small),
        "bank, float32": lambda: bank.train()(bits),
        "bank, int8": lambda: bank.eval()(bits),
    }
    times = in_turns(forms, options.rounds)
    exact = forms["float32 product"]()
    print(
        json.dumps(
            {
                "sizes": vars(options),
                "threads": torch.get_num_threads(),
                "median_ms": times,
                "int8 over float32": round(times["float32 product"] / times["int8 product"], 2),
                "bf16 over float32": round(times["float32 product"] / times["bf16 product"], 2),
                "bank: int8 over float32": round(times["bank, float32"] / times["bank, int8"], 2),
                "int8 equals float32": torch.equal(forms["int8 product"](), exact),
                "largest difference of bf16": float((forms["bf16 product"]().float() - exact).abs().max()),
                "banks agree": torch.equal(forms["bank, int8"](), forms["bank, float32"]()),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
