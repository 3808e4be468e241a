"""How wide is an MLP that costs as much as a run's clauses do in their packed form?

    python benchmarks/tsetlin/equal_cost.py runs/tsetlin/equal-vit-clauses/transformer            # the table
    python benchmarks/tsetlin/equal_cost.py runs/tsetlin/equal-vit-clauses/transformer --ratio energy   # one number, for a script

Both networks are alike but for the feed-forward, so their whole costs are compared, by the library's own account: the cost of
`kd` in `summary.json` (its entry `packed`, of the first seed) against an MLP in float32 counted by the same table. Four measures:
energy of the operations, energy with every weight read once, bytes, and operations where all is in whole numbers (the
projection that makes the bits and the MLP too, each product and sum at the table's energies of whole numbers).
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from stillhouse.families.clauses.family import FAMILY
from stillhouse.families.clauses.students.config import UnifiedTMConfig
from stillhouse.families.clauses.students.transformer import UnifiedTMTransformer
from stillhouse.metrics.energy import OperationEnergies

TABLE = OperationEnergies()


def of_packed(packed: dict[str, Any]) -> dict[str, float]:
    """The four measures of clauses as logic."""
    logic, flops = packed["logic"], packed["dense"]["flops"]
    votes = logic["adds"] * TABLE.whole_addition + logic["multiplies"] * TABLE.whole_multiplication
    return {
        "energy": packed["energy"]["operations_pj"],
        "energy-with-weights": packed["energy"]["with_weight_traffic_pj"],
        "bytes": packed["bytes"],
        "whole-numbers": logic["word_operations"] * TABLE.word_operation + votes + whole(flops),
    }


def whole(flops: float) -> float:
    """Picojoules of multiply-adds in whole numbers."""
    return flops / 2 * (TABLE.whole_addition + TABLE.whole_multiplication)


def of_mlp(config: UnifiedTMConfig, ratio: float) -> dict[str, float]:
    """The four measures of the network with an MLP of so many hidden units a channel."""
    ratios = ratio if isinstance(config.mlp_ratio, (int, float)) else (ratio,) * len(config.mlp_ratio)
    model = UnifiedTMTransformer.from_config(replace(config, feed_forward="mlp", mlp_ratio=ratios)).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, *config.image_shape))
    flops, size = counter.get_total_flops(), sum(p.numel() * p.element_size() for p in model.parameters())
    energy = flops / 2 * (TABLE.addition + TABLE.multiplication)
    weights = size * TABLE.memory_byte
    return {"energy": energy, "energy-with-weights": energy + weights, "bytes": size, "whole-numbers": whole(flops)}


def equal_ratios(config: UnifiedTMConfig, packed: dict[str, float]) -> dict[str, float]:
    """Hidden units a channel of the MLP of equal cost, by each measure: all four are straight lines in it."""
    one, two = of_mlp(config, 1.0), of_mlp(config, 2.0)
    return {name: 1 + (packed[name] - one[name]) / (two[name] - one[name]) for name in packed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("run", type=Path, help="folder of a run of the transformer with an arm kd")
    parser.add_argument("--ratio", help="print the hidden units a channel by this measure, and nothing else")
    arguments = parser.parse_args()
    packed = of_packed(json.loads((arguments.run / "summary.json").read_text("utf-8"))["costs"]["kd"]["packed"])
    config = FAMILY.load(arguments.run / "arms/kd/seed-0").config
    ratios = equal_ratios(config, packed)
    if arguments.ratio:
        print(f"{ratios[arguments.ratio]:.3f}")
        return
    print(
        "| measure | packed clauses | MLP of the same hidden width | equal at so many hidden units a channel |\n|---|---|---|---|"
    )
    same = of_mlp(config, config.mlp_ratio if isinstance(config.mlp_ratio, (int, float)) else config.mlp_ratio[0])
    for name, ratio in ratios.items():
        print(f"| {name} | {packed[name]:,.0f} | {same[name]:,.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
