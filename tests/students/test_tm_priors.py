"""Templates of clauses, and the one-file checkpoint."""

import pytest
import torch

from stillhouse.tasks.classification.students.core import apply_prior
from stillhouse.tasks.classification.students.transformer import UnifiedTMTransformer

SMALL = {
    "num_classes": 3,
    "image_size": 8,
    "in_channels": 1,
    "patch_size": 2,
    "embed_dim": 24,
    "depths": 1,
    "num_heads": 2,
}
SMALL |= {"mlp_ratio": 4.0, "tm_clauses": 64, "tm_tau": 0.4, "clause_bias_init": 0.2}


def build(**change):
    torch.manual_seed(0)
    return UnifiedTMTransformer(**{**SMALL, **change})


@pytest.mark.parametrize("backend", ["ste", "deeptm"])
def test_symmetric_partners_are_complementary_and_clauses_differ(backend):
    """The published template makes all clauses of a half equal, and nothing ever tells them apart."""
    model = build(backend=backend)
    assert apply_prior(model, "symmetric") == (2 if backend == "deeptm" else 1)
    layer = model.blocks[0].feed_forward.core.last
    positive, negated = layer.bank.masks()
    half = len(positive) // 2
    assert torch.equal(positive[half:], negated[:half])
    assert torch.equal(negated[half:], positive[:half])
    assert torch.equal(layer.votes.weight[:, half:], -layer.votes.weight[:, :half])
    assert torch.unique(torch.cat([positive, negated], 1), dim=0).shape[0] == 2 * half
    assert layer.clause_bias.eq(0.05).all()
    assert (positive + negated).sum() > 0


def test_zero_starts_every_literal_near_the_threshold():
    """All logits within reach of a few steps, as many included as asked, no clause like another."""
    model = build()
    before = model.blocks[0].feed_forward.bank.include_logits.clone()
    apply_prior(model, "zero")
    bank = model.blocks[0].feed_forward.bank
    positive, negated = bank.masks()
    level = torch.logit(torch.tensor(0.4)).item()
    distance = bank.include_logits - level
    assert distance.abs().max() < 0.4
    assert before.sub(level).abs().max() > 1.0
    assert (positive.sum() + negated.sum()).item() / 64 == pytest.approx(12, rel=0.25)
    assert torch.unique(torch.cat([positive, negated], 1), dim=0).shape[0] == 64
    assert model.blocks[0].feed_forward.core.last.clause_bias.eq(0).all()
