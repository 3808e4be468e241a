"""Bits of oriented filters by numpy and by C: those of the network on every image, and machines that read them."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from stillhouse.core.checks import InputError
from stillhouse.core.hashes import sealed
from stillhouse.logic import c
from stillhouse.logic.filter_bits import BITS, KERNELS, filter_bits
from stillhouse.logic.packed import load_packed, packed_bytes, save_packed
from stillhouse.tasks.classification.data.boolean_features import boolean_features
from stillhouse.tasks.classification.lower import lower
from stillhouse.tasks.classification.students.flat import FlatTM

KINDS = ("noise", "black", "constant", "few grays", "dots", "ramp", "photo")


def pictures(kind, shape, seed=0):
    """Bytes (3, C, H, W); few grays and ramps have equal entries at every quantile."""
    rng = np.random.default_rng(seed)
    shape = (3, *shape)
    made = {
        "noise": lambda: rng.integers(0, 256, shape),
        "black": lambda: np.zeros(shape),
        "constant": lambda: np.full(shape, rng.integers(1, 256)),
        "few grays": lambda: 80 * rng.integers(0, 4, shape),
        "dots": lambda: rng.integers(0, 256, shape) * (rng.random(shape) < 0.05),
        "ramp": lambda: np.broadcast_to(np.arange(shape[-1]) * 7 % 256, shape),
        "photo": lambda: np.cumsum(rng.normal(0, 9, shape), axis=3) + 128,
    }
    return np.clip(made[kind](), 0, 255).astype(np.uint8)


def as_torch(images):
    return torch.from_numpy(images).float() / 255


@settings(max_examples=80, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    shape=st.tuples(st.sampled_from([1, 3]), st.integers(1, 30), st.integers(1, 30)),
    square=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
)
def test_numpy_has_the_bits_of_the_network(kind, shape, square, seed):
    """Sums, ranks and squares of odd sides: one bit apart and an exported student answers otherwise."""
    images = pictures(kind, shape, seed)
    found, expected = filter_bits(images, square), boolean_features(as_torch(images), square).numpy()
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("count", [2, 3, 4, 26, 76, 326, 776])
def test_ranks_that_lie_between_two_go_to_the_even_one(count):
    """0.66 times 325 is 214.5, which float32 puts above it: pixels of 1, 2, 3, ... say which rank was taken."""
    images = np.zeros((1, 1, 1, 800))
    images[..., :count] = 1 + np.arange(count)
    found = filter_bits(images)[0, :4, 0]
    network = boolean_features(torch.from_numpy(images / 255).float())[0, :4, 0].numpy()
    above = [count, *(count - 1 - round(share * (count - 1)) for share in (0.25, 0.5, 0.75))]  # those shares are exact
    assert found.sum(1).tolist() == network.sum(1).tolist() == above


def test_the_filters_are_the_documented_ones():
    """Twice the Sobel, diagonal, wide Sobel and line of the examples they are from; each second one a quarter turn."""
    sobel = KERNELS[0, 2:5, 2:5]
    assert (sobel == 2 * np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])).all()
    assert (KERNELS[2, 1:6, 1:6].diagonal() == 2).all()
    assert (KERNELS[2, 1:6, 1:6].diagonal(1) == -1).all()
    assert (KERNELS[4, 3] == 40 * np.arange(-3, 4)).all()
    assert (KERNELS[6, 2:5, 2:5] == 2 * np.array([-1, 2, -1])).all()
    assert all((KERNELS[i + 1] == np.rot90(KERNELS[i])).all() for i in range(0, 8, 2))
    assert np.abs(KERNELS).sum((1, 2)).max() * 255 < 2**24  # any sum of them is exact in float32


def student(shape, **options):
    torch.manual_seed(0)
    return FlatTM(image_size=shape[1:], in_channels=shape[0], num_classes=5, clauses=24, **options).eval()


@pytest.fixture(scope="module")
def machine():
    return lower(student((1, 28, 28)), "abcde")


@pytest.mark.parametrize(
    ("shape", "options"),
    [((1, 28, 28), {}), ((3, 17, 19), {}), ((1, 9, 10), {"filters": True}), ((1, 9, 10), {"square": 50})],
)
def test_a_machine_of_filters_is_its_network(shape, options, tmp_path):
    """Bits equal, of bytes and of floats that are none; scores by numpy, by the kernel, by the file and by C."""
    model = student(shape, **options)
    machine = lower(model, "abcde")
    images = np.concatenate([pictures(kind, shape) for kind in KINDS])
    pixels = as_torch(images)
    between = torch.from_numpy(np.random.default_rng(0).random((20, *shape), np.float32))
    with torch.no_grad():
        np.testing.assert_array_equal(machine.bits(images), model.bits(pixels).bool().numpy())
        np.testing.assert_array_equal(machine.bits(pixels.numpy()), machine.bits(images))
        np.testing.assert_array_equal(machine.bits(between.numpy()), model.bits(between).bool().numpy())
        expected = model(pixels).numpy()
    scores = machine.scores(images, definition=True)
    np.testing.assert_allclose(scores / machine.scale, expected, atol=1e-5)
    np.testing.assert_array_equal(machine.scores(images), scores)
    save_packed(machine, tmp_path / "m.safetensors")
    read = load_packed(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(read.scores(images), scores)
    assert (read.square, read.image_shape, packed_bytes(read)) == (machine.square, shape, packed_bytes(machine))
    (tmp_path / "m.c").write_text(c.c_text(machine))
    named, found = c.run_c_program(tmp_path / "m.c", images, 5)
    np.testing.assert_array_equal(found, scores)
    np.testing.assert_array_equal(named, scores.argmax(1))


def test_many_images_are_read_piece_by_piece(machine, monkeypatch):
    """Neighbourhoods of ten thousand images would take gigabytes; a piece is no border."""
    images = np.concatenate([pictures("photo", (1, 28, 28), seed) for seed in range(4)])
    whole = machine.bits(images)
    monkeypatch.setattr("stillhouse.logic.machine.AT_ONCE", 5 * 28 * 28)
    np.testing.assert_array_equal(machine.bits(images), whole)
    assert machine.bits(images[:0]).shape == (0, 7 * 7 * BITS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"square": None}, "version 1 or 2"),
        ({"version": 1}, "version 1 or 2"),
        ({"square": 0}, "squares of filters"),
        ({"square": -4}, "at most the pixels of a side"),
        ({"square": 29}, "at most the pixels of a side"),
        ({"square": 5}, "layer 0: expected 2736 bits, got 3724"),
        ({"square": "wide"}, "malformed"),
        ({"image_shape": [0, 28, 28]}, "machine: expected"),
        ({"edges": [0.5]}, "squares of filters"),
    ],
)
def test_filters_that_do_not_fit_are_refused(machine, tmp_path, change, words):
    """Each in a file whose hash fits."""
    content = packed_bytes(machine)
    size = int.from_bytes(content[:8], "little")
    arrays, about = load(content), json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["machine"])
    assert (about["version"], about["square"]) == (2, 4)
    arrays["edges"] = np.array(change.pop("edges", []), np.float32)
    about = {name: value for name, value in (about | change).items() if value is not None}
    (tmp_path / "m.safetensors").write_bytes(sealed(save(arrays, metadata={"machine": json.dumps(about)})))
    with pytest.raises(InputError, match=words):
        load_packed(tmp_path / "m.safetensors")
