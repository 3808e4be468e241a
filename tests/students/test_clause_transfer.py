"""Clauses handed from a wide machine to a narrow one: exactly the machine with its other clauses silent."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stillhouse.classification.data import DataConfig, ImageData
from stillhouse.core.checks import InputError
from stillhouse.core.config import ConfigError, parse
from stillhouse.core.folder import RunFolder
from stillhouse.core.lab import Lab
from stillhouse.families.clauses.family import FAMILY
from stillhouse.families.clauses.plan import ClausesRunConfig, ClauseTransferConfig
from stillhouse.families.clauses.students import UnifiedTMConfig
from stillhouse.families.clauses.students.model_configs import DeepTMConfig, FlatTMConfig
from stillhouse.families.clauses.students.sites import listening, sites
from stillhouse.families.clauses.transfer import clause_layers, donor_of, hand_over, mean_strengths

VIT = {"patch_size": 4, "embed_dim": 16, "depths": 2, "num_heads": 2, "tm_failures": 2}
PAIRS = {
    "flat": (FlatTMConfig(clauses=40), FlatTMConfig(clauses=12)),
    "team": (
        FlatTMConfig(clauses=36, voting="team", num_classes=3),
        FlatTMConfig(clauses=12, voting="team", num_classes=3),
    ),
    "deep": (DeepTMConfig(hidden_dims=(8,), clauses=20), DeepTMConfig(hidden_dims=(8,), clauses=6)),
    "vit": (UnifiedTMConfig(tm_clauses=16, **VIT), UnifiedTMConfig(tm_clauses=6, **VIT)),
}


def data():
    rng = np.random.default_rng(0)
    images = (rng.random((90, 8, 8)) * 255).astype(np.uint8)
    return ImageData.from_arrays(images, np.arange(90) % 3, config=DataConfig(test_fraction=0.3))


DATA = data()
GIVEN = ClauseTransferConfig(run="wide", rows=32)


def built(config, seed=0):
    torch.manual_seed(seed)
    model = config.build(DATA.task).eval()
    with torch.no_grad():
        for layer in clause_layers(model).values():  # votes that differ in size, or every choice would be a toss
            if hasattr(layer, "votes") and isinstance(layer.votes, torch.nn.Linear):
                layer.votes.weight.mul_(torch.linspace(0.1, 3.0, layer.votes.weight.shape[1]))
    return model


def silenced(model, chosen, pixels):
    """Scores with the clauses that were not chosen put at 0, their bias too."""
    paths = {id(layer.bank): path for path, layer in clause_layers(model).items()}

    def hear(site, bits, strength):
        picked = chosen[paths[id(site.bank)]]
        keep = torch.zeros(site.bank.num_clauses).index_fill(0, picked, 1.0)
        return strength * keep

    with torch.no_grad():
        for path, layer in clause_layers(model).items():
            bias = getattr(layer, "clause_bias", None)
            if bias is not None:
                rest = torch.ones(len(bias), dtype=torch.bool).index_fill(0, chosen[path], False)
                bias[rest] = 0.0
        with listening(sites(model), hear):
            return model(pixels)


@pytest.mark.parametrize("name", ["flat", "team", "deep", "vit"])
def test_the_narrow_machine_is_the_wide_one_with_other_clauses_silent(name):
    """Votes, biases, literals and everything around them; only the number of clauses differs."""
    wide, narrow = PAIRS[name]
    model, student = built(wide), built(narrow, seed=1)
    pixels = DATA.test.batch(torch.arange(8)).inputs
    before = student(pixels)
    donor = donor_of(model, DATA.train, GIVEN)
    chosen = hand_over(donor, student)
    with torch.no_grad():
        found = student(pixels)
    assert not torch.allclose(found, before)
    torch.testing.assert_close(found, silenced(model, chosen, pixels), atol=1e-5, rtol=1e-5)


def test_the_chosen_are_those_with_the_largest_vote_times_strength():
    """Both factors by hand, from the bank's own answers; a team keeps as many of each class and side."""
    model = built(PAIRS["flat"][0])
    (path, layer), *_ = clause_layers(model).items()
    inputs = DATA.train.sample(32).batch(torch.arange(32)).inputs
    strength = model.voted(inputs).strength.mean(0)
    torch.testing.assert_close(mean_strengths(model, DATA.train, 32)[path], strength, check_dtype=False)
    worth = (strength * layer.votes.weight.abs().sum(0)).detach()
    chosen = hand_over(donor_of(model, DATA.train, GIVEN), built(PAIRS["flat"][1]))[path]
    assert set(chosen.tolist()) == set(worth.argsort(descending=True)[:12].tolist())
    drawn = hand_over(donor_of(model, DATA.train, replace(GIVEN, pick="random")), built(PAIRS["flat"][1]))[path]
    assert set(drawn.tolist()) != set(chosen.tolist())
    team = built(PAIRS["team"][0])
    (path, layer), *_ = clause_layers(team).items()
    chosen = hand_over(donor_of(team, DATA.train, GIVEN), built(PAIRS["team"][1]))[path]
    assert torch.bincount(chosen // layer.own, minlength=6).tolist() == [2] * 6


@pytest.mark.parametrize(
    ("narrow", "words"),
    [
        (FlatTMConfig(clauses=12, levels=2), "bits: the student has 128, wide 64"),
        (FlatTMConfig(clauses=60), "at most the 40 clauses of wide, the student has 60"),
        (FlatTMConfig(clauses=12, voting="team", num_classes=3), "expected layers of clauses at core"),
        (DeepTMConfig(hidden_dims=(8,), clauses=6), "expected layers of clauses"),
        (
            replace(PAIRS["flat"][1], rule=replace(PAIRS["flat"][1].rule, failures=8)),
            "rule.failures: the student has 8",
        ),
    ],
)
def test_unlike_literals_and_rules_are_refused(narrow, words):
    """A clause over other bits is another clause."""
    student = built(narrow, seed=1)
    before = {name: x.clone() for name, x in student.state_dict().items()}
    with pytest.raises(InputError, match=words):
        hand_over(donor_of(built(PAIRS["flat"][0]), DATA.train, GIVEN), student)
    assert all(torch.equal(x, before[name]) for name, x in student.state_dict().items())


def test_a_run_starts_its_taught_students_from_the_wide_one(tmp_path):
    """And an untaught one from its own draw; another machine under the same name is refused."""
    wide = built(PAIRS["flat"][0])
    mapping = {
        "student": {"kind": "flat-tm", "clauses": 12},
        "start_from": {"run": str(tmp_path / "wide"), "rows": 32},
        "arms": ["kd", "no-kd"],
    }
    config = parse(ClausesRunConfig, mapping)
    lab = Lab(config, DATA, RunFolder(tmp_path / "run"))
    (tmp_path / "run").mkdir()
    FAMILY.save(tmp_path / "wide", wide, PAIRS["flat"][0], lab)
    FAMILY.prepare(lab)
    taught, untaught = (arm for arm in FAMILY.arms(config) if arm.trains)
    expected = built(PAIRS["flat"][1])
    hand_over(donor_of(wide, DATA.train, GIVEN), expected)
    found = FAMILY.student(taught, taught.student, 0, lab)
    assert all(torch.equal(x, found.state_dict()[name]) for name, x in expected.state_dict().items())
    torch.manual_seed(0)
    own = FAMILY.student(untaught, untaught.student, 0, lab)
    assert not torch.equal(
        own.state_dict()["core.layers.0.votes.weight"], expected.state_dict()["core.layers.0.votes.weight"]
    )
    FAMILY.save(tmp_path / "wide", built(PAIRS["flat"][0], seed=5), PAIRS["flat"][0], lab)
    with pytest.raises(InputError, match="another machine"):
        FAMILY.prepare(replace(lab, resume=True))
    FAMILY.prepare(lab)  # of a new run, whatever an earlier one left in the folder
    for change, words in (
        ({"prior": "zero"}, "prior: 'zero' does nothing"),
        ({"arms": ["no-kd"]}, "how arm 'kd' starts"),
    ):
        with pytest.raises(ConfigError, match=words):
            parse(ClausesRunConfig, {**mapping, **change})
