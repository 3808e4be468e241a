"""Clauses in words and in pictures: what is said is what the network does."""

import copy

import numpy as np
import pytest
import torch

from stillhouse.tasks.classification.data.images import ImageSplit
from stillhouse.tasks.classification.students.banks import Pixels, named_banks, round_weights, write_masks
from stillhouse.tasks.classification.students.flat import DeepTMClassifier, FlatTM, HybridTM
from stillhouse.tasks.classification.students.patches import PatchTM
from stillhouse.tasks.classification.students.rules import ClauseMatches, examples, find_rules, rank_by_discrimination
from stillhouse.tasks.classification.students.swin import SwinTM
from stillhouse.tasks.classification.students.transformer import UnifiedTMTransformer


def planted():
    """One clause for class "b": pixel (0, 1) bright, pixel (2, 0) dark, and (1, 1) dark, as in all images; no misses."""
    model = FlatTM(image_size=3, in_channels=1, num_classes=2, clauses=4, levels=1, rule={"failures": 1}).eval()
    bank = model.core.last.bank
    with torch.no_grad():
        bank.include_logits.fill_(-5.0)
        bank.include_logits[0, 1, 1], bank.include_logits[1, 1, 6], bank.include_logits[1, 1, 4] = 3.0, 2.0, 4.0
        model.core.last.votes.weight.zero_()
        model.core.last.votes.weight[1, 1] = 2.0
    return model


def four():
    """Two images of each class; the last one of "b" is bright where the rule wants it dark."""
    pixels = torch.zeros(4, 1, 3, 3)
    pixels[2:, 0, 0, 1] = 1.0
    pixels[3, 0, 2, 0] = 1.0
    return ImageSplit(pixels, torch.tensor([0, 0, 1, 1]))


def test_a_planted_rule_is_read_out():
    """Words, pictures, shares and worth of a clause that was written by hand; the literal that no image fails is cut."""
    model = planted()
    before = model(four().images)
    found = find_rules(model, four(), four(), ("a", "b"), per_class=1)
    (rule,) = found.index["rules"]
    adds = rule.pop("adds")
    assert rule == {
        "class_name": "b",
        "place": "clauses",
        "clause": 1,
        "holds": 0.5,
        "elsewhere": 0.0,
        "literals": [1, 9 + 6],
        "words": ["pixel (0, 1) above 0.5", "pixel (2, 0) not above 0.5"],
        "count": 3,
        "allowed": 0,
    }
    rule["adds"] = adds
    assert adds == pytest.approx(1.0, rel=1e-5)
    assert "b: +1.0" in found.text()
    assert "at most 0 of 2 fail: pixel (0, 1) above 0.5, pixel (2, 0) not above 0.5 (clauses, clause 1" in found.text()
    assert found.arrays["wanted_0"].tolist() == [[0, 255, 0], [0, 0, 0], [0, 0, 0]]
    assert found.arrays["unwanted_0"].tolist() == [[0, 0, 0], [0, 0, 0], [255, 0, 0]]
    assert found.arrays["mean_1"][0].tolist() == [[0, 255, 0], [0, 0, 0], [128, 0, 0]]
    torch.testing.assert_close(model(four().images), before, rtol=0, atol=0)  # the network itself is left alone


def lets_in(others):
    """A clause for "a" outvotes the rule on images of "a" where pixel (2, 2) is bright, so no answer needs the literal not (1, 1),
    which keeps the first of them out; `others` such images, and what is found."""
    model, images = planted(), four()
    with torch.no_grad():
        model.core.last.bank.include_logits[1, 0, 8] = -5.0
        model.core.last.bank.include_logits[0, 0, 8] = 3.0
        model.core.last.votes.weight[0, 0] = 5.0
    more = torch.zeros(others, 1, 3, 3)
    more[:2, 0, 0, 1] = 1.0
    more[:, 0, 2, 2] = more[0, 0, 1, 1] = 1.0
    images = ImageSplit(torch.cat([images.images, more]), torch.cat([images.labels, torch.zeros(others).long()]))
    rules = find_rules(model, images, images, ("a", "b"), per_class=1).index["rules"]
    return next(rule for rule in rules if rule["class_name"] == "b")


def test_a_clause_that_would_hold_on_all_classes_alike_stays_whole():
    """Cut it held on half of "b" and on half of the others: a rule of "b" that says nothing of "b"."""
    assert lets_in(others=3)["literals"] == [1, 9 + 6]
    rule = lets_in(others=2)
    assert (rule["literals"], rule["count"]) == ([1, 9 + 4, 9 + 6], 3)


def test_a_clause_that_fires_on_every_class_is_no_rule_of_one():
    """A clause that is always fulfilled and votes for "b" adds most there where all else is equal: it tells nothing about "b"."""
    degree = torch.tensor([[1.0, 0.0, 0.2], [1.0, 0.0, 0.0], [1.0, 0.5, 1.0], [1.0, 0.5, 0.9]])
    ranks, labels = [(0, 9.0), (1, 5.0), (2, 1.0)], torch.tensor([0, 0, 1, 1])
    assert rank_by_discrimination(ranks, ClauseMatches(degree, (degree > 0).float()), labels, 1) == [(2, 1.0), (1, 5.0)]
    everywhere = ClauseMatches(
        degree, torch.tensor([[1.0, 0.0, 0.9], [1.0, 0.0, 1.0], [1.0, 0.5, 1.0], [1.0, 0.5, 1.0]])
    )
    assert rank_by_discrimination(ranks, everywhere, labels, 1) == [(1, 5.0)]  # further, but as often
    model = planted()
    with torch.no_grad():
        model.core.last.bank.include_logits[1, 3, 0] = 3.0  # not bright where no image is
        model.core.last.votes.weight[1, 3] = 50.0
    found = find_rules(model, four(), four(), ("a", "b"), per_class=2)
    assert [rule["clause"] for rule in found.index["rules"] if rule["class_name"] == "b"] == [1]


def test_what_the_rule_alone_keeps():
    """Without it, every image gets its mean 1/4 x 2 for "b": half are right. With it, 3 of 4, as the whole has."""
    found = find_rules(planted(), four(), four(), ("a", "b"), per_class=1)
    assert found.index["growth"] == [[0, 0.5], [1, 0.75], [3, 0.75], [10, 0.75], [30, 0.75]]
    assert [found.index[name] for name in ("full", "shown", "exact")] == [0.75, 0.75, True]


def test_levels_are_drawn_by_shade():
    """Three levels: the first asks for little, the last for all; a pixel that must not reach the lowest level is the darkest."""
    pixels = Pixels(np.array([[0.25], [0.5], [0.75]]), 2, 2)
    wanted, unwanted = pixels.pictures([0, 2 * 4 + 1, 12 + 1 * 4 + 2, 12 + 3])
    assert wanted.tolist() == [[85, 255], [0, 0]]
    assert unwanted.tolist() == [[0, 0], [170, 255]]
    assert pixels.names([12 + 1 * 4 + 2]) == ["pixel (1, 0) not above 0.5"]
    features = Pixels(np.full((1, 76), 0.5), 1, 1, features=True)
    assert features.names([4, 76 + 2]) == ["at (0, 0) Sobel above 0", "at (0, 0) not brighter than 50 %"]


NETWORKS = {
    "vit": (UnifiedTMTransformer, {"patch_size": 2, "embed_dim": 12, "depths": 2, "tm_clauses": (16, 24)}),
    "swin": (
        UnifiedTMTransformer,
        {"architecture": "swin", "patch_size": 2, "embed_dim": 12, "depths": (1, 1), "window_size": 2, "tm_clauses": 8},
    ),
    "windows": (
        SwinTM,
        {
            "embed_dim": 8,
            "depths": (1,),
            "num_heads": (2,),
            "patch_size": 2,
            "window_size": 2,
            "clauses": 8,
            "tm_hidden": 16,
        },
    ),
    "deep": (DeepTMClassifier, {"hidden_dims": (8,), "clauses": 12}),
    "patches": (PatchTM, {"clauses": 12, "patches": 8, "side": 4}),
    "hybrid": (HybridTM, {"clauses": 12, "thresholds": 16, "hidden": 16}),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_rules_of_every_network(name, monkeypatch):
    """Rules name sites that exist and are ranked; with all cuts the network answers as before."""
    monkeypatch.setattr("stillhouse.tasks.classification.students.rules.ALIKE", 0.0)  # untrained clauses tell nothing
    torch.manual_seed(0)
    kind, settings = NETWORKS[name]
    model = kind(num_classes=3, image_size=8, in_channels=1, **settings)
    images = ImageSplit(torch.rand(24, 1, 8, 8), torch.arange(24) % 3)
    with torch.no_grad():
        model(images.images)  # running statistics
    model.eval()
    found = find_rules(model, images, images, ("a", "b", "c"), per_class=2)
    rules, banks = found.index["rules"], named_banks(model)
    assert {rule["place"] for rule in rules} <= set(banks)
    assert [rule["class_name"] for rule in rules] == sorted(rule["class_name"] for rule in rules)
    for rule in rules:
        bank = banks[rule["place"]]
        assert rule["count"] == int(sum(mask[rule["clause"]].sum() for mask in bank.masks()))
        assert len(rule["literals"]) <= rule["count"]
        assert max(rule["literals"], default=0) < 2 * bank.num_bits
        assert 0 <= rule["holds"] <= 1
    right = (model(images.images).argmax(1) == images.labels).float().mean()
    assert found.index["full"] == pytest.approx(float(right))
    drawn = {key.split("_")[0] for key in found.arrays}
    assert "mean" in drawn
    assert drawn & {"wanted", "examples"}
    cut = copy.deepcopy(model)
    round_weights(cut)
    torch.testing.assert_close(cut(images.images), model(images.images), rtol=0, atol=1e-6)
    for rule in rules:
        bank = named_banks(cut)[rule["place"]]
        masks, kept = torch.stack(bank.masks()), torch.zeros(2 * bank.num_bits)
        kept[rule["literals"]] = 1
        masks[:, rule["clause"]] = kept.unflatten(0, (2, bank.num_bits))
        write_masks(bank, masks)
    assert torch.equal(cut(images.images).argmax(1), model(images.images).argmax(1))


def test_an_example_is_the_patch_where_the_clause_votes():
    """A transposed place would show another patch: image 3 has a bright square at row 1, column 2 of a 2 x 4 grid."""
    model = UnifiedTMTransformer(
        2, image_size=(4, 8), in_channels=1, patch_size=2, embed_dim=8, depths=1, tm_clauses=4, num_heads=2
    )
    pixels = torch.full((4, 1, 4, 8), 0.2)
    pixels[3, 0, 2:4, 4:6] = 1.0
    votes = torch.zeros(4, 1 + 8)
    votes[3, 1 + 1 * 4 + 2] = 5.0
    first = examples(model, pixels, votes)[0]
    assert first.shape == (1, 6, 6)
    assert (first[0, 2:4, 2:4] == 255).all()
    assert (first[0, :2] < 60).all()


def test_a_model_can_be_copied_after_a_training_step():
    """The penalty of the last forward pass hangs on its graph, which cannot be copied: weight averages would crash."""
    model = UnifiedTMTransformer(3, image_size=8, in_channels=1, embed_dim=12, depths=1, ff_sparsity_weight=0.1)
    model(torch.rand(2, 1, 8, 8))
    other = copy.deepcopy(model)
    assert other.regularizers() == {}
    assert set(model.regularizers()) == {"clause_sparsity"}
    assert torch.equal(other.eval()(torch.ones(1, 1, 8, 8)), model.eval()(torch.ones(1, 1, 8, 8)))
