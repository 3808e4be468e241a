"""Flat clause machines that read oriented filters, joined over squares."""

import numpy as np
import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.tasks.classification.data.boolean_features import BITS, NEGATIVE, POSITIVE, boolean_features, filters
from stillhouse.tasks.classification.lower import lower
from stillhouse.tasks.classification.students.banks import named_banks, pixels_of
from stillhouse.tasks.classification.students.flat import FilterBits, FlatTM


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
        for place, kernel in enumerate(filters()):
            response = torch.nn.functional.conv2d(255 * image[None], 2 * kernel[None, None], padding="same")[0, 0]
            values = response.round().numpy()
            first = 4 + 9 * place
            for sign, shares, start in ((1, POSITIVE, 1), (-1, NEGATIVE, 5)):
                ordered = np.sort(sign * values[sign * values > 0])
                for number, share in enumerate(shares):
                    level = ordered[round(share * (len(ordered) - 1))]
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


def test_the_clauses_are_logic_and_the_filters_are_not():
    """A machine of logic begins at pixels compared with levels; sums of pixels are none."""
    with pytest.raises(InputError, match="filters"):
        lower(machine(square=4))
