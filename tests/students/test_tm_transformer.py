"""The clause transformer: alive, reloadable, and every keyword changes it."""

import torch

from stillhouse.tasks.classification.students.transformer import UnifiedTMTransformer, sincos_position_embedding

SMALL = {"num_classes": 5, "image_size": 8, "in_channels": 1, "patch_size": 2, "embed_dim": 24, "depths": 2}
SMALL |= {"tm_clauses": 32, "drop_path_rate": 0.0}


def build(**change):
    torch.manual_seed(0)
    return UnifiedTMTransformer(**{**SMALL, **change})


def test_tokens_reach_the_clauses_as_bits_and_clauses_differ_between_tokens():
    """The public activations were constant over tokens (spread 9e-5), so the feed-forward was a bias."""
    model, seen = build(), {}
    bank = model.blocks[0].feed_forward.bank
    bank.register_forward_hook(lambda m, args, out: seen.update(bits=args[0], clauses=out))
    model(torch.rand(8, 1, 8, 8))
    assert set(seen["bits"].unique().tolist()) == {0.0, 1.0}
    assert seen["clauses"].std(dim=(0, 1)).mean() > 0.02
    levels = seen["clauses"] * bank.failures
    assert torch.equal(levels, levels.round())


def test_tau_is_the_threshold_of_every_bank_and_is_saved():
    """Literals at the start are as many at any tau, so a tau that reaches nothing would go unseen; one that is not
    saved changes the answers at reload."""
    pixels = torch.rand(4, 1, 8, 8)
    model, before = build().eval(), build().eval()(pixels)
    for bank in model.banks():
        bank.threshold.value.fill_(0.3)
    assert not torch.allclose(model(pixels), before)
    other = build(tm_tau=0.5).eval()
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(pixels), other(pixels))


def test_a_patch_that_does_not_divide_pads_and_never_cuts():
    """Cutting the remainder silently loses the last rows: here every pixel must matter."""
    model = build(patch_size=3).eval()
    assert model.grid == (3, 3)
    pixels = torch.rand(1, 1, 8, 8, requires_grad=True)
    model(pixels).square().sum().backward()
    assert (pixels.grad != 0).all()


def test_decay_spares_include_logits():
    """Weight decay pulls an include logit to 0, the threshold: it would include literals at random."""
    model = build()
    decayed, free = model.parameter_groups(0.1)
    assert all(p is not model.blocks[0].feed_forward.bank.include_logits for p in decayed["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(list(model.parameters()))


def test_positions_begin_as_waves_of_row_and_column():
    """sin^2 + cos^2 = 1 in D / 2 pairs, and products depend on the offset alone; the class token begins without a place."""
    grid = (5, 7)
    found = sincos_position_embedding(grid, 24).reshape(*grid, 24)
    torch.testing.assert_close(found.square().sum(-1), torch.full(grid, 12.0))
    torch.testing.assert_close(found[0, 0] @ found[1, 2], found[3, 4] @ found[4, 6])
    assert found[0, 0] @ found[0, 1] > found[0, 0] @ found[0, 3]
    model = build()
    torch.testing.assert_close(model.positions[0, 1:], sincos_position_embedding(model.grid, 24))
    assert not model.positions[0, 0].any()
