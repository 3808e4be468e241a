"""Flat clause machines that read oriented filters, joined over squares."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate

from stillhouse.logic.filter_bits import BITS, KERNELS
from stillhouse.tasks.classification.data.boolean_features import NEGATIVE, POSITIVE, boolean_features
from stillhouse.tasks.classification.students.banks import named_banks, pixels_of
from stillhouse.tasks.classification.students.config import FlatTMConfig
from stillhouse.tasks.classification.students.flat import FilterBits, FlatTM, Thermometer


def photos(count=3, side=10):
    """A third of each is black, as around a digit: quantiles are of what is not."""
    x = torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(0))
    return (255 * x * (x > 0.33)).round() / 255


def machine(**options):
    torch.manual_seed(0)
    return FlatTM(image_size=10, in_channels=1, num_classes=3, clauses=12, filters=True, **options).eval()


def test_thresholds_are_quantiles_of_either_side():
    """Nearest rank among the responses above 0, and by size among those below: one sort must serve both."""
    for image in photos():
        bits = boolean_features(image[None])[0]
        for place, kernel in enumerate(KERNELS):
            values = correlate(np.rint(255 * image[0].numpy()), kernel, mode="constant")
            first = 4 + 9 * place
            for sign, shares, start in ((1, POSITIVE, 1), (-1, NEGATIVE, 5)):
                ordered = np.sort(sign * values[sign * values > 0])
                for number, share in enumerate(shares):
                    level = ordered[round(Fraction(share * (len(ordered) - 1), 100))]  # halves to even
                    np.testing.assert_array_equal(bits[first + start + number].numpy(), sign * values > level)


def test_a_square_is_one_where_any_of_its_bits_is():
    """Squares at the border may be parts of one: 10 pixels are three squares of 4."""
    x = photos()
    whole, joined = boolean_features(x).numpy(), FilterBits(4)(x).reshape(3, BITS, 3, 3).numpy()
    for row in range(3):
        for column in range(3):
            square = whole[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            np.testing.assert_array_equal(joined[:, :, row, column], square.any((2, 3)))


def test_literals_are_named_and_drawn_by_their_square():
    model = machine(square=4)
    pixels = pixels_of(model, next(iter(named_banks(model).values())))
    sobel = 4 * 9 + 5  # feature 4, square (1, 2)
    assert pixels.names([sobel, 76 * 9 + sobel]) == [
        "at (4, 8) 4 x 4 Sobel above 0",
        "at (4, 8) 4 x 4 not Sobel above 0",
    ]
    wanted, unwanted = pixels.pictures([sobel])
    drawn = np.zeros((10, 10), np.uint8)
    drawn[4:8, 8:] = 255
    np.testing.assert_array_equal(wanted, drawn)
    assert not unwanted.any()


@pytest.mark.parametrize(
    ("side", "given", "joined"),
    [
        (8, {}, 0),
        (15, {}, 0),
        (16, {}, 2),
        (28, {}, 4),
        ((64, 28), {}, 4),
        (32, {}, 5),
        (64, {}, 9),
        (28, {"filters": False}, 0),
        (28, {"levels": 4}, 0),
        (28, {"levels": 4, "filters": True, "square": 1}, 1),
        (8, {"filters": True}, 1),
        (8, {"square": 2}, 2),
    ],
)
def test_filters_are_the_default_of_larger_images(side, given, joined):
    """About 7 x 7 squares of images from 16 pixels on; what is set wins, levels too."""
    config = FlatTMConfig(image_size=side, in_channels=1, **given)
    assert config.joined == joined
    with torch.device("meta"):
        model = FlatTM(image_size=side, in_channels=1, num_classes=3, clauses=4, **given)
    assert isinstance(model.bits, FilterBits if joined else Thermometer)
    assert getattr(model.bits, "square", 0) == joined
    assert model.core.last.bank.num_bits == config.bits
    height, width = config.image_shape[1:]
    read = -(-height // joined) * -(-width // joined) * 76 if joined else given.get("levels", 4) * height * width
    assert config.bits == read


def test_mixed_precision_makes_the_same_bits():
    """Convolutions in bf16 have two digits: training on a GPU would read other bits than use does."""
    x = photos(side=28)
    with torch.autocast("cpu", torch.bfloat16):
        found = boolean_features(x, 4)
    assert torch.equal(found, boolean_features(x, 4))
