"""Every clause student as logic: clause values are the network's to the last, scores within the stated bound, classes equal."""

import numpy as np
import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.logic.machine import PackedModel
from stillhouse.tasks.classification.lower import lower
from stillhouse.tasks.classification.students.flat import DeepTMClassifier, FlatTM, Thermometer

SMALL = {"image_size": 8, "in_channels": 1, "num_classes": 3}
FLAT = {
    "plain": {},
    "levels and clause bias": {"levels": 3, "rule": {"clause_bias": 0.3, "failures": 8}},
    "vote bias": {"rule": {"clause_bias": None}},
    "budget": {"rule": {"literal_budget": 5, "failures": 2}},
    "learned tau": {"rule": {"learnable_tau": True, "tau": 0.4}},
    "crisp": {"rule": {"failures": 1, "literals": 3}},
    "literal dropout, in training mode": {"rule": {"literal_dropout": 0.5}},
}


def images(count=300, side=8, channels=1):
    return torch.randint(
        0, 256, (count, channels, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )


def logits(model, pixels):
    with torch.no_grad():
        return model(pixels.float().div_(255)).numpy()


def bound(machine):
    """Rounding of votes (see `whole_votes`), and of torch's float32 sums of n terms: n 2^-24 of what they add up to at most."""
    last = machine.layers[-1]
    of_votes = (last.capacity.sum() + 1) / (2 * last.scale)
    return of_votes + (last.num_clauses + 2) * 2.0**-24 * last.widest() / last.scale


@pytest.mark.parametrize("name", FLAT)
def test_a_flat_machine_is_its_network(name):
    torch.manual_seed(0)
    model = FlatTM(**SMALL, clauses=40, **FLAT[name])
    if "training" not in name:
        model.eval()
    machine, pixels = lower(model, "abc"), images()
    model.eval()
    expected = logits(model, pixels)
    with torch.no_grad():
        strength = model.core(model.bits(pixels.float() / 255) - 0.5).strength.numpy()
    failures = model.config.rule.failures
    np.testing.assert_array_equal(
        machine.layers[0].values(machine.bits(pixels.numpy())), np.rint(strength * failures).astype(int)
    )
    scores = machine.scores(pixels.numpy())
    assert np.abs(scores / machine.scale - expected).max() <= bound(machine) < 1e-4
    assert (machine.predict(pixels.numpy()) == expected.argmax(1)).all()
    assert machine.class_names == ("a", "b", "c")


@pytest.mark.parametrize("hidden", [(), (16,), (32, 16), (16, 16, 16)])
def test_a_deep_machine_is_its_network(hidden):
    """Bits of hidden layers equal torch's, but where a number lies within rounding of its threshold; gains of both signs."""
    torch.manual_seed(0)
    model = DeepTMClassifier(**SMALL, hidden_dims=hidden, clauses=40, levels=2, rule={"failures": 8}).eval()
    with torch.no_grad():
        for norm in model.core.norms:
            norm.weight.normal_()
            norm.bias.normal_()
    machine, pixels = lower(model), images()
    expected = logits(model, pixels)
    numbers, bits = 2 * machine.bits(pixels.numpy()).astype(np.int64) - 1, machine.bits(pixels.numpy())
    x = model.bits(pixels.float() / 255) - 0.5
    with torch.no_grad():
        for place, (layer, norm, path) in enumerate(zip(model.core.layers, model.core.norms, model.core.paths)):
            x = norm(layer((x > 0).float()).votes + path(x))
            bits, numbers = machine.joins[place].apply(machine.layers[place].scores(bits), numbers)
            np.testing.assert_allclose(numbers / 2**16, x.numpy(), atol=2e-3)
            assert (bits == (x > 0).numpy())[x.abs().numpy() > 1e-4].all()
    scores = machine.scores(pixels.numpy())
    assert (np.abs(scores / machine.scale - expected).max(1) <= bound(machine)).mean() > 0.99
    assert (scores.argmax(1) == expected.argmax(1)).mean() > 0.99
    np.testing.assert_array_equal(machine.scores(pixels.numpy()[:40], definition=True), scores[:40])


def test_bytes_and_floats_are_the_same_bits():
    """For every byte and many numbers of levels: the whole-number cut is where float32 crosses the edge."""
    every = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    for levels in (1, 2, 3, 7, 50, 255):
        edges = Thermometer(levels).edges.flatten().numpy()
        machine = PackedModel((1, 16, 16), edges, (), (), ())
        expected = Thermometer(levels)(every.float().div_(255)).bool().numpy()
        np.testing.assert_array_equal(machine.bits(every.numpy()), expected)
        np.testing.assert_array_equal(machine.bits(every.float().div_(255).numpy()), expected)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (np.zeros((2, 1, 8, 9), np.uint8), r"expected \(B, 1, 8, 8\), got \(2, 1, 8, 9\)"),
        (np.zeros((2, 1, 8, 8), np.int64), "uint8"),
        (np.full((2, 1, 8, 8), np.nan, np.float32), "got NaN"),
    ],
)
def test_images_that_are_none_are_refused(wrong, words):
    machine = lower(FlatTM(**SMALL, clauses=4))
    with pytest.raises(InputError, match=words):
        machine.predict(wrong)
