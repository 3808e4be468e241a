"""The clause product in float32, bf16 and int8, in turns: medians, ratios, whether they agree, and which one is taken here.

python benchmarks/tsetlin/clause_product.py [--rows 512] [--bits 784] [--clauses 2000] [--no-vnni]

"bank" is what `ClauseBank` does in evaluation and in training, with the product that `integers_are_faster` takes on this machine.
A CPU with AVX2 and nothing newer is played by ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2; --no-vnni takes oneDNN out
altogether, which leaves int8 and bf16 the plain loops that torch has for CPUs without instructions for them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
import torch

from stillhouse.core.machine import machine
from stillhouse.families.clauses.students.clauses import ClauseBank
from stillhouse.families.clauses.students.exact_product import count_in_integers, integers_are_faster


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
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-vnni", action="store_true", help="take oneDNN out, as on a CPU that has no kernel of it")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.backends.mkldnn.set_flags(not options.no_vnni)
    torch.manual_seed(0)
    bank = ClauseBank(options.bits, options.clauses)
    bits = (torch.rand(options.rows, options.bits) > 0.5).float()
    positive, negated = bank.masks()
    kernel = positive - negated
    half, small = kernel.bfloat16(), kernel.to(torch.int8).T
    forms = {
        "float32 product": lambda: torch.nn.functional.linear(bits, kernel),
        "bf16 product": lambda: torch.nn.functional.linear(bits.bfloat16(), half),
        "int8 product": lambda: count_in_integers(bits, small),
        "bank in training": lambda: bank.train()(bits),
        "bank in evaluation": lambda: bank.eval()(bits),
    }
    times = in_turns(forms, options.rounds)
    exact = forms["float32 product"]()
    print(
        json.dumps(
            {
                "sizes": vars(options),
                "machine": machine(),
                "median_ms": times,
                "taken": "int8" if integers_are_faster(bits, options.clauses) else "float32",
                "int8 over float32": round(times["float32 product"] / times["int8 product"], 2),
                "bf16 over float32": round(times["float32 product"] / times["bf16 product"], 2),
                "int8 equals float32": torch.equal(forms["int8 product"](), exact),
                "largest difference of bf16": float((forms["bf16 product"]().float() - exact).abs().max()),
                "banks agree": torch.equal(forms["bank in evaluation"](), forms["bank in training"]()),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
