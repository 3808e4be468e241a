"""The clause transformer: alive, reloadable, and every keyword changes it."""

import pytest
import torch

from stillhouse.core.checks import InputError, StillhouseError
from stillhouse.core.types import ImageSpec
from stillhouse.tasks.classification.data import ImageSplit
from stillhouse.tasks.classification.students import TsetlinViTConfig
from stillhouse.tasks.classification.students.interpret import block_votes, strongest_clauses
from stillhouse.tasks.classification.students.transformer import UnifiedTMTransformer, sincos_position_embedding

SMALL = {"num_classes": 5, "image_size": 8, "in_channels": 1, "patch_size": 2, "embed_dim": 24, "depths": 2}
SMALL |= {"tm_clauses": 32, "drop_path_rate": 0.0}
SPEC = ImageSpec(("a", "b", "c"), (1, 8, 8), (0.5,), (0.25,))


def build(**change):
    torch.manual_seed(0)
    return UnifiedTMTransformer(**{**SMALL, **change})


def test_every_parameter_gets_a_gradient():
    """A dead branch (frozen masks, detached votes) leaves None or zeros somewhere."""
    model = build()
    torch.manual_seed(1)
    for _ in range(1):
        loss = torch.nn.functional.cross_entropy(model(torch.rand(16, 1, 8, 8)), torch.arange(16) % 5)
        loss.backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    assert silent == []


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


@pytest.mark.parametrize(
    "change",
    [
        {"patch_size": 4},
        {"embed_dim": 48},
        {"depths": 1},
        {"num_heads": 2},
        {"mlp_ratio": 2.0},
        {"tm_clauses": 16},
        {"tm_failures": 2},
        {"tm_literals": 30.0},
        {"use_cls_token": False, "pool": "mean"},
        {"pool": "mean"},
        {"feed_forward": "mlp"},
        {"feed_forward": "none"},
        {"pixel_mean": 0.5},
        {"pixel_std": 0.5},
    ],
)
def test_every_keyword_changes_the_model(change):
    """A keyword that nothing reads would leave the logits as they are."""
    pixels = torch.rand(4, 1, 8, 8)
    plain, changed = build().eval(), build(**change).eval()
    assert not torch.allclose(plain(pixels), changed(pixels))


def test_tau_is_the_threshold_of_every_bank_and_is_saved():
    """Literals at the start are as many at any tau, so a tau that reaches nothing would go unseen above; and a scheduled
    one that is not saved changes the answers at reload."""
    pixels = torch.rand(4, 1, 8, 8)
    model, before = build().eval(), build().eval()(pixels)
    model.set_tau(0.3)
    assert not torch.allclose(model(pixels), before)
    other = build(tm_tau=0.5).eval()
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(pixels), other(pixels))


@pytest.mark.parametrize("change", [{"drop_rate": 0.5}, {"attn_drop_rate": 0.5}, {"drop_path_rate": 0.5}])
def test_every_drop_rate_acts_in_training_only(change):
    """Dropout that stays on in eval mode, or never acts."""
    pixels, model = torch.rand(4, 1, 8, 8), build(**change)
    assert not torch.equal(model(pixels), model(pixels))
    model.eval()
    assert torch.equal(model(pixels), model(pixels))
    assert torch.equal(model(pixels), build().eval()(pixels))


def test_reloads_as_documented_to_the_bit():
    """`UnifiedTMTransformer(**ckpt["model_kwargs"])` then `load_state_dict(ckpt["model_state"])`."""
    model = build(tm_failures=3, pixel_mean=(0.3,)).eval()
    again = UnifiedTMTransformer(**model.model_kwargs)
    again.load_state_dict(model.state_dict())
    pixels = torch.rand(3, 1, 8, 8)
    assert torch.equal(model(pixels), again.eval()(pixels))


def test_a_patch_that_does_not_divide_pads_and_never_cuts():
    """Cutting the remainder silently loses the last rows: here every pixel must matter."""
    model = build(patch_size=3).eval()
    assert model.grid == (3, 3)
    pixels = torch.rand(1, 1, 8, 8, requires_grad=True)
    model(pixels).square().sum().backward()
    assert (pixels.grad != 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch_size": 9}, r"at most the image \(8 x 8\), got 9"),
        ({"embed_dim": 25}, r"multiple of num_heads \(3\), got 25"),
        ({"use_cls_token": False, "pool": "cls"}, "class token"),
        ({"architecture": "conv"}, "'vit' or 'swin', got 'conv'"),
        ({"tm_clauses": 31}, "even numbers of at least 2, got 31"),
        ({"tm_clauses": (32, 31)}, "even numbers of at least 2, got 31"),
        ({"tm_clauses": (32, 32, 32)}, r"1 \(one a stage\) or 2 \(one a block\), got 3"),
        ({"embed_dim": (24, 48)}, r"embed_dim: expected one number or a list of 1"),
        ({"mlp_ratio": (2.0, 2.0)}, r"mlp_ratio: expected one number or a list of 1"),
        ({"depths": (1, 1)}, "one number for a ViT, got 2"),
        ({"depths": 0}, "at least 1 block"),
        ({"num_classes": 1}, "num_classes: expected greater than or equal to 2, got 1"),
        ({"tm_tau": 1.0}, "tm_tau: expected less than 1"),
        ({"tm_tau": 0.0}, "tm_tau: expected greater than 0"),
        ({"tm_tau": 0.97, "learnable_tau": True}, "between tau_min and tau_max"),
        ({"tau_min": 0.6, "tau_max": 0.5}, "tau_min: expected below tau_max"),
        ({"relative_position_type": "rotary", "embed_dim": 18}, "multiple of 4 channels, got 6"),
        ({"tm_clause": 32}, "tm_clause: unknown key; did you mean 'tm_clauses'"),
    ],
)
def test_impossible_settings_are_refused(change, message):
    """Each error prints what was expected and what came."""
    with pytest.raises(StillhouseError, match=message):
        build(**change)


def test_wrong_image_prints_both_shapes():
    """Expected and got stand in the message."""
    with pytest.raises(InputError, match=r"\(B, 1, 8, 8\), got \(2, 3, 8, 8\)"):
        build()(torch.zeros(2, 3, 8, 8))


def test_decay_spares_include_logits():
    """Weight decay pulls an include logit to 0, the threshold: it would include literals at random."""
    model = build()
    decayed, free = model.parameter_groups(0.1)
    assert all(p is not model.blocks[0].feed_forward.bank.include_logits for p in decayed["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(list(model.parameters()))


def test_config_reaches_the_model():
    """The configuration's arms change the branch and nothing else."""
    config = TsetlinViTConfig(patch_size=2, embed_dim=24, depth=1, heads=3, clauses=16)
    assert config.build(SPEC).blocks[0].feed_forward.bank.num_clauses == 16
    assert config.without_special_part().build(SPEC).blocks[0].feed_forward is None
    names = dict(config.with_ordinary_part().build(SPEC).named_modules())
    assert "blocks.0.feed_forward.0" in names
    with pytest.raises(ValueError, match="image"):
        TsetlinViTConfig(patch_size=16, embed_dim=24, depth=1, heads=3).build(SPEC)


def test_votes_add_up_where_the_model_is_linear_after_the_clauses():
    """Activation times gradient is exact for a linear read-out: replaced norm and head, mean pooling, last block."""
    model = build(pool="mean", use_cls_token=False, depths=1).eval()
    model.norm = torch.nn.Identity()
    pixels = torch.rand(3, 1, 8, 8)
    (votes,) = block_votes(model, pixels, 2).values()
    total = votes.sum(dim=(1, 2))
    with_clauses = model(pixels)[:, 2]
    with torch.no_grad():
        model.blocks[0].feed_forward.votes.weight.zero_()
    torch.testing.assert_close(total, with_clauses.detach() - model(pixels)[:, 2].detach(), atol=1e-5, rtol=1e-4)


def test_strongest_clauses_point_at_pixels():
    """The index names rows that exist, maps have the size of the image, shares are shares."""
    model = build()
    images, labels = torch.rand(30, 1, 8, 8), torch.arange(30) % 5
    index, pictures, maps = strongest_clauses(
        model, ImageSplit(images, labels), ("a", "b", "c", "d", "e"), per_class=2, examples=2
    )
    assert [c["class"] for c in index["classes"]] == ["a", "b", "c", "d", "e"]
    assert pictures.shape == (20, 1, 8, 8)
    assert maps.shape == (20, 8, 8)
    for entry in index["classes"]:
        assert all(0 <= clause["share"] <= 1 for clause in entry["clauses"])
        assert all(row < 20 for clause in entry["clauses"] for row in clause["images"])


def test_attention_begins_by_looking_somewhere():
    """Almost even attention learns nothing for its first hundred steps: products of unit tokens have standard deviation 4."""
    model = build(embed_dim=96, num_heads=3)
    attention = model.blocks[0].attention
    q, k, _ = attention.qkv(torch.randn(4, 64, 96)).unflatten(-1, (3, 3, 32)).permute(2, 0, 3, 1, 4)
    products = q @ k.transpose(-1, -2) / 32**0.5
    assert products.std().item() == pytest.approx(4, rel=0.15)  # q and k have 2 each: 2 x 2 x sqrt(32) / sqrt(32)


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
