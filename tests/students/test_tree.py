"""The tree: grown on gradients, read as a list, equal to what is printed, the same after an interruption."""

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
from stillhouse.tasks.classification.readable import ReadableModel
from stillhouse.tasks.classification.readable_text import screen
from stillhouse.tasks.classification.students.networks import TreeConfig
from stillhouse.training.loop import fit


def fit_classifier(model, data, config, *, seed=0, signal_set=None, **more):
    """`fit` of a `ClassificationJob`."""
    return fit(ClassificationJob(model, data, config, seed=seed, signal_set=signal_set), config, seed=seed, **more)


NAMES = ("pin", "transfer", "card", "change", "lost")
SPEC = FeatureSpec(("change_pin", "transfers", "lost"), NAMES, (1.7,) * 5, {"kind": "words", "ngrams": 1})


def messages(rows=600, seed=0):
    """`lost` means lost; else `pin` means change_pin unless `transfer` is there too; else transfers."""
    counts = (np.random.default_rng(seed).random((rows, 5)) < 0.4).astype(np.float32)
    labels = np.where(counts[:, 4] > 0, 2, 1 - (counts[:, 0] * (1 - counts[:, 1])).astype(np.int64))
    return torch.from_numpy(counts), torch.from_numpy(labels)


def trained(counts, labels, leaves=8, steps=100):
    """By cross-entropy on the rows that have a label, in one batch a step."""
    model = TreeConfig(leaves=leaves).build(SPEC)
    optimizer = torch.optim.AdamW(model.parameter_groups(0.05), lr=0.05)
    for step in range(steps):
        model.set_progress(step / steps)
        loss = nn.functional.cross_entropy(model(counts), labels, ignore_index=-1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def model():
    return trained(*messages())


def test_it_learns_what_words_together_mean(model):
    counts, labels = messages(seed=1)
    assert (model(counts).argmax(1) == labels).float().mean() == 1
    shares = model(counts).softmax(1)[torch.arange(len(labels)), labels]
    assert shares.min() > 0.9  # leaves go on learning: those of the start have 0.98 of a sum that is above 1


def test_what_is_printed_decides(model):
    """The rules of all leaves give the network's scores; the first whose words are all there gives its class."""
    counts, _ = messages(seed=2)
    read = model.readable()
    assert np.allclose(read.scores(counts.numpy()), model(counts).detach().numpy())
    asked = [{name for name, there in rule.literals if there} for rule in read.rules]
    for row, answer in zip(counts, model(counts).argmax(1), strict=True):
        there = {name for name, count in zip(NAMES, row, strict=True) if count}
        assert next(rule for rule, words in zip(read.rules, asked, strict=True) if words <= there).best == answer
    assert ReadableModel.from_mapping(read.to_mapping()) == read


@pytest.mark.parametrize("leaves", [2, 3, 4])
def test_it_has_no_more_leaves_than_it_may(leaves):
    assert len(trained(*messages(), leaves=leaves).readable().rules) == leaves


def test_rows_on_which_no_loss_acts_do_not_count():
    """Nine of ten rows have no label: the tree is that of the others."""
    counts, labels = messages(rows=1000)
    labels[100:] = -1
    alone, among = trained(counts[:100], labels[:100]), trained(counts, labels)
    assert torch.equal(alone.feature, among.feature)
    assert torch.equal(alone.branches, among.branches)


def test_an_interrupted_training_grows_the_same_tree(tmp_path):
    data = WordDataConfig(root="builtin:banking", train_limit=400).build()
    config = ClassificationTrainingConfig(epochs=20, learning_rate=0.05, warmup_epochs=0, threads=1, keep="last")
    found = []
    for stop in (None, 13):  # of 80 steps; rows are gathered from the 8th to the 20th
        model = TreeConfig().build(data.input_spec)

        def interrupt(progress, news, stop=stop):
            if progress.step == stop:
                os.kill(os.getpid(), signal.SIGINT)

        folder = tmp_path / str(stop)
        try:
            fit_classifier(model, data, config, seed=0, folder=folder, on_progress=interrupt)
        except Interrupted:
            model = TreeConfig().build(data.input_spec)
            fit_classifier(model, data, config, seed=0, folder=folder, resume=True)
        found.append(model.eval().readable())
    assert found[0] == found[1]
    assert len(found[0].rules) > 20


# ------------------------------------------------------------------------------------------------ on a screen


def test_the_screen_is_the_list(model):
    """Four lines decide all: leaves of one question with one answer are one line; shares are counted by hand."""
    counts, labels = messages(seed=3)
    texts = [" ".join(np.array(NAMES)[row > 0]) for row in counts.numpy()]
    found = screen(model.readable(), counts.numpy(), counts.numpy(), labels.numpy(), texts)
    assert [(line.words, line.class_name) for line in found.lines] == [
        ("lost", "lost"),
        ("pin and transfer", "transfers"),
        ("pin", "change_pin"),
        ("otherwise", "transfers"),
    ]
    assert [line.right for line in found.lines] == [1] * 4
    assert found.lines[2].holds == pytest.approx(float((labels == 0).float().mean()))
    assert all("pin" in text for text in found.lines[2].examples)
    assert found.full == found.shown == 1
    assert "The first line whose words are all there decides: right on 100.0 % of 600 messages" in found.text()


def test_a_short_screen_says_what_its_lines_alone_decide(model):
    counts, labels = messages(seed=3)
    found = screen(model.readable(), counts.numpy(), counts.numpy(), labels.numpy(), [""] * 600, lines=3)
    assert found.shown == pytest.approx(found.lines[0].holds + found.lines[1].holds)
    assert "(2 of 4 lines are shown)" in found.text()
    assert len(found.text().splitlines()) == 3
