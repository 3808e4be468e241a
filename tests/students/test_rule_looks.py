"""What goes with a clause inside a network: correlations against NumPy's, planted clauses in words."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from stillhouse.classification.data import ImageSplit
from stillhouse.families.clauses.rule_words import answers_to
from stillhouse.families.clauses.rules_file import read_rules, write_rules
from stillhouse.families.clauses.rules_report import blocks_of
from stillhouse.families.clauses.students.rule_looks import looks
from stillhouse.families.clauses.students.rules import find_rules
from stillhouse.families.clauses.students.sites import Site
from stillhouse.families.clauses.students.transformer import UnifiedTMTransformer
from stillhouse.report.page import render_blocks

IMAGES = torch.rand(200, 1, 6, 6, generator=torch.Generator().manual_seed(3))


class Bank(nn.Module):
    """Gives back the strengths that it is asked with."""

    def forward(self, x):
        return x


class Patches(nn.Module):
    """Patches of 2 x 2: clause 0 is the brightness of the patch, clause 1 the darkness of the one left of it; each has a level."""

    image_shape, patch_size, class_token = (1, 6, 6), 2, None

    def __init__(self):
        super().__init__()
        self.bank = Bank()

    def forward(self, x):
        own = nn.functional.avg_pool2d(x, 2)
        left = nn.functional.pad(own, (1, 0))[..., :3]
        place = 10.0 * torch.arange(9)
        return self.bank(torch.stack([own.flatten(1) + place, 5 - left.flatten(1) + place], -1))


class Whole(Patches):
    """Asked once: brighter at the upper right than at the bottom."""

    def forward(self, x):
        return self.bank((x[:, 0, :2, 4:].mean((1, 2)) - x[:, 0, 4:, 2:4].mean((1, 2)))[:, None, None])


def test_planted_clauses_in_words():
    """A clause that answers to one patch and is said to answer to another would be a story; the level of a place is no look."""
    model = Patches()
    found = looks(model, {"s": Site("s", model.bank)}, IMAGES, {("s", n): [torch.ones(3, 9)] for n in (0, 1)})
    assert found["s", 0].words == "speaks more where it is brighter in its patch (+1.00)"
    assert found["s", 1].words.startswith("speaks more where it is darker left of its patch (-")
    assert found["s", 0].brighter.shape == (6, 6)
    assert (found["s", 0].brighter[2:4, 2:4] > 200).all()
    assert not found["s", 0].darker.any()
    whole = Whole()
    (look,) = looks(whole, {"s": Site("s", whole.bank)}, IMAGES, {("s", 0): [torch.ones(3, 1)]}).values()
    words = (
        r"speaks more on images that are brighter at the upper right \(\+0.\d\d\) and darker at the bottom \(-0.\d\d\)"
    )
    assert re.fullmatch(words, look.words)


def test_correlations_are_those_of_numpy():
    """Cell by cell; the strongest is drawn with 255 and what is below three standard errors not at all."""
    model = Whole()
    (look,) = looks(model, {"s": Site("s", model.bank)}, IMAGES, {("s", 0): [torch.ones(3, 1)]}).values()
    strength = model(IMAGES).flatten().numpy()
    expected = np.array([[np.corrcoef(strength, IMAGES[:, 0, r, c].numpy())[0, 1] for c in range(6)] for r in range(6)])
    shown = np.where(np.abs(expected) >= 3 / 200**0.5, expected, 0.0)
    drawn = look.brighter.astype(float) - look.darker
    np.testing.assert_allclose(drawn, 255 * shown / np.abs(shown).max(), atol=0.51)


def test_chance_is_no_look():
    """Noise correlates with something: below three standard errors nothing is said."""
    noise = nn.Module()
    noise.image_shape, noise.bank = (1, 6, 6), Bank()
    random = torch.Generator().manual_seed(0)
    noise.forward = lambda x: noise.bank(torch.rand(len(x), 1, 1, generator=random))
    (look,) = looks(noise, {"s": Site("s", noise.bank)}, IMAGES, {("s", 0): [torch.ones(3, 1)]}).values()
    assert look.words == answers_to([0.0] * 9, True) == "speaks alike whatever is brighter or darker in the image"


def test_rules_of_a_transformer_read_by_themselves(tmp_path):
    """A text that sends its reader to another page for what a clause looks at explains nothing."""
    torch.manual_seed(0)
    model = UnifiedTMTransformer(
        3, image_size=8, in_channels=1, patch_size=2, embed_dim=12, depths=2, tm_clauses=16
    ).eval()
    images = ImageSplit(torch.rand(60, 1, 8, 8), torch.arange(60) % 3)
    rules = find_rules(model, images, images, ("a", "b", "c"), per_class=3)
    assert rules.rules
    assert all(rule.looks.startswith("speaks ") for rule in rules.rules)
    kept = [rule for rule in rules.rules if rule.literals]
    lines = rules.text().splitlines()
    for rule in kept:
        said = rule.looks if "alike" not in rule.looks else f"{rule.place} {rule.clause}"
        assert any(line.startswith(f"{rule.class_name}: ") and said in line for line in lines)
    assert "report" not in rules.text()
    known = replace(rules, full=0.9, growth=[(0, 0.4)])  # rules of clauses that decide nothing are not drawn
    write_rules(tmp_path, known)
    page = render_blocks(blocks_of(read_rules(tmp_path / "rules.json")), title="x", headline="x", lead="x")
    assert f"what goes with clause {rules.rules[0].clause}" in page
    assert rules.rules[0].looks in page


@pytest.mark.parametrize("channels", [2, 48])
def test_what_has_no_brightness_has_no_look(channels):
    """Bits of boolean features are no brightness."""
    model = Whole()
    model.image_shape = (channels, 6, 6)
    assert (
        looks(model, {"s": Site("s", model.bank)}, torch.rand(4, channels, 6, 6), {("s", 0): [torch.ones(3, 1)]}) == {}
    )
