"""CKA by the two names that it has: centered and unbiased, and the formula as it is often printed."""

import numpy as np
import pytest
import torch

from stillhouse.core.config import parse
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses.cka import kernel_alignment_loss
from stillhouse.signals import HiddenConfig
from stillhouse.signals.relations import RelationsConfig

FEATURES = {"block": (5,)}


def printed(x, y):
    """tr(K_S K_T^T) / (|K_S| |K_T|), K = X X^T, by numpy."""
    a, b = (np.asarray(side) @ np.asarray(side).conj().T for side in (x, y))
    return np.trace(a @ b.conj().T).real / (np.linalg.norm(a) * np.linalg.norm(b))


@pytest.mark.parametrize("width", [2, 30])  # by widths, or by rows
@pytest.mark.parametrize("kind", [torch.float64, torch.complex128])
def test_it_is_the_printed_formula(width, kind):
    """The default of `cka` has -0.06 of random features where the printed formula has 0.5: both must be there to be chosen."""
    torch.manual_seed(0)
    x, y = 3 + torch.randn(12, width, dtype=kind), torch.randn(12, 30, dtype=kind)
    assert kernel_alignment_loss(x, y).item() == pytest.approx(1 - printed(x, y), rel=1e-9)


@pytest.mark.parametrize("kind", ["relations", "hidden"])
def test_signals_take_it_by_name(kind):
    """Chosen in YAML, it is what is computed, and not its brother."""
    torch.manual_seed(0)
    if kind == "relations":
        words = {"student": "block", "teacher": "block", "relation": "kernel-alignment", "pool": "none"}
        config = parse(RelationsConfig, words)
    else:
        words = {"student": ["block"], "teacher": ["block"], "distance": "kernel-alignment", "projector": "none"}
        config = parse(HiddenConfig, {**words, "normalize": False})
    signal = config.build(OutputSpec(2, FEATURES), OutputSpec(2, {"block": (7,)}))
    x, y = torch.randn(12, 5, requires_grad=True), torch.randn(12, 7)
    batch = Batch(x, torch.zeros(12, dtype=torch.int64), torch.arange(12))
    logits = torch.zeros(12, 2)
    value = signal(Outputs(logits, {"block": x}), Outputs(logits, {"block": y}), batch, Progress(0, 1)).mean()
    assert value.item() == pytest.approx(1 - printed(x.detach(), y), rel=1e-5)
    value.backward()
    assert x.grad.abs().max() > 0
