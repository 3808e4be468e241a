"""Clauses in words and in pictures: what is said is what the network does."""

import copy

import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.families.clauses.students.conv import ConvTM
from stillhouse.families.clauses.students.flat import FlatTM
from stillhouse.families.clauses.students.interpret import block_votes, strongest_clauses
from stillhouse.families.clauses.students.maps import clause_maps
from stillhouse.families.clauses.students.resnet import ResNetTM
from stillhouse.families.clauses.students.rules import flat_rules, transformer_rules
from stillhouse.families.clauses.students.swin import SwinTM
from stillhouse.families.clauses.students.transformer import UnifiedTMTransformer


def planted(voting="dense"):
    """A machine with one clause for class "b": pixel (0, 1) bright, pixel (2, 0) dark, no misses allowed."""
    model = FlatTM(image_size=3, in_channels=1, num_classes=2, clauses=4, voting=voting, rule={"failures": 1}).eval()
    bank = model.core.bank if voting == "team" else model.core.last.bank
    with torch.no_grad():
        bank.include_logits.fill_(-5.0)
        bank.include_logits[0, 1, 1], bank.include_logits[1, 1, 6] = 3.0, 2.0
        if voting == "dense":
            model.core.last.votes.weight.zero_()
            model.core.last.votes.weight[1, 1] = 2.0
    return model


@pytest.mark.parametrize("voting", ["dense", "team"])
def test_a_planted_rule_is_read_out(voting):
    """Words, shares and vote of a clause that was written by hand."""
    images = torch.zeros(4, 1, 3, 3)
    images[2:, 0, 0, 1] = 1.0
    images[3, 0, 2, 0] = 1.0  # dark is asked for there: does not hold
    labels = torch.tensor([0, 0, 1, 1])
    rule = next(r for r in flat_rules(planted(voting), images, labels, ("a", "b"), per_class=1) if r.class_name == "b")
    assert (rule.clause, rule.count, rule.allowed) == (1, 2, 0)
    assert rule.literals == ("pixel (0, 1) above 0.5", "pixel (2, 0) not above 0.5")
    assert (rule.holds, rule.elsewhere) == (0.5, 0.0)
    scale = 2.0 if voting == "dense" else 3.0 / 2**0.5
    assert rule.vote == pytest.approx(scale * (1 / 2 - 1 / 4), rel=1e-5)
    assert str(rule).startswith("b: +0.5")
    assert "at most 0 of 2 fail: pixel (0, 1) above 0.5, pixel (2, 0) not above 0.5 (clauses, clause 1" in str(rule)


def test_long_rules_say_what_they_leave_out():
    """The surest literals come first, the rest is counted."""
    model = planted()
    rules = flat_rules(model, torch.rand(4, 1, 3, 3), torch.tensor([0, 1, 0, 1]), ("a", "b"), per_class=4, literals=1)
    rule = next(r for r in rules if r.clause == 1)
    assert rule.literals == ("pixel (0, 1) above 0.5",)
    assert "and 1 more" in str(rule)


def test_controls_have_no_rules():
    """An MLP's hidden units are no clauses."""
    model = FlatTM(image_size=3, in_channels=1, num_classes=2, clauses=4, part="mlp")
    with pytest.raises(InputError, match="control"):
        flat_rules(model, torch.rand(2, 1, 3, 3), torch.tensor([0, 1]), ("a", "b"))


@pytest.mark.parametrize("architecture", ["vit", "swin"])
def test_rules_and_maps_of_transformers(architecture):
    """Both forms, clauses of several sizes: rules name blocks that exist, maps have the size of the image."""
    torch.manual_seed(0)
    size = {"depths": 2, "tm_clauses": (16, 24)} if architecture == "vit" else {"depths": (1, 1), "window_size": 2}
    model = UnifiedTMTransformer(
        3,
        architecture=architecture,
        image_size=8,
        in_channels=1,
        patch_size=2,
        embed_dim=12,
        num_heads=2,
        mlp_ratio=2.0,
        **size,
    ).eval()
    images, labels = torch.rand(12, 1, 8, 8), torch.arange(12) % 3
    rules = transformer_rules(model, images, labels, ("a", "b", "c"), per_class=2)
    assert [r.class_name for r in rules] == ["a", "a", "b", "b", "c", "c"]
    assert {r.place for r in rules} <= set(model.feed_forwards())
    assert all(0 <= r.holds <= 1 and len(r.literals) == min(6, r.count) for r in rules)
    assert all("bit" in literal for r in rules for literal in r.literals)
    index, pictures, maps = strongest_clauses(model, images, labels, ("a", "b", "c"), per_class=2, examples=1)
    assert maps.shape == (6, 8, 8)
    assert len(index["classes"]) == 3
    assert pictures.shape == (6, 1, 8, 8)


def test_block_votes_need_clauses():
    """A control has none, and says so instead of an empty result."""
    model = UnifiedTMTransformer(
        3, image_size=8, in_channels=1, patch_size=4, embed_dim=12, depths=1, feed_forward="mlp"
    )
    with pytest.raises(InputError, match="has none"):
        block_votes(model, torch.rand(2, 1, 8, 8), 0)


@pytest.mark.parametrize(
    ("kind", "settings", "shapes"),
    [
        (UnifiedTMTransformer, {"patch_size": 4, "embed_dim": 12, "depths": 2}, {"blocks.1": (8, 4, 4)}),
        (
            UnifiedTMTransformer,
            {"architecture": "swin", "patch_size": 2, "embed_dim": 12, "depths": (1, 2), "window_size": 4},
            {"stages.0.blocks.0": (8, 8, 8), "stages.1.blocks.1": (8, 4, 4)},
        ),
        (ResNetTM, {"width": 4, "stem": "small", "clauses": 8}, {"stages.0.0": (8, 16, 16), "stages.3.1": (8, 2, 2)}),
        (ConvTM, {"clauses": (8, 8, 8)}, {"blocks.0": (8, 16, 16), "blocks.2": (8, 4, 4)}),
        (
            SwinTM,
            {"embed_dim": 8, "depths": (1, 1), "num_heads": (2, 2), "patch_size": 2, "window_size": 4, "clauses": 8},
            {"stages.0.0": (8, 2, 2), "stages.1.0": (8, 1, 1)},
        ),
    ],
)
def test_clause_maps_lie_where_the_image_does(kind, settings, shapes):
    """A transposed map would point at the wrong patch: a change in one corner must show in that corner of the first block."""
    torch.manual_seed(0)
    if kind is UnifiedTMTransformer:
        settings = settings | {"tm_clauses": 8, "mlp_ratio": 2.0}
    model = kind(num_classes=3, image_size=16, in_channels=1, **settings)
    with torch.no_grad():
        model(torch.rand(8, 1, 16, 16))  # running statistics
    model.eval()
    pixels = torch.rand(6, 1, 16, 16)
    maps = clause_maps(model, pixels)
    assert {name: tuple(maps[name].shape[1:]) for name in shapes} == shapes
    assert all((m >= 0).all() and (m <= 1).all() and m.std() > 0 for m in maps.values())
    if kind is ConvTM:
        pixels[:, :, :4, 12:] = 1 - pixels[:, :, :4, 12:]
        moved = (clause_maps(model, pixels)["blocks.0"] - maps["blocks.0"]).abs().sum((0, 1)) > 0
        rows, columns = torch.nonzero(moved, as_tuple=True)
        assert rows.max() <= 4
        assert columns.min() >= 11


def test_models_without_places_and_controls_say_so():
    """An empty dictionary would be drawn as nothing, without a word."""
    for model in (FlatTM(image_size=4, clauses=8), ResNetTM(width=4, image_size=8, part="none")):
        with pytest.raises(InputError, match="no clauses with a place"):
            clause_maps(model, torch.rand(1, 3, *model.image_shape[1:]))


def test_a_model_can_be_copied_after_a_training_step():
    """The penalty of the last forward pass hangs on its graph, which cannot be copied: weight averages would crash."""
    model = UnifiedTMTransformer(3, image_size=8, in_channels=1, embed_dim=12, depths=1, ff_sparsity_weight=0.1)
    model(torch.rand(2, 1, 8, 8))
    other = copy.deepcopy(model)
    assert other.regularizers() == {}
    assert set(model.regularizers()) == {"clause_sparsity"}
    assert torch.equal(other.eval()(torch.ones(1, 1, 8, 8)), model.eval()(torch.ones(1, 1, 8, 8)))
