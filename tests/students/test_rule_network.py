"""Students that are rules: what is printed decides, words are added where the loss asks for it, within the limits."""

import os
import signal

import numpy as np
import pytest
import torch
from torch import nn

from stillhouse.core.checks import Interrupted
from stillhouse.core.types import FeatureSpec
from stillhouse.tasks.classification.data.config import WordDataConfig
from stillhouse.tasks.classification.job import ClassificationJob
from stillhouse.tasks.classification.plan import ClassificationTrainingConfig
from stillhouse.tasks.classification.students.networks import RulesConfig
from stillhouse.training.loop import fit


def fit_classifier(model, data, config, *, seed=0, signal_set=None, **more):
    """`fit` of a `ClassificationJob`."""
    return fit(ClassificationJob(model, data, config, seed=seed, signal_set=signal_set), config, seed=seed, **more)


NAMES = ("pin", "transfer", "card", "change", "lost", "noise", "more", "the")
SPEC = FeatureSpec(
    ("change_pin", "transfers"), NAMES, (1.7,) * 8, {"kind": "words", "ngrams": 1, "text_column": "text"}
)


def trained(config, counts, labels, spec=SPEC, steps=300):
    """By cross-entropy alone, in one batch a step."""
    model = config.build(spec)
    optimizer = torch.optim.AdamW(model.parameter_groups(0.05), lr=0.05)
    for step in range(steps):
        model.set_progress(step / steps)
        loss = nn.functional.cross_entropy(model(counts), labels)
        loss = loss + sum(weight * value for weight, value in model.regularizers().values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def messages(rows=600, seed=0):
    """`pin` means change_pin unless `transfer` is there too; all words at random."""
    counts = (np.random.default_rng(seed).random((rows, len(NAMES))) < 0.4).astype(np.float32)
    labels = 1 - (counts[:, 0] * (1 - counts[:, 1])).astype(np.int64)
    return torch.from_numpy(counts), torch.from_numpy(labels)


@pytest.fixture(scope="module")
def model():
    return trained(RulesConfig(rules=4), *messages())


def test_a_negation_that_the_data_ask_for_is_found(model):
    """`pin and not transfer` is the whole truth of these rows; single words are wrong on a sixth of them."""
    counts, labels = messages(seed=1)
    assert (model(counts).argmax(1) == labels).float().mean() > 0.99
    assert "pin and not transfer" in {str(rule) for rule in model.readable().rules if rule.best == 0}


def test_two_words_that_mean_more_together_become_a_rule():
    """Of either word alone a tenth is of the class, of both all."""
    counts, _ = messages()
    both = counts[:, 0] * counts[:, 1]
    model = trained(RulesConfig(rules=4), counts, both.long())
    assert "pin and transfer" in {str(rule) for rule in model.readable().rules if rule.best == 1}


def test_without_evidence_no_word_is_added():
    """Rows that ask for a negation, and a bound that no sum of gradients reaches: single words, and the places stay full."""
    model = trained(RulesConfig(rules=4, evidence=1e6), *messages())
    rules = model.readable().rules
    assert all(len(rule.literals) == 1 for rule in rules)
    assert int((model.literals[:, 0] < 2 * len(NAMES)).sum()) == 8


def test_words_that_say_nothing_of_a_topic_are_not_added():
    """`the` in the place of `transfer`: the negation would be as good, and nobody reads it as a reason."""
    counts, labels = messages()
    swapped = counts[:, [0, 7, 2, 3, 4, 5, 6, 1]]
    model = trained(RulesConfig(rules=4), swapped, labels)
    assert not any("not the" in str(rule) for rule in model.readable().rules)


@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.45, 0.9])
def test_what_is_printed_decides_at_any_time(fraction):
    """In eval mode, however far training is; counts above 1 are 1."""
    counts, labels = messages(200)
    model = RulesConfig(rules=3).build(SPEC)
    torch.manual_seed(0)
    nn.init.normal_(model.words)
    nn.init.normal_(model.bias)
    for done in np.arange(0, fraction + 1e-9, 0.05):
        model.set_progress(float(done))
        if model.begun:
            nn.functional.cross_entropy(model(counts), labels).backward()
    model.eval()
    readable = model.readable()
    np.testing.assert_allclose(readable.scores(3 * counts.numpy()), model(3 * counts).detach().numpy(), atol=1e-5)
    assert len(readable.rules) <= 6


def test_points_of_a_rule_that_no_word_begins_yet_are_printed_as_bias():
    """Short trainings end with such rules, which hold for every row."""
    model = RulesConfig(rules=6).build(SPEC)
    nn.init.normal_(model.words)
    model.set_progress(0.45)
    assert (model.literals[:, 0] == 2 * len(NAMES)).any()
    with torch.no_grad():
        model.votes += torch.arange(12.0)
    counts, _ = messages(50)
    np.testing.assert_allclose(
        model.eval().readable().scores(counts.numpy()), model(counts).detach().numpy(), atol=1e-4
    )


@pytest.mark.parametrize("most", [1, 2])
def test_no_rule_has_more_words_than_it_may(most):
    counts, labels = messages()
    model = trained(RulesConfig(rules=4, literals=most), counts, labels)
    assert max(len(rule.literals) for rule in model.readable().rules) == most
    assert len(model.readable().rules) <= 8


def test_an_interrupted_training_grows_the_same_rules(tmp_path):
    """Checkpoints after epochs in which residuals are gathered: what is gathered so far goes on."""
    data = WordDataConfig(root="builtin:banking", train_limit=400).build()
    config = ClassificationTrainingConfig(epochs=50, learning_rate=0.05, warmup_epochs=0, threads=1, keep="last")
    found = []
    for stop in (None, 100):
        model = RulesConfig(rules=10, evidence=3.0).build(data.input_spec)

        def interrupt(progress, news, stop=stop):
            if progress.step == stop:
                os.kill(os.getpid(), signal.SIGINT)

        folder = tmp_path / str(stop)
        try:
            fit_classifier(model, data, config, seed=0, folder=folder, on_progress=interrupt)
        except Interrupted:
            model = RulesConfig(rules=10, evidence=3.0).build(data.input_spec)
            fit_classifier(model, data, config, seed=0, folder=folder, resume=True)
        found.append(model.eval().readable())
    assert found[0] == found[1]
    assert any(len(rule.literals) > 1 for rule in found[0].rules)
