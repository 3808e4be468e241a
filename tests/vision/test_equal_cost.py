"""The benchmark that finds an MLP as dear as packed clauses."""

from __future__ import annotations

import pytest
import torch
from benchmarks.tsetlin.equal_cost import equal_ratios, of_mlp, of_packed

from stillhouse.core.types import ImageTask
from stillhouse.families.clauses.cost import packed_cost
from stillhouse.families.clauses.students.config import UnifiedTMConfig

TASK = ImageTask(tuple("01"), (1, 8, 8), (0.0,), (1.0,))


def _clauses() -> tuple[UnifiedTMConfig, dict[str, float]]:
    torch.manual_seed(0)
    config = UnifiedTMConfig(patch_size=4, embed_dim=16, depths=2, num_heads=2, tm_clauses=64).for_task(TASK)
    return config, of_packed(packed_cost(config.build(TASK).eval(), lambda count: torch.rand(count, 1, 8, 8)))


def test_the_mlp_it_names_costs_as_much_by_each_measure() -> None:
    """A ratio that is off by the factor two of a multiply-add would call a dearer MLP equal."""
    config, packed = _clauses()
    for name, ratio in equal_ratios(config, packed).items():
        assert 0.5 < ratio < 12
        hidden = round(ratio * 16)
        near = [of_mlp(config, (hidden + step) / 16)[name] for step in (-1, 1)]
        assert near[0] < packed[name] < near[1], name


def test_an_mlp_costs_two_products_of_width_and_hidden() -> None:
    """Five tokens, two blocks, 2 x 16 multiply-adds more for each hidden unit, at 4.6 pJ in floating point."""
    config, _ = _clauses()
    wider = of_mlp(config, 3.0)["energy"] - of_mlp(config, 2.0)["energy"]
    assert wider == pytest.approx(5 * 2 * 16 * 2 * 16 * 4.6)
