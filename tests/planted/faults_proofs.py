"""Faults that no test caught when they were first planted, and one for each row of docs/features.md that had none.

Two lines a fault: what it is and where; what it makes of the source, and the test that must fail.
"""

from __future__ import annotations

from typing import Any

from plant import Broken, Fault, constant, edited, nothing

# fmt: off


def fault(name: str, target: str, breaks: Broken, test: str) -> Fault:
    """Where `stillhouse.` and `tests/` go without saying."""
    return Fault(name, f"stillhouse.{target}", breaks, f"tests/{test}")


ALONG = "conformance/test_learned_along.py::test_what_is_learned_along_moves"

LEARNED_ALONG = tuple(
    fault(f"extras are left out of the optimizer: {run}", "training.optimizer:extra_groups", constant([]), f"{ALONG}[{run}]")
    for run in ("images", "clauses", "sar", "lm", "embed", "images, two teachers", "clauses, two teachers", "lm, two teachers")
) + (
    fault("projectors alone are left out of the optimizer", "training.optimizer:extra_groups",
          edited("return groups + ([", "return groups or (["), f"{ALONG}[images]"),
    fault("several language teachers have no networks to split", "training.distillation:networks_of",
          edited("several or getattr", "getattr"), f"{ALONG}[lm, two teachers]"),
)

FAULTS: tuple[Fault, ...] = (*LEARNED_ALONG,)
